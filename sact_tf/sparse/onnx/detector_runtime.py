"""Detectors in ONNX Runtime: as functions of this process, and the proof that a file gives the detector's answers."""

import numpy as np

from sact_tf import flops
from sact_tf.models.detection_inputs import in_original_pixels
from sact_tf.models.extractor import EXTRACTOR_BLOCKS, STRIDE
from sact_tf.sparse.detector_input import DetectorInput
from sact_tf.sparse.onnx import runtime
from sact_tf.sparse.onnx.detector import IMAGE_SIZE, IMAGES, write_detector

# Which boxes are the best is a matter of rounding where scores are nearly equal, as those of a network that was hardly
# trained are. What is wrong finds other boxes altogether.
_SHARED = 0.9
_FOUND = ("boxes", "scores", "classes", "num_detections")


class OnnxDetector(runtime.InOnnxRuntime):
    """Inputs of a detector to the flat dict of its outputs with FLOPs, as NumPy arrays, by ONNX Runtime on the CPU.

    It takes what the detector takes, `original_size` too. It never changes, and several threads may call it.

    Args:
        model: `FasterRCNN`.
        features: bool, whether the features of the extractor's blocks are among the outputs.
        part: "whole", or "extractor" for its outputs alone; see `detector.write_detector`.
        num_threads: int, how many threads compute a call; `None` for one for each core.

    Attributes:
        model: the `onnx.ModelProto`.

    Raises:
        ValueError: for another model; see `detector.write_detector`.
    """

    def __init__(self, model, features=False, part="whole", num_threads=None):
        self.model = write_detector(model, features=features, part=part)
        self._input = DetectorInput(model)
        self._run = runtime.runner(self.model.SerializeToString(), num_threads)

    def __call__(self, inputs):
        inputs = self._input.convert(inputs)
        images, sizes = (runtime.array_of(inputs[name]) for name in (IMAGES, IMAGE_SIZE))
        outputs = self._run({IMAGES: images, IMAGE_SIZE: sizes})
        if "boxes" in outputs:
            outputs["boxes"] = np.asarray(in_original_pixels(outputs["boxes"], inputs))
        return outputs


def check_file(path, model):
    """Raises ValueError unless a file gives the answers of the detector it was written of.

    Args:
        path: of the `.onnx` file.
        model: `FasterRCNN`.
    """
    run, least = runtime.runner(path), model.backbone.minimum_size
    sizes = np.array([[2 * least + 5, 3 * least - 1], [3 * least - 6, 2 * least]], "int32")

    def compare(generator):
        images = generator.uniform(-1, 1, (2, *sizes.max(axis=0), 3)).astype("float32")
        inputs = {IMAGES: images, IMAGE_SIZE: sizes}
        expected = dict(model(inputs, training=False))
        return _difference(run(inputs), {**expected, **flops.count(model, expected)}, sizes)

    runtime.agree(compare)


def _difference(ours, theirs, sizes):
    """What differs between two dicts of outputs, as text, or `None`."""
    ours, theirs = (_only_pictures(outputs, sizes) for outputs in (ours, theirs))
    difference = runtime.difference({name: value for name, value in ours.items() if name not in _FOUND}, theirs)
    if difference is not None or "boxes" not in ours:
        return difference
    for number in range(len(sizes)):
        got, expected = (_rows_of(outputs, number) for outputs in (ours, theirs))
        differences = np.abs(got[:, None] - expected).max(axis=-1, initial=0.0)
        # Written so that NaN fails too.
        same = differences <= runtime.TOLERANCE
        shared, most = same.any(axis=0).sum(), max(len(got), len(expected))
        if min(shared, same.any(axis=1).sum()) < _SHARED * most:
            return f"{shared} of {len(expected)} boxes of image {number} are found among {len(got)}"
    return None


def _rows_of(outputs, number):
    """Boxes in lengths of the picture, scores and classes of an image, `(found, 6)`."""
    height, width = outputs[IMAGE_SIZE][number]
    boxes, scores, classes = (outputs[name][number, : outputs["num_detections"][number]] for name in _FOUND[:3])
    return np.concatenate([boxes / [height, width, height, width], scores[:, None], classes[:, None]], axis=1)


def _only_pictures(outputs, sizes):
    """Arrays, with zeros for the features of blocks in the padding, where they mean nothing."""
    outputs, stride = {name: np.array(value) for name, value in outputs.items()}, STRIDE
    for name in reversed(EXTRACTOR_BLOCKS):
        for features, (height, width) in zip(outputs.get(name, ()), -(-sizes // stride), strict=False):
            features[height:], features[:, width:] = 0.0, 0.0
        stride //= 2
    return outputs
