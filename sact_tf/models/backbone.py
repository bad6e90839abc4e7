"""What the two networks share: a stem, adaptive blocks, and the flat dict of their outputs."""

import numbers

import keras
from keras import ops

from sact_tf.layers.adaptive_block import AdaptiveBlock
from sact_tf.layers.freezing import KeepsFrozenParts
from sact_tf.models.cloning import RefusesOtherLayers

# Key of the config: at which epsilon each block halts.
EPSILONS = "epsilons"
# Names of what goes into networks and comes out of them besides blocks; a block would take their place.
_TAKEN = ("images", "image_size", "logits", "predictions", "flops")


@keras.saving.register_keras_serializable(package="sact_tf")
class Backbone(RefusesOtherLayers, KeepsFrozenParts, keras.Model):
    """A stem followed by adaptive blocks: images to a flat dict of features and halting outputs.

    Maps float images `(batch, height, width, 3)`, any size from `minimum_size` on, to a dict that has, for each block:

    - `<block>`: features in the compute dtype `(batch, h, w, channels)`;
    - `<block>/ponder_cost` float32, `<block>/num_units` int32, `(batch,)` for ACT and `(batch, h, w)` for SACT, and
      `<block>/halting_distribution` float32 `(..., units)`; a `vanilla` network has none of these;

    and `image_size`, int32 `(batch, 2)`: height and width of the images in pixels, which FLOPs depend on.

    For other people's models: `pyramid_outputs` of the networks of this package is a dict from "P2", "P3" and so on,
    level n being 2**n times smaller than the images, to the KerasTensors of the blocks' features, as detectors and
    feature pyramids take it. With a `ponder_weight` the blocks add their ponder cost to the losses of whatever model
    they end up in. `Classifier` weighs the ponder cost by its `tau` instead.

    Args:
        stem: list of layers that come before the first block.
        blocks: dict from a block's name, which no other output and no input has, to its `AdaptiveBlock`, in the order
            of execution.
        image_shape: `(height, width, 3)`; `None` stands for any height or width.
        minimum_size: int, smallest height and width in pixels.
        dtype: dtype policy that stem and blocks were made with.

    `predict` returns the features too, which are what a backbone is for; over many images they take much memory.
    """

    # What FLOPs are counted by.
    blocks_follow_stem = True
    # Arguments of this class and of its subclasses.
    _settled = (
        "units",
        "model_type",
        "base_channels",
        "image_shape",
        "weight_decay",
        "final_survival_probability",
        "last_stride",
        "shortcuts",
        "stem_stride",
    )

    def __init__(self, stem, blocks, image_shape, minimum_size, dtype=None, **kwargs):
        _check_layers(stem, blocks)
        taken = [name for name in (*blocks, *(block.name for block in blocks.values())) if name in _TAKEN]
        if taken:
            raise ValueError(
                f"A block is an output under its name, and {_TAKEN} are inputs and outputs of their own. Give it "
                f"another name, such as 'block1'. Received: {taken[0]!r}"
            )
        images = keras.Input(check_image_shape(image_shape, minimum_size), name="images", dtype="float32")
        features = images
        for layer in stem:
            features = layer(features)
        outputs = {"image_size": ImageSize(name="image_size")(images)}
        for name, block in blocks.items():
            block_outputs = dict(block(features))
            features = outputs[name] = block_outputs.pop("features")
            outputs.update({f"{name}/{key}": value for key, value in block_outputs.items()})
        super().__init__(inputs=images, outputs=outputs, **kwargs)
        # Leaves the judgement of the images to `check_images`, whose errors name the way out.
        self.input_spec = None
        # A functional model takes no dtype: its layers have their own. It is kept for the config.
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self.stem = stem
        self.blocks = blocks
        self.image_shape = tuple(image_shape)
        self.minimum_size = minimum_size
        self._freeze_parts()

    def call(self, images, training=None, mask=None):
        images = images_of(images)
        check_images(images, self.minimum_size)
        return super().call(images, training=training, mask=mask)

    @classmethod
    def _takes_layers(cls):
        # A subclass makes them of arguments of its own.
        return cls.__init__ is Backbone.__init__

    @property
    def ponder_weight(self):
        """What the blocks weigh their ponder cost by: a float, `None`, or a dict by block where they differ."""
        weights = {name: block.ponder_weight for name, block in self.blocks.items()}
        first, *others = weights.values()
        return first if all(other == first for other in others) else weights

    @ponder_weight.setter
    def ponder_weight(self, ponder_weight):
        for name, weight in ponder_weight_of_blocks(ponder_weight, list(self.blocks)).items():
            self.blocks[name].ponder_weight = weight

    def get_config(self):
        # A constructor makes blocks of the method's epsilon, which may have been set to another since.
        epsilons = {name: block.own_epsilon for name, block in self.blocks.items()}
        config = {**super().get_config(), "image_shape": list(self.image_shape), EPSILONS: epsilons}
        if not self._takes_layers():
            return config
        return {
            **config,
            "stem": [keras.saving.serialize_keras_object(layer) for layer in self.stem],
            # Pairs: their order counts.
            "blocks": [[name, keras.saving.serialize_keras_object(block)] for name, block in self.blocks.items()],
            "minimum_size": self.minimum_size,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {**config, "dtype": keras.dtype_policies.deserialize(config["dtype"])}
        if cls._takes_layers():

            def made(layer):
                return keras.saving.deserialize_keras_object(layer, custom_objects)

            config["stem"] = [made(layer) for layer in config["stem"]]
            config["blocks"] = {name: made(block) for name, block in config["blocks"]}
        epsilons = config.pop(EPSILONS, {})  # Files from before it was kept have none.
        backbone = super().from_config(config)
        for name, epsilon in epsilons.items():
            backbone.blocks[name].epsilon = epsilon
        return backbone


@keras.saving.register_keras_serializable(package="sact_tf")
class ImageSize(keras.layers.Layer):
    """Height and width of images `(batch, height, width, channels)`, int32 `(batch, 2)`."""

    def call(self, images):
        batch, height, width, _ = ops.shape(images)
        size = ops.stack([ops.cast(height, "int32"), ops.cast(width, "int32")])
        return ops.broadcast_to(size[None], (batch, 2))


def ponder_weight_of_blocks(ponder_weight, names):
    """Returns a dict from each block's name to its ponder weight; `ponder_weight` is one for all, or such a dict."""
    if not isinstance(ponder_weight, dict):
        return dict.fromkeys(names, ponder_weight)
    if set(ponder_weight) != set(names):
        raise ValueError(
            f"`ponder_weight` must be a number, None, or a dict with one of them for each of {names}. "
            f"Received: ponder_weight={ponder_weight}"
        )
    return ponder_weight


def check_image_shape(image_shape, minimum_size):
    """Returns `image_shape` as a tuple if it is `(height, width, 3)` with sizes that are large enough or `None`."""
    shape = tuple(image_shape) if hasattr(image_shape, "__iter__") else ()

    def fits(size):
        return size is None or (isinstance(size, numbers.Integral) and size >= minimum_size)

    if len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        raise ValueError(
            "Images are channels last, (height, width, 3); channels_first is not supported, transpose the images. "
            f"Received: image_shape={shape}"
        )
    if len(shape) != 3 or shape[2] != 3 or not all(map(fits, shape[:2])):
        raise ValueError(
            f"`image_shape` must be (height, width, 3), height and width at least {minimum_size} or None for any. "
            f"Received: image_shape={shape or image_shape}"
        )
    return shape


def _check_layers(stem, blocks):
    """Raises ValueError unless these are lists and dicts of the layers that a backbone is made of."""
    if not isinstance(stem, (list, tuple)) or not all(isinstance(layer, keras.layers.Layer) for layer in stem):
        raise ValueError(f"`stem` must be a list of layers, [] for none. Received: stem={stem!r}")
    made_of = blocks.values() if isinstance(blocks, dict) else ()
    if not made_of or not all(isinstance(block, AdaptiveBlock) for block in made_of):
        raise ValueError(
            "`blocks` must be a dict from names to AdaptiveBlocks, of at least one, such as "
            f"{{'block1': sact_tf.AdaptiveBlock(...)}}. Received: blocks={blocks!r}"
        )


def images_of(inputs):
    """The tensor of images among what a model was called on: by itself, in a list of one, or as `{"images": ...}`.

    These are the forms in which Keras' functional models take a single input.
    """
    if hasattr(inputs, "shape"):
        return inputs
    named = isinstance(inputs, dict)
    values = list(inputs.values()) if named else inputs
    if len(values) == 1 and hasattr(values[0], "shape") and (not named or "images" in inputs):
        return values[0]
    received = f"a dict with the keys {sorted(inputs)}" if named else f"a list of {len(values)}"
    raise ValueError(
        "Images must be one tensor (batch, height, width, 3). Of a data set of dicts make pairs: data.map(lambda "
        f"example: (example['image'], example['label'])). Received: {received}"
    )


def check_images(images, minimum_size):
    """Raises ValueError unless `images` are floats `(batch, height, width, 3)` of a size the network can take."""
    # What only TensorFlow's ragged and sparse tensors have.
    if hasattr(images, "ragged_rank") or hasattr(images, "dense_shape"):
        raise ValueError(
            "Images must be one dense tensor (batch, height, width, 3), all of one size: resize them, or of a ragged "
            f"tensor make batches of images of one size. Received: a {type(images).__name__}"
        )
    if getattr(images.shape, "rank", 0) is None:
        raise ValueError(
            "Images must have the shape (batch, height, width, 3), and of these nothing is known; say it where they "
            "are made: images = tf.ensure_shape(images, (None, None, None, 3)), or the output_signature of "
            f"tf.data.Dataset.from_generator. Received: shape={images.shape}"
        )
    shape = tuple(images.shape)
    dtype = keras.backend.standardize_dtype(images.dtype)
    if not dtype.startswith(("float", "bfloat")):
        raise ValueError(
            "Images must be floating point, scaled as in training (the ImageNet networks take [-1, 1]); the values of "
            f"{dtype} images are far out of that range. Convert and scale them first. "
            f"Received: dtype={dtype}, shape={shape}"
        )
    if len(shape) == 4 and shape[1] == 3 and shape[3] not in (3, None):
        raise ValueError(
            "Images must be channels last, (batch, height, width, 3); channels_first is not supported, transpose them "
            f"with (0, 2, 3, 1). Received: shape={shape}"
        )
    if len(shape) != 4 or shape[3] not in (3, None):
        raise ValueError(
            f"Images must have the shape (batch, height, width, 3); one image needs a batch axis: image[None]. "
            f"Received: shape={shape}"
        )
    if any(size is not None and size < minimum_size for size in shape[1:3]):
        raise ValueError(
            f"Images must be at least {minimum_size} pixels high and wide, the stride of the whole network; enlarge "
            f"them. Received: shape={shape}"
        )
