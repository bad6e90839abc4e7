"""Writes a split of COCO or Pascal VOC, as they are downloaded, as records of the TF Object Detection API.

Records are read at any place and from few files, which network disks like better than 100,000 pictures. A label map
beside them has the categories' numbers and names.
"""

import functools
import hashlib
import json
import os
import random

import tensorflow as tf

from sact_tf.data import preprocessing
from sact_tf.data.convert.plan import SHUFFLE_SEED, Record
from sact_tf.data.convert.writing import Contents, Conversion, Unreadable, alone_in
from sact_tf.data.detection import annotations as annotated
from sact_tf.data.detection import coco, label_maps, voc
from sact_tf.data.detection.record_files import LABEL_MAP
from sact_tf.data.directories import nothing_found
from sact_tf.data.records import SHARD_NAME, BadRecord, frame
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import counted, one_line, reason_of

DATASETS = {"coco": coco, "voc": voc}
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
            f"{counted(len(annotations.paths), 'picture')} cannot fill {num_shards} files. Give a lower --num_shards."
        )
    order = list(range(len(annotations.paths)))
    random.Random(SHUFFLE_SEED).shuffle(order)
    shards = {f"{split}-{number:05d}-of-{num_shards:05d}": order[number::num_shards] for number in range(num_shards)}
    with alone_in(output_dir, log):
        _write_label_map(output_dir, categories)
        record = _begin(output_dir, dataset, split, _plan(annotations, categories, shards), log)
        contents = _contents(annotations, categories, shards)
        Conversion(output_dir, contents, record, threads, skip_bad, log).run()
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


def _contents(annotations, categories, shards):
    """`Contents` of the files; entries are the numbers of pictures."""

    def encode(number):
        try:
            encoded = annotated.picture_of(annotations, number)
            _check_decodes(encoded, annotations.paths[number])
            return annotated.make_record(annotations, categories, number, encoded)
        except BadRecord as error:
            raise Unreadable(str(error)) from error

    return Contents(shards, encode, functools.partial(map, frame), annotations.source_ids.__getitem__, "Replace it")


def _check_decodes(encoded, path):
    try:
        preprocessing.decode_image(encoded)
    except tf.errors.OpError as error:
        reason = ascii(reason_of(error.message)[:MAX_MESSAGE])[1:-1]
        raise BadRecord(f"{one_line(path)}: it is damaged, or cannot be decoded: {reason}.") from error
