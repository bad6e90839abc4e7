"""What of a network depends on its classes or its task, and so begins afresh when it starts from another one."""

import re

LOGITS_SCOPE = "/logits/"
_OF_DETECTORS = "proposal_conv/"
_UNIT = re.compile(r"resnet_v2/(block\d+)/unit_(\d+)/")


def class_scopes(model):
    """Parts of names of the variables whose shapes depend on the number of classes, a tuple of text."""
    return getattr(model, "CLASS_SCOPES", (LOGITS_SCOPE,))


def scopes_left_out(model, keys, path, skip_logits):
    """Parts of names of variables that fine-tuning does not take from a checkpoint, halting branches aside.

    A detector begins from a classifier with its backbone alone, and from a detector with everything.

    Args:
        model: `Classifier` or `FasterRCNN`.
        keys: names of the checkpoint's variables.
        path: of the checkpoint, for the error.
        skip_logits: bool, whether what depends on the number of classes is left out.

    Returns:
        list of text.

    Raises:
        ValueError: for a checkpoint that a detector's blocks cannot start from, and for a classifier that is to start
            from a detector's.
    """
    if not hasattr(model, "HEAD_SCOPES"):
        if any(name.startswith(_OF_DETECTORS) for name in keys):
            raise ValueError(
                "A network that classifies does not start from a detector. Leave out --finetune_path, or give that of "
                f"another network that classifies. Received: {path}, which is of a detector"
            )
        return [LOGITS_SCOPE] * bool(skip_logits)
    _check_start(model, keys, path)
    if not any(name.startswith(model.HEAD_SCOPES) for name in keys):
        return [*model.HEAD_SCOPES, LOGITS_SCOPE, "seed_generator"]
    return [*(class_scopes(model) if skip_logits else ()), "seed_generator"]


def _check_start(model, keys, path):
    """Raises ValueError unless a detector's blocks can start from a checkpoint's variables, given by their names."""
    found = {}
    for block, unit in (match.groups() for match in map(_UNIT.match, keys) if match):
        found[block] = max(found.get(block, 0), int(unit))
    wanted = {name: len(block.units) for name, block in model.backbone.blocks.items()}
    if found == wanted:
        return
    ours = "_".join(map(str, wanted.values()))
    accepted = "A detector starts from a checkpoint of the ImageNet network with the same units in each block"
    if set(found) != set(wanted):
        raise ValueError(
            f"{accepted}, a classifier's or a detector's. Leave out --finetune_path, or give that of such a network "
            f"(--network=imagenet --model={ours}). Received: {path}, which is of another network"
        )
    theirs = "_".join(str(found[name]) for name in wanted)
    raise ValueError(
        f"{accepted}. Give --model={theirs}, or another --finetune_path. Received: {path}, with {theirs} units, for a "
        f"detector with {ours}"
    )
