"""A network of this package as one graph of ONNX: images to the flat dict of the model, with FLOPs."""

import numbers

import keras
import numpy as np

from sact_tf.flops.costs import BlockCosts
from sact_tf.layers import AdaptiveBlock, BottleneckUnit
from sact_tf.models import Backbone, Classifier
from sact_tf.sparse.description import describe
from sact_tf.sparse.folding import Linear, Normalization
from sact_tf.sparse.onnx import flops, maps
from sact_tf.sparse.onnx.blocks import write_block
from sact_tf.sparse.onnx.features import Features, Size
from sact_tf.sparse.onnx.graph import FLOAT, INT32, INT64, UINT8, Graph
from sact_tf.sparse.onnx.parts import squeeze, stop_where
from sact_tf.sparse.onnx.pictures import blank_unless_finite, nan_unless
from sact_tf.sparse.onnx.preprocessing import write_preprocessing
from sact_tf.sparse.onnx.turns import in_turns
from sact_tf.version import __version__

IMAGES = "images"


def write_network(model, engine="sparse", features=False, preprocessing=None):
    """Returns a network as a checked `onnx.ModelProto`.

    Its input `images` is float32 `(batch, height, width, 3)` as the network takes them, of any batch, height and width;
    with `preprocessing` it is uint8, pictures of which the graph makes what the network takes.
    Its outputs have the names, types and shapes of the model's, and `flops` and `<block>/flops`, int64 `(batch,)`.

    Args:
        model: built `Classifier` or `Backbone`.
        engine: "sparse" computes active positions only, "masked" all of them.
        features: bool, whether the features of each block are among the outputs, `(batch, height, width, channels)`.
        preprocessing: `preprocessing.Preprocessing`, or `None` for none.

    Raises:
        ValueError: for another model, or parts of one that are not known.
    """
    _check(model)
    return Writer(model, engine, features, preprocessing).write()


