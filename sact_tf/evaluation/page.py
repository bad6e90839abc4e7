"""A report of an evaluation: one HTML page that needs nothing but itself."""

import base64
import html
import io
import os
import re
import tempfile
import textwrap

import numpy as np

from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import counted, printable
from sact_tf.tasks.sections import Chart, Picture
from sact_tf.visualize import charts, gallery

PAGE = "report.html"
FLOPS_BINS = 40
# Characters of a line above a picture of a gallery.
_TITLE_WIDTH = 14

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #ffffff; --line: #d5d9e0; --faint: #667085; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --paper: #14171d; --line: #3a4150; --faint: #98a2b3; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { overflow-wrap: normal; }
.note, figcaption { color: var(--faint); font-size: .9rem; }
figure { margin: 1rem 0; overflow-x: auto; } figure svg, figure img { max-width: 100%; height: auto; }
@media (max-width: 45rem) { figure svg { max-width: none; } figure img { max-width: none; width: 45rem; } }
img { border-radius: 4px; }
"""


def check_directory(directory, flag):
    """Tries to write in a directory, or where it would be made, before anything is computed; leaves nothing behind.

    Raises:
        OSError: if that cannot be done; it names the flag.
    """
    place = os.path.abspath(directory)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(
            f"Nothing can be written in --{flag}, {directory}: {error.strerror}. Give a directory on a disk with "
            "space, where you may create files."
        ) from error


def write(report_dir, title, task, metrics, plain, record, settings, remarks=()):
    """Writes the page, in one step.

    Args:
        report_dir: directory.
        title: text.
        task: of the network.
        metrics: dict of `sact_tf.evaluation.evaluate`.
        plain: dict with `flops`, the mean of the plain network of the same size, and `metrics`, its evaluation or None.
        record: `Record` of the evaluation.
        settings: dict from a setting's name to its value.
        remarks: sentences on what is wrong with where the network halts.

    Returns:
        Path of the page.
    """
    path = os.path.join(report_dir, PAGE)
    body = "".join(_sections(title, task, metrics, plain, record, settings, remarks))
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
    os.makedirs(report_dir, exist_ok=True)
    write_atomically(path, [printable(page).encode()])
    return path


def _sections(title, task, metrics, plain, record, settings, remarks):
    yield f"<h1>{html.escape(title)}</h1>\n"
    yield _summary(task, metrics, plain, len(record.flops))
    yield from (f"<p><strong>Note:</strong> {html.escape(text)}</p>\n" for text in remarks)
    edges = _edges(record.flops)
    panels = {"FLOPs of an image": (edges, np.histogram(np.asarray(record.flops) / 1e6, edges)[0], "millions")}
    yield _chart("Computation", charts.histograms(panels), "Share of the images.")
    if record.num_units:
        units = {
            name: (np.arange(len(counts) + 1) - 0.5, counts, "residual units")
            for name, counts in record.num_units.items()
        }
        kind = "positions" if record.most and record.most[0]["map"] is not None else "images"
        yield _chart("Executed units of each block", charts.histograms(units), f"Share of the {kind}.")
        ponder = {name: (*values, "residual units + remainder") for name, values in record.ponder_cost.items()}
        yield _chart("Ponder cost of each block", charts.histograms(ponder), f"Share of the {kind}.")
        yield _images("Images with the least computation", record.least, task)
        yield _images("Images with the most computation", record.most, task)
    yield from map(_section, record.findings.sections())
    yield "<h2>All metrics</h2>\n" + _table(("metric", "value"), [(name, show(each)) for name, each in metrics.items()])
    yield "<h2>Configuration</h2>\n" + _table(("setting", "value"), settings.items())


def show(value):
    """A metric's value as text, as evaluation prints it."""
    return f"{value:.8g}"


def _summary(task, metrics, plain, num_images):
    metric, score_name = task.SCORE
    rows = [("this network", metrics[metric], metrics["Total Flops/mean"])]
    other = plain["metrics"]
    rows.append(("plain network of the same size", other and other[metric], plain["flops"]))
    cells = [
        (
            name,
            "not given" if score is None else f"{100 * score:.2f} %",
            f"{flops / 1e6:.1f} million",
            f"{100 * flops / plain['flops']:.1f} %",
        )
        for name, score, flops in rows
    ]
    note = html.escape(getattr(task, "FLOPS_NOTE", ""))
    images = counted(num_images, "image")
    text = f'<p class="note">{images}. FLOPs: a multiplication and an addition are two. {note}</p>\n'
    return text + _table(("network", score_name, "mean FLOPs", "of the plain network"), cells)


def _edges(flops):
    values = np.asarray(flops) / 1e6
    low, high = values.min(), values.max()
    # One value alone, of a plain network, is a bar of its own.
    return np.linspace(low, high, FLOPS_BINS + 1) if high > low else np.array([low - 1, low - 0.5, low + 0.5, low + 1])


def millions(flops):
    """FLOPs of images in millions as texts, with as few digits after the point as tell all that differ apart."""
    for digits in range(1, 7):
        texts = [f"{value / 1e6:.{digits}f}" for value in flops]
        if len({*texts}) == len({*flops}):
            break
    return texts


def _images(title, entries, task):
    flops = millions([each["flops"] for each in entries])
    if entries[0]["map"] is None:
        headings = ("image", "what it was", "FLOPs, millions")
        rows = [(each["index"], each["caption"], text) for each, text in zip(entries, flops, strict=True)]
        return f"<h2>{title}</h2>\n" + _table(headings, rows)
    picture, caption = (task.gallery if hasattr(task, "gallery") else _gallery)(entries)
    numbers, flops = ", ".join(str(each["index"]) for each in entries), ", ".join(flops)
    caption = f"Above their ponder maps. {caption} Numbers in the split: {numbers}. FLOPs, millions: {flops}."
    return f"<h2>{title}</h2>\n<figure>{_png(picture, title)}<figcaption>{caption}</figcaption></figure>\n"


def _gallery(entries):
    captions = [textwrap.fill(each["caption"], _TITLE_WIDTH, max_lines=4, placeholder=" ...") for each in entries]
    flops = millions([each["flops"] for each in entries])
    titles = [f"{text}\n{each} M" for text, each in zip(captions, flops, strict=True)]
    picture = gallery([each["image"] for each in entries], [each["map"] for each in entries], titles)
    return picture, "What they were, and FLOPs."


def _section(section):
    """A `Chart`, a `Picture` or a `Table` of a task as HTML."""
    if isinstance(section, Chart):
        return _chart(*section)
    if isinstance(section, Picture):
        title, caption = html.escape(section.title), html.escape(section.caption)
        image = _png(section.pixels, section.title)
        return f"<h2>{title}</h2>\n<figure>{image}<figcaption>{caption}</figcaption></figure>\n"
    return f"<h2>{html.escape(section.title)}</h2>\n" + _table(section.headings, section.rows)


def _chart(title, figure, caption):
    svg = charts.chart_svg(figure)
    # Several drawings on a page must not share names of their parts.
    prefix = re.sub(r"\W+", "_", title.lower())
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}_", svg)
    return f"<h2>{title}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>\n"


def _png(picture, alternative):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}">'


def _table(headings, rows):
    head = "".join(f"<th>{html.escape(str(each))}</th>" for each in headings)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{html.escape(str(each))}</td>" for each in row)
        lines.append(f"<tr>{cells}</tr>\n")
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{"".join(lines)}</table></div>\n'
