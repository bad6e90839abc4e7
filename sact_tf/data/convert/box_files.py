"""Writes a split of COCO or Pascal VOC, as they are downloaded, as records of the TF Object Detection API.

Records are read at any place and from few files, which network disks like better than 100,000 pictures. A label map
beside them has the categories' numbers and names.
"""

import concurrent.futures
import hashlib
import json
import os
import random
import threading

import tensorflow as tf

from sact_tf.data import annotations as annotated
from sact_tf.data import coco, label_maps, preprocessing, voc
from sact_tf.data.convert.plan import Record
from sact_tf.data.convert.writing import alone_in
from sact_tf.data.detection_files import LABEL_MAP
from sact_tf.data.directories import nothing_found
from sact_tf.data.records import SHARD_NAME, BadRecord, frame
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import Timer, one_line

DATASETS = {"coco": coco, "voc": voc}
SHUFFLE_SEED = 12301
SECONDS_BETWEEN_MESSAGES = 2
MAX_MESSAGE = 200


def convert_boxes(from_folder, dataset, output_dir, split, num_shards, threads, skip_bad, log):
    """Writes a split; see `sact_tf.data.convert.convert`, whose arguments these are.

    Returns:
        Paths of the files.
    """
    data = DATASETS[dataset]
    found = data.find_split(from_folder, split, log)
    if found is None:
        looked_for, splits = data.looked_for(from_folder, split), data.splits_of(from_folder)
        raise nothing_found(from_folder, looked_for, convertible=False, flag="from_folder", splits=splits)
    annotations, categories = found
    if len(annotations.paths) < num_shards:
        raise ValueError(
            f"{len(annotations.paths)} pictures cannot fill {num_shards} files. Give a lower --num_shards."
        )
    order = list(range(len(annotations.paths)))
    random.Random(SHUFFLE_SEED).shuffle(order)
    shards = {f"{split}-{number:05d}-of-{num_shards:05d}": order[number::num_shards] for number in range(num_shards)}
    with alone_in(output_dir, log):
        _write_label_map(output_dir, categories)
        record = _begin(output_dir, dataset, split, _plan(annotations, categories, shards), log)
        _Writer(annotations, categories, output_dir, record, skip_bad, log).write(shards, threads)
    return [os.path.join(output_dir, name) for name in shards]


def _write_label_map(output_dir, categories):
    path, text = os.path.join(output_dir, LABEL_MAP), label_maps.text_of(categories).encode()
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() != text:
                raise ValueError(
                    f"{path} has other categories than these. Give another --output_dir, or remove it and all records "
                    "beside it, whose labels it explains."
                )
    write_atomically(path, [text])


def _plan(annotations, categories, shards):
    """What is written: a digest of boxes, categories and files, and one of each file's pictures, sizes and dates."""
    content = hashlib.sha256(json.dumps([list(categories), list(shards), annotations.source_ids]).encode())
    for array in (annotations.owners, annotations.boxes, annotations.classes, annotations.crowd, annotations.area):
        content.update(array.tobytes())
    files = {name: [_size_and_date(annotations.paths[number]) for number in part] for name, part in shards.items()}
    return {
        "boxes": content.hexdigest(),
        "files": {name: hashlib.sha256(json.dumps(facts).encode()).hexdigest() for name, facts in files.items()},
    }


def _size_and_date(path):
    try:
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]
    # A link to nothing: it is named when it is read.
    except OSError:
        return None


def _begin(output_dir, dataset, split, plan, log):
    """Notes what is written; removes files of the split whose pictures have changed.

    Returns:
        `Record`, which knows what the files that stay lack.

    Raises:
        ValueError: if files of the split are there that are something else.
    """
    path = os.path.join(output_dir, f".{dataset}_{split}.plan")
    shards = map(SHARD_NAME.fullmatch, sorted(os.listdir(output_dir)))
    there = [match.string for match in shards if match and match["name"] == split]
    known = _read_plan(path)
    if there and (known["boxes"] != plan["boxes"] or not {*there} <= {*plan["files"]} & {*known["files"]}):
        raise ValueError(
            f"{output_dir} holds files of the {split} split that are of other pictures, boxes or numbers of files "
            f"({there[0]}). Give another --output_dir, or remove them."
        )
    changed = [name for name in there if known["files"][name] != plan["files"][name]]
    for name in changed:
        os.remove(os.path.join(output_dir, name))
    if changed:
        log(f"{len(changed)} of {len(there)} files that are there are made again: their pictures have changed")
    finished = sorted({*there} - {*changed})
    skipped = {name: lacking for name, lacking in known["skipped"].items() if name in finished}
    record = Record(path, {**plan, "skipped": skipped}, finished)
    record.save()
    return record


