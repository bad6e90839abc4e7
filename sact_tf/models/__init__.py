"""Models: the ImageNet and CIFAR residual networks and their classifiers."""

from sact_tf.models.backbone import Backbone
from sact_tf.models.cifar_resnet import CifarBackbone, cifar_resnet
from sact_tf.models.classifier import Classifier
from sact_tf.models.imagenet_resnet import ImageNetBackbone, imagenet_resnet

__all__ = ["Backbone", "CifarBackbone", "Classifier", "ImageNetBackbone", "cifar_resnet", "imagenet_resnet"]
