"""Maps of computation as arrays and as pictures.

`maps` has functions of TensorFlow, which work in graphs too; `figures` draws with Matplotlib, off screen. All of them
return arrays; nobody else draws.
"""

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
)

__all__ = [
    "FIGURES",
    "block_maps",
    "box_mask",
    "colour",
    "colour_bar",
    "gallery",
    "heat_map",
    "largest_possible",
    "overlay",
    "ponder_figure",
    "ponder_map",
    "save_gallery",
    "scale_images",
    "to_bytes",
]
