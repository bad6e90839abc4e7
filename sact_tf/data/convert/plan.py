"""What a conversion is to write, kept beside its files, so that another one goes on where the first stopped.

Each file of a split has a fingerprint: of the names, numbers of the classes, sizes and dates of its pictures. A file
whose fingerprint is not the one of the plan is removed before the plan is replaced, so no two plans ever share a split.
"""

import hashlib
import json
import os
import re
import threading
from typing import NamedTuple

from sact_tf.data import class_names
from sact_tf.data.records import SHARD_NAME
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import named

# Pictures are shuffled before they are written, as the release's scripts and TensorFlow Datasets do.
SHUFFLE_SEED = 12301
# What the formats write at the top of a directory.
_DATA = re.compile(r".+-\d{5}-of-\d{5}|cifar10_.+\.tfrecord|cifar-10-batches-(bin|py)|imagenet2012|cifar10")
_WAY_OUT = "Give another --output_dir, or remove what is in this one."


class Plan(NamedTuple):
    """A split that is to be written.

    Attributes:
        output_dir: directory.
        dataset: "imagenet" or "cifar10".
        split: name of the split.
        classes: names of the classes, in the order of their numbers.
        from_folder: folder of the pictures.
        to: name of the format.
        parts: dict from the name of each file in `output_dir` to its examples, `(path, number of the class)`.
    """

    output_dir: str
    dataset: str
    split: str
    classes: list
    from_folder: str
    to: str
    parts: dict

    def begin(self, log):
        """Prepares the directory and returns a `Record` of what is written.

        Files are kept whose pictures have not changed. What has changed is made again if the pictures are the same
        ones, or if the folder is the same and the split was not yet whole.

        Raises:
            ValueError: if the directory holds other classes, or a split of other pictures or another form.
        """
        self._check_classes()
        old, facts = self._read(), self._facts()
        finished = [name for name in (old["files"] if old else self.parts) if self._exists(name)]
        self._check_strangers(old, finished)
        changed = self._changed(old, facts, finished) if old and finished else []
        for name in changed:
            os.remove(os.path.join(self.output_dir, name))
        kept = [name for name in finished if name not in changed]
        if changed:
            log(f"{len(changed)} of {len(finished)} files that are there are made again: their pictures have changed")
        skipped = {name: paths for name, paths in (old or {}).get("skipped", {}).items() if name in kept}
        os.makedirs(self.output_dir, exist_ok=True)
        write_atomically(class_names.path_of(self.output_dir, self.dataset), [class_names.lines(self.classes)])
        record = Record(self._path, {**facts, "skipped": skipped}, kept)
        record.save()
        return record

    @property
    def _path(self):
        return os.path.join(self.output_dir, f".{self.dataset}_{self.split}.plan")

    def _exists(self, name):
        return os.path.lexists(os.path.join(self.output_dir, name))

    def _facts(self):
        """The plan as it is kept."""
        files = {name: [self._facts_of(*example) for example in part] for name, part in self.parts.items()}
        pictures = sorted(fact[:2] for facts in files.values() for fact in facts)
        return {
            "from_folder": os.path.realpath(self.from_folder),
            "to": self.to,
            "classes": self.classes,
            "pictures": _digest(pictures),
            "files": {name: _digest(facts) for name, facts in files.items()},
        }

    def _facts_of(self, path, label):
        """Name below the folder, number of the class, bytes and date of a picture."""
        name = path[len(os.path.join(self.from_folder, "")) :]
        try:
            status = os.stat(path)
            return [name, label, status.st_size, status.st_mtime_ns]
        # A link to nothing: it is named when it is read.
        except OSError:
            return [name, label, None, None]

    def _read(self):
        """The plan that is in the directory, or None."""
        try:
            with open(self._path, encoding="utf-8") as file:
                text = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(text) == 64 and text == self._fingerprint_of_version_1():
            return {**self._facts(), "skipped": {}}
        try:
            plan = json.loads(text)
            return plan if isinstance(plan["files"], dict) and isinstance(plan["skipped"], dict) else self._unknown()
        except (ValueError, KeyError, TypeError):
            return self._unknown()

    def _unknown(self):
        """Stands for a plan that cannot be understood: one of other pictures."""
        return {"from_folder": "", "to": self.to, "pictures": "", "files": dict.fromkeys(self.parts, ""), "skipped": {}}

    def _fingerprint_of_version_1(self):
        # Up to 0.1 a plan was one fingerprint of all pictures, without their dates.
        pictures = [[path, label, _size(path)] for part in self.parts.values() for path, label in part]
        return hashlib.sha256(json.dumps([[self.to, list(self.parts)], pictures]).encode()).hexdigest()

    def _check_strangers(self, old, finished):
        """Raises if files of the split are there that no plan knows."""
        known = set(self.parts) if old is None else set(old["files"])
        first = next(iter(self.parts))
        folder, name = os.path.split(os.path.join(self.output_dir, first))
        match = SHARD_NAME.fullmatch(name)
        there = os.listdir(folder) if match and os.path.isdir(folder) else []
        strangers = [
            os.path.join(os.path.dirname(first), entry)
            for entry in sorted(there)
            if (other := SHARD_NAME.fullmatch(entry)) and other["name"] == match["name"]
        ]
        strangers = [name for name in strangers if name not in known] or (finished if old is None else [])
        if strangers:
            raise ValueError(
                f"{self.output_dir} holds files of the {self.split} split that were not begun by this command "
                f"({strangers[0]}{', ...' if len(strangers) > 1 else ''}). {_WAY_OUT}"
            )

    def _changed(self, old, facts, finished):
        """Names of the finished files that have to be made again."""
        if (old["to"], list(old["files"])) != (facts["to"], list(facts["files"])):
            raise ValueError(
                f"{self.output_dir} holds {len(finished)} of {len(old['files'])} files of the {self.split} split as "
                f"--to={old['to']} gives them, such as {finished[0]}; asked for are {len(facts['files'])} of "
                f"--to={self.to}. Give the same --to and --num_shards, or another --output_dir."
            )
        whole = len(finished) == len(old["files"])
        if old["pictures"] != facts["pictures"] and (whole or old["from_folder"] != facts["from_folder"]):
            name = os.path.basename(self._path)
            raise ValueError(f"{self.output_dir} holds other classes or pictures than these ({name}). {_WAY_OUT}")
        return [name for name in finished if old["files"][name] != facts["files"][name]]

    def _check_classes(self):
        """Raises if the directory holds data whose classes have other numbers."""
        names = class_names.read(self.output_dir, self.dataset)
        self._check_list(names or [])
        if names not in (None, self.classes) and holds_data(self.output_dir):
            name = os.path.basename(class_names.path_of(self.output_dir, self.dataset))
            new, lost = sorted({*self.classes} - {*names}), sorted({*names} - {*self.classes})
            raise ValueError(
                f"{self.output_dir} holds other classes or pictures than these ({name}). Classes of {self.from_folder} "
                f"that are not there: {named(new) or 'none'}; the other way round: {named(lost) or 'none'}. {_WAY_OUT}"
            )

    def _check_list(self, names):
        """Raises if the list of classes does not have the numbers that splits were written with: it was changed."""
        written = class_names.numbered(self.output_dir, self.dataset) if names else ()
        moved = [each for each in written if not _same_numbers(each, names)]
        if (moved or len({*names}) < len(names)) and holds_data(self.output_dir):
            path = class_names.path_of(self.output_dir, self.dataset)
            raise ValueError(
                f"{path} was changed: its lines are no longer the numbers of the classes of the data beside it"
                f"{f', which are {named(moved[0])}' if moved else ', and some are there twice'}. Each line is a class, "
                "the first one 1, without comments. Correct it, or give another --output_dir."
            )


