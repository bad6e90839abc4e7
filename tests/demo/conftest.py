"""Pages with small networks behind them, served on ports of their own, photographs to send there, and a browser."""

import contextlib
import functools
import http.client
import io
import json
import os
import random
import select
import shutil
import subprocess
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import checkpoints, demo
from sact_tf.config import DemoConfig, ModelConfig
from sact_tf.demo import networks
from sact_tf.tasks import task_of

CIFAR = {"network": "cifar", "model": "1_3_1", "num_classes": 10, "base_channels": 4}
DETECTOR = {
    "network": "imagenet",
    "model": "1_2_1_1",
    "model_type": "sact",
    "num_classes": 10,
    "base_channels": 4,
    "anchor_base_size": 64.0,
    "crop_size": 4,
}
NETWORKS = {
    "sact": ("cluttered_digits", ModelConfig(**CIFAR, model_type="sact")),
    "act": ("cluttered_digits", ModelConfig(**{**CIFAR, "model": "1_2_1"}, model_type="act")),
    # Soon loaded: where nothing halts there are two forms of it, not four.
    "vanilla": ("cluttered_digits", ModelConfig(**{**CIFAR, "model": "1_1_1"}, model_type="vanilla")),
    "detector": ("digit_scenes", ModelConfig(**DETECTOR)),
}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_CODES = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9}


class Page(NamedTuple):
    """A page that is served.

    Attributes:
        config: `DemoConfig`.
        server: `DemoServer`.
        lines: list of what it said.
    """

    config: DemoConfig
    server: object
    lines: list

    def request(self, method, path, body=None, headers=None, host=None):
        """Status, headers and body of an answer."""
        with contextlib.closing(http.client.HTTPConnection(*self.server.server_address[:2], timeout=600)) as connection:
            connection.request(method, path, body, {**({"Host": host} if host else {}), **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def look(self, content, query="epsilon=0.01"):
        """Status and answer for a photograph."""
        status, _, body = self.request("POST", f"/look?{query}", content)
        return status, json.loads(body)


@pytest.fixture(scope="session", autouse=True)
def looks_often():
    """A server sees that it is to end at once, not after half a second."""
    with pytest.MonkeyPatch.context() as patch:
        often = functools.partialmethod(demo.DemoServer.serve_forever, poll_interval=0.02)
        patch.setattr(demo.DemoServer, "serve_forever", often)
        yield


@pytest.fixture(scope="session")
def serve(tmp_path_factory, spread_halting):
    """Function from a key of `NETWORKS` to its `Page`, loaded once."""
    pages, threads = {}, []

    def start(name):
        dataset, network = NETWORKS[name]
        random.seed(17)
        model = spread_halting(task_of(dataset).build_model(network), bias=0.2, gain=6.0)
        directory = tmp_path_factory.mktemp(name)
        saved = tf.train.Checkpoint(
            **{checkpoints.VARIABLES_KEY: checkpoints.named_variables(model)}, step=tf.Variable(3, dtype=tf.int64)
        )
        saved.save(str(directory / "model.ckpt"))
        size = 64 if name == "detector" else None
        config = DemoConfig(model=network, dataset=dataset, checkpoint_dir=str(directory), port=0, image_size=size)
        ready, found, lines = threading.Event(), [], []

        def started(server):
            found.append(server)
            ready.set()

        threads.append(threading.Thread(target=demo.serve, args=(config, lines.append, started), daemon=True))
        threads[-1].start()
        assert ready.wait(600), lines
        return Page(config, found[0], lines)

    def page_of(name):
        if name not in pages:
            pages[name] = start(name)
        return pages[name]

    with pytest.MonkeyPatch.context() as patch:
        # Nobody looks at how long anything took.
        patch.setattr(networks, "_ROUNDS", 2)
        yield page_of
    for page in pages.values():
        page.server.shutdown()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def picture():
    """Function from a size to a PIL picture of smooth noise, the same every time."""

    def make(height=40, width=56):
        small = np.random.default_rng(2).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)

    return make


@pytest.fixture(scope="session")
def file_of():
    """Function from a PIL picture to the bytes of a file."""

    def save(image, kind="PNG", **settings):
        file = io.BytesIO()
        image.save(file, kind, **settings)
        return file.getvalue()

    return save


class Chromium:
    """One page of a headless browser, steered over the DevTools protocol by pipes: nothing else to install.

    Args:
        profile: empty directory.
    """

    def __init__(self, profile):
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; a shell puts them there.
        command = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        command += ["--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._left, self._number, self.session = b"", 0, None
        self.messages = []
        pages = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "DOM", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, timeout=60, **parameters):
        """What a method of the protocol returns."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        os.write(self._out, json.dumps(request).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            message = self._read(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.messages.append(json.dumps(message["params"]))

    def open(self, url):
        """Goes to a page."""
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression of JavaScript."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_for(self, condition, timeout=60):
        """Waits until an expression of JavaScript is true, and returns its value."""
        deadline = time.monotonic() + timeout
        while not (value := self.run(condition)):
            assert time.monotonic() < deadline, f"{condition} never came: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def choose_file(self, selector, path):
        """Does what a person does who chooses a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def press(self, key):
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES[key])

    def size(self, width, height):
        """Makes the window as large as that of a telephone, say."""
        settings = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **settings)

    def close(self):
        """Ends the browser."""
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, deadline):
        while b"\0" not in self._left:
            remaining = deadline - time.monotonic()
            assert remaining > 0 and select.select([self._in], [], [], remaining)[0], "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """`Chromium`."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()
