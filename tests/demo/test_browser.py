"""The page in a real browser, where there is one: a photograph is uploaded, sliders are moved by keys."""

import pytest

SHOWN = "!busy && !document.getElementById('result').hidden"


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
