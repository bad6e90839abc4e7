"""The momentum of an optimizer, by the names that TensorFlow 1's `MomentumOptimizer` gives to its slots."""

import re

import numpy as np

# Where the optimizer's variables are in a checkpoint of our training loop, by their position.
_OPTIMIZER_KEY = "optimizer/{}/.ATTRIBUTES/VARIABLE_VALUE"
_OPTIMIZER_KEY_PATTERN = re.compile(_OPTIMIZER_KEY.format(r"(\d+)"))
_SLOT = "{}/Momentum"
_STATISTICS = ("/moving_mean", "/moving_variance")


def trainable_names(named):
    """The names of those variables that the release trains: all but the moving statistics, frozen ones as well.

    Args:
        named: dict from the release's names to variables, see `named_variables`.
    """
    return [name for name in named if not name.endswith(_STATISTICS)]


def momentum_keys(shapes, trainable_variables, named):
    """Where a checkpoint of a training run of ours has the momentum of every trainable variable.

    Args:
        shapes: dict from the checkpoint's keys to the shapes of its tensors.
        trainable_variables: the model's, in the order in which the optimizer was built with them.
        named: dict from the release's names to variables.

    Returns:
        Dict from the release's names to keys; empty where the checkpoint has no momentum of all of them.
    """
    found = [int(match[1]) for match in map(_OPTIMIZER_KEY_PATTERN.fullmatch, shapes) if match]
    count = max(found, default=-1) + 1
    # The optimizer makes them last: after its count of steps, loss scale and moving averages (which have other keys).
    indices = range(count - len(trainable_variables), count)
    names = {id(variable): name for name, variable in named.items()}
    keys = {
        names[id(variable)]: _OPTIMIZER_KEY.format(index)
        for variable, index in zip(trainable_variables, indices, strict=True)
    }
    fits = all(shapes.get(key) == list(named[name].shape) for name, key in keys.items())
    # Of frozen variables no momentum is kept, and the release trains them all.
    return keys if fits and set(keys) == set(trainable_names(named)) else {}


def named_slots(momentums, named):
    """Returns the slots of a release checkpoint, dict from their names to float32 arrays.

    Args:
        momentums: dict from the release's names of all trainable variables to arrays of floats.
        named: dict from the release's names to variables.

    Raises:
        ValueError: if a name is missing or left over, or a momentum has another shape than its variable, or no floats.
    """
    trainable = set(trainable_names(named))
    arrays = {name: np.asarray(value) for name, value in momentums.items()}
    problems = {
        "missing": sorted(trainable - set(arrays)),
        "of no trainable variable": sorted(set(arrays) - trainable),
        "of another shape, or no floats": [
            f"{name}: {value.dtype} {list(value.shape)}, its variable float32 {list(named[name].shape)}"
            for name, value in arrays.items()
            if name in trainable and (value.dtype.kind != "f" or value.shape != tuple(named[name].shape))
        ],
    }
    if any(problems.values()):
        listed = "\n".join(f"{problem}:\n  " + "\n  ".join(names) for problem, names in problems.items() if names)
        raise ValueError(
            "`momentums` must have the momentum of every trainable variable, float32 and of its shape, by the names of "
            f"`sact_tf.checkpoints.named_variables`. Received momentums\n{listed}"
        )
    return {_SLOT.format(name): value.astype(np.float32) for name, value in arrays.items()}
