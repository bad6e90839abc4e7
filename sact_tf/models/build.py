"""From a configuration to a model."""

import dataclasses

from sact_tf.config.idle import OF_DETECTORS
from sact_tf.models.cifar_resnet import cifar_resnet
from sact_tf.models.imagenet_resnet import imagenet_resnet

NETWORKS = {"cifar": cifar_resnet, "imagenet": imagenet_resnet}


def build_model(config, image_size=None):
    """Returns the `Classifier` of a `ModelConfig`, for square images of `image_size` pixels or, with None, for any."""
    arguments = dataclasses.asdict(config)
    for name in OF_DETECTORS:
        del arguments[name]
    network = arguments.pop("network")
    if network == "imagenet":
        del arguments["stem_stride"], arguments["shortcuts"]
    return NETWORKS[network](**arguments, image_shape=(image_size, image_size, 3))
