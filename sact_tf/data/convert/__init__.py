"""Makes a data set that can be trained on from a folder of class folders, one picture a file.

  python -m sact_tf.data.convert --from_folder=photos/train --to=tfrecord --dataset=imagenet --output_dir=data/mine
  python -m sact_tf.data.convert --from_folder=photos/val --to=tfrecord --dataset=imagenet --output_dir=data/mine \\
      --split_name=validation

Pictures may be of any format that Pillow reads, and lie at any depth below their class folder. They are stored upright.
Classes are numbered by the sorted names of their folders; further splits take the numbers of the first, also where they
lack some of its classes. `<dataset>_classes.txt` beside the data lists the names.

A file has its name only once it is whole: started again after a stop, the command makes what is missing, and makes
again what holds pictures that have changed.

COCO and Pascal VOC, as they are downloaded, or data sets in their form, become records with boxes, as the TF Object
Detection API has them, with their categories in `label_map.pbtxt`. Fewer files are read then.

  python -m sact_tf.data.convert --from_folder=data/coco --dataset=coco --output_dir=data/coco_records --num_shards=100
"""

# `class_folders` finds the pictures, `plan` says what a split holds and what of it is done, `writing` makes the files,
# `example_files` and `cifar_files` are their formats.

import functools
import numbers
import os
import random
import signal
import sys
import warnings

from absl import app, flags

from sact_tf.data import cifar10, class_names, imagenet
from sact_tf.data.convert import box_files, class_folders, example_files, plan
from sact_tf.data.convert.example_files import TFDS_DIRECTORIES, read_cifar, read_jpeg
from sact_tf.data.convert.writing import Contents, Conversion, Unreadable, alone_in
from sact_tf.data.pictures import BadPicture
from sact_tf.data.records import SHARD_NAME
from sact_tf.data.whole_files import in_words
from sact_tf.progress import counted, named, one_line, print_line

__all__ = ["FORMATS", "SPLITS", "convert", "list_examples", "main", "read_cifar", "read_jpeg"]

FLAGS = flags.FLAGS
FORMATS = {
    **{dataset: tuple(formats) for dataset, formats in example_files.FORMATS.items()},
    **{dataset: ("tfrecord",) for dataset in box_files.DATASETS},
}
SPLITS = {"imagenet": imagenet.SPLITS, "cifar10": cifar10.SPLITS}
# Names of folders of which none is a class where there are no others.
SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def convert(from_folder, to, dataset, output_dir, split="train", num_shards=1, threads=4, log=print_line, skip_bad=0):
    """Writes a split.

    Args:
        from_folder: directory with a folder of pictures for each class.
        to: one of `FORMATS[dataset]`.
        dataset: "imagenet" or "cifar10"; "coco" or "voc", whose `from_folder` is the directory of the data set.
        output_dir: directory, may hold other splits of the same classes.
        split: one of `SPLITS[dataset]`; of "coco" and "voc" any that is there.
        num_shards: int, files of a split, where the format leaves the choice.
        threads: int, files that are made at the same time.
        log: called with lines of text: what was found, progress every few seconds, pictures that are left out.
        skip_bad: int, pictures that may be left out because they cannot be read.

    Returns:
        Paths of the files.

    Raises:
        ValueError: if the pictures or the arguments do not fit the format, or `output_dir` holds something else.
        OSError: if a picture cannot be read, or a file cannot be written; `DirectoryInUse` while another
            conversion writes into `output_dir`.
    """
    _check_choice("dataset", dataset, FORMATS)
    _check_choice("to", to, FORMATS[dataset])
    if dataset in SPLITS:
        _check_choice("split_name", split, SPLITS[dataset])
    for name, value, least in (("num_shards", num_shards, 1), ("threads", threads, 1), ("skip_bad", skip_bad, 0)):
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(f"`{name}` must be an int, at least {least}. Received: {name}={value!r}")
    from_folder, output_dir = (os.path.expanduser(path) for path in (from_folder, output_dir))
    if dataset in box_files.DATASETS:
        return box_files.convert_boxes(from_folder, dataset, output_dir, split, num_shards, threads, skip_bad, log)
    folder = _read_folder(from_folder, output_dir, log)
    _say_what_was_found(folder, log)
    classes = _numbered_classes(folder, dataset, output_dir, log)
    names = _file_names(to, dataset, split, num_shards)
    parts = _shuffled_parts(_examples(folder, classes), names)
    planned = plan.Plan(output_dir, dataset, split, classes, folder.path, to, parts)
    paths = [os.path.join(output_dir, name) for name in names]
    with alone_in(output_dir, log):
        contents = _contents(planned, example_files.FORMATS[dataset][to])
        Conversion(output_dir, contents, planned.begin(log), threads, skip_bad, log).run()
        if to == "tfds":
            example_files.write_tfds_metadata(os.path.dirname(paths[0]), dataset, classes)
    return paths


