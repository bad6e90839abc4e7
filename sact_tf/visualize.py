"""Maps of computation, as arrays and pictures."""

import numpy as np
import tensorflow as tf


def ponder_map(outputs, image_shape, figure="ponder_cost"):
    """Sums the maps of all blocks at the resolution of the image.

    Each block's map is enlarged with nearest neighbours in TensorFlow 1's convention (position `floor(i * h / H)`),
    as in the release.

    Args:
        outputs: dict of a SACT model, with `<block>/ponder_cost` float32 and `<block>/num_units` int32
            `(batch, h, w)`; tensors or arrays.
        image_shape: `(height, width)` of the result in pixels; further entries are ignored.
        figure: "ponder_cost" (residual units executed plus remainder) or "num_units".

    Returns:
        float32 tensor `(batch, height, width)`, in residual units.

    Raises:
        ValueError: if there are no maps of that kind, as for models that do not halt by position.
    """
    height, width = image_shape[:2]
    maps = [value for name, value in outputs.items() if name.endswith(f"/{figure}") and len(value.shape) == 3]
    if not maps:
        raise ValueError(
            f"These outputs have no maps `<block>/{figure}` of shape (batch, height, width); only model_type='sact' "
            f"decides by position. Received outputs: {sorted(outputs)}"
        )
    return tf.add_n([tf.cast(_enlarge(tf.convert_to_tensor(value), height, width), tf.float32) for value in maps])


def _enlarge(value, height, width):
    rows = tf.range(height) * tf.shape(value)[1] // height
    columns = tf.range(width) * tf.shape(value)[2] // width
    return tf.gather(tf.gather(value, rows, axis=1), columns, axis=2)


def box_mask(boxes, image_shape):
    """Marks the pixels inside boxes: int `(batch, 4)`, ymin, xmin, ymax, xmax, half open, to bool `(batch, h, w)`."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes[:, :, None, None], axis=1)
    rows, columns = tf.range(image_shape[0])[:, None], tf.range(image_shape[1])[None]
    return (rows >= ymin) & (rows < ymax) & (columns >= xmin) & (columns < xmax)


def save_gallery(path, images, maps, boxes, titles):
    """Writes a PNG of images above their ponder maps, under one colour bar.

    Args:
        path: file to write.
        images: float `(count, height, width, 3)` in [-1, 1].
        maps: float `(count, height, width)`, in residual units.
        boxes: int `(count, 4)`, drawn on the maps; ymin, xmin, ymax, xmax in pixels.
        titles: list of text, one an image.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    count = len(images)
    figure = Figure(figsize=(1.6 * count, 4.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, count, squeeze=False)
    low, high = np.percentile(maps, [0.1, 99.9])
    for column in range(count):
        axes[0, column].imshow(np.clip((images[column] + 1) / 2, 0, 1), interpolation="nearest")
        axes[0, column].set_title(titles[column], fontsize=13)
        drawn = axes[1, column].imshow(maps[column], cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        ymin, xmin, ymax, xmax = (int(value) for value in boxes[column])
        frame = Rectangle(
            (xmin - 0.5, ymin - 0.5), xmax - xmin, ymax - ymin, fill=False, edgecolor="white", linewidth=0.8, alpha=0.8
        )
        axes[1, column].add_patch(frame)
    for axis in axes.flat:
        axis.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, aspect=45)
    bar.set_label("ponder cost: residual units run, plus remainder", fontsize=13)
    bar.ax.tick_params(labelsize=12)
    bar.outline.set_visible(False)
    figure.savefig(path, dpi=120, bbox_inches="tight")
