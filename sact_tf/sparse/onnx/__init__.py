"""The engine as a graph of ONNX, which ONNX Runtime runs without TensorFlow, Keras and this package.

- `network`: a whole network; `blocks`, `rows`, `maps` and `halting` are its parts, `flops` its counts;
- `graph`: nodes and constants while they are written;
- `runtime`: the network in ONNX Runtime, in this process, and the proof that a file gives the model's answers.

All of them write what `sact_tf.sparse.description` says of the blocks, as TensorFlow's runners do.
"""