class Record:
    """What of a plan is written already.

    Attributes:
        finished: names of the files that were there.
    """

    def __init__(self, path, facts, finished):
        self.path, self.facts, self.finished = path, facts, finished
        self.lock = threading.Lock()

    @property
    def skipped(self):
        """Paths of the pictures that were left out, below the folder of the pictures."""
        return [path for paths in self.facts["skipped"].values() for path in paths]

    def skip(self, name, paths):
        """Notes, before a file gets its name, which of its pictures it lacks."""
        with self.lock:
            self.facts["skipped"][name] = paths
            self.save()

    def save(self):
        """Writes the plan."""
        write_atomically(self.path, [json.dumps(self.facts, indent=1).encode()])


def _same_numbers(written, names):
    """Whether two lists of classes have the same lengths, and what is in both at the same places."""
    return len(written) == len(names) and not class_names.moved_of(written, names)


def holds_data(directory):
    """True if there is a file of a data set in a directory; its pictures may lie there, too."""
    names = [name for name in (os.listdir(directory) if os.path.isdir(directory) else []) if _DATA.fullmatch(name)]
    paths = [os.path.join(directory, name) for name in names]
    return any(os.path.isfile(path) or any(files for _, _, files in os.walk(path)) for path in paths)


def _size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _digest(values):
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
