"""Models: the ImageNet and CIFAR residual networks, their classifiers, and the detector."""

from sact_tf.models.backbone import Backbone
from sact_tf.models.cifar_resnet import CifarBackbone, cifar_resnet
from sact_tf.models.classifier import Classifier
from sact_tf.models.faster_rcnn import FasterRCNN, faster_rcnn
from sact_tf.models.imagenet_resnet import ImageNetBackbone, imagenet_resnet

__all__ = [
    "Backbone",
    "CifarBackbone",
    "Classifier",
    "FasterRCNN",
    "ImageNetBackbone",
    "cifar_resnet",
    "faster_rcnn",
    "imagenet_resnet",
]
