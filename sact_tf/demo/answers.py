"""From the bytes of a photograph to what the page shows, as a dict for JSON."""

import base64
import hashlib
import io
import numbers
import os

import numpy as np

from sact_tf import halting, visualize
from sact_tf.config import check_dataset
from sact_tf.data import class_names
from sact_tf.data.photographs import BadPhotograph
from sact_tf.demo import uploads
from sact_tf.demo.networks import Networks
from sact_tf.tasks import labels_of_the_run, task_of

BEST_CLASSES = 5
# Boxes of a lower score are not sent.
MIN_SCORE = 0.05
MAX_BOXES = 100
_COLOURS = 64


class Answers:
    """Answers about photographs, one at a time, by one network.

    Args:
        config: `DemoConfig`.
        log: called with lines of text.
    """

    def __init__(self, config, log):
        self._config, self._log = config, log
        self._labels = _labels(config, log)
        self._networks = Networks(config, log)
        # The last photograph as the network takes it, so that another threshold does not decode it again.
        self._kept = None, None

    def about(self):
        """What the page shows before there is a photograph, a dict."""
        config, networks = self._config, self._networks
        return {
            "network": f"{config.model.network} {config.model.model}, {config.model.model_type}",
            "model_type": config.model.model_type,
            "is_detector": networks.is_detector,
            "dataset": config.dataset,
            "checkpoint": os.path.basename(os.path.normpath(config.checkpoint_dir)),
            "epsilon": halting.EPSILON if networks.halts else None,
            "image_size": config.image_size,
            "usual_side": uploads.USUAL_SIDE,
            "max_side": self._max_side,
            "min_side": networks.model.backbone.minimum_size,
            "max_bytes": uploads.MAX_BYTES,
            "max_pixels": uploads.MAX_PIXELS,
        }

    @property
    def _max_side(self):
        return max(uploads.MAX_SIDE, self._config.image_size or 0)

    def look(self, content, epsilon=halting.EPSILON, image_size=None, picture=True, own_scale=False):
        """Everything that the page shows of a photograph.

        Args:
            content: bytes of a file.
            epsilon: float in (0, 1), at which blocks halt.
            image_size: int, see `uploads.read`; None for the command's.
            picture: bool, whether the photograph itself is part of the answer.
            own_scale: bool, whether colours go from the least to the most of this photograph's maps.

        Returns:
            dict of numbers, texts, lists and dicts; pictures are data URLs of PNGs.

        Raises:
            BadPhotograph: if it is none that is taken.
            ValueError: for an epsilon or a size out of range.
        """
        halting.check_epsilon(epsilon)
        photograph = self._photograph(content, self._check_size(image_size))
        image, networks = photograph.image, self._networks
        inputs = networks.inputs_of(image, photograph.original_size)
        outputs, timed, rounds, difference = networks.run(inputs, epsilon)
        height, width = image.shape[:2]
        self._log(
            f"{height} x {width}, epsilon {epsilon:g}: "
            + ", ".join(f"{each.name.lower()} {each.milliseconds:.0f} ms" for each in timed)
        )
        return {
            "size": [height, width],
            "original_size": [int(side) for side in photograph.original_size],
            "notes": photograph.notes,
            "epsilon": epsilon,
            "picture": _data_url(image) if picture else None,
            **(self._boxes(outputs, photograph) if networks.is_detector else self._classes(outputs)),
            **self._maps(outputs, inputs, image, own_scale),
            "timed": [{**each._asdict(), "share": each.flops / timed[0].flops} for each in timed],
            "rounds": rounds,
            "difference": difference,
        }

    def _check_size(self, image_size):
        if image_size is None:
            return self._config.image_size
        if not isinstance(image_size, numbers.Integral) or not 1 <= image_size <= self._max_side:
            raise ValueError(f"The size must lie between 1 and {self._max_side} pixels. Received: {image_size}")
        return int(image_size)

    def _photograph(self, content, image_size):
        key = hashlib.sha256(content).digest(), image_size
        if self._kept[0] != key:
            networks = self._networks
            minimum = networks.model.backbone.minimum_size
            photograph = uploads.read(content, image_size, minimum, self._max_side, networks.is_detector)
            longest = self._max_side * (2 if networks.is_detector else 1)
            if max(photograph.image.shape) > longest:
                raise BadPhotograph(f"it would be more than {longest} pixels long. Give a smaller size")
            self._kept = key, photograph
        return self._kept[1]

    def _name(self, number, first):
        return str(number) if self._labels is None else self._labels[number - first]

    def _classes(self, outputs):
        logits = outputs["logits"][0].numpy().astype(np.float64)
        if not np.isfinite(logits).all():
            raise ValueError("The network's answer is no number: its training diverged, or its weights are damaged.")
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:BEST_CLASSES]
        return {
            "classes": [{"name": self._name(int(number), 0), "probability": float(shares[number])} for number in best]
        }

    def _boxes(self, outputs, photograph):
        scores = outputs["scores"][0].numpy()
        kept = np.flatnonzero(scores[: int(outputs["num_detections"][0])] >= MIN_SCORE)[:MAX_BOXES]
        # As shares of the photograph, whatever its size on the page.
        boxes = outputs["boxes"][0].numpy()[kept] / np.tile(photograph.original_size, 2)
        names = [self._name(int(number), 1) for number in outputs["classes"][0].numpy()[kept]]
        return {
            "boxes": [
                {"name": name, "score": float(score), "box": [float(side) for side in box]}
                for name, score, box in zip(names, scores[kept], boxes, strict=True)
            ]
        }

    def _maps(self, outputs, inputs, image, own_scale):
        """Ponder maps of SACT, sum and blocks; of ACT, a number for each block; of a vanilla network nothing."""
        model_type, (height, width) = self._config.model.model_type, image.shape[:2]
        if model_type == "vanilla":
            return {}
        if model_type != "sact":
            return {
                "ponder_cost": {name: float(outputs[f"{name}/ponder_cost"][0]) for name in self._networks.model.blocks}
            }
        shape = inputs["images"].shape[1:3] if self._networks.is_detector else (height, width)
        maps = {name: value[0, :height, :width].numpy() for name, value in visualize.block_maps(outputs, shape).items()}
        key = "halting_distribution"
        blocks = {name: visualize.largest_possible({key: outputs[f"{name}/{key}"]}) for name in maps}
        most = {"total": sum(blocks.values()), **dict.fromkeys(maps, max(blocks.values()))}
        shown = {"total": sum(maps.values()), **maps}
        return {"maps": [_map(name, value, most[name], own_scale) for name, value in shown.items()], "colours": _bar()}


