"""Networks in ONNX Runtime: as functions of this process, and the proof that a file gives the model's answers."""

import numpy as np
import onnxruntime
import tensorflow as tf

from sact_tf import flops
from sact_tf.data.preprocessing import evaluation_image
from sact_tf.data.whole_files import write_atomically
from sact_tf.sparse import memory
from sact_tf.sparse.images import ImageInput
from sact_tf.sparse.onnx import preprocessing
from sact_tf.sparse.onnx.network import IMAGES, write_network

# How far answers may be apart, as a part of an array's largest value. Another order of summation changes a hundredth
# of that; a mistake changes more.
TOLERANCE = 1e-3
# Draws of images of which one has to agree: where a sum of probabilities is next to its threshold, rounding decides.
_DRAWS = 3


class InOnnxRuntime:
    """What engines in ONNX Runtime share: they never change, so a copy is the engine itself, and a file says it all.

    Attributes:
        model: the `onnx.ModelProto`.
    """

    def save(self, path):
        """Writes the `.onnx` file, which has its name only once it is whole."""
        write_atomically(path, [self.model.SerializeToString()])

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "An engine in ONNX Runtime cannot be pickled. Write it with engine.save(path), and read that in the other "
            "process: onnxruntime.InferenceSession(path)."
        )


def array_of(tensor):
    """A tensor's values; ValueError inside of a `tf.function`, where there are none yet."""
    if tf.is_symbolic_tensor(tensor):
        raise ValueError(
            "ONNX Runtime computes beside TensorFlow, on values that are there, and inside of a tf.function, or of "
            "what tf.data maps, there are none yet. Call the engine outside of it, or make TensorFlow's: "
            f"sact_tf.sparse.compile(model). Received: {tensor}"
        )
    return np.asarray(tensor)


class OnnxEngine(InOnnxRuntime):
    """Images to the flat dict of a network's outputs with FLOPs, as NumPy arrays, by ONNX Runtime on the CPU.

    It never changes, and several threads may call it.

    Args:
        model: built `Classifier` or `Backbone`.
        features: bool, whether the features of the blocks are among the outputs.
        preprocess: `preprocessing.Preprocessing` or a pair of its parts, for an engine that takes pictures as bytes;
            `None` for one that takes what the network takes.
        num_threads: int, how many threads compute a call; `None` for one for each core.

    Attributes:
        model: the `onnx.ModelProto`.

    Raises:
        ValueError: for another model or preprocessing; see `network.write_network` and `preprocessing.check`.
    """

    def __init__(self, model, features=False, preprocess=None, num_threads=None):
        preprocess = None if preprocess is None else preprocessing.check(preprocess)
        self.model = write_network(model, features=features, preprocessing=preprocess)
        self._convert = _checked_bytes if preprocess else _converter(model)
        self._run = runner(self.model.SerializeToString(), num_threads)

    def __call__(self, images):
        return self._run({IMAGES: self._convert(images)})


def _converter(model):
    """Function from images to an array that the network takes, which refuses others."""
    taken = ImageInput(model, (None, None, 3))
    return lambda images: array_of(taken.convert(images)[0])


def _checked_bytes(pictures):
    pictures = array_of(pictures)
    if pictures.dtype != "uint8" or pictures.ndim != 4 or pictures.shape[-1] != 3 or 0 in pictures.shape[1:]:
        one = "; one picture needs a batch axis: picture[None]" if pictures.ndim == 3 else ""
        raise ValueError(
            "An engine with `preprocess` takes pictures as they are decoded, uint8 (batch, height, width, 3), at least "
            f"1 pixel high and wide{one}. Received: dtype={pictures.dtype}, shape={pictures.shape}"
        )
    return pictures


def check_file(path, model, preprocess=None):
    """Raises ValueError unless a file gives the answers of the model it was written of.

    Args:
        path: of the `.onnx` file.
        model: `Classifier` or `Backbone`.
        preprocess: `preprocessing.Preprocessing` of the file, or `None`.
    """
    run = runner(path)

    def compare(generator):
        taken, images = _draw(generator, model, preprocess)
        expected = dict(model(images, training=False))
        return difference(run({IMAGES: taken}), {**expected, **flops.count(model, expected)})

    agree(compare)


def agree(compare):
    """Raises ValueError unless a file agrees with its model on one of several draws of images.

    Args:
        compare: function from a NumPy generator to what differs, as text, or `None`.
    """
    differences = []
    for seed in range(_DRAWS):
        differs = compare(np.random.default_rng(seed))
        if differs is None:
            return
        differences.append(differs)
    raise ValueError(
        f"ONNX Runtime {onnxruntime.__version__} gives other answers than the model: {'; '.join(differences)}. "
        "Nothing was written. With another version of onnxruntime it may agree; else please report it, and use a "
        "SavedModel meanwhile."
    )


def _draw(generator, model, preprocess):
    """Images that a file takes, and the same as the model takes them."""
    if preprocess is None:
        least = getattr(model, "backbone", model).minimum_size
        shape = (2, max(2 * least, 16), max(3 * least, 24) - 1, 3)
        images = generator.uniform(-1, 1, shape).astype("float32")
        return images, images
    # Pictures that are enlarged along one axis and reduced along the other.
    size = preprocess.image_size
    pictures = generator.integers(0, 256, (2, size + size // 3 + 1, size // 2 + 1, 3), "uint8")
    return pictures, np.stack([evaluation_image(picture, *preprocess) for picture in pictures])


def difference(ours, theirs):
    """What differs between two dicts of outputs, as text, or `None`; what only the second has is not looked at."""
    for name, got in ours.items():
        expected = np.asarray(theirs[name])
        if got.shape != expected.shape or got.dtype != expected.dtype:
            return f"{name} is {got.dtype} {got.shape}, not {expected.dtype} {expected.shape}"
        if expected.dtype.kind == "i" and not np.array_equal(got, expected):
            return f"{name} differs in {np.count_nonzero(got != expected)} of {expected.size} places"
        # Written so that NaN fails too.
        largest = np.abs(expected).max(initial=0.0)
        if expected.dtype.kind == "f" and not np.abs(got - expected).max(initial=0.0) <= TOLERANCE * largest:
            return f"{name} differs by {np.abs(got - expected).max():.2g}, where the largest value is {largest:.2g}"
    return None


def runner(model, num_threads=None):
    """Function from a dict of inputs to one of outputs, of a file's path or its bytes; threads as of `OnnxEngine`."""
    if not isinstance(model, bytes):
        # ONNX Runtime opens no path that is not UTF-8.
        with open(model, "rb") as file:
            model = file.read()
    options = onnxruntime.SessionOptions()
    # What it plans for the second batch of a size lies beside the memory of the first: up to twice as much, no faster.
    options.enable_mem_pattern = False
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} cannot read the network: {error}. It was tried with 1.19 to 1.32."
        ) from error
    memory.give_back()
    names = [output.name for output in session.get_outputs()]

    def run(inputs):
        # From 1.19 to 1.22 at least, what goes through as it is comes back in the caller's memory, which may be gone.
        outputs = zip(names, session.run(None, inputs), strict=True)
        return {name: value.copy() if name in inputs else value for name, value in outputs}

    return run
