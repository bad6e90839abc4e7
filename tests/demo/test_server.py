"""The page over real HTTP: what is served, which photographs and which requests are refused, and in which words."""

import json
import pathlib
import re
import signal
import socket
import threading
import time
import tomllib
import types
import urllib.request

import numpy as np
import pytest
from PIL import Image

from sact_tf import demo
from sact_tf.config import DemoConfig, ModelConfig
from sact_tf.demo import server, uploads

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "sact_tf" / "demo" / "page"
FLAGS = ["--network=cifar", "--model=1_1_1", "--base_channels=4", "--dataset=cluttered_digits"]
OPEN = r"^Open (http://127\.0\.0\.1:(\d+)/) in a browser\. Ctrl-C ends it\.$"


def test_the_page_comes_from_here_alone_and_is_told_to_stay_here(serve):
    page = serve("vanilla")
    for path, kind in (("/", "text/html"), ("/style.css", "text/css"), ("/script.js", "text/javascript")):
        status, headers, body = page.request("GET", path)
        assert status == 200 and headers.get_content_type() == kind and len(body) > 1000
        assert not re.search(rb"https?://|//cdn|@import|\beval\(|innerHTML|\bstyle=", body)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert page.request("HEAD", path)[::2] == (200, b"")
    about = json.loads(page.request("GET", "/about")[2])
    assert about["epsilon"] is None and about["model_type"] == "vanilla" and not about["is_detector"]
    for path in ("/../server.py", "/page/index.html", "/look"):
        assert page.request("GET", path)[0] == 404
    for method in ("GET", "POST"):
        no_address = raw(page, [f"{method} http://[::1 HTTP/1.1", "Host: localhost"], then_close=True)
        assert no_address == (400, "This is no address of a page.")
    assert page.request("POST", "/", b"x")[0] == 404 and page.request("HEAD", "/look")[::2] == (404, b"")


def test_controls_have_labels():
    html = (PAGE / "index.html").read_text()
    inputs = re.findall(r'<(?:input|select) id="([a-z]+)"', html)
    assert len(inputs) == 6
    for name in inputs:
        assert f'for="{name}"' in html
    script = (PAGE / "script.js").read_text()
    named = set(re.findall(r'element\("([a-z-]+)"\)', script)) - {"rounds"}
    assert named <= set(re.findall(r'id="([a-z-]+)"', html))


def test_an_installed_package_has_the_page():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {path for pattern in patterns["sact_tf.demo"] for path in PAGE.parent.glob(pattern)}
    assert installed == set(PAGE.iterdir()) == {PAGE / name for name, _ in server.PAGE.values()}