class Writer:
    """One network while it is written.

    Attributes:
        outputs: dict from the names of outputs to triples: name in the graph, type, shape.
    """

    def __init__(self, model, engine, features, preprocessing=None):
        self.model, self.engine, self.features, self.preprocessing = model, engine, features, preprocessing
        self.backbone = getattr(model, "backbone", model)
        self.graph, self.outputs = Graph(), {}

    def write(self):
        graph = self.graph
        images = self._checked_images() if self.preprocessing is None else self._prepared_images()
        self._note_outputs(images)
        if self.model is self.backbone or self.features:
            size = graph.cast(graph.op("Shape", images, start=1, end=3), INT32)
            shape = graph.op("Concat", graph.size(images, 0), graph.ints([2]), axis=0)
            self.outputs["image_size"] = (graph.op("Expand", size, shape), INT32, ("batch", 2))
        taken = (FLOAT if self.preprocessing is None else UINT8, ("batch", "height", "width", 3))
        return graph.model("sact_tf", {IMAGES: taken}, self.outputs, self._metadata())

    def _note_outputs(self, *given):
        """Notes what the network says of a batch, in turns where that gains; `given` is what `_network` takes."""
        if not self._gains_from_turns:
            self._network(*given)
            return

        def of_some(inner, *some):
            self.graph = inner
            self._network(*some)
            return [output[:2] for output in self.outputs.values()]

        graph = self.graph
        names, self.graph = in_turns(graph, given, of_some), graph
        parts = zip(names, self.outputs.items(), strict=True)
        self.outputs = {output: (name, kind, shape) for name, (output, (_, kind, shape)) in parts}

    @property
    def _gains_from_turns(self):
        """Whether rows of positions are gathered; else a file without a loop is read by more runtimes."""
        blocks = self.backbone.blocks.values()
        gathers = (block.model_type == "sact" and isinstance(block.units[0], BottleneckUnit) for block in blocks)
        return self.engine == "sparse" and any(gathers)

    def _network(self, images):
        """Notes what the network says of images."""
        graph = self.graph
        batch, *sizes = (graph.size(images, axis) for axis in range(3))
        if self._may_be_anything:
            images, self.finite = blank_unless_finite(graph, images)
        images = Features(graph.op("Transpose", images, perm=[0, 3, 1, 2]), Size(batch, *sizes), 3)
        features, _ = self._stem(images)
        total = graph.op("Expand", self.stem_flops, batch)
        for name, block in self.backbone.blocks.items():
            features, of_block = self._block(name, block, features)
            total = graph.op("Add", total, of_block)
        if self.model is not self.backbone:
            self._head(features)
        self.outputs["flops"] = (total, INT64, ("batch",))

    @property
    def _may_be_anything(self):
        """Whether there may be NaN in the images, and logits to tell it by."""
        return self.preprocessing is None and self.model is not self.backbone

    def _metadata(self):
        prepared = {} if self.preprocessing is None else self.preprocessing._asdict()
        facts = {"sact_tf": __version__, "engine": self.engine, "network": self.model.name, **prepared}
        return {name: str(value) for name, value in facts.items()}

    def _prepared_images(self):
        """What the graph makes of pictures."""
        size, least = self.preprocessing.image_size, self.backbone.minimum_size
        if size < least:
            raise ValueError(
                f"`image_size`, to which the graph brings pictures, must be at least {least} for this network. "
                f"Received: image_size={size}"
            )
        return write_preprocessing(self.graph, IMAGES, self.preprocessing)

    def _checked_images(self):
        """The images; a runtime stops with the name of a node where they are too small, or none."""
        graph, least = self.graph, self.backbone.minimum_size
        shape = graph.op("Shape", IMAGES)
        smallest = graph.op("ReduceMin", graph.slice(shape, 1, 3, axis=0), keepdims=1)
        small = graph.op("Less", smallest, graph.ints([least]))
        nothing = stop_where(graph, small, f"images must be at least {least} pixels high and wide")
        return graph.op("Reshape", IMAGES, graph.op("Add", shape, nothing))

    def _stem(self, features, picture=None):
        """Features after the stem, and their `Picture` if images are padded; 0 is where they are."""
        graph, pads, layers = self.graph, 0, []
        for layer in self.backbone.stem:
            if _computes_as(layer, keras.layers.ZeroPadding2D):
                before, (pads, *others) = pads, np.ravel(layer.padding)
                if before or set(others) != {pads} or layer is self.backbone.stem[-1]:
                    raise _unknown(layer)
            elif _computes_as(layer, keras.layers.Conv2D):
                features = self._stem_convolution(features, layer, pads)
                picture = picture and picture.after(graph, layer.strides[0])
                layers.append((layer.kernel.shape, picture or features.size))
                pads = 0
            elif _computes_as(layer, keras.layers.MaxPooling2D) and layer.padding == "same" and not pads:
                window, strides = list(layer.pool_size), list(layer.strides)
                if len(set(strides)) > 1 or min(window) < strides[0]:
                    raise _unknown(layer)
                value = features.value
                if picture is not None:
                    # As at a border.
                    value = graph.op("Where", picture.inside, value, graph.floats(np.finfo("float32").min))
                pooled = graph.op("MaxPool", value, kernel_shape=window, strides=strides, auto_pad="SAME_UPPER")
                features = Features(pooled, features.size.after(graph, strides[0]), features.channels)
                picture = picture and picture.after(graph, strides[0])
            else:
                raise _unknown(layer)
        convolutions = self.model.head_convolutions() if hasattr(self.model, "head_convolutions") else ()
        fixed = sum(flops.cost(kernel_shape) for kernel_shape in convolutions)
        self.stem_flops = flops.count_stem(graph, layers, fixed)
        return features, picture

    def _stem_convolution(self, features, layer, pads):
        stride = layer.strides[0]
        alike = len(set(layer.strides)) == len(set(layer.kernel_size)) == 1
        simple = alike and layer.dilation_rate == (1, 1) and layer.groups == 1
        # What pads by hand keeps as many positions as what pads by itself, as sizes are computed here.
        kept = pads == layer.kernel_size[0] // 2 if layer.padding == "valid" else not pads
        if not simple or layer.activation is not keras.activations.linear or not kept or layer.kernel_size[0] % 2 == 0:
            raise _unknown(layer)
        value = maps.convolve(self.graph, features.value, Linear.of(layer), stride, pads or None)
        return Features(value, features.size.after(self.graph, stride), layer.filters)

    def _block(self, name, block, before, picture=None):
        """Features after a block, and its FLOPs; its outputs are noted. `picture` is that of `before`, if padded."""
        graph, description = self.graph, describe_known(block)
        if not isinstance(description.epsilon, numbers.Real):
            raise ValueError(
                "An ONNX file holds one epsilon, and `halting_at` was given a variable or a tensor, whose value may "
                f"change. Give it a number. Received: {description.epsilon}"
            )
        outcome = write_block(graph, before, description, self.engine, picture)
        features, num_units = outcome["features"], outcome.get("num_units")
        sizes = before.size, features.size
        if picture is not None:
            sizes = picture, picture.after(graph, description.units[0].stride)
        count = flops.count_block(graph, BlockCosts.of(block), *sizes, num_units)
        place = ("batch", f"{name}/height", f"{name}/width") if block.model_type == "sact" else ("batch",)
        if self.features:
            shape = ("batch", f"{name}/height", f"{name}/width", features.channels)
            self.outputs[name] = (features.channels_last(graph), FLOAT, shape)
        if num_units is not None:
            self.outputs[f"{name}/ponder_cost"] = (outcome["ponder_cost"], FLOAT, place)
            self.outputs[f"{name}/num_units"] = (num_units, INT32, place)
            distribution = (outcome["halting_distribution"], FLOAT, (*place, len(block.units)))
            self.outputs[f"{name}/halting_distribution"] = distribution
        self.outputs[f"{name}/flops"] = (count, INT64, ("batch",))
        return features, count

    def _head(self, features):
        graph, model = self.graph, self.model
        normalization, features = Normalization.of(model.postnorm), features.as_maps(graph)
        if model.pool_first:
            features = graph.op("GlobalAveragePool", features)
        features = maps.activate(graph, maps.normalize(graph, features, normalization), model.activation)
        if not model.pool_first:
            features = graph.op("GlobalAveragePool", features)
        kernel, bias = Linear.of(model.logits_conv)
        logits = maps.product(graph, squeeze(graph, features, [maps.HEIGHT, maps.WIDTH]), kernel[0, 0], bias)
        if self._may_be_anything:
            logits = nan_unless(graph, self.finite, logits, 2)
        shape = ("batch", model.num_classes)
        self.outputs["logits"] = (logits, FLOAT, shape)
        self.outputs["predictions"] = (graph.op("Softmax", logits, axis=-1), FLOAT, shape)


