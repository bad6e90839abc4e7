"""What a lesion study has found so far, on disk: a line of JSON for each lesion, written when it is done.

A line that was cut short, by a kill or a full disk, is left out when the file is read; all others stay. The name of the
file has a digest of what was measured in it, so that results of another checkpoint, split or number of images lie in
another file.
"""

import base64
import dataclasses
import hashlib
import json
import os
from typing import NamedTuple

import numpy as np

from sact_tf import checkpoints
from sact_tf.studies.store import fingerprint, marks_of_data


class Measured(NamedTuple):
    """What is kept of a network under a lesion.

    Attributes:
        score: float32 `(images,)`, see `lesioned.Answers`.
        flops: float, mean over the images.
    """

    score: np.ndarray
    flops: float


class Record:
    """The lesions of one network that were measured.

    Args:
        directory: that exists.
        name: text at the beginning of the file's name.
        identity: dict of JSON values: what the results belong to.

    Raises:
        OSError, ValueError: if the file is there and cannot be read, or is of something else.
    """

    def __init__(self, directory, name, identity):
        self.identity = json.loads(json.dumps(identity))
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]
        readable = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)
        self.path = os.path.join(directory, f"{readable}-{digest}.jsonl")
        self._results = {}
        if os.path.exists(self.path):
            self._read()
        else:
            self._append({"identity": self.identity})

    def __len__(self):
        return len(self._results)

    def get(self, name):
        """`Measured`, or a dict of numbers, for what has this name; None if it was not measured yet."""
        result = self._results.get(name)
        if result is None or "score" not in result:
            return result
        return Measured(_unpacked(result["score"]), result["flops"])

    def add(self, name, result):
        """Keeps a result, on disk too before this returns.

        Args:
            name: text.
            result: `Measured`, or a dict of numbers.
        """
        if isinstance(result, Measured):
            result = {"score": _packed(result.score), "flops": result.flops}
        self._append({"name": name, "result": result})
        self._results[name] = result

    def _append(self, entry):
        with open(self.path, "ab+") as file:
            cut_short = file.tell() and _last_byte(file) != b"\n"
            file.write(b"\n" * bool(cut_short) + json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self):
        with open(self.path, "rb") as file:
            entries = [entry for entry in map(_parsed, file) if entry is not None]
        found = [entry["identity"] for entry in entries if "identity" in entry]
        if any(identity != self.identity for identity in found):
            raise ValueError(f"{self.path} has results of something else in it. Give another --run_dir, or remove it.")
        if not found:
            self._append({"identity": self.identity})
        self._results = {entry["name"]: entry["result"] for entry in entries if "name" in entry and found}


def identity_of(config, source):
    """What the results of a `SplitConfig` depend on, as a dict for `Record`.

    The checkpoint is known by its index, which has a checksum of every variable, and data by their records: a copy of
    them is the same, and what was trained further or changed is not.

    Args:
        config: `SplitConfig`.
        source: what was opened of its split.
    """
    checkpoint = fingerprint(checkpoints.checkpoint_prefix(config.checkpoint_dir))
    fields = dataclasses.asdict(config)
    for name in ("checkpoint_dir", "dataset_dir", "batch_size"):
        fields.pop(name)
    known = {"checkpoint": checkpoint["sha256"], "step": checkpoint["step"]}
    return {**fields, "num_examples": source.num_examples, **known, **marks_of_data(source)}


def _last_byte(file):
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _parsed(line):
    """The dict in a line, or None for one that was cut short."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _packed(score):
    """Scores as JSON: of right and wrong answers a bit each."""
    score = np.asarray(score, np.float32)
    binary = np.isin(score, (0, 1)).all()
    content = np.packbits(score.astype(bool)) if binary else score.astype("<f4")
    return {"images": len(score), "bits": bool(binary), "base64": base64.b64encode(content.tobytes()).decode()}


def _unpacked(packed):
    content = base64.b64decode(packed["base64"])
    if packed["bits"]:
        return np.unpackbits(np.frombuffer(content, np.uint8), count=packed["images"]).astype(np.float32)
    return np.frombuffer(content, "<f4").astype(np.float32)
