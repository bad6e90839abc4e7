"""The inference engine: computes only the positions (or images) that have not halted, so that time falls with FLOPs.

`compile(model)` returns a function from images to what the model returns. It holds the weights as they are at that
moment, batch normalization folded into them. The rooms, from the outside in:

- `images`, `detector_input`: which images an engine takes, and what a detector is told with them;
- `blocks`: how a block is run; of everything else in a model, Keras' own code is run as it is;
- `rows`: the positions that are still computed, as rows of a matrix, with a drawn example;
- `units`, `branches`: residual units and halting branches on such rows, and on whole maps; `tensors` is their smallest
  parts;
- `memory`: what is given back to the system once an engine is there;
- `onnx`: the same as a graph of ONNX;
- `description`, `folding`: what a block is, with batch normalization folded into its kernels, once, when a model is
  compiled: plain figures, which know nothing of TensorFlow.
"""

import functools

import keras
import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from sact_tf.layers import find_blocks
from sact_tf.layers.adaptive_block import AdaptiveBlock, run_blocks_by
from sact_tf.layers.freezing import parts_of
from sact_tf.models import FasterRCNN
from sact_tf.sparse import memory, onnx
from sact_tf.sparse.blocks import make_runner
from sact_tf.sparse.detector_input import DetectorInput
from sact_tf.sparse.images import ImageInput

__all__ = ["Engine", "compile"]


RUNTIMES = ("tensorflow", "onnx")


def compile(
    model,
    image_shape=None,
    image_dtype=None,
    runtime="tensorflow",
    features=None,
    part=None,
    preprocess=None,
    num_threads=None,
):
    """Makes a fast function of a trained model.

    Args:
        model: built Keras model from images `(batch, height, width, channels)`, one of `sact_tf.imagenet_resnet` or
            `sact_tf.cifar_resnet` or any other that has `AdaptiveBlock`s of `BottleneckUnit`s or `BasicUnit`s; or a
            `sact_tf.faster_rcnn`, whose engine takes the inputs of the detector.
        image_shape: `(height, width, channels)` of the images, `None` for any height or width; by default that of the
            model's input, and for a subclassed model, which has none, and a detector, any size.
        image_dtype: dtype of the images; by default that of the model's input, such as "uint8" for a model that scales
            bytes by itself. A subclassed model has none: it is called on float32, or on integers as they come. That of
            a detector is float32.
        runtime: "tensorflow", or "onnx": ONNX Runtime, for networks and detectors of this package, of any image size,
            with the extra `sact_tf[onnx]`.
        features: bool, of ONNX Runtime alone: whether it returns the features of the blocks, and a network's
            `image_size`, too.
        part: of detectors in ONNX Runtime alone: "whole", the default, or "extractor", whose outputs have no boxes.
        preprocess: of ONNX Runtime alone, pair of a data set and a size in pixels, such as `("imagenet", 224)`: the
            function takes decoded pictures, uint8 `(batch, height, width, 3)`, and prepares them as evaluation does.
        num_threads: of ONNX Runtime alone: int, how many threads compute a call; by default one for each core. Few
            threads and several calls at once answer more images in a time than many threads and one call.

    Returns:
        `Engine`; for ONNX Runtime `onnx.runtime.OnnxEngine`, of a detector `onnx.detector_runtime.OnnxDetector`, which
        return NumPy arrays, FLOPs among them.

    Raises:
        ValueError: if the model is not built, has several inputs and is no detector of ours, has no `AdaptiveBlock`, or
            one with units or branches that the engine does not know; for ONNX Runtime, if it is not of this package;
            inside of a `tf.function`.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"`runtime` must be one of {RUNTIMES}. Received: runtime={runtime!r}")
    if not tf.executing_eagerly():
        raise ValueError(
            "An engine is made of the values of a model's weights, which there are none of inside of a tf.function, or "
            "of what Keras or tf.data traces. Compile it before, and call it there."
        )
    is_detector = isinstance(model, FasterRCNN)
    if part is not None and not (is_detector and runtime == "onnx"):
        raise ValueError(
            "Detectors in ONNX Runtime have parts that can be asked for, others are compiled as a whole. Leave `part` "
            f"out. Received: part={part!r}, runtime={runtime!r}, model '{model.name}', a {type(model).__name__}"
        )
    if runtime == "tensorflow":
        _refuse_those_of_onnx(features, preprocess, num_threads)
        return Engine(model, image_shape, image_dtype)
    onnx.check_arguments(image_shape, image_dtype, num_threads)
    onnx.check_installed()
    if is_detector:
        onnx.check_detector_arguments(preprocess)
        from sact_tf.sparse.onnx.detector_runtime import OnnxDetector

        return OnnxDetector(model, bool(features), "whole" if part is None else part, num_threads)
    from sact_tf.sparse.onnx.runtime import OnnxEngine

    return OnnxEngine(model, bool(features), preprocess, num_threads)


def _refuse_those_of_onnx(features, preprocess, num_threads):
    """Raises ValueError for arguments of `compile` that TensorFlow's engine would do nothing with."""
    if features is not None:
        raise ValueError("TensorFlow's engine returns the features always. Leave `features` out.")
    if preprocess is not None:
        raise ValueError(
            "TensorFlow's engine takes images as the model does. Leave `preprocess` out, or give runtime='onnx'. "
            f"Received: preprocess={preprocess!r}"
        )
    if num_threads is not None:
        raise ValueError(
            "TensorFlow's threads are those of the process: tf.config.threading.set_intra_op_parallelism_threads, "
            f"before anything is computed. Leave `num_threads` out. Received: num_threads={num_threads!r}"
        )


