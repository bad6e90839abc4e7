"""Names from outside in pictures, on terminals and on pages: whatever is in them, they are shown and break nothing."""

import io

import numpy as np
import pytest

from sact_tf import visualize
from sact_tf.progress import counted, one_line, print_line, printable
from sact_tf.visualize import charts
from sact_tf.visualize.plain_text import label_of

MAPS = {"block$_1": np.linspace(1, 2, 48).reshape(6, 8)}
NAMES = {
    "formula": "a$x_$.jpg",
    "command": r"$\frac{1}{0}$ \begin{x} %",
    "signs": "_^#&~{}",
    "line break": "a\nb\r.jpg",
    "not UTF-8": "caf\udce9.jpg",
    "no glyphs": "日本 \U0001f431.jpg",
    "empty": "",
}


def test_one_thing_is_told_in_the_singular():
    assert [counted(number, "step") for number in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
    assert [counted(number, noun) for number in (1, 2) for noun in ("box", "class", "batch")] == [
        *("1 box", "1 class", "1 batch"),
        *("2 boxes", "2 classes", "2 batches"),
    ]


@pytest.mark.parametrize("kind", ["formula", "command", "not UTF-8"])
@pytest.mark.filterwarnings("error")
def test_any_name_can_be_the_title_of_a_figure(kind):
    assert visualize.ponder_figure(np.zeros((6, 8, 3)), MAPS, NAMES[kind]).shape[2] == 3


@pytest.mark.filterwarnings("error")
def test_any_name_can_be_a_title_in_a_gallery():
    count = len(NAMES)
    assert visualize.gallery(np.zeros((count, 6, 8, 3)), np.ones((count, 6, 8)), list(NAMES.values())).shape[2] == 3


def test_any_name_of_a_run_is_in_the_legend_of_a_chart_as_it_is():
    row = {"trained_size": 32, "flops": 3e6, "accuracy": 0.5}
    figure = charts.resolution([{**row, "run": run, "image_size": size} for run in NAMES.values() for size in (40, 48)])
    texts = [text.get_text().strip() for text in figure.axes[1].get_legend().get_texts()]
    assert [text for text in texts if text] == [*(one_line(name) for name in NAMES.values() if name), "trained at"]
    file = io.BytesIO()
    visualize.save_chart(figure, file, "png")
    assert "<svg" in visualize.chart_svg(figure)


def test_names_that_are_no_formulas_are_drawn_the_same_whatever_the_users_settings():
    from matplotlib import rc_context

    arguments = np.zeros((6, 8, 3)), MAPS, "a$x$b"
    with rc_context({"text.parse_math": True, "text.usetex": True}):
        theirs = visualize.ponder_figure(*arguments)
    np.testing.assert_array_equal(visualize.ponder_figure(*arguments), theirs)
    assert not np.array_equal(visualize.ponder_figure(*arguments[:2], "axb"), theirs)


def test_a_very_long_title_makes_no_larger_figure():
    image = np.zeros((60, 80, 3))
    maps = {"block_1": np.linspace(1, 2, 4800).reshape(60, 80)}
    short, long = (visualize.ponder_figure(image, maps, title) for title in ("photo", "photo " * 200 + "x" * 400))
    assert long.shape[1] <= short.shape[1] + 20 and long.shape[0] <= short.shape[0] + 120


def test_bytes_of_names_that_are_not_utf8_are_shown_as_such():
    name = b"caf\xe9 \xc3\xa9.jpg".decode("utf-8", "surrogateescape")
    assert printable(name) == r"caf\xe9 é.jpg"
    assert one_line(f"{name}\n\x1b[31m") == r"caf\xe9 é.jpg\n\x1b[31m"
    assert label_of("_run") == " _run"


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "é \\xe9 日\n"), ("ascii", "\\xe9 \\xe9 \\u65e5\n")])
def test_a_line_is_printed_whatever_the_terminal_can_show(encoding, expected):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    print_line("é \udce9 日", file)
    assert file.buffer.getvalue().decode(encoding) == expected
