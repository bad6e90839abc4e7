"""Where the blocks of any Keras model stand: the sizes of what enters them, and which outputs are theirs."""

import weakref

import keras
from keras import ops, tree

from sact_tf.layers import find_blocks
from sact_tf.layers.adaptive_block import run_blocks_by
from sact_tf.layers.checks import known_values
from sact_tf.layers.unit_rules import rule_of, takes

_WITHIN = "FLOPs may be counted within the model too, for images of any size: sact_tf.flops.BlockFlops(block)."
# Sizes that were found, by model, and by size of its images and names of its blocks.
_known = weakref.WeakKeyDictionary()


def follows_its_backbone(model):
    """Whether all blocks of a model are those of a `Backbone` of ours, which it is or has as `backbone`.

    Somebody's model may call anything else `backbone`, `stem` or `blocks`, or have blocks besides.
    """
    backbone = getattr(model, "backbone", model)
    if not getattr(backbone, "blocks_follow_stem", False):
        return False
    known = [id(block) for block in backbone.blocks.values()]
    return all(id(block) in known for block in find_blocks(model))


def built_blocks_of(model):
    """Dict from names to the built `AdaptiveBlock`s of a model, at every depth.

    Raises:
        ValueError: if there are none, or two share a name.
    """
    blocks = [block for block in find_blocks(model) if block.built]
    if not blocks:
        raise ValueError(f"FLOPs are counted of AdaptiveBlocks, and '{model.name}' has none that is built.")
    names = [block.name for block in blocks]
    if len(set(names)) < len(names):
        raise ValueError(
            f"The blocks of '{model.name}' must have different names, which their FLOPs are returned under. "
            f"Received: {names}. {_WITHIN}"
        )
    return dict(zip(names, blocks, strict=True))


def input_sizes(model, blocks, image_size, kept=()):
    """Dict from a block's name, in the order of execution, to `[height, width, times]`: what enters it for one image.

    `times` is how many such maps an image has: 1, or the frames of a sequence.

    Args:
        model: built Keras model of one input.
        blocks: dict from names to its blocks.
        image_size: `(height, width)`.
        kept: names of blocks of which it is known which units run.

    Raises:
        ValueError: if other blocks are called under a policy that leaves units out, or sizes cannot be known.
    """
    known = _known.setdefault(model, {})
    key = tuple(image_size), tuple(blocks)
    if key not in known:
        known[key] = _trace(model, blocks, key[0])
    sizes, lesioned = known[key]
    if set(lesioned) - set(kept):
        raise ValueError(
            f"'{model.name}' calls its blocks {lesioned} under a policy of sact_tf.depth, and its outputs do not say "
            "which of their units ran. Give `kept=policy.kept(model)`."
        )
    return sizes


def _trace(model, blocks, image_size):
    """Calls a model on one image without computing anything; its blocks note what enters them, and return zeros.

    Returns:
        `(sizes, lesioned)`: what `input_sizes` returns, and the names of the blocks that are called under a policy.
    """
    entered, lesioned, repeats = {}, [], _loops()

    def watch(name, block):
        def run(features, training=None):
            if _leaves_units_out(block):
                lesioned.append(name)
            times, height, width, _ = features.shape
            # In a loop nobody knows how often.
            entered.setdefault(name, []).append([height, width, None if repeats() else times])
            with run_blocks_by({}):  # by itself
                specs = block.compute_output_spec(keras.KerasTensor(features.shape, dtype=features.dtype))
            return {key: ops.zeros(spec.shape, spec.dtype) for key, spec in specs.items()}

        return run

    image = _one_image(model, blocks, image_size)
    with run_blocks_by({id(block): watch(name, block) for name, block in blocks.items()}):
        # Of the base class: that of a functional model may know its outputs without running anything.
        keras.Operation.compute_output_spec(model, image, **({"training": False} if takes(model, "training") else {}))
    for name in blocks:
        found = entered.get(name, [])
        if len(found) != 1 or None in found[0]:
            raise ValueError(
                f"Block '{name}' of '{model.name}' must run once, on features of a known size, for its FLOPs to be "
                f"counted afterwards. Received: sizes (height, width, times) {found}. {_WITHIN}"
            )
    return {name: found[0] for name, found in entered.items()}, lesioned


def _loops():
    """Returns a function that tells whether what TensorFlow traces at the moment is within a loop that began later."""
    if keras.backend.backend() != "tensorflow":
        return lambda: False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util_v2

    outside = tf.compat.v1.get_default_graph()

    def repeats():
        graph = tf.compat.v1.get_default_graph()
        while graph not in (None, outside):
            if control_flow_util_v2.in_while_loop_defun(graph):
                return True
            graph = getattr(graph, "outer_graph", None)
        return False

    return repeats


