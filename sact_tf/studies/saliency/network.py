"""The ponder maps of a network for pictures that people looked at, computed once and kept on disk."""

import dataclasses
import io
import os

import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, command_line, flops, visualize
from sact_tf.config import check_dataset
from sact_tf.data.padding import bucketed, pad_images
from sact_tf.data.photographs import BadPhotograph, prepare, read_photograph, resize_for_detector
from sact_tf.data.whole_files import write_atomically
from sact_tf.evaluation import inference
from sact_tf.models.extractor import extract
from sact_tf.progress import one_line
from sact_tf.studies.store import Store, fingerprint
from sact_tf.tasks.detect_jpeg import BUCKET
from sact_tf.visualize.enlarging import enlarge

FIGURES = visualize.FIGURES


class NetworkMaps:
    """Ponder cost and units of a network, at the size of each picture.

    Args:
        config: `SaliencyConfig`.
        run_dir: directory that the maps are kept in, below a directory of their own for each network and size.
    """

    def __init__(self, config, run_dir):
        # One checkpoint for all: a run that still trains has a later one soon.
        prefix = checkpoints.checkpoint_prefix(config.checkpoint_dir)
        self.config = dataclasses.replace(config, checkpoint_dir=prefix)
        checkpoint = fingerprint(prefix)
        fields = {name: value for name, value in dataclasses.asdict(config).items() if name != "checkpoint_dir"}
        self.identity = {**fields, "checkpoint": checkpoint["sha256"], "step": checkpoint["step"]}
        self.directory = os.path.join(run_dir, f"maps_{Store(run_dir, self.identity).digest()}")
        self._is_detector = check_dataset(config.dataset)["task"] == "detection"
        self._model = self._predict = None

    def load(self):
        """Loads the network, so that what is wrong with it is said before anything is computed."""
        self._model = inference.load_model(self.config)
        if self._is_detector:
            self._predict = _extractor(self._model)
        else:
            self._predict = inference.predictor(self._model, self.config.engine)
        command_line.make_directory(self.directory, "run_dir")

    def has(self, picture):
        """Whether the maps of a `pictures.Picture` are kept already."""
        return os.path.exists(self._path(picture))

    def compute(self, picture):
        """Computes the maps of a picture and keeps them.

        Raises:
            ValueError: if it cannot be read, or is too small.
        """
        try:
            image = self._read(picture.viewed)
        except BadPhotograph as error:
            raise ValueError(
                f"{one_line(picture.viewed.path)} cannot be looked at: {error}. Replace it, or take it and its "
                "fixations away; what is computed of other pictures is kept."
            ) from error
        size = image.shape[:2]
        padded = [bucketed(side, BUCKET) for side in size] if self._is_detector else size
        images = pad_images(tf.convert_to_tensor(prepare(image, self.config.dataset)), padded)[None]
        outputs = self._predict(images, tf.constant([size])) if self._is_detector else self._predict(images)
        kept = {name: np.asarray(value[0]) for name, value in outputs.items() if name.rpartition("/")[2] in FIGURES}
        spent = [int(outputs["flops"][0]), int(flops.count_most(self._model, outputs)["flops"][0])]
        file = io.BytesIO()
        np.savez_compressed(file, padded=np.array(padded), size=np.array(size), flops=np.array(spent), **kept)
        write_atomically(self._path(picture), [file.getvalue()])

    def of(self, picture, figure, height, width):
        """The map of a picture that was computed, float64 `(height, width)`: the sum of the blocks, enlarged.

        Args:
            picture: `pictures.Picture`.
            figure: one of `FIGURES`.
            height, width: ints, of the map; those of another picture stretch it.
        """
        with np.load(self._path(picture)) as kept:
            outputs = {name: kept[name][None] for name in kept.files if name.endswith(f"/{figure}")}
            rows, columns = kept["size"]
            total = visualize.ponder_map(outputs, [int(side) for side in kept["padded"]], figure)[0, :rows, :columns]
        return enlarge(total, height, width).numpy().astype(np.float64)

    def spent(self, picture):
        """FLOPs of a picture as part of what they would be if nothing halted; and the mean units by block, a dict."""
        with np.load(self._path(picture)) as kept:
            units = {
                # Where a unit has run at least: all else is padding.
                name.rpartition("/")[0]: float(kept[name][kept[name] > 0].mean())
                for name in kept.files
                if name.endswith("/num_units")
            }
            return float(kept["flops"][0] / kept["flops"][1]), units

    def _read(self, viewed):
        size, least = self.config.image_size, self._model.backbone.minimum_size
        if not self._is_detector:
            return read_photograph(viewed.path, size, least, upright=not viewed.as_stored)
        return resize_for_detector(read_photograph(viewed.path, upright=not viewed.as_stored), size, least)

    def _path(self, picture):
        return os.path.join(self.directory, f"{picture.digest}.npz")


def _extractor(model):
    """Function from an image and its size to what a detector's extractor says of it; the head is not run."""
    signature = [tf.TensorSpec((1, None, None, 3), tf.float32), tf.TensorSpec((1, 2), tf.int32)]

    def predict(images, image_size):
        outputs = extract(model.backbone, images, image_size)
        return {**outputs, **flops.count(model, outputs)}

    return tf.function(predict, input_signature=signature, autograph=False)
