"""What a data set is to those who read it: examples by number, and what happens to the damaged ones.

A module of a data set opens a split as a `Source` (its examples are computed) or a `RecordSource` (they lie on disk);
`pipeline` asks it for batches in an order that it decides. An example is a dict: `image` float32
`(height, width, 3)`, scaled as the network takes it, and what the task needs besides, such as `label` int64 `()`. Both
kinds answer to

    num_examples                                    how many there are, int
    read(indices)                                   a batch of the examples with these numbers, prepared for evaluation
    training_examples(numbers, seed, ...)           from (positions in the run, numbers in the split) to batches
    evaluation_examples(batch_size, ..., first=0)   every example from a number on once, in order

For instance `read([7, 0])` of CIFAR-10 is `{"image": (2, 32, 32, 3), "label": (2,)}`. Position and seed decide how an
example is cut and coloured for training, so that a run that resumes sees what it would have seen.
"""

import concurrent.futures
import functools
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.data.damage import Damage
from sact_tf.data.padding import batched, stacked
from sact_tf.data.records import BadRecord

# Of reading, which waits for the disk; decoding takes as many as there are processors.
FETCH_THREADS = 8
THREADS = os.cpu_count() or 1
_FETCHERS = concurrent.futures.ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")


class Source(NamedTuple):
    """A split of a data set whose examples are made, a batch at a time; none of them can be damaged.

    Attributes:
        num_examples: int.
        read: function from an int64 tensor of indices `(batch,)` to a dict of `image` float32
            `(batch, height, width, 3)` as the network takes it, `label` int64 `(batch,)` and, where objects are
            marked, `box` int32 `(batch, 4)`: ymin, xmin, ymax, xmax in pixels, half open. For detection it is what
            `detection` describes.
        categories: `Categories` of a data set for detection, None of another.
    """

    num_examples: int
    read: callable
    categories: object = None

    def training_examples(self, numbers, seed, skip_bad_records=0, log=None, skipped_path=None):
        """Dataset of batches of positions and indices to one of batches of examples; see `RecordSource`."""
        return numbers.map(lambda positions, indices: self.read(indices))

    def evaluation_examples(self, batch_size, skip_bad_records=0, log=None, first=0):
        """Dataset of every example from number `first` on once, in order, in batches."""
        return tf.data.Dataset.range(first, self.num_examples).batch(batch_size).map(self.read)


class RecordSource(NamedTuple):
    """A split of a data set that lies on disk, one record an example.

    Attributes:
        num_examples: int.
        fetch: Python function from an index to the record, bytes; raises `BadRecord` if it is damaged.
        decode: function from a record, a scalar string tensor, to a dict of tensors of one example, see `Source`. Its
            second argument is the int64 `(2,)` seed of the changes that it makes at random for training, or None for
            evaluation. One of its operations fails where the record is no example.
        locate: Python function from an index to an object whose text says where the record lies.
        bucket: int, see `padding`, where images have unequal sizes; None where they don't.
        categories: see `Source`.
    """

    num_examples: int
    fetch: callable
    decode: callable
    locate: callable
    bucket: int | None = None
    categories: object = None

    def read(self, indices):
        """As `Source.read`, prepared for evaluation; takes any sequence of ints."""
        examples = [self.decode(tf.constant(self.fetch(int(index))), None) for index in indices]
        return stacked(examples, self.bucket)

    def training_examples(self, numbers, seed, skip_bad_records=0, log=None, skipped_path=None):
        """Dataset of numbers to one of batches of examples, changed at random.

        Args:
            numbers: dataset of two int64 `(batch,)`: positions, the number of each example in the run, decides with
                `seed` on its changes; indices, its number in the split.
            seed: int.
            skip_bad_records: int, how many damaged records others may take the place of.
            log: called with a line of text for each of them, or None.
            skipped_path: path of a file that remembers them for the next start, or None.
        """
        damage = Damage(self, skip_bad_records, log, skipped_path)

        def decode(record, position):
            return self.decode(record, tf.stack([tf.cast(seed, tf.int64), position]))

        return self._batches(numbers, decode, damage.replace)

    def evaluation_examples(self, batch_size, skip_bad_records=0, log=None, first=0):
        """Dataset of every example from number `first` on once, in order, in batches.

        Damaged ones are left out, and their batch is short.
        """
        damage = Damage(self, skip_bad_records, log)
        indices = tf.data.Dataset.range(first, self.num_examples).batch(batch_size)
        numbers = tf.data.Dataset.zip(indices, indices)
        return self._batches(numbers, lambda record, position: self.decode(record, None), damage.leave_out)

    def _batches(self, numbers, decode, mend):
        """Batches of examples in the order of their numbers; `mend` is called for a damaged record, see `_mended`."""
        share = numbers.element_spec[0].shape[0]
        # Traced once for all three places that call it.
        decode = tf.function(decode, [tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64)])

        def fetch(positions, indices):
            (records,) = tf.numpy_function(self._fetch_batch, [indices], [tf.string], stateful=False)
            return positions, indices, tf.ensure_shape(records, indices.shape)

        def decoded(positions, indices, records):
            examples = tf.data.Dataset.from_tensor_slices((positions, indices, records))
            size = tf.shape(indices, tf.int64)[0]
            # One failure leaves the first data set empty, and only then is the second asked. To be ready for a
            # failure costs something for each data set made: for each batch little, for each example a third of it.
            whole = examples.map(
                lambda position, index, record: decode(record, position),
                num_parallel_calls=THREADS,
                deterministic=True,
            )
            mended = examples.interleave(
                functools.partial(_mended, decode, mend),
                cycle_length=THREADS,
                block_length=1,
                num_parallel_calls=THREADS,
                deterministic=True,
            )
            whole = batched(whole, size, self.bucket, drop_remainder=True).ignore_errors()
            return whole.concatenate(batched(mended, size, self.bucket)).take(1)

        batches = (
            numbers.map(fetch)
            .prefetch(1)
            # Two, so that no thread waits for the last example of a batch.
            .interleave(decoded, cycle_length=2, block_length=1, num_parallel_calls=2, deterministic=True)
        )
        return batches.map(lambda batch: {name: _with_size(value, share) for name, value in batch.items()})

    def _fetch_batch(self, indices):
        # Threads of Python: of its own, TensorFlow makes this one call after the other where ops are deterministic.
        parts = _FETCHERS.map(self._fetch_part, np.array_split(indices, FETCH_THREADS))
        return np.array([record for part in parts for record in part], dtype=object)

    def _fetch_part(self, indices):
        return [self._fetch_or_nothing(int(index)) for index in indices]

    def _fetch_or_nothing(self, index):
        try:
            return self.fetch(index)
        except BadRecord:
            # Cannot be decoded either, so that one place deals with both kinds of damage.
            return b""


def _mended(decode, mend, position, index, record):
    """Dataset of one example, or, if its record is damaged, of what `mend` returns the records of."""

    def decode_here(record):
        return decode(record, position)

    def records_instead(index):
        (records,) = tf.numpy_function(mend, [index], [tf.string], stateful=False)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(records, (None,)))

    whole = tf.data.Dataset.from_tensors(record).map(decode_here).ignore_errors()
    instead = tf.data.Dataset.from_tensors(index).flat_map(records_instead).map(decode_here)
    return whole.concatenate(instead).take(1)


def _with_size(value, size):
    """A batch of `size` examples, which may be None, with this size as a static one."""
    return tf.ensure_shape(value, (size, *value.shape[1:]))
