"""Contact sheets: many small pictures with a line of text each, for those who look through hundreds."""

import numpy as np

from sact_tf.progress import printable
from sact_tf.visualize.maps import to_bytes
from sact_tf.visualize.plain_text import plain_text

# Pixels of a thumbnail and of the line below it; pictures in a row and on a sheet.
WIDTH, HEIGHT, _LINE, _GAP = 160, 120, 16, 8
_COLUMNS, _ON_A_SHEET = 8, 96
_DPI = 100
# Signs of a line, and of its beginning where the middle is left out, in the font below. Names differ in their ends.
_LONGEST, _BEGINNING, _FONT_SIZE = 27, 10, 6.5


def thumbnail(picture):
    """A picture, float in [0, 1] or uint8 `(h, w, 3)`, in the middle of a white uint8 `(HEIGHT, WIDTH, 3)`."""
    from PIL import Image

    small = Image.fromarray(np.asarray(to_bytes(picture)))
    small.thumbnail((WIDTH, HEIGHT))
    framed = Image.new("RGB", (WIDTH, HEIGHT), "white")
    framed.paste(small, ((WIDTH - small.width) // 2, (HEIGHT - small.height) // 2))
    return np.asarray(framed)


def pages(entries):
    """Yields sheets, uint8 `(height, width, 3)`, row by row in the order given.

    Args:
        entries: list of pairs of a `thumbnail` and the text below it, whose middle is left out if it is long.
    """
    for start in range(0, len(entries), _ON_A_SHEET):
        yield _page(entries[start : start + _ON_A_SHEET])


@plain_text
def _page(entries):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = -(-len(entries) // _COLUMNS), min(len(entries), _COLUMNS)
    height, width = rows * (HEIGHT + _LINE + _GAP) + _GAP, columns * (WIDTH + _GAP) + _GAP
    sheet = np.full((height, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    for place, (picture, text) in enumerate(entries):
        top = _GAP + place // _COLUMNS * (HEIGHT + _LINE + _GAP)
        left = _GAP + place % _COLUMNS * (WIDTH + _GAP)
        sheet[top : top + HEIGHT, left : left + WIDTH] = picture
        text = printable(text)
        text = text if len(text) <= _LONGEST else f"{text[:_BEGINNING]}...{text[_BEGINNING + 3 - _LONGEST :]}"
        below = 1 - (top + HEIGHT + _LINE / 2) / height
        figure.text((left + WIDTH / 2) / width, below, text, ha="center", va="center", fontsize=_FONT_SIZE)
    figure.figimage(sheet, zorder=-1)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
