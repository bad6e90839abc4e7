"""Damaged records: what is wrong with one, how many there may be, and what takes their place."""

import contextlib
import os
import re
import threading

import numpy as np
import tensorflow as tf

from sact_tf.data.records import BadRecord
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import one_line, reason_of

# Records that are tried in place of a damaged one; when all are damaged too, something else is wrong.
MAX_REPLACEMENTS = 20
MAX_MESSAGE = 200
# What `preprocessing.check_label` makes of one, between the words of TensorFlow.
LABEL_OUT_OF_RANGE = r"The label is not one of 0 to (?P<last>\d+):[^\d-]+(?P<label>-?\d+)"
CHECK_IN_A_GRAPH = r"Summarized data: b'(?P<sentence>[^']+)' (?P<values>.*)"


class Damage:
    """Explains and counts the damaged records of a source, and says what takes their place."""

    def __init__(self, source, limit, log, path=None):
        self.source = source
        self.limit = limit
        self.log = log
        self.path = path
        # From the index of a damaged record to how many there had been when it was met first.
        self.ranks = {index: rank for rank, index in enumerate(_read_skipped(path, source.num_examples), 1)}
        self.lock, self.failure = threading.Lock(), None

    def replace(self, index):
        """A list of one whole record in place of a damaged one: always the same, anywhere in the split."""
        with self._alone(int(index)):
            self._count(int(index))
            candidates = np.random.default_rng(int(index)).integers(self.source.num_examples, size=MAX_REPLACEMENTS)
            for candidate in candidates:
                if explain_damage(self.source, int(candidate)) is None:
                    return np.array([self.source.fetch(int(candidate))], dtype=object)
            raise BadRecord(
                f"{self.source.locate(int(index))} is damaged, and so are {MAX_REPLACEMENTS} others that could replace "
                "it. Make the file again."
            )

    def leave_out(self, index):
        """An empty list."""
        with self._alone(int(index)):
            self._count(int(index))
            return np.array([], dtype=object)

    @contextlib.contextmanager
    def _alone(self, index):
        """Context in which no other thread explains a record, and none afterwards, once that has ended the reading.

        TensorFlow makes its exceptions while it holds a lock. Of two threads that come to that at once, the one that
        reads batches among them, each may wait for ever for what the other holds, this lock or Python's own.
        """
        # Not one lock for all sources: a thread that has it may be the one in which Python tidies up an iterator of
        # another one, and waits for those that read it.
        with self.lock:
            if self.failure:
                first, message = self.failure
                also = "" if index == first else f" ({self.source.locate(index)} is damaged as well.)"
                raise BadRecord(message + also)
            try:
                yield
            except BadRecord as error:
                self.failure = index, str(error)
                raise

    def _count(self, index):
        reason = explain_damage(self.source, index)
        if reason is None:
            reason = f"{self.source.locate(index)}: it could not be decoded, but now it can. Is there enough memory?"
        known = index in self.ranks
        rank = self.ranks.setdefault(index, len(self.ranks) + 1)
        if self.path and not known and rank <= self.limit:
            write_atomically(self.path, [f"{number} {self.source.locate(number)}\n".encode() for number in self.ranks])
        if rank > self.limit:
            raise BadRecord(
                f"{reason} Make the file again, or go on without such records with --skip_bad_records"
                + (f", now {self.limit}." if self.limit else ".")
            )
        if self.log and not known:
            self.log(f"Skipped a damaged record, {rank} of at most {self.limit}: {reason}")


def _read_skipped(path, num_examples):
    """Indices of the damaged records that earlier starts of a run have met, in that order, as far as they are there."""
    if path is None or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        words = [line.split(" ", 1)[0].strip() for line in file if line.strip()]
    if strange := [word for word in words if not re.fullmatch("[0-9]+", word)]:
        raise ValueError(
            f"{one_line(path)} is damaged: a line begins with {strange[0]!r}, not with the number of a record. It "
            "lists the records that this run left out. Remove it: then they are counted from the beginning."
        )
    # Those of data that have become fewer since have no place to be named by.
    return [index for index in map(int, words) if index < num_examples]


def explain_damage(source, index):
    """Says where a record lies and what is wrong with it, or returns None if it is an example."""
    try:
        record = tf.constant(source.fetch(index))
    except BadRecord as error:
        return str(error)
    try:
        source.decode(record, None)
        source.decode(record, tf.constant([0, index], tf.int64))
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        # A message may quote the damaged bytes, which then are no text.
        message = error.message if isinstance(error, tf.errors.OpError) else "no example"
        message = reason_of(message)
        if found := re.search(LABEL_OUT_OF_RANGE, message):
            message = f"its label is not one of 0 to {found['last']} but {found['label']}, so it is of no class"
        elif found := re.search(CHECK_IN_A_GRAPH, message):
            message = f"{found['sentence']} {found['values']}"
        return f"{source.locate(index)}: {ascii(message[:MAX_MESSAGE])[1:-1]}."
    return None


def plain_error(error):
    """What TensorFlow makes of an error that a person can read, turned back; None for other errors.

    That is a `BadRecord` that was raised while it read, a file that is not there any more, and a check in a graph,
    which is a sentence and what came.
    """
    message = error.message or ""
    if match := re.search(r"BadRecord: (.*)", message):
        return BadRecord(match[1])
    if match := re.search(r"^\w+Error: \[Errno \d+\] (.+)$", message, re.MULTILINE):
        return OSError(f"The data cannot be read any more: {match[1]}. Bring them back, and start again.")
    if match := re.search(r"assertion failed: \[(.+?)\] (\[.*?\])", message):
        return ValueError(f"{match[1]} {match[2]}")
    return None