class Engine(tf.Module):
    """Images to what the model returns, in inference; all blocks compute in float32.

    It takes what the model takes: images of any floating point dtype where the model's input has one, integers where
    the model does, too. It runs in TensorFlow outside of XLA, which would compute what has halted too. It never
    changes, so a copy of it is the engine itself; for another process save it, see `sact_tf.export`.

    Attributes:
        serve: the `tf.function` that it calls, for images of the model's input dtype (of `image_dtype`; else float32),
            of a detector for a dict of `images` and `image_size`; a SavedModel of the engine has it too.
    """

    def __init__(self, model, image_shape=None, image_dtype=None):
        super().__init__(name="engine")
        blocks = find_blocks(model)
        if isinstance(model, AdaptiveBlock):
            raise ValueError(
                "The engine is for models that have AdaptiveBlocks. Make one of the block: "
                f"keras.Model(inputs, block(inputs)). Received: block '{model.name}'"
            )
        if not blocks:
            raise ValueError(f"The engine speeds up AdaptiveBlocks, and '{model.name}' has none.")
        kind_of_input = DetectorInput if isinstance(model, FasterRCNN) else ImageInput
        self._input = kind_of_input(model, image_shape, image_dtype)
        runners = {id(block): make_runner(block) for block in blocks if block.built}
        read = _read_outside(model, blocks)
        values = [(variable, tf.constant(variable.numpy())) for variable in model.variables if id(variable) in read]

        @functools.cache
        def function_of(kind):
            def run(inputs):
                if tf.executing_eagerly():
                    # `tf.config.run_functions_eagerly` is set; but only a graph says which outputs are of images.
                    return function.get_concrete_function()(inputs)
                with keras.StatelessScope(state_mapping=values), run_blocks_by(runners):
                    return _without_empty_batches(functools.partial(model, training=False), inputs)

            function = tf.function(run, input_signature=[self._input.signature(kind)], autograph=False)
            return function

        self._function_of, self._run_before = function_of, 0
        self.serve = function_of(self._input.kind)
        self.serve.get_concrete_function()

    def __call__(self, inputs):
        _refuse_xla()
        outputs = self._input.run(self._function_of, inputs)
        functions = self._function_of.cache_info().currsize
        if functions > self._run_before and tf.executing_eagerly():
            # Its first run has left what TensorFlow optimized its graph with.
            self._run_before = functions
            memory.give_back()
        return outputs

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "An Engine is a graph of TensorFlow, which cannot be pickled. Save it with sact_tf.export or "
            "tf.saved_model.save(engine, directory), or save the model and call sact_tf.sparse.compile on it again "
            "where the engine is needed."
        )


def _read_outside(model, blocks):
    """Ids of the variables of a model that it reads outside of its blocks; a part of a block may be used there too."""
    inside = {id(variable) for block in blocks for variable in block.variables}
    read = {id(variable) for variable in model.variables} - inside

    def look_into(layer):
        for part in layer._layers:
            if not any(part is block for block in blocks):
                yield part
                yield from look_into(part)

    parts = {id(part) for block in blocks for _, part, _ in parts_of(block)}
    shared = [part for part in look_into(model) if id(part) in parts]
    return read | {id(variable) for part in shared for variable in part.variables}


def _refuse_xla():
    if control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        raise ValueError(
            "The engine gathers the positions that have not halted. How many there are is known only when it runs, and "
            "XLA, which needs all shapes beforehand, would compute every position. Call the engine outside of "
            "tf.function(jit_compile=True); in a Keras model, compile(jit_compile=False); under XLA or on a TPU, call "
            "the model itself."
        )


def _without_empty_batches(function, inputs):
    """`function(inputs)`, for no image at all too: then it is computed for a blank one, of which nothing is returned.

    TensorFlow's convolutions answer an empty batch in the shape of what entered them where oneDNN runs them, as it does
    by itself on processors with AVX-512.
    """
    shape = tf.shape(inputs["images"] if isinstance(inputs, dict) else inputs)
    empty = tf.equal(shape[0], 0)

    def blank(each):
        # The size of a detector's picture, of two axes, is that of the whole blank image.
        return tf.zeros(tf.concat([[1], shape[1:]], 0), each.dtype) if each.shape.rank == 4 else shape[None, 1:3]

    outputs = function(tf.cond(empty, lambda: tf.nest.map_structure(blank, inputs), lambda: inputs))

    # A slice that ends behind the end is all of it.
    end = tf.where(empty, 0, tf.int32.max)

    def cut(value):
        # What is no tensor, or has no axis of unknown length, is not about images.
        if not tf.is_tensor(value) or value.shape.rank == 0 or value.shape[0] is not None:
            return value
        return value[:end]

    return tf.nest.map_structure(cut, outputs)
