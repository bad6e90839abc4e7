"""Photographs in, pictures out: which files, under which names, all pictures of one or none, and what is skipped."""

import contextlib
import errno
import glob
import io
import os
import unicodedata
from collections import Counter
from urllib.parse import quote

import tensorflow as tf

from sact_tf import visualize
from sact_tf.command_line import writing
from sact_tf.data.photographs import BadPhotograph
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import one_line

# Of a path that is longer, names of pictures are made of the file's name alone; file systems take 255 bytes.
_MAX_NAME_BYTES = 200
# Of a longer name the middle is left out in the title of a figure.
_MAX_TITLE_NAME = 80


def find_photographs(pattern):
    """Sorted paths of the files that a pattern stands for, links to nothing among them.

    Args:
        pattern: path with `*`, `?`, `[...]`, and `**` for folders of any depth. A file or a folder that has just this
            name comes before what the pattern means, a folder standing for the files in it; so do folders at its
            beginning whose names have brackets, as in `photos[1]/*.jpg`. `~` is the user's home.

    Raises:
        FileNotFoundError: if there are none.
        PermissionError: if none are seen in a folder that may not be read.
    """
    pattern = os.path.expanduser(pattern)
    if os.path.isfile(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        tried = [os.path.join(glob.escape(pattern), "*")]
    else:
        # In the last one brackets are nothing but brackets.
        tried = list(dict.fromkeys([_escape_folders(pattern), pattern, pattern.replace("[", "[[]")]))
    for each in tried:
        if paths := sorted(path for path in glob.glob(each, recursive=True) if not os.path.isdir(path)):
            return paths
    folder = pattern
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    if not os.access(folder or ".", os.R_OK | os.X_OK):
        raise PermissionError(f"The folder {one_line(folder or '.')} may not be read: Permission denied.")
    raise FileNotFoundError(
        f"No file is like {one_line(pattern)}. Give --images_pattern in quotes, such as "
        f"--images_pattern='photos/*.jpg'; upper and lower case matter. Tried: {', '.join(map(one_line, tried))}"
    )


def _escape_folders(pattern):
    """A pattern in which the folders that it begins with, and that exist by just these names, mean themselves."""
    parts = pattern.split("/")
    literal = len(parts) - 1
    while literal and not os.path.isdir("/".join(parts[:literal]) + "/"):
        literal -= 1
    return "/".join([*map(glob.escape, parts[:literal]), *parts[literal:]])


def name_outputs(paths):
    """Dict from each path to what the names of its pictures begin with: the file's name without its ending.

    Files that would share one, on a disk that tells no capital letters apart too, have it from the whole path below the
    folder that all are in. Bytes that are not UTF-8, and line breaks, become `%E9`.
    """
    stems = {path: usable(os.path.splitext(os.path.basename(path))[0]) for path in paths}
    counts = Counter(map(_alike, stems.values()))
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names, taken = {}, set()
    for path, stem in stems.items():
        whole = usable(os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "_").replace(".", "_"))
        name = stem if counts[_alike(stem)] == 1 or len(whole.encode()) > _MAX_NAME_BYTES else whole
        while _alike(name) in taken:
            name += "_"
        taken.add(_alike(name))
        names[path] = name
    return names


def _alike(name):
    """What is the same of names that one disk or another takes for the same: capitals, and how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()


def usable(name):
    """The name of a file, UTF-8 and on one line."""
    return "".join(sign if sign.isprintable() else quote(os.fsencode(sign)) for sign in name)


def check_output_dir(config, names, ending, what):
    """Raises FileExistsError if pictures would be replaced, and ValueError if they would lie among the photographs.

    Args:
        config: configuration with `output_dir` and `overwrite`.
        names: dict of `name_outputs`.
        ending: of the picture that is written last of a photograph, such as "_figure.png".
        what: text, what the pictures are called: "maps".
    """
    taken = [name for name in names.values() if os.path.exists(os.path.join(config.output_dir, f"{name}{ending}"))]
    if taken and not config.overwrite:
        raise FileExistsError(
            f"{config.output_dir} holds {what} of {len(taken)} of the {len(names)} photographs already, for instance "
            f"{taken[0]}{ending}. Give --overwrite to replace them, or another --output_dir."
        )
    folders = {os.path.realpath(os.path.dirname(os.path.abspath(path))) for path in names}
    if os.path.realpath(config.output_dir) in folders:
        raise ValueError(
            f"The {what} would lie among the photographs in {config.output_dir}, and be taken for photographs the next "
            "time. Give another --output_dir."
        )


def draw_each(names, draw, log):
    """Draws photographs one after the other, with a line of text for each; files that nothing can be made of are left.

    Args:
        names: dict of `name_outputs`.
        draw: function from a path and a name to what is kept of it and the end of its line, or BadPhotograph.
        log: called with lines of text.

    Returns:
        `(done, skipped)`: dict from paths to what was kept, and list of the paths of the others.
    """
    done, skipped = {}, []
    for number, (path, name) in enumerate(names.items(), 1):
        start = f"{number}/{len(names)} {one_line(path)}"
        try:
            done[path], text = draw(path, name)
        except BadPhotograph as error:
            skipped.append(path)
            log(f"{start} skipped: {error}.")
            continue
        except (MemoryError, tf.errors.ResourceExhaustedError):
            skipped.append(path)
            log(f"{start} skipped: there is not enough memory for it at this size. Give a smaller --image_size.")
            continue
        log(f"{start} {text}")
    return done, skipped


def refuse_skipped(done, skipped):
    """Raises ValueError if files were skipped, after all others are done; arguments as `draw_each` returns them."""
    if skipped:
        raise ValueError(
            f"{len(skipped)} of {len(done) + len(skipped)} files were skipped, for reasons given above: "
            f"{', '.join(map(one_line, skipped))}"
        )


def title_of(path):
    """The file's name for the title of a figure, on one line and not too long."""
    name, half = one_line(os.path.basename(path)), _MAX_TITLE_NAME // 2
    return name if len(name) <= _MAX_TITLE_NAME else f"{name[:half]}...{name[-half:]}"


def write_all(directory, name, pictures, what):
    """Writes the pictures of one photograph, all of them or none.

    Args:
        directory: of the pictures.
        name: text, what the names of the files begin with.
        pictures: yields the end of each file's name and its picture, float in [0, 1] or uint8 `(height, width, 3)`.
        what: text, what the pictures are called: "maps".

    Raises:
        BadPhotograph: if these cannot be written, and others may.
        OSError: if nothing can be written any more.
    """
    written = []
    try:
        for suffix, picture in pictures:
            path = os.path.join(directory, f"{name}_{suffix}.png")
            write_png(path, picture)
            written.append(path)
    except OSError as error:
        for path in written:
            with contextlib.suppress(OSError):
                os.remove(path)
        if writing.fullness(error):
            raise writing.explained(directory, "output_dir", error) from error
        advice = ". Give the photograph a shorter name" if error.errno == errno.ENAMETOOLONG else ""
        reason = error if error.errno is None else os.strerror(error.errno)
        raise BadPhotograph(f"its {what} cannot be written: {reason}{advice}") from error


def write_png(path, picture):
    """Writes a picture, float in [0, 1] or uint8 `(height, width, 3)`, in one step."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(visualize.to_bytes(picture)).save(file, "PNG")
    write_atomically(path, [file.getvalue()])
