"""What was measured stays on disk, a whole file a result, together with what it was measured of."""

import hashlib
import json
import os

from sact_tf import checkpoints
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
        path = self._path(name)
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)
        return stored["result"] if stored["of"] == self._of(more) else None

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


def fingerprint(prefix):
    """What tells a checkpoint from any other: path, step, a digest of its index, which has checksums of weights."""
    with open(f"{prefix}.index", "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {"path": os.path.abspath(prefix), "step": checkpoints.global_step(prefix), "sha256": digest}
