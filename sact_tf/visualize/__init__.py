"""Maps of computation as arrays and as pictures.

`maps` has functions of TensorFlow, which work in graphs too; `figures` draws pictures with Matplotlib, off screen, and
returns arrays; `charts` draws curves and histograms and returns Matplotlib figures; `summaries` writes for TensorBoard.
Nobody else draws.
"""

from sact_tf.visualize import sheets
from sact_tf.visualize.charts import chart_svg, save_chart
from sact_tf.visualize.figures import colour_bar, gallery, ponder_figure, save_gallery
from sact_tf.visualize.maps import (
    FIGURES,
    block_maps,
    box_mask,
    colour,
    heat_map,
    largest_possible,
    overlay,
    ponder_map,
    scale_images,
    to_bytes,
    visible,
)
from sact_tf.visualize.summaries import write_distributions, write_pictures

__all__ = [
    "FIGURES",
    "block_maps",
    "box_mask",
    "chart_svg",
    "colour",
    "colour_bar",
    "gallery",
    "heat_map",
    "largest_possible",
    "overlay",
    "ponder_figure",
    "ponder_map",
    "save_chart",
    "save_gallery",
    "scale_images",
    "sheets",
    "to_bytes",
    "visible",
    "write_distributions",
    "write_pictures",
]
