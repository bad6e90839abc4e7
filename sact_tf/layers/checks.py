"""What a block is handed and what its units return, checked: features, and which of its units are to run where.

What is not for the block, its batch or its maps is refused with the name of the block.
"""

import numbers

import keras
from keras import ops

from sact_tf.layers.conditions import require

# Weights in half precision add up to one within this.
_SUM_TOLERANCE = 0.01


def known_values(tensor):
    """A tensor's values as a NumPy array; `None` for one of a graph, or a KerasTensor, whose values come later."""
    try:
        return ops.convert_to_numpy(tensor)
    except (NotImplementedError, TypeError, AttributeError, ValueError):
        return None


def check_kept(kept, units, name, whole_images=False):
    """Returns the `kept` of a rule as a bool tensor, or raises ValueError if it is none for a block of so many units.

    Args:
        kept: tensor or array.
        units: int.
        name: of the block, for the error.
        whole_images: bool, whether the block takes one decision an image.
    """
    kept = ops.convert_to_tensor(kept)
    if keras.backend.standardize_dtype(kept.dtype) != "bool" or len(kept.shape) not in (1, 2, 4):
        raise ValueError(
            f"`kept` must be bool, (units,), (batch, units) or (batch, height, width, units). Received for block "
            f"'{name}': dtype={keras.backend.standardize_dtype(kept.dtype)}, shape={tuple(kept.shape)}"
        )
    if whole_images and len(kept.shape) == 4:
        raise ValueError(
            f"Block '{name}' halts whole images, so `kept` must be (units,) or (batch, units) for it. Received: "
            f"shape={tuple(kept.shape)}"
        )
    check_entries("kept", kept, name, units)
    return kept


def check_entries(argument, value, name, units):
    """Raises ValueError unless a tensor has an entry for each unit of the block `name` in its last axis."""
    if not value.shape or value.shape[-1] != units:
        raise ValueError(
            f"`{argument}` must have an entry for each of the {units} units of block '{name}' in its last axis. "
            f"Received: shape={tuple(value.shape)}"
        )


def check_fits(argument, value, shape, name):
    """Raises ValueError for a value that is for another batch or map than there is.

    Args:
        argument: str, what the value is called.
        value: tensor `(batch, height, width, ...)`, each of them 1 for all alike.
        shape: `(batch, height, width, ...)` of the features after a unit, `None` where it is not known.
        name: of the block.
    """
    pairs = zip(tuple(value.shape)[:3], tuple(shape)[:3], strict=False)
    if any(given not in (1, None) and there is not None and given != there for given, there in pairs):
        raise ValueError(
            f"`{argument}` of block '{name}' must be for as many images, and for maps of the size of its output, as "
            f"there are: (batch, height, width) = {tuple(shape)[:3]}. Received: {tuple(value.shape)[:3]}"
        )


def check_enters(features, name):
    """Raises ValueError unless what enters the block `name` is a tensor of floating point."""
    dtype = keras.backend.standardize_dtype(features.dtype) if hasattr(features, "dtype") else ""
    if not dtype.startswith(("float", "bfloat")):
        received = f"dtype={dtype}, shape={tuple(features.shape)}" if dtype else f"a {type(features).__name__}"
        raise ValueError(
            f"Block '{name}' takes features (batch, height, width, channels) of floating point. Received: {received}"
        )


def check_features(features, index, unit, name):
    """Returns what unit `index` of the block `name` returned, if it is features; raises ValueError if not."""
    if len(getattr(features, "shape", ())) != 4:
        received = f"shape={tuple(features.shape)}" if hasattr(features, "shape") else f"a {type(features).__name__}"
        raise ValueError(
            f"Units must return features (batch, height, width, channels). Received from unit {index + 1} of block "
            f"'{name}', {type(unit).__name__}: {received}"
        )
    return features


def ints_of(name, num_units, units=None):
    """Numbers of units of the block `name` as int32; raises ValueError for what is no int, which would be cut off.

    With `units`, how many the block has, for numbers out of its range too, as `require` does.
    """
    num_units = ops.convert_to_tensor(num_units)
    dtype = keras.backend.standardize_dtype(num_units.dtype)
    if not dtype.startswith(("int", "uint")):
        raise ValueError(f"`num_units` must be ints; round a mean. Received for block '{name}': dtype={dtype}")
    if units is not None:
        wide = ops.cast(num_units, "int64")
        within = ops.all(ops.logical_and(wide >= 0, wide <= units))
        message = f"`num_units` of block '{name}' must be between 0 and its {units} units. Received:"
        num_units = require(num_units, within, message)
    return ops.cast(num_units, "int32")


def numbers_of_units(name, units):
    """Numbers of units of the block `name` as a sorted list of ints, each once; raises ValueError for what is none."""
    units = list(units) if hasattr(units, "__iter__") else [units]
    if not all(isinstance(unit, numbers.Integral) and not isinstance(unit, bool) for unit in units):
        raise ValueError(f"Units are numbered by ints, from 1 on. Received for block '{name}': {units!r}")
    return sorted({int(unit) for unit in units})


def distribution_of(name, distribution, units, num_units):
    """The `halting_distribution` of a rule as float32; raises as `require` does unless its weights sum to one.

    Args:
        name: of the block.
        distribution: `(batch, units)` or `(batch, height, width, units)`.
        units: int.
        num_units: int32 tensor, see `sact_tf.depth.NumUnits`. Padding has no units, and all weights may be zero there.
    """
    distribution = ops.cast(ops.convert_to_tensor(distribution), "float32")
    if len(distribution.shape) not in (2, 4):
        raise ValueError(
            "`halting_distribution` must be (batch, units) or (batch, height, width, units). Received for block "
            f"'{name}': shape={tuple(distribution.shape)}"
        )
    check_entries("halting_distribution", distribution, name, units)
    total = ops.sum(distribution, axis=-1)
    right = ops.abs(total - 1.0) <= _SUM_TOLERANCE
    pairs = list(zip(num_units.shape, total.shape, strict=False))
    if len(num_units.shape) == len(total.shape) and all(None in pair or pair[0] == pair[1] for pair in pairs):
        right = ops.logical_or(right, ops.logical_and(total == 0, num_units == 0))
    wanted = f"`halting_distribution` of block '{name}' must be weights of its units, none negative, that sum to one."
    require(total, ops.all(right), f"{wanted} Received, of the sums:")
    return require(distribution, ops.all(distribution >= 0), f"{wanted} Received:")
