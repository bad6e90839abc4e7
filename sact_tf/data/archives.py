"""Reads files out of a tar archive, packed or not, into memory; nothing is written to the disk."""

import lzma
import os
import tarfile
import zlib

from sact_tf.data.records import BadRecord
from sact_tf.progress import one_line

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path):
    """True if a path is that of a file that ends as archives do."""
    return path.lower().endswith(ENDINGS) and os.path.isfile(path)


def read_members(path, names):
    """Returns the files of some names in an archive, whatever folder of it they are in.

    Args:
        path: of the archive.
        names: of the files, without folders.

    Returns:
        Dict from those names that there are to bytes.

    Raises:
        BadRecord: if the archive is damaged.
    """
    found = {}
    try:
        # As a stream: an archive that is packed can be read in one direction only.
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = os.path.basename(member.name)
                if name in names and name not in found and member.isfile():
                    found[name] = archive.extractfile(member).read()
                    if len(found[name]) != member.size:
                        raise EOFError("it ends too early")
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise BadRecord(f"{one_line(path)} is no whole archive: {error}. Download it again.") from error
    return found
