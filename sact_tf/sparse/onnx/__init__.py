"""The engine as a graph of ONNX, which ONNX Runtime runs without TensorFlow, Keras and this package.

- `network`: a whole network; `blocks`, `rows`, `maps` and `halting` are its parts, `flops` its counts;
- `detector`: a detector; `pictures` (what of padded images is none), `proposals`, `crops` and `boxes` are its parts;
- `graph`: nodes and constants while they are written; `features`, `parts`, `sums`: what the writers share;
- `runtime`, `detector_runtime`: the network, or the detector, in ONNX Runtime, in this process, and the proof that a
  file gives the model's answers.

All of them write what `sact_tf.sparse.description` says of the blocks, as TensorFlow's runners do.
"""

import importlib

# The bounds of the extra, both of which were tried. Opset 18 came with ONNX 1.13 and ONNX Runtime 1.14; the former does
# not go with TensorFlow's protobuf before 1.14, the latter not with NumPy 2 before 1.19.
NEEDED = {"onnx": (1, 14), "onnxruntime": (1, 19)}


def check_arguments(image_shape, image_dtype, num_threads):
    """Raises ValueError for arguments of `sact_tf.sparse.compile` that ONNX Runtime does not take."""
    if num_threads is not None and (type(num_threads) is not int or not 1 <= num_threads < 2**31):
        raise ValueError(
            "`num_threads` must be None, for one for each core, or an int of at least 1 and at most 2**31 - 1. "
            f"Received: num_threads={num_threads!r}"
        )
    if image_shape is not None or image_dtype is not None:
        raise ValueError(
            "In ONNX Runtime a network takes float32 images of any size. Leave `image_shape` and `image_dtype` out; "
            f"`preprocess` is for pictures as bytes. Received: image_shape={image_shape}, image_dtype={image_dtype}"
        )


def check_detector_arguments(preprocess):
    """Raises ValueError for what of these a detector does not take."""
    if preprocess is not None:
        raise ValueError(
            "In ONNX Runtime a detector takes float32 images with their sizes. Leave `preprocess` out, and resize "
            f"pictures yourself. Received: preprocess={preprocess!r}"
        )


def check_installed():
    """Raises ValueError unless the packages of the extra `onnx` are there, and new enough."""
    for name, least in NEEDED.items():
        least_text = ".".join(map(str, least))
        try:
            version = importlib.import_module(name).__version__
        except ImportError as error:
            raise ValueError(
                f"ONNX files need the package {name}, from {least_text} on, which is not installed. It is in an extra: "
                "pip install 'sact_tf[onnx]', in a clone of the repository pip install -e '.[onnx]'."
            ) from error
        if tuple(map(int, version.split(".")[:2])) < least:
            raise ValueError(
                f"ONNX files need {name} from {least_text} on. Installed: {version}. Upgrade it: "
                "pip install --upgrade onnx onnxruntime"
            )
