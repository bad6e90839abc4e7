"""Finds the objects on photographs with a detector, and draws its boxes above what it spent where.

  python -m sact_tf.detect --checkpoint_dir=runs/detector --images_pattern='photos/*.jpg' --output_dir=found

For each photograph `<name>_detections.png`, with the boxes whose score is at least `--min_score` and, of a SACT
detector, the ponder map below; and one `detections.json` with all boxes in COCO's form of results: a list of
`image_id` (the number in the lines of progress), `file_name`, `category_id` (the network's class, from 1), `category`
(its name, if names are known), `bbox` (x, y, width and height in pixels of the file) and `score`. Boxes belong to a
photograph as one sees it: turned where its EXIF data says so. With `--annotations=instances_val.json` both numbers are
those of that file, and boxes belong to the picture of the height and width that it gives.
"""

import json
import os

import numpy as np

from sact_tf import command_line
from sact_tf.command_line import photographs, writing
from sact_tf.data.detection.coco_ids import Ids, ids_of
from sact_tf.data.photographs import read_photograph, resize_for_detector
from sact_tf.data.whole_files import write_atomically
from sact_tf.detection import scoring
from sact_tf.evaluation import inference
from sact_tf.evaluation.finding import find, predictor
from sact_tf.progress import counted, print_line
from sact_tf.tasks import labels_of_the_run, task_of
from sact_tf.visualize.detections import detection_figure

BOXES_FILE = "detections.json"
ENDING = "_detections.png"


def detect(config, log=print_line):
    """Writes the picture of every photograph, and the boxes of all of them.

    Args:
        config: `DetectConfig`.
        log: called with a line of text for each photograph.

    Returns:
        `(done, skipped)`: dict from the path of a photograph to the list of its boxes, as in `detections.json`; list of
        the paths of files that could not be looked at.

    Raises:
        FileNotFoundError: if there are no such photographs, or no checkpoint.
        FileExistsError: if there are pictures of the same names, or boxes, and `overwrite` is False.
        ValueError: if checkpoint, labels or annotations do not fit.
        OSError: if nothing can be written any more, as on a full disk.
    """
    names = photographs.name_outputs(photographs.find_photographs(config.images_pattern))
    _check_output_dir(config, names)
    labels = _labels(config, log)
    ids = ids_of(config.annotations, names, labels, log) if config.annotations else _own_ids(names, config.model)
    model = inference.load_model(config)
    predict = predictor(model, config.engine)
    command_line.make_directory(config.output_dir, "output_dir")
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in names])

    def draw(path, name):
        image = read_photograph(path, marked_size=ids.sizes.get(path))
        resized = resize_for_detector(image, config.image_size, model.backbone.minimum_size)
        found = find(model, predict, resized, image.shape[:2], config.dataset)
        text = _summary(found, image.shape, config.min_score)
        title = f"{photographs.title_of(path)}, {text}"
        picture = _picture(resized, image.shape, found, config.min_score, labels, title)
        photographs.write_all(config.output_dir, name, [(ENDING[1:-4], picture)], "boxes")
        file_name = photographs.usable(os.path.relpath(os.path.abspath(path), folder))
        boxes = scoring.detections(0, found.boxes, found.scores, found.classes)
        return [_entry(each, ids.images[path], file_name, ids.categories, labels) for each in boxes], text

    done, skipped = photographs.draw_each(names, draw, log)
    if done:  # else the next start would be asked whether it may replace boxes of nothing
        _write_boxes(config.output_dir, [box for boxes in done.values() for box in boxes])
        log(f"Boxes of {counted(len(done), 'photograph')}: {os.path.join(config.output_dir, BOXES_FILE)}")
    return done, skipped


def _entry(box, image_id, file_name, categories, labels):
    place = box["category_id"] - 1
    named = {} if labels is None else {"category": labels[place]}
    numbers = {"image_id": image_id, "file_name": file_name, "category_id": categories[place]}
    return {**numbers, **named, "bbox": box["bbox"], "score": box["score"]}


def _own_ids(names, model):
    """Numbers of the photographs in the order of progress, and those of the network's classes."""
    return Ids({path: number for number, path in enumerate(names, 1)}, {}, list(range(1, model.num_classes + 1)))


def _labels(config, log):
    """Names of the classes from class 1 on: of the file, else of the run, or its data set; None for numbers."""
    task, num_classes = task_of(config.dataset), config.model.num_classes
    labels = task.read_labels(config.labels, num_classes, config.dataset)
    if labels is None:
        return task.known_labels(num_classes, config.dataset, config.dataset_dir, log, config.checkpoint_dir)
    return labels_of_the_run(labels, config)


def _check_output_dir(config, names):
    photographs.check_output_dir(config, names, ENDING, "boxes")
    if os.path.exists(os.path.join(config.output_dir, BOXES_FILE)) and not config.overwrite:
        raise FileExistsError(
            f"{config.output_dir} holds the boxes of other photographs already, {BOXES_FILE}. Give --overwrite to "
            "replace them, or another --output_dir."
        )


def _summary(found, shape, min_score):
    sure = int(np.sum(found.scores >= min_score))
    boxes = counted(sure, "box")
    return (
        f"{shape[0]} x {shape[1]}: {boxes} of score {min_score:g} or more; {found.flops:,} FLOPs of the extractor, "
        f"{found.flops / found.most_flops:.1%} of all units everywhere"
    )


def _picture(resized, shape, found, min_score, labels, title):
    sure = found.scores >= min_score
    ratio = np.array(resized.shape[:2]) / shape[:2]
    names = [str(number) if labels is None else labels[number - 1] for number in found.classes[sure]]
    texts = [f"{name} {score:.2f}" for name, score in zip(names, found.scores[sure], strict=True)]
    return detection_figure(resized, (found.boxes[sure] * np.tile(ratio, 2), texts), title, found.ponder_map)


def _write_boxes(directory, boxes):
    """Writes the boxes of all photographs, one a line."""
    lines = ",\n".join(json.dumps(box) for box in boxes)
    try:
        write_atomically(os.path.join(directory, BOXES_FILE), [f"[\n{lines}\n]\n".encode()])
    except OSError as error:
        raise writing.explained(directory, "output_dir", error) from error


def main():
    """Flags to configuration to one call; files that were skipped make it fail in the end."""
    photographs.refuse_skipped(*detect(command_line.detect_config()))


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the shorter side to, the longer one at most 1024/600 of it.",
        dataset="digit_scenes",
        reads="others",
    )
    command_line.define_detect_flags()
    command_line.run(main)
