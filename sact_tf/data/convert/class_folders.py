"""Finds the pictures in a folder of class folders, and says what else lies there."""

import errno
import os
from typing import NamedTuple

from sact_tf.data import pictures
from sact_tf.data.class_names import composed
from sact_tf.progress import Timer, counted, one_line

SECONDS_BETWEEN_MESSAGES = 2
# What systems and programs leave behind besides names that start with a dot, in small letters.
SYSTEM_NAMES = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r", "@eadir", "@recycle", "#recycle", "#snapshot", "lost+found", "__pycache__"),
}
BESIDE, HIDDEN, NO_PICTURE = "beside the class folders", "hidden or of a system", "no picture"
EMPTY, ABOVE, NO_FILE = "class folder without pictures", "link to a folder above", "neither file nor folder"
OUTPUT, NOTHING = "the folder that is written to", "link to nothing"
HEIC = "HEIC pictures, which cannot be read here (make JPEGs of them)"
MAX_NAMED = 3


class Folder(NamedTuple):
    """What lies in a folder of class folders.

    Attributes:
        path: of the folder.
        pictures: dict from the sorted names of the classes to the paths of their pictures, at any depth.
        left_out: dict from a reason to the paths of what is no example for it.
        shared: list of the sorted names of classes that have a folder in common, by a link.
    """

    path: str
    pictures: dict
    left_out: dict
    shared: list

    def __str__(self):
        """One line: how many pictures and classes, and what was left out."""
        number = sum(map(len, self.pictures.values()))
        left_out = [f"{reason} {self._listed(paths)}" for reason, paths in sorted(self.left_out.items())]
        pictures, classes = counted(number, "picture"), counted(len(self.pictures), "class")
        return f"{pictures} of {classes}. Left out: {'; '.join(left_out) or 'nothing'}"

    @property
    def deeper(self):
        """Sorted names of the folders within the only class, if all its pictures lie in several; [] otherwise.

        They may be the classes that were meant.
        """
        paths = [path for paths in self.pictures.values() for path in paths]
        below = [os.path.relpath(path, self.path).split(os.sep)[1:-1] for path in paths]
        names = sorted({parts[0] for parts in below if parts})
        return names if len(self.pictures) == 1 and all(below) and len(names) > 1 else []

    def _listed(self, paths):
        names = [one_line(os.path.relpath(path, self.path)) for path in paths[:MAX_NAMED]]
        return f"{len(paths)} ({', '.join(names)}{', ...' if len(paths) > MAX_NAMED else ''})"


def read_folder(path, output_dir=None, log=None):
    """Lists the pictures below each folder in a folder, sorted.

    A file is taken for a picture if it ends as pictures do, or starts as they do. Links are followed. A class folder
    without pictures is no class: it is left out, as are hidden files and those of systems.

    Args:
        path: of the folder.
        output_dir: directory that is left out if it lies in there, or None.
        log: called with a line of text every few seconds, or None.

    Returns:
        `Folder`.

    Raises:
        OSError: if a folder cannot be read.
    """
    reader = _Reader(output_dir, log)
    path, found = str(path), {}
    for entry in reader.entries(path, (path,)):
        if not _is(entry.is_dir):
            reader.leave_out(BESIDE if os.path.exists(entry.path) else NOTHING, entry)
        elif paths := list(reader.pictures_below(entry.path, (path, entry.path))):
            found.setdefault(composed(entry.name), []).extend(paths)
        else:
            reader.leave_out(EMPTY, entry)
    shared = {tuple(sorted(classes)) for classes in reader.classes.values() if len(classes) > 1}
    return Folder(path, dict(sorted(found.items())), reader.left_out, sorted(shared))


class _Reader:
    """Walks through folders and remembers what it left out."""

    def __init__(self, output_dir, log):
        self.output_dir, self.log = output_dir and os.path.realpath(output_dir), log
        self.left_out, self.found, self.timer = {}, 0, Timer(SECONDS_BETWEEN_MESSAGES)
        # From where a folder really is to the names of the classes whose pictures it holds.
        self.classes = {}

    def leave_out(self, reason, entry):
        self.left_out.setdefault(reason, []).append(entry.path)

    def entries(self, folder, way):
        """Sorted entries of a folder that may be pictures, or folders of some; `way` are the folders above and it."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise OSError(f"The folder {one_line(folder)} cannot be read: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM_NAMES:
                self.leave_out(HIDDEN, entry)
            elif self.output_dir and _is(entry.is_dir) and os.path.realpath(entry.path) == self.output_dir:
                self.leave_out(OUTPUT, entry)
            elif entry.is_symlink() and _is(entry.is_dir) and any(os.path.samefile(entry.path, above) for above in way):
                self.leave_out(ABOVE, entry)
            else:
                yield entry

    def pictures_below(self, folder, way):
        """Paths of the pictures in a folder and in those below."""
        self.classes.setdefault(os.path.realpath(folder), set()).add(composed(os.path.basename(way[1])))
        for entry in self.entries(folder, way):
            if _is(entry.is_dir):
                yield from self.pictures_below(entry.path, (*way, entry.path))
            # A link to nothing is named as a picture that cannot be read.
            elif not _is(entry.is_file) and not entry.is_symlink():
                self.leave_out(NO_FILE, entry)
            elif entry.name.lower().endswith(pictures.ENDINGS) or pictures.is_picture(entry.path):
                self.found += 1
                if self.log and self.timer.is_due():
                    self.log(f"{counted(self.found, 'picture')} found so far")
                yield entry.path
            else:
                self.leave_out(HEIC if pictures.is_heic(entry.path) else NO_PICTURE, entry)


def _is(kind):
    """What a method of an entry answers; False for a link that leads back to itself, which has no kind."""
    try:
        return kind()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False