@pytest.fixture(scope="module")
def bad_files(picture, file_of):
    """Dict from a name to the bytes of a file that is not taken, and what is said of it."""
    jpeg = file_of(picture(200, 240), "JPEG")
    huge = file_of(Image.new("1", (8000, 6000)))
    assert len(huge) < 100_000
    return {
        "empty": (b"", "the file is empty"),
        "text": (b"no picture at all", "it is no picture in a format that can be read"),
        "truncated JPEG": (jpeg[: len(jpeg) // 2], "it is no whole JPEG file"),
        "truncated PNG": (file_of(picture())[:900], "it is damaged"),
        "page": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is no picture in a format"),
        "too many pixels": (huge, "it has 6000 x 8000 pixels, and 40,000,000 are the most .* Make it smaller"),
        "far too many": (file_of(Image.new("1", (20000, 20000))), "it has far too many pixels, and 40,000,000 are"),
        "strip": (file_of(Image.new("RGB", (200, 1))), "it would be 1 pixel high .* Enlarge it with a size of 800"),
        "thin strip": (file_of(Image.new("RGB", (2, 600))), "600 pixels long .* edge of 1024 .* the 4 .* Cut a part"),
    }


def test_bad_files_get_a_sentence(serve, bad_files):
    for name, (content, sentence) in bad_files.items():
        status, answer = serve("vanilla").look(content)
        assert status == 422, name
        assert re.fullmatch(rf"This file was not taken: .*{sentence}.*\.", answer["error"]), answer
        assert "--" not in answer["error"]


def test_odd_files_are_taken_and_it_is_said_how(serve, picture, file_of):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture().transpose(Image.Transpose.ROTATE_90)
    files = {
        "several pictures, such as an animation": file_of(
            picture().quantize(), "GIF", save_all=True, append_images=[picture().rotate(180).quantize()]
        ),
        r"those of print \(CMYK\)": file_of(picture().convert("CMYK"), "JPEG"),
        "the camera was turned": file_of(turned, "JPEG", exif=exif, quality=98, subsampling=0),
        "transparency was left out": file_of(picture().convert("RGBA")),
    }
    for sentence, content in files.items():
        status, answer = serve("vanilla").look(content)
        assert status == 200 and answer["size"] == answer["original_size"] == [40, 56], sentence
        assert len(answer["notes"]) == 1 and re.search(sentence, answer["notes"][0])
    assert serve("vanilla").look(file_of(picture()))[1]["notes"] == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("epsilon=0", "`epsilon` must lie strictly between 0 and 1"),
        ("epsilon=1", "`epsilon` must lie strictly between 0 and 1"),
        ("epsilon=nan", "`epsilon` must lie strictly between 0 and 1"),
        ("epsilon=many", "epsilon must be a number. Received: 'many'"),
        ("size=0", "The size must lie between 1 and 1024 pixels. Received: 0"),
        ("size=100000", "The size must lie between 1 and 1024 pixels"),
        ("size=1e3", "size must be a number"),
    ],
)
def test_numbers_out_of_range_are_named(serve, picture, file_of, query, sentence):
    status, answer = serve("vanilla").look(file_of(picture()), query)
    assert status == 400 and sentence in answer["error"]


def raw(page, lines, body=b"", then_close=False):
    """Status and sentence for a request written by hand."""
    with socket.create_connection(page.server.server_address[:2], timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)["error"]


def test_uploads_are_bounded_before_they_are_read(serve, monkeypatch):
    page = serve("vanilla")
    start = ["POST /look HTTP/1.1", "Host: localhost"]
    too_large = f"Content-Length: {uploads.MAX_BYTES + 1}"
    assert raw(page, [*start, too_large], b"x" * 300_000, then_close=True) == (
        413,
        "This file was not taken: it has more than 32 MiB. Make it smaller.",
    )
    assert raw(page, [*start, f"Content-Length: {'9' * 5000}"], then_close=True)[0] == 413
    for wrong in ("-1", "1_0", "٣", "many", ""):
        assert raw(page, [*start, f"Content-Length: {wrong}"], then_close=True)[0] == 411
    assert raw(page, [*start, "Transfer-Encoding: chunked"], b"0\r\n\r\n", then_close=True)[0] == 411
    short = raw(page, [*start, "Content-Length: 100"], b"x" * 40, then_close=True)
    assert short == (400, "The upload stopped before its end. Try again.")
    monkeypatch.setattr(server.Handler, "timeout", 0.2)
    assert raw(page, [*start, "Content-Length: 100"], b"x" * 40)[0] == 408
    monkeypatch.setattr(server, "UPLOAD_SECONDS", -1)
    assert "took more than" in raw(page, [*start, "Content-Length: 100"], b"x" * 100)[1]


def test_one_is_computed_at_a_time_and_the_wait_is_bounded(serve, picture, file_of, monkeypatch):
    page, content = serve("vanilla"), file_of(picture())
    with page.server.computing:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(page.look(content)))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        monkeypatch.setattr(server, "WAIT_SECONDS", 0.1)
        assert page.look(content) == (503, {"error": "Others are before you. Try again in a moment."})
    waiting.join(60)
    assert answers[0][0] == 200
    for _ in range(server.MAX_UPLOADS):
        assert page.server.uploads.acquire(blocking=False)
    try:
        assert page.look(content)[0] == 503
    finally:
        page.server.uploads.release(server.MAX_UPLOADS)
    assert page.look(content)[0] == 200