def _check(model):
    backbone = getattr(model, "backbone", model)
    if not any(_computes_as(model, kind) for kind in (Classifier, Backbone)) or not _computes_as(backbone, Backbone):
        name = f"'{model.name}', " if isinstance(model, keras.layers.Layer) else ""
        of_backbone = "" if backbone is model else f" of a {type(backbone).__name__}"
        raise ValueError(
            "ONNX files are written of the networks of this package: sact_tf.imagenet_resnet, sact_tf.cifar_resnet, "
            "their backbones, and sact_tf.faster_rcnn. Other layers around the blocks are Keras' own, which this "
            "package does not translate: give the network inside, such as model.backbone, or write a SavedModel, by "
            "tf.saved_model.save of sact_tf.sparse.compile(model), or where units or halting branches are your own by "
            f"model.export. Received: {name}a {type(model).__name__}{of_backbone}"
        )
    check_weights(model)


def describe_known(block):
    """The `Description` of a block; raises ValueError for one that computes in its own way, besides as `describe`."""
    if not _computes_as(block, AdaptiveBlock):
        raise ValueError(
            "ONNX files are written of AdaptiveBlocks as they are. Use sact_tf.sparse.compile(model), in TensorFlow. "
            f"Received: '{block.name}', a {type(block).__name__} with its own call"
        )
    return describe(block)


def check_weights(model):
    """Raises ValueError for a model without weights, or one that computes in another precision than float32."""
    if not model.built:
        raise ValueError(f"The model '{model.name}' is not built, so it has no weights. Call it on images first.")
    dtypes = {layer.compute_dtype for layer in model._flatten_layers() if isinstance(layer, keras.layers.Conv2D)}
    if dtypes != {"float32"}:
        raise ValueError(
            "An ONNX file computes in float32, and its answers would not be those of a network in other precision. "
            "Make the network with dtype='float32' and load the same weights, which are float32 anyway. Received: "
            f"'{model.name}' in {', '.join(sorted(dtypes))}"
        )


def _computes_as(layer, kind):
    """Whether it is a layer, or model, of a class; a subclass may compute something else."""
    return isinstance(layer, kind) and type(layer).call is kind.call


def _unknown(layer):
    return ValueError(
        "ONNX files are written of stems as those of this package: ZeroPadding2D of all sides alike before a Conv2D "
        "that keeps the size, Conv2D with a square kernel of odd size and without activation, MaxPooling2D with "
        "padding='same' and no larger strides than its window. Use sact_tf.sparse.compile(model), in TensorFlow. "
        f"Received: {type(layer).__name__} '{layer.name}' with {layer.get_config()}"
    )
