"""Matplotlib figures that no window shows: made without one, and turned into arrays."""

import io

import numpy as np

# Dots of an array to an inch of its figure.
DPI = 120


def new_figure(width, height):
    """An empty `matplotlib.figure.Figure` of this size in inches, which lays out what is put into it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def render(figure):
    """A figure as uint8 array `(height, width, 3)`, `DPI` to an inch, without its empty rim."""
    from PIL import Image

    file = io.BytesIO()
    # Read back at once: packing it tightly would take a quarter of the time.
    packing = {"compress_level": 0}
    figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight", facecolor="white", pil_kwargs=packing)
    return np.asarray(Image.open(file).convert("RGB"))