def test_what_fails_unexpectedly_is_said_here_and_in_the_terminal(serve, monkeypatch):
    page = serve("vanilla")

    def fail(content, **settings):
        raise RuntimeError("out of memory, say")

    monkeypatch.setattr(page.server.answers, "look", fail)
    status, answer = page.look(b"x")
    assert status == 500 and "could not be computed (RuntimeError). The terminal says more." in answer["error"]
    assert page.lines[-1] == "A photograph failed: RuntimeError: out of memory, say"


def test_a_port_in_use_and_a_host_that_is_none_are_said_before_anything_is_loaded(serve):
    port = serve("vanilla").server.server_address[1]
    with pytest.raises(OSError, match=rf"Port {port} is in use.*--port={port + 1}, or --port=0 for any that is free"):
        server.DemoServer("127.0.0.1", port, print)
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(OSError, match=rf"{host} is no address of this machine.*Leave out --host"):
            server.DemoServer(host, 0, print)


def test_requests_are_answered_where_nobody_reads_the_terminal_any_more(monkeypatch):
    class Answers:
        def __init__(self, config, log):
            self.log = log

        def look(self, content, **settings):
            self.log("40 x 56")
            return {"seen": len(content)}

    def log(text):
        if not text.startswith("Open"):
            raise OSError("Broken pipe")

    def ask(server):
        def post():
            try:
                with urllib.request.urlopen(f"{demo.address(server)}look", b"abc", timeout=60) as response:
                    answered.append(json.load(response))
            finally:
                server.shutdown()

        threading.Thread(target=post).start()

    answered = []
    monkeypatch.setattr(demo, "Answers", Answers)
    demo.serve(types.SimpleNamespace(host="127.0.0.1", port=0), log, ask)
    assert answered == [{"seen": 3}]


def test_the_command_serves_until_ctrl_c(serve, start_script, picture, file_of):
    directory = serve("vanilla").config.checkpoint_dir
    command = ["-m", "sact_tf.demo", f"--checkpoint_dir={directory}", *FLAGS]
    script = start_script(*command, "--port=0", together=True)
    deadline = time.monotonic() + 600
    while not (
        found := re.search(
            r"^Open (http://127\.0\.0\.1:(\d+)/) in a browser\. Ctrl-C ends it\.$", script.output(), re.M
        )
    ):
        assert script.poll() is None and time.monotonic() < deadline, script.output()
        time.sleep(0.05)
    assert "Preparing 2/2: plain network, in the engine" in script.output()
    second = start_script(*command, f"--port={found[2]}", together=True)
    assert second.wait() == 1
    assert re.search(rf"^error: Port {found[2]} is in use, .*--port=0", second.output(), re.M)
    assert "Loading" not in second.output()
    with urllib.request.urlopen(f"{found[1]}look?epsilon=0.5", file_of(picture()), timeout=60) as response:
        assert json.load(response)["epsilon"] == 0.5
    script.send_signal(signal.SIGINT)
    assert script.wait(30) == 0
    assert script.output().endswith("Stopped.\n") and "Traceback" not in script.output()
    assert re.search(
        r"^40 x 56, epsilon 0\.5: plain network \d+ ms, plain network, in the engine \d+ ms$", script.output(), re.M
    )


def test_configurations_are_checked():
    settings = {"model": ModelConfig(network="cifar", model="2_3_2", num_classes=10), "checkpoint_dir": "x"}
    with pytest.raises(ValueError, match=r"`port` must lie between 0 .* and 65535\. Received: port=70000"):
        DemoConfig(dataset="cluttered_digits", port=70000, **settings)
    with pytest.raises(ValueError, match=r"`image_size` must be an int, at least 1"):
        DemoConfig(dataset="cluttered_digits", image_size=0, **settings)
    with pytest.raises(ValueError, match="Leave --host out"):
        DemoConfig(dataset="cluttered_digits", host="", **settings)


def test_an_answer_that_is_no_number_is_said(serve, picture, file_of, monkeypatch):
    page = serve("vanilla")
    run = page.server.answers._networks.run

    def diverged(inputs, epsilon):
        outputs, *rest = run(inputs, epsilon)
        return {**outputs, "logits": outputs["logits"] * np.nan}, *rest

    monkeypatch.setattr(page.server.answers._networks, "run", diverged)
    status, answer = page.look(file_of(picture()))
    assert status == 400 and "its training diverged" in answer["error"]
