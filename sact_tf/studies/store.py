"""What was measured stays on disk, a whole file a result, together with what it was measured of."""

import hashlib
import json
import os

from sact_tf import checkpoints
from sact_tf.data import trained_records
from sact_tf.data.whole_files import write_atomically


class Store:
    """JSON files in a directory, each of which is read again only for the same inputs.

    Args:
        directory: path, which exists.
        inputs: dict of what all results depend on.
    """

    def __init__(self, directory, inputs):
        self._directory = directory
        self._inputs = inputs

    def read(self, name, **more):
        """What was written under a name for the inputs of the store and these, or `None`."""
        stored = read_json(self._path(name))
        return stored.get("result") if stored.get("of") == self._of(more) else None

    def write(self, name, result, **more):
        """Writes a result, which replaces one of other inputs."""
        text = json.dumps({"of": self._of(more), "result": result})
        write_atomically(self._path(name), [text.encode()])

    def digest(self, **more):
        """A few letters that stand for the inputs, for names of directories."""
        return hashlib.sha256(json.dumps(self._of(more), sort_keys=True).encode()).hexdigest()[:8]

    def _of(self, more):
        return json.loads(json.dumps({**self._inputs, **more}))

    def _path(self, name):
        return os.path.join(self._directory, f"{name}.json")


def read_json(path):
    """The dict of a JSON file; an empty one if there is none, or what a machine that went down left of it."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fingerprint(prefix):
    """What tells a checkpoint from all but its copies: its step, and the digest of its index."""
    return {"step": checkpoints.global_step(prefix), "sha256": checkpoints.digest_of(prefix)}


def marks_of_data(*sources):
    """Dict of a digest of the records that splits have, for what depends on them; empty for data that are computed.

    Args:
        *sources: what `open_source` of a task returned; of many records some are looked at, see `trained_records`.
    """
    facts = [trained_records.facts_of(source) for source in sources]
    return {"data": hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()} if any(facts) else {}
