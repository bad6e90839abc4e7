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
