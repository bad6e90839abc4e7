"""Writes the files of a conversion, several at a time: progress, bad pictures, and stopping at once."""

import concurrent.futures
import os
import tempfile
import threading
import time
from typing import NamedTuple

from sact_tf.data.directory_lock import directory_lock
from sact_tf.data.whole_files import FULL_DISK, write_atomically
from sact_tf.progress import Timer, duration, one_line

SECONDS_BETWEEN_MESSAGES = 2


def alone_in(output_dir, log):
    """Context in which no other conversion writes into a directory, which is made if it is not there.

    Raises:
        DirectoryInUse: an OSError, if one does. Two would remove each other's files as none of theirs.
        OSError: if no file can be made there.
    """
    try:
        os.makedirs(output_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise OSError(
            f"{one_line(output_dir)} cannot be written: {error.strerror}. Give another --output_dir."
        ) from error
    return directory_lock(output_dir, "converted into", "output_dir", "start no second conversion into it", log)


class Unreadable(ValueError):
    """A picture cannot be read; the message is a sentence that names it."""


class Contents(NamedTuple):
    """What the files of a conversion are made of.

    Attributes:
        parts: dict from the name of each file, below the directory, to its entries in order.
        encode: function from an entry to one example; raises `Unreadable`.
        assemble: function from an iterable of examples to one of the pieces of the file, bytes.
        noted: function from an entry to the text by which a `Record` knows it, where it is left out.
        way_out: what to do about a picture that cannot be read, the beginning of a sentence.
    """

    parts: dict
    encode: callable
    assemble: callable
    noted: callable
    way_out: str


class Conversion:
    """Writes the files that are not there yet.

    Args:
        output_dir: directory.
        contents: `Contents`.
        record: `Record` of what is there.
        threads: int, files that are made at the same time.
        skip_bad: int, pictures that may be left out because they cannot be read.
        log: called with lines of text.
    """

    def __init__(self, output_dir, contents, record, threads, skip_bad, log):
        self.output_dir, self.contents, self.record = output_dir, contents, record
        self.threads, self.skip_bad, self.log = threads, skip_bad, log
        self.num_skipped = len(record.skipped)
        self.total = sum(map(len, contents.parts.values()))
        self.done = self.before = sum(len(contents.parts[name]) for name in record.finished)
        self.started, self.timer = time.monotonic(), Timer(SECONDS_BETWEEN_MESSAGES)
        self.lock, self.stopped = threading.Lock(), threading.Event()

    def run(self):
        """Writes the files; raises OSError, and stops, at the first picture that may not be left out."""
        names, finished = list(self.contents.parts), len(self.record.finished)
        missing = [name for name in names if name not in set(self.record.finished)]
        if finished:
            self.log(f"{finished} of {len(names)} files are there already")
        with concurrent.futures.ThreadPoolExecutor(self.threads) as executor:
            futures = [executor.submit(self._write, name) for name in missing]
            try:
                for number, future in enumerate(concurrent.futures.as_completed(futures), finished + 1):
                    future.result()
                    self.log(f"{number}/{len(names)} files written")
            except BaseException:
                self.stopped.set()
                executor.shutdown(cancel_futures=True)
                raise
        if self.num_skipped:
            self.log(f"Pictures left out that cannot be read: {self.num_skipped}")

    def _write(self, name):
        path = os.path.join(self.output_dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, self._pieces(name))

    def _pieces(self, name):
        """The pieces of a file; what it lacks is noted before it is whole."""
        skipped = []
        yield from self.contents.assemble(self._examples(name, skipped))
        if skipped:
            self.record.skip(name, skipped)

    def _examples(self, name, skipped):
        entries = self.contents.parts[name]
        for entry in entries:
            if self.stopped.is_set():
                raise InterruptedError("Another file could not be written.")
            try:
                yield self.contents.encode(entry)
            except Unreadable as error:
                self._skip(error)
                skipped.append(self.contents.noted(entry))
            self._count()
        if len(skipped) == len(entries):
            raise OSError(f"None of the pictures of {name} can be read. Give a lower --num_shards, or replace them.")

    def _skip(self, error):
        """Counts a picture that cannot be read; raises if there may be no more of them."""
        with self.lock:
            self.num_skipped += 1
            rank = self.num_skipped
        if rank > self.skip_bad:
            now = f", now {self.skip_bad}" if self.skip_bad else ""
            raise OSError(
                f"{error} {self.contents.way_out} and convert again, which goes on, or leave out up to N such pictures "
                f"with --skip_bad=N{now}."
            ) from error
        self.log(f"Left out {rank} of at most {self.skip_bad}: {error}")

    def _count(self):
        with self.lock:
            self.done += 1
            if not self.timer.is_due():
                return
            rate = (self.done - self.before) / (time.monotonic() - self.started)
            left = duration((self.total - self.done) / rate)
            self.log(f"{self.done}/{self.total} pictures, {rate:.0f} images/s, {left} left")
