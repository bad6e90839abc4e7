"""What a task adds to a report of an evaluation."""

from typing import NamedTuple


class Chart(NamedTuple):
    """A Matplotlib figure under a title, with a caption."""

    title: str
    figure: object
    caption: str


class Picture(NamedTuple):
    """A picture, uint8 `(height, width, 3)`, under a title, with a caption."""

    title: str
    pixels: object
    caption: str


class Table(NamedTuple):
    """Rows of cells under a title and the headings of the columns."""

    title: str
    headings: tuple
    rows: list