def list_examples(from_folder):
    """Returns the sorted names of the class folders and a list of `(path, class number from 0)`."""
    folder = _read_folder(os.path.expanduser(from_folder))
    return list(folder.pictures), _examples(folder, list(folder.pictures))


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {tuple(choices)}. Received: {name}={value!r}")


def _read_folder(from_folder, output_dir=None, log=None):
    if not os.path.isdir(from_folder):
        raise FileNotFoundError(f"There is no directory {from_folder}. Give --from_folder one of class folders.")
    for dataset, data in box_files.DATASETS.items():
        if splits := data.splits_of(from_folder):
            raise ValueError(
                f"{from_folder} holds pictures and their boxes (splits: {named(splits)}), and its folders are no "
                f"classes. Give --dataset={dataset} for a data set with boxes, or --from_folder of class folders."
            )
    folder = class_folders.read_folder(from_folder, output_dir, log)
    if not folder.pictures:
        raise ValueError(
            f"{from_folder} holds no pictures in class folders, such as {os.path.join(from_folder, 'cat', '1.jpg')}. "
            f"Found: {folder}."
        )
    if SPLIT_FOLDERS.issuperset(name.lower() for name in folder.pictures):
        first = os.path.join(from_folder, next(iter(folder.pictures)))
        raise ValueError(
            f"{from_folder} holds folders of splits ({', '.join(folder.pictures)}), and each folder in --from_folder "
            f"is taken for a class. Give --from_folder={first}, and others with their --split_name."
        )
    return folder


def _say_what_was_found(folder, log):
    """Counts, and notes of what may not be meant: folders of links, of splits, and of classes one level deeper."""
    log(str(folder))
    class_names.warn_of_capitals(folder.pictures, log)
    for names in folder.shared:
        log(f"Note: {named(names)} have a folder in common, by a link, and its pictures are of each of them")
    splits = [name for name in folder.pictures if name.lower() in SPLIT_FOLDERS]
    if len(splits) > 1:
        log(
            f"Note: {named(splits)} are classes, as every folder in {one_line(folder.path)} is. If they are splits, "
            f"give --from_folder={one_line(os.path.join(folder.path, splits[0]))}, another --output_dir, and each "
            "of the others with its --split_name."
        )
    if folder.deeper:
        ((only, (first, *_)),) = folder.pictures.items()
        place = os.path.join(folder.path, os.path.relpath(first, folder.path).split(os.sep)[0])
        log(
            f"Note: all pictures are of one class, {named([only])}, in folders of it: {named(folder.deeper)}. If these "
            f"are the classes, give --from_folder={one_line(place)}, and another --output_dir."
        )


def _numbered_classes(folder, dataset, output_dir, log):
    """Names of the classes in the order of their numbers: those of the data that are there, if they are enough."""
    classes = list(folder.pictures)
    limit = imagenet.NUM_CLASSES - 1 if dataset == "imagenet" else cifar10.NUM_CLASSES
    if len(classes) > limit:
        other = " Give --dataset=imagenet, whose form has room for more." if dataset == "cifar10" else ""
        raise ValueError(f"{folder.path} holds {len(classes)} class folders; {dataset} has {limit} classes.{other}")
    known = class_names.read(output_dir, dataset)
    if not known or not set(classes) < set(known) or not plan.holds_data(output_dir):
        return classes
    log(f"{len(known) - len(classes)} of the {len(known)} classes of {output_dir} have no pictures here")
    return known


