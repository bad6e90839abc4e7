"""Memory that an engine does not need any more once it is there."""

import ctypes
import os


def give_back():
    """Has the C library return to the system what reading or optimizing a network has left free, where it can.

    It is more than the weights, in pieces too small for the features of a batch, which would come on top of it.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    # A function of glibc; other C libraries have no such pieces, or keep no more than they need.
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
