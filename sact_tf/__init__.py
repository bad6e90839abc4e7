"""Spatially Adaptive Computation Time (SACT) for TensorFlow and Keras 3."""

# ruff: noqa: E402
from sact_tf import processor

# TensorFlow, Keras and Matplotlib look once, when they are imported, which everything below does. Other people's
# programs are left alone.
processor.run_keras_on_tensorflow()
processor.choose_onednn()
processor.draw_into_files()

from sact_tf import callbacks, depth, flops, sparse
from sact_tf.checkpoints import initialize_from, load_release_checkpoint, save_release_checkpoint
from sact_tf.layers import AdaptiveBlock
from sact_tf.models import cifar_resnet, faster_rcnn, imagenet_resnet
from sact_tf.version import __version__

__all__ = [
    "AdaptiveBlock",
    "__version__",
    "callbacks",
    "cifar_resnet",
    "depth",
    "faster_rcnn",
    "flops",
    "imagenet_resnet",
    "initialize_from",
    "load_release_checkpoint",
    "save_release_checkpoint",
    "sparse",
]
