"""The networks that benchmarks of inference compare: plain ones, and adaptive ones whose halting is planted."""

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from arguments import TWINS
from planting import plant_halting, train_normalizations

import sact_tf
from sact_tf.sparse.onnx.network import write_network

NUM_CLASSES = 1001


class Networks:
    """The networks of one table, and the engines made of them, each made when it is first asked for.

    Args:
        name: ImageNet depth, or `cifar_5`, `cifar_18`.
        model_type: of the adaptive network, "sact" or "act".
        twin: bool, whether the network of keras.applications, if there is one, is among `runs`.
        beside_tensorflow: bool, whether the plain network in TensorFlow is among the runs of another runtime.
    """

    runtime = "tensorflow"

    def __init__(self, name, model_type="sact", twin=True, beside_tensorflow=False):
        self.name, self.model_type = name, model_type
        self.cifar = name.startswith("cifar")
        self.has_twin, self.beside_tensorflow = twin and name in TWINS, beside_tensorflow
        self._made = {}

    def network(self, kind):
        """The Keras model, "vanilla" or the model type of the adaptive one."""
        return self._once(("network", kind), lambda: self._make(kind))

    def forward(self, kind):
        """Function from images to the outputs of the plain model."""
        return self._once(("forward", kind), lambda: forward(self.network(kind)))

    def engine(self, kind):
        """The model, compiled."""
        return self._once(("engine", kind), lambda: sact_tf.sparse.compile(self.network(kind)))

    def adaptive_flops(self, images):
        """Mean FLOPs of the adaptive network's engine for these images."""
        return flops(self.network(self.model_type), self.engine(self.model_type)(images))

    def twin(self):
        """The network of keras.applications, without its classifier."""
        make = getattr(keras.applications, f"ResNet{self.name}V2")
        settings = {"weights": None, "include_top": False, "input_shape": (None, None, 3), "pooling": "avg"}
        return self._once("twin", lambda: forward(make(**settings)))

    def runs(self):
        """Dict from the rows of the table, all positions active, to functions that make their function of images."""
        rows = {
            "vanilla": lambda: self.forward("vanilla"),
            "keras.applications": self.twin,
            "vanilla, engine": lambda: self.engine("vanilla"),
            f"{self.model_type}, masked": lambda: self.forward(self.model_type),
            f"{self.model_type}, engine, all active": lambda: self.engine(self.model_type),
        }
        return {name: run for name, run in rows.items() if name != "keras.applications" or self.has_twin}

    def _once(self, key, make):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _make(self, kind):
        if self.cifar:
            model = sact_tf.cifar_resnet(self.name.split("_", 1)[1], kind, image_shape=(None, None, 3))
        else:
            model = sact_tf.imagenet_resnet(self.name, kind, NUM_CLASSES)
        train_normalizations(model)
        if kind != "vanilla":
            plant_halting(model)
        return model


class OnnxNetworks(Networks):
    """The same in ONNX Runtime."""

    runtime = "onnx"

    def forward(self, kind):
        return self._session(kind, "masked")

    def engine(self, kind):
        return self._session(kind, "sparse")

    def _session(self, *what):
        return self._once(what, lambda: session(self.written(*what)))

    def written(self, kind, engine):
        """The bytes of an ONNX file."""
        return write_network(self.network(kind), engine).SerializeToString()

    def runs(self):
        rows = {
            "vanilla": lambda: self.forward("vanilla"),
            "vanilla in TensorFlow": lambda: forward(self.network("vanilla")),
            f"{self.model_type}, masked": lambda: self.forward(self.model_type),
            f"{self.model_type}, engine, all active": lambda: self.engine(self.model_type),
        }
        return {name: run for name, run in rows.items() if "TensorFlow" not in name or self.beside_tensorflow}


RUNTIMES = {networks.runtime: networks for networks in (Networks, OnnxNetworks)}


def session(written):
    """Function from images, or a dict of inputs, to a dict of arrays, by ONNX Runtime, of the bytes of a file."""
    options = onnxruntime.SessionOptions()
    # Threads that wait for work by asking for it again and again take time from whatever else is timed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # As `sact_tf.sparse.compile` does.
    options.enable_mem_pattern = False
    run = onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in run.get_outputs()]

    def call(inputs):
        given = inputs if isinstance(inputs, dict) else {"images": inputs}
        given = {name: np.asarray(value) for name, value in given.items()}
        return dict(zip(names, run.run(None, given), strict=True))

    return call


def forward(network):
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
    return tf.function(lambda images: network(images, training=False), input_signature=signature)


def flops(model, outputs):
    if "flops" in outputs:
        return float(np.mean(outputs["flops"]))
    return float(np.mean(sact_tf.flops.count(model, outputs)["flops"]))
