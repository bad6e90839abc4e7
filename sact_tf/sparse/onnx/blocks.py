"""How a graph of ONNX runs a block: whole maps, images that leave when they halt, or single positions (`rows`).

A writer is a function of a `Graph`, `Features` and a `Description`. It returns a dict of `features`, which are
`Features`, and of a block that halts the names of `ponder_cost`, `num_units` and `halting_distribution` in the shapes
of `AdaptiveBlock`.
"""

from typing import NamedTuple

import numpy as np

from sact_tf.sparse.folding import Bottleneck
from sact_tf.sparse.onnx import halting, maps
from sact_tf.sparse.onnx.features import Features
from sact_tf.sparse.onnx.graph import FLOAT
from sact_tf.sparse.onnx.parts import add_at, indices_of, squeeze
from sact_tf.sparse.onnx.rows import write_positions
from sact_tf.sparse.onnx.sums import Sum


def write_block(graph, features, description, engine, picture=None):
    """Writes a block; see the module.

    Args:
        graph: `Graph`.
        features: `Features`.
        description: `Description`.
        engine: "sparse" computes what is active, "masked" all of it until nothing is.
        picture: `Picture` of the features where they are padded, of which nothing is read and which has no units; of
            blocks of `folding.Bottleneck`s.
    """
    if picture is not None and not all(isinstance(unit, Bottleneck) for unit in description.units):
        raise ValueError(
            "ONNX files of networks for padded images are written of blocks of BottleneckUnits. Received: block "
            f"'{description.name}' with others. Export the network as a SavedModel."
        )
    if description.model_type == "vanilla":
        return _write_vanilla(graph, features, description, picture)
    if engine == "masked":
        return _write_masked(graph, features, description, picture)
    if description.model_type != "sact":
        return _write_images(graph, features, description, picture)
    # Units without a narrow part gain nothing on rows.
    on_rows = description.has_linear_branches and isinstance(description.units[0], Bottleneck)
    return (write_positions if on_rows else _write_masked)(graph, features, description, picture)


def _write_vanilla(graph, features, description, picture):
    value = features.as_maps(graph)
    for unit in description.units:
        value = maps.after_unit(graph, value, unit, picture)
        picture = picture and picture.after(graph, unit.stride)
    return {"features": _after(graph, features, value, description)}


def _after(graph, features, value, description):
    """`Features` of maps that left a block, given those that entered it."""
    size = features.size
    for unit in description.units:
        size = size.after(graph, unit.stride)
    last = description.units[-1]
    return Features(value, size, (last.expand if isinstance(last, Bottleneck) else last.second).bias.size)


def _write_masked(graph, features, description, picture):
    """Whole maps; the state is `(batch, 1, height, width)` for `sact`, else `(batch, 1, 1, 1)`."""
    spatial = description.model_type == "sact"
    entering = features
    features = output = maps.after_unit(graph, entering.as_maps(graph), description.units[0], picture)
    size, picture = _after_stride(graph, entering.size, picture, description)
    one = graph.ints([1])
    shape = graph.op("Concat", size.batch, one, *(size[1:] if spatial else [one, one]), axis=0)
    state = halting.initial_state(graph, shape, picture.inside if picture and spatial else None)
    logit = _logit_of_maps(graph, features, description.branches[:1], picture)
    state = _advance(graph, state, logit, description)
    for index, unit in enumerate(description.units[1:], 1):
        features, output, logit = _masked_unit(
            graph,
            features,
            output,
            state,
            shape,
            unit,
            description.branches[index : index + 1],
            description.epsilon,
            picture,
        )
        state = _advance(graph, state, logit, description)
    axes = [1] if spatial else [1, 2, 3]
    left = _after(graph, entering, output, description)
    return {"features": left, **halting.outcome(graph, state, lambda value: squeeze(graph, value, axes))}


def _after_stride(graph, size, picture, description):
    """Size and picture after a block's first unit."""
    stride = description.units[0].stride
    return size.after(graph, stride), picture and picture.after(graph, stride)


