"""The least harm: which unit of a network can be spared first, second, ... by what its deletion costs on images."""

import numpy as np


def find_order(network, unit_flops, targets, store, log=None):
    """Deletes, one after the other, the unit whose deletion leaves the best score, until every block is cheap enough.

    Of equals the one nearest to the end of the network goes.

    Args:
        network: `LesionedNetwork` on the images that decide, which are not those that are reported.
        unit_flops: dict from names of blocks to FLOPs of their units, float `(units,)`.
        targets: dict from names of blocks to FLOPs; units go as long as the block's exceed it.
        store: `Store`; every score is kept in it.
        log: called with lines of text.

    Returns:
        dict from names of blocks to indices of units in the order in which they went.
    """
    kept = {name: np.ones(len(value), bool) for name, value in unit_flops.items()}
    gone = {name: [] for name in kept}
    scores = store.read("least_harm_scores") or {}
    while True:
        candidates = [
            (name, index)
            for name, units in kept.items()
            if unit_flops[name][units].sum() > targets[name]
            for index in np.flatnonzero(units)
        ]
        if not candidates:
            return gone
        found = [_score(network, _without(kept, *candidate), scores, store) for candidate in candidates]
        best = len(found) - 1 - int(np.argmax(found[::-1]))
        name, index = candidates[best]
        kept = _without(kept, name, index)
        gone[name].append(int(index))
        if log:
            log(f"least_harm: unit {index + 1} of {name} goes, {found[best]:.2%} of the training images without it")


def _without(kept, name, index):
    units = kept[name].copy()
    units[index] = False
    return {**kept, name: units}


def _score(network, kept, scores, store):
    key = " ".join("".join(str(int(unit)) for unit in units) for units in kept.values())
    if key not in scores:
        scores[key] = float(network.measure(kept).score.mean())
        store.write("least_harm_scores", scores)
    return scores[key]