def _map(name, values, most, own_scale):
    least, largest = float(values.min()), float(values.max())
    limits = (least, largest) if own_scale else (0.0, float(most))
    return {
        "name": name,
        "source": _data_url(visualize.colour(values, *limits)),
        "limits": limits,
        "least": least,
        "mean": float(values.mean()),
        "most": largest,
    }


def _bar():
    """The colours from the first to the last, a picture one pixel high."""
    return _data_url(visualize.colour(np.linspace(0, 1, _COLOURS)[None], 0, 1))


def _data_url(picture):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(visualize.to_bytes(picture)).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _labels(config, log):
    """Names of the classes: of the file, else of the data set where they are at hand; None for numbers."""
    task, number = task_of(config.dataset), config.model.num_classes
    path = config.labels
    if path is None and hasattr(task, "known_labels"):
        return task.known_labels(number, config.dataset, config.dataset_dir, log, config.checkpoint_dir)
    directory = config.dataset_dir or check_dataset(config.dataset).get("dataset_dir")
    if path is not None or not (directory and class_names.read(directory, config.dataset)):
        return labels_of_the_run(task.read_labels(path, number, config.dataset, log), config)
    try:
        path = class_names.path_of(directory, config.dataset)
        return labels_of_the_run(task.read_labels(path, number, config.dataset, log), config)
    except ValueError as error:
        # Nobody asked for them: those of data that have taken the place of the network's, say.
        log(f"Labels: none. {error}. Give --labels for names")
        return None
