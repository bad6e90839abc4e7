"""Writes pictures as CIFAR-10's Python and binary versions have them."""

import struct

import numpy as np

from sact_tf.data import cifar10


def binary_example(picture, label):
    """A record of the binary version, bytes: the label, then the red, green and blue planes.

    Args:
        picture: uint8 `(32, 32, 3)`.
        label: int from 0 to 9.
    """
    return bytes([label]) + picture.transpose(2, 0, 1).tobytes()


def python_batch(pictures, labels):
    """A file of CIFAR-10's Python version: the instructions, written one by one, of Python 2's pickle protocol 2.

    Args:
        pictures: uint8 `(examples, 32, 32, 3)`.
        labels: list of ints from 0 to 9.

    Returns:
        bytes.
    """

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def array(rows):
        pixels = rows.tobytes()
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        shape = b"(K\x01" + struct.pack("<cici", b"J", rows.shape[0], b"J", rows.shape[1]) + b"\x86"
        dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        dtype_state = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        return start + shape + dtype + dtype_state + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb"

    rows = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).reshape(len(pictures), cifar10.PIXELS)
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    content = text(b"data") + array(rows) + text(b"labels") + b"](" + numbers + b"e"
    return b"\x80\x02}(" + content + b"u."