def _masked_unit(graph, features, output, state, shape, unit, branch, epsilon, picture):
    """`(features, output, logit)` after a unit, which is left out where nothing is active; logit `None` of the last."""
    active = halting.is_active(graph, state, epsilon)
    left = halting.remainder(graph, state)

    def run(inner):
        added = maps.residual(inner, maps.enter(inner, features, unit), unit, picture)
        # A choice, not a product: nan * 0 would leak.
        added = inner.op("Where", active, added, inner.floats(0.0))
        after = inner.op("Add", features, added)
        results = [after, inner.op("Add", output, inner.op("Mul", added, left))]
        return results + ([_logit_of_maps(inner, after, branch, picture)] if branch else [])

    def skip(inner):
        return [features, output, *([inner.op("Expand", inner.floats(0.0), shape)] if branch else [])]

    somebody = graph.op("ReduceMax", graph.cast(active, FLOAT), keepdims=0)
    results = graph.choose(graph.op("Greater", somebody, graph.floats(0.0)), run, skip, [FLOAT] * (2 + len(branch)))
    return results if branch else [*results, None]


def _logit_of_maps(graph, features, branches, picture):
    """Logits in the shape of the state, `None` without a branch."""
    if not branches:
        return None
    [branch] = branches
    pooled = maps.pooled_logit(graph, maps.mean(graph, features, picture), branch)
    pooled = graph.op("Unsqueeze", pooled, graph.ints([maps.HEIGHT, maps.WIDTH]))
    if branch.local is None:
        return pooled
    return graph.op("Add", maps.local_logit(graph, features, branch, picture), pooled)


def _advance(graph, state, logit, description):
    probability = None if logit is None else graph.op("Sigmoid", logit)
    return halting.advance(graph, state, probability, description.epsilon)


class _Images(NamedTuple):
    """What is known of images that ran the last unit, and of all.

    Attributes:
        features: name of the maps of those that ran it.
        numbers: name of int64 `(images,)`, which they are.
        means: name of the mean features of all.
        output: `Sum` over all.
    """

    features: str
    numbers: str
    means: str
    output: Sum


def _write_images(graph, features, description, picture):
    """ACT: the images that are active, each of them whole; the state is `(batch,)`."""
    entering, batch = features, features.size.batch
    first = maps.after_unit(graph, entering.as_maps(graph), description.units[0], picture)
    _, picture = _after_stride(graph, entering.size, picture, description)
    state = halting.initial_state(graph, batch)
    everybody = graph.op("Range", graph.ints(0), squeeze(graph, batch, [0]), graph.ints(1))
    images = _Images(first, everybody, maps.mean(graph, first, picture), Sum(first))
    for index, unit in enumerate(description.units):
        if index > 0:
            images = _unit_of_images(graph, images, state, unit, description, picture)
        logit = None
        if index < len(description.branches):
            logit = squeeze(graph, maps.pooled_logit(graph, images.means, description.branches[index]), [1])
        state = _advance(graph, state, logit, description)
    left = _after(graph, entering, images.output.total(graph), description)
    return {"features": left, **halting.outcome(graph, state, lambda value: value)}


def _unit_of_images(graph, images, state, unit, description, picture):
    """`_Images` after a unit that those run that are active."""
    active = halting.is_active(graph, state, description.epsilon)
    among = indices_of(graph, graph.op("Gather", active, images.numbers, axis=0))
    going = squeeze(graph, among, [1])
    everybody = squeeze(graph, graph.op("Equal", graph.size(going, 0), graph.size(images.numbers, 0)), [0])
    numbers = graph.op("Gather", images.numbers, going, axis=0)

    def enter_some(inner):
        some = inner.op("Gather", images.features, going, axis=0)
        return some, maps.enter(inner, some, unit)

    nobody = np.zeros((0, 1, 1, 1))
    some, entered = graph.choose(
        everybody,
        lambda inner: (inner.floats(nobody), maps.enter(inner, images.features, unit)),
        enter_some,
        [FLOAT, FLOAT],
    )
    picture = picture and picture.of_images(graph, numbers)
    added = maps.residual(graph, entered, unit, picture)
    left = graph.op("Gather", halting.remainder(graph, state), numbers, axis=0)
    weighed = graph.op("Mul", added, graph.reshape(left, -1, 1, 1, 1))
    places = graph.op("Unsqueeze", numbers, graph.ints([1]))
    output = images.output.add(graph, places, among, weighed)
    features = graph.choose(
        everybody,
        lambda inner: inner.op("Add", images.features, added),
        lambda inner: inner.op("Add", some, added),
    )
    means = add_at(graph, images.means, places, maps.mean(graph, added, picture))
    return _Images(features, numbers, means, output)
