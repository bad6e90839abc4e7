"""The version of the package, in a file of its own so that packaging need not import TensorFlow."""

__version__ = "0.1.0"