def _read_plan(path):
    """What was noted by an earlier start; of nothing where there is no such note, or one that is damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
        skipped = known.get("skipped", {})
        if isinstance(known["files"], dict) and isinstance(skipped, dict):
            return {"boxes": known["boxes"], "files": known["files"], "skipped": skipped}
    except (FileNotFoundError, ValueError, AttributeError, KeyError):
        pass
    return {"boxes": None, "files": {}, "skipped": {}}


class _Writer:
    """Writes shards, several at a time, and counts what is left out."""

    def __init__(self, annotations, categories, output_dir, record, skip_bad, log):
        self.annotations, self.categories, self.output_dir = annotations, categories, output_dir
        self.record, self.skip_bad, self.log = record, skip_bad, log
        self.num_done, self.num_skipped = 0, len(record.skipped)
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.timer = Timer(SECONDS_BETWEEN_MESSAGES)

    def write(self, shards, threads):
        missing = [name for name in shards if name not in self.record.finished]
        if len(missing) < len(shards):
            self.log(f"{len(shards) - len(missing)} of {len(shards)} files are there already")
            self.num_done = sum(len(shards[name]) for name in self.record.finished)
        with concurrent.futures.ThreadPoolExecutor(threads) as executor:
            futures = [executor.submit(self._write_shard, name, shards[name]) for name in missing]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self.stopped.set()
                executor.shutdown(cancel_futures=True)
                raise
        if self.num_skipped:
            self.log(f"Pictures left out that cannot be read: {self.num_skipped}")

    def _write_shard(self, name, numbers):
        write_atomically(os.path.join(self.output_dir, name), self._framed(name, numbers))

    def _framed(self, name, numbers):
        skipped = []
        for number in numbers:
            if self.stopped.is_set():
                raise InterruptedError("Another file could not be written.")
            record = self._record(number)
            if record is not None:
                yield frame(record)
            else:
                skipped.append(self.annotations.source_ids[number])
        if len(skipped) == len(numbers):
            raise OSError(f"None of the pictures of {name} can be read. Give a lower --num_shards, or replace them.")
        if skipped:
            self.record.skip(name, skipped)

    def _record(self, number):
        """The record of a picture, None if it cannot be read and may be left out."""
        try:
            encoded = annotated.picture_of(self.annotations, number)
            self._check_decodes(encoded, self.annotations.paths[number])
            record = annotated.make_record(self.annotations, self.categories, number, encoded)
        except BadRecord as error:
            self._skip(error)
            record = None
        with self.lock:
            self.num_done += 1
            if self.timer.is_due():
                self.log(f"{self.num_done}/{len(self.annotations.paths)} pictures")
        return record

    def _check_decodes(self, encoded, path):
        try:
            preprocessing.decode_image(encoded)
        except tf.errors.OpError as error:
            reason = ascii(preprocessing.reason_of(error.message)[:MAX_MESSAGE])[1:-1]
            raise BadRecord(f"{one_line(path)}: it is damaged, or cannot be decoded: {reason}.") from error

    def _skip(self, error):
        with self.lock:
            self.num_skipped += 1
            rank = self.num_skipped
        if rank > self.skip_bad:
            now = f", now {self.skip_bad}" if self.skip_bad else ""
            raise OSError(
                f"{error} Replace it and convert again, which goes on, or leave out up to N such pictures with "
                f"--skip_bad=N{now}."
            ) from error
        self.log(f"Left out {rank} of at most {self.skip_bad}: {error}")
