"""The page in a real browser, where there is one: a photograph is uploaded, sliders are moved by keys."""

import json
import os
import select
import shutil
import subprocess
import time

import pytest

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_CODES = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9}

pytestmark = pytest.mark.skipif(PATH is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
SHOWN = "!busy && !document.getElementById('result').hidden"


class Chromium:
    """One page of a headless browser, steered over the DevTools protocol by pipes: nothing else to install.

    Args:
        profile: empty directory.
    """

    def __init__(self, profile):
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; a shell puts them there.
        command = [PATH, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
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
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def opened(browser, serve):
    """Function from the key of a network to the browser, its page open."""

    def open_page(name):
        browser.messages.clear()
        host, port = serve(name).server.server_address[:2]
        browser.call("Page.navigate", url=f"http://{host}:{port}/")
        browser.wait_for(f"location.port == {port} && document.readyState == 'complete' && about !== null")
        return browser

    return open_page


def text(browser, name):
    return browser.run(f"document.getElementById('{name}').innerText")


def cells(browser):
    return browser.run("[...document.querySelectorAll('#timed tr')].map(row => [...row.cells].map(c => c.innerText))")


def test_a_photograph_is_uploaded_looked_at_and_computed_again_by_keys(opened, picture, file_of, tmp_path):
    page = opened("sact")
    (tmp_path / "a$b$.png").write_bytes(file_of(picture()))
    page.choose_file("#file", tmp_path / "a$b$.png")
    page.wait_for(SHOWN)
    assert text(page, "status").startswith("a$b$.png: ")
    assert "56 x 40 pixels for the network, 56 x 40 in the file." in text(page, "about-picture")
    assert page.run("document.querySelectorAll('#found li').length") == 5
    assert page.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    names = page.run(
        "[...document.querySelectorAll('#maps label')].map(label => label.innerText.split('\\n')[0].trim())"
    )
    assert names == ["all blocks", "block_1", "block_2", "block_3"]
    before = cells(page)
    assert [row[0] for row in before] == ["Plain network", "Plain network, in the engine", "Masked", "Engine"]
    # Opacity needs no server, another threshold does; the picture is not sent again.
    page.run("document.getElementById('opacity').focus()")
    page.press("ArrowRight")
    assert text(page, "opacity-value") == "65 %"
    assert page.run("getComputedStyle(document.getElementById('map')).opacity") == "0.65"
    page.run("document.getElementById('epsilon').focus()")
    for _ in range(6):
        page.press("ArrowRight")
    assert text(page, "epsilon-value") == "0.3"
    page.wait_for(f"{SHOWN} && shown.epsilon == 0.3")
    after = cells(page)
    assert after[3][1] != before[3][1] and after[0][:3] == before[0][:3]
    assert page.run("document.getElementById('picture').naturalWidth") == 56
    page.run("document.querySelector('#maps input').focus()")
    page.press("ArrowRight")
    assert page.run("document.getElementById('map').alt").startswith("Ponder map, block_1: from ")
    for width in (360, 1200):
        page.size(width, 800)
        assert page.run("document.documentElement.scrollWidth") <= width
    assert page.messages == []


def test_a_bad_file_gets_its_sentence_and_takes_the_figures_of_the_last_away(opened, picture, file_of, tmp_path):
    page = opened("sact")
    (tmp_path / "good.png").write_bytes(file_of(picture()))
    (tmp_path / "bad.png").write_text("no picture")
    page.choose_file("#file", tmp_path / "good.png")
    page.wait_for(SHOWN)
    page.choose_file("#file", tmp_path / "bad.png")
    page.wait_for("!busy && !document.getElementById('error').hidden")
    assert text(page, "error").startswith("This file was not taken: it is no picture in a format that can be read")
    assert page.run("document.getElementById('result').hidden")
    page.choose_file("#file", tmp_path / "good.png")
    page.wait_for(SHOWN)
    assert page.run("document.getElementById('error').hidden")
    assert page.run("document.getElementById('picture').naturalWidth") == 56


def test_a_vanilla_network_has_no_controls_of_what_it_lacks(opened):
    page = opened("vanilla")
    visible = "[...document.querySelectorAll('input, select')].filter(e => e.offsetParent).map(e => e.id)"
    assert page.run(visible) == ["file", "size"]
    assert "there are no maps" in text(page, "network")