def _leaves_units_out(block):
    """Whether a rule holds for a block at the moment by which other units run than the first `num_units`."""
    rule = rule_of(block)
    if rule is None or rule.kept is None:
        return False
    return block.model_type == "vanilla" or rule.halting_distribution is None


def _one_image(model, blocks, image_size):
    """KerasTensor of what a model is called on, `(1, height, width, channels)`, or a sequence `(1, frames, ...)`."""
    shape = _shape_of_one_image(model, image_size)
    plain = [name for name, block in blocks.items() if block.model_type == "vanilla"]
    if None in shape[1:-3] and plain:
        raise ValueError(
            f"The sequences of '{model.name}' may have any number of frames, which the FLOPs of a block that does not "
            f"halt depend on. Give its input a number of frames. Received: the blocks {plain}. {_WITHIN}"
        )
    # A block that halts says itself how many frames there are.
    frames = [1 if number is None else number for number in shape[1:-3]]
    inputs = getattr(model, "inputs", None)
    return keras.KerasTensor((1, *frames, *shape[-3:]), dtype=inputs[0].dtype if inputs else "float32")


def _shape_of_one_image(model, image_size):
    inputs = getattr(model, "inputs", None)
    shapes = [tensor.shape for tensor in inputs] if inputs else [model.get_build_config().get("input_shape")]
    if len(shapes) != 1 or shapes[0] is None or len(shapes[0]) < 4:
        raise ValueError(
            f"FLOPs are counted of models of one input, images (batch, height, width, channels). Received: "
            f"'{model.name}' with the input shapes {shapes}. {_WITHIN}"
        )
    return (1, *shapes[0][1:-3], *image_size, shapes[0][-1])


def image_size_of(model, outputs, image_size=None):
    """`(height, width)` of a model's images as ints, from what is known of them."""
    inputs = getattr(model, "inputs", None)
    if image_size is None and inputs and len(inputs[0].shape) >= 4 and None not in inputs[0].shape[-3:-1]:
        image_size = inputs[0].shape[-3:-1]
    if image_size is None and "image_size" in outputs_by_name(outputs):
        sizes = known_values(outputs["image_size"])
        image_size = None if sizes is None else sizes[0]
    if image_size is None:
        raise ValueError(
            f"The images of '{model.name}' may be of any size, which FLOPs depend on. Give "
            f"`image_size=(height, width)` in pixels. {_WITHIN}"
        )
    return tuple(int(size) for size in image_size)


def num_units_of(model, blocks, outputs):
    """Dict from a block's name to its `num_units` among the outputs of a model; `None` for a block that never halts."""
    halting = {name: block for name, block in blocks.items() if block.model_type != "vanilla"}
    by_name, by_place = outputs_by_name(outputs), _by_place(model, halting, outputs)
    anonymous = [value for name, value in by_name.items() if name.rpartition("/")[2] == "num_units"]
    found = dict.fromkeys(blocks)
    for name in halting:
        named = [value for key, value in by_name.items() if f"/{key}".endswith(f"/{name}/num_units")]
        if len(named) == 1:
            [found[name]] = named
        elif name in by_place:
            found[name] = by_place[name]
        elif len(halting) == len(anonymous) == 1:
            [found[name]] = anonymous
        else:
            raise ValueError(
                f"FLOPs need the num_units of block '{name}' among the outputs of '{model.name}', as "
                f"'{name}/num_units' or as {{'{name}': {{'num_units': ...}}}}. Received outputs: {sorted(by_name)}"
            )
    return found


def outputs_by_name(outputs):
    """Dict from names to the tensors of outputs in any nesting: the keys that lead to one, joined by slashes."""
    return {"/".join(map(str, path)): value for path, value in tree.flatten_with_path(outputs)}


def _by_place(model, blocks, outputs):
    """Dict from names of blocks to the `num_units` that a functional model returns: those that the blocks have made."""
    made, given = tree.flatten(getattr(model, "output", ())), tree.flatten(outputs)
    found = {}
    for tensor, value in zip(made, given, strict=True) if len(made) == len(given) else ():
        operation, index = _maker_of(tensor)
        for name, block in blocks.items():
            # A wrapper, such as TimeDistributed, has it as its `layer`.
            if block in (operation, getattr(operation, "layer", None)) and _name_of_output(index) == "num_units":
                found[name] = value
    return found


def _maker_of(tensor):
    """The layer that made a KerasTensor, in whatever depth of functional models, and the index of that output."""
    operation, node, index = tensor._keras_history
    inner = getattr(operation, "outputs", None) if isinstance(operation, keras.Model) else None
    if inner and len(inner) == len(operation._inbound_nodes[node].output_tensors):
        return _maker_of(inner[index])
    return operation, index


def _name_of_output(index):
    """Name of the output of a halting block that Keras has at this index."""
    # Keras flattens a dict in the order of its keys.
    return sorted(("features", "halting_distribution", "num_units", "ponder_cost"))[index]
