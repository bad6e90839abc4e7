"""The page of docs/browser.md in a real browser, with ONNX Runtime as npm has it: its answers are Python's."""

import functools
import http.server
import os
import pathlib
import random
import re
import threading

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from sact_tf.config import ModelConfig
from sact_tf.models.build import build_model
from sact_tf.sparse.onnx import network
from sact_tf.sparse.onnx.preprocessing import Preprocessing

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = pathlib.Path(os.environ.get("SACT_TF_ONNXRUNTIME_WEB", ROOT / "node_modules" / "onnxruntime-web"))
NETWORKS = {
    "digits": {"network": "cifar", "model": "2_3_2", "model_type": "sact", "stem_stride": 2},
    "act": {"network": "cifar", "model": "2_3_2", "model_type": "act", "stem_stride": 2},
    "bottlenecks": {"network": "imagenet", "model": "1_3_1_1", "model_type": "sact"},
}
# JavaScript's BigInt, which int64 is, is no JSON.
ANSWERS = """bytesOf(new File([Uint8Array.from(%s)], "a")).then(bytes => look(...bytes)).then(outputs =>
    Object.fromEntries(Object.entries(outputs).map(
        ([name, {type, dims, data}]) => [name, [type, dims, [...data].map(Number)]])))"""
ANSWER = "document.getElementById('answer').innerText"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def page(tmp_path_factory, spread_halting):
    """Address of a folder with a page for each network, and Python's function from pictures to answers for each."""
    if not (PACKAGE / "dist").is_dir():
        pytest.skip(
            f"no onnxruntime-web at {PACKAGE}; npm install onnxruntime-web, or point SACT_TF_ONNXRUNTIME_WEB to it"
        )
    folder, sessions = tmp_path_factory.mktemp("pages"), {}
    [html] = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "browser.md").read_text(encoding="utf-8"), re.DOTALL)
    for name, fields in NETWORKS.items():
        random.seed(17)
        model = spread_halting(build_model(ModelConfig(**fields, num_classes=10, base_channels=4)), bias=0.2, gain=6.0)
        written = network.write_network(model, preprocessing=Preprocessing("cluttered_digits", 64)).SerializeToString()
        (folder / name / "network").mkdir(parents=True)
        (folder / name / "network" / "model.onnx").write_bytes(written)
        (folder / name / "index.html").write_text(html, encoding="utf-8")
        (folder / name / "onnxruntime-web").symlink_to(PACKAGE / "dist")
        sessions[name] = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", sessions
    server.shutdown()
    server.server_close()
    thread.join(20)


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_in_the_browser_are_those_in_python(browser, page, picture, file_of, name):
    address, sessions = page
    image = picture(71, 96)
    browser.call("Page.navigate", url=f"{address}/{name}/")
    browser.wait_for(f"location.pathname == '/{name}/' && typeof look == 'function'")
    theirs = browser.run(ANSWERS % list(file_of(image)))
    outputs = sessions[name].run(None, {"images": np.asarray(image)[None]})
    expected = dict(zip([output.name for output in sessions[name].get_outputs()], outputs, strict=True))
    assert set(theirs) == set(expected)
    # Of ACT one image has one number a block.
    halted = [len(np.unique(value)) for key, value in expected.items() if key.endswith("num_units")]
    assert (max(halted) > 1) == (name != "act")
    for key, value in expected.items():
        kind, shape, numbers = theirs[key]
        assert (kind, tuple(shape)) == (value.dtype.name, value.shape)
        if value.dtype.kind == "i":
            np.testing.assert_array_equal(np.reshape(numbers, shape), value, key)
        else:
            atol = 1e-4 * np.abs(value).max()
            np.testing.assert_allclose(np.reshape(numbers, shape), value, rtol=0, atol=atol, err_msg=key)


def test_a_person_chooses_files_good_and_bad(browser, page, picture, tmp_path):
    address, sessions = page
    picture(71, 96).save(tmp_path / "a$b$.png")
    (tmp_path / "bad.png").write_text("no picture")
    Image.new("L", (1, 1), 200).save(tmp_path / "grey.png")
    browser.call("Page.navigate", url=f"{address}/digits/")
    browser.wait_for("location.pathname == '/digits/' && typeof look == 'function'")
    for name, start in (("a$b$.png", "class "), ("bad.png", "This picture was not computed: "), ("grey.png", "class ")):
        browser.choose_file("#file", tmp_path / name)
        text = browser.wait_for(f"{ANSWER}.startsWith('{start}') && {ANSWER}")
        if name == "a$b$.png":
            images = np.asarray(picture(71, 96))[None]
            predictions, flops = sessions["digits"].run(["predictions", "flops"], {"images": images})
            best = predictions[0].argmax()
            assert text == f"class {best}, score {predictions[0, best]:.3f}, {flops[0]} FLOPs"