def _examples(folder, classes):
    numbers = {name: number for number, name in enumerate(classes)}
    return [(path, numbers[name]) for name, paths in folder.pictures.items() for path in paths]


def _shuffled_parts(examples, names):
    """Dict from the names of files to their examples."""
    if len(examples) < len(names):
        shards = SHARD_NAME.fullmatch(os.path.basename(names[0]))
        advice = "Give a lower --num_shards" if shards else "Give --to=tfrecord, a single file, or more pictures"
        raise ValueError(f"{counted(len(examples), 'picture')} cannot fill {len(names)} files. {advice}.")
    random.Random(plan.SHUFFLE_SEED).shuffle(examples)
    return {name: examples[number :: len(names)] for number, name in enumerate(names)}


def _contents(planned, form):
    """`Contents` of files in a `Format`; entries are paths with the numbers of their classes."""

    def encode(example):
        path, label = example
        try:
            return form.encode(path, label, planned.classes[label])
        except BadPicture as error:
            raise Unreadable(f"{one_line(path)} cannot be read as a picture: {error}.") from error

    def noted(example):
        return os.path.relpath(example[0], planned.from_folder)

    return Contents(planned.parts, encode, form.assemble, noted, "Remove or replace it")


def _file_names(to, dataset, split, num_shards):
    if to in ("cifar_binary", "cifar_python"):
        directory = cifar10.BINARY_DIRECTORY if to == "cifar_binary" else cifar10.PYTHON_DIRECTORY
        ending = ".bin" if to == "cifar_binary" else ""
        return [os.path.join(directory, name + ending) for name in cifar10.BATCHES[split]]
    if to == "tfrecord" and dataset == "cifar10":
        return [f"cifar10_{split}.tfrecord"]
    name = split
    if to == "tfds":
        directory = TFDS_DIRECTORIES[dataset]
        name = f"{directory}/{directory.split('/')[0]}-{split}.tfrecord"
    return [f"{name}-{number:05d}-of-{num_shards:05d}" for number in range(num_shards)]


def define_flags(flag_values=FLAGS):
    """Flags of the command."""
    text = functools.partial(flags.DEFINE_string, flag_values=flag_values)
    number = functools.partial(flags.DEFINE_integer, flag_values=flag_values)
    text("from_folder", None, "Directory with a folder of pictures for each class, or of COCO or VOC.", required=True)
    text("to", "tfrecord", "tfrecord (as the release reads it), tfds, cifar_binary or cifar_python.")
    text("dataset", "imagenet", "imagenet, cifar10, coco or voc.")
    text("output_dir", None, "Directory for the data set, the --dataset_dir of train.py.", required=True)
    text("split_name", "train", "train, validation (imagenet), test (cifar10), val and others (coco, voc).")
    number("num_shards", 1, "Files of a split, where the format leaves the choice.")
    number("threads", os.cpu_count() or 1, "Files that are made at the same time.")
    number("skip_bad", 0, "Pictures that cannot be read to leave out before stopping at the next one.")


def main(argv, values=FLAGS):
    """Flags to one call; a mistake ends in a sentence."""
    if len(argv) > 1:
        raise app.UsageError(f"Arguments are given as --flag=value. Received: {' '.join(argv[1:])}")
    # Names of files need not be text, nor text that the terminal can show.
    sys.stdout.reconfigure(errors="backslashreplace")
    # What it finds besides the pixels of a picture, such as damaged EXIF data.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        paths = convert(
            values.from_folder,
            values.to,
            values.dataset,
            values.output_dir,
            values.split_name,
            values.num_shards,
            values.threads,
            skip_bad=values.skip_bad,
        )
    except (ValueError, OSError) as error:
        print(f"error: {in_words(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    print(f"{counted(len(paths), 'file')}: {paths[0]}{' ...' if len(paths) > 1 else ''}")
