"""The names of variables: those of the release where it knows them, else Keras' paths."""

from sact_tf.layers import find_blocks
from sact_tf.models import CifarBackbone, Classifier, ImageNetBackbone

_CONVOLUTION = {"weights": "kernel", "biases": "bias"}
_NORMALIZATION = {name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")}
_BOTTLENECK_SCOPES = {
    "preact": "preact",
    "shortcut": "shortcut",
    "conv1": "conv1",
    "conv1/BatchNorm": "norm1",
    "conv2": "conv2",
    "conv2/BatchNorm": "norm2",
    "conv3": "conv3",
}
_BASIC_SCOPES = {"preact": "preact", "conv1": "conv1", "conv1/BatchNorm": "norm1", "conv2": "conv2"}
_HALTING_SCOPES = {name: name for name in ("local_bn", "local_conv", "global_bn", "global_conv")}


def named_variables(model):
    """Returns a dict from a name of every variable of a model to the Keras variable.

    Variables of the release's networks, and of other heads on their backbones, have the release's names; what the
    release does not know has the path that Keras gives it. States of the draws of stochastic depth in `fit` are left
    out: a network is the same whatever would be drawn next, and our own training draws by seed and step.

    Raises:
        ValueError: if two variables have one path, so that a checkpoint could not tell them apart, or LoRA was enabled
            in one of the release's layers.
    """
    backbone = getattr(model, "backbone", model)
    known = _release_names(model, backbone) if isinstance(backbone, (CifarBackbone, ImageNetBackbone)) else {}
    named = {id(variable) for variable in known.values()} | _survival_seeds(model)
    others = [variable for variable in model.variables if id(variable) not in named]
    # Keras numbers seed generators through the whole process, so their paths differ from one to the next.
    seeds = [id(variable) for variable in others if variable.name == "seed_generator_state"]
    for variable in others:
        name = f"seed_generator_{seeds.index(id(variable))}" if id(variable) in seeds else variable.path
        if name in known:
            raise ValueError(
                f"Two variables of the model '{model.name}' are called {name}, so a checkpoint could not tell them "
                "apart. Give the layers names of their own."
            )
        known[name] = variable
    return known


def _survival_seeds(model):
    return {id(variable) for block in find_blocks(model) for variable in block.survival_seed_variables()}


def release_variables(model):
    """Returns a dict from the release's name of every variable of a `Classifier` to the Keras variable.

    Raises:
        ValueError: if the model is not one of the release's networks, or LoRA was enabled in it.
    """
    check_backbone(model)
    if not isinstance(model, Classifier):
        raise ValueError(f"The release has no network with the head of a {type(model).__name__}.")
    return _release_names(model, model.backbone)


def check_backbone(model):
    """Raises ValueError unless a model has one of the release's networks as its backbone."""
    if not isinstance(getattr(model, "backbone", None), (CifarBackbone, ImageNetBackbone)):
        raise ValueError(
            "Only the models of sact_tf.imagenet_resnet and sact_tf.cifar_resnet, and others on their backbones, have "
            f"names in the release. Received: {type(model).__name__}"
        )


def _release_names(model, backbone):
    """The release's names of the variables of a backbone, and of the head where that is the release's."""
    head = {"norm": getattr(model, "postnorm", None), "logits": getattr(model, "logits_conv", None)}
    if isinstance(backbone, ImageNetBackbone):
        layers = {"conv1": backbone.stem[1], "postnorm": head["norm"], "logits": head["logits"]}
        root, unit_scope, unit_scopes = "resnet_v2", "bottleneck_v2", _BOTTLENECK_SCOPES
    else:
        layers = {"Conv": backbone.stem[0], "BatchNorm": head["norm"], "logits": head["logits"]}
        root, unit_scope, unit_scopes = "resnet_residual", "residual", _BASIC_SCOPES
    for block_name, block in backbone.blocks.items():
        for index, unit in enumerate(block.units):
            scope = f"{block_name}/unit_{index + 1}"
            layers.update(_scoped(f"{scope}/{unit_scope}", unit, unit_scopes))
            if index < len(block.halting_branches):
                layers.update(_scoped(f"{scope}/halting_proba", block.halting_branches[index], _HALTING_SCOPES))
    return {f"{root}/{scope}/{name}": value for scope, layer in layers.items() for name, value in _variables(layer)}


def _scoped(scope, parent, attributes):
    return {f"{scope}/{name}": getattr(parent, attribute, None) for name, attribute in attributes.items()}


def _variables(layer):
    """Yields the release's name and the variable, for every variable that a built layer has."""
    if getattr(layer, "lora_enabled", False):
        raise ValueError(
            f"Checkpoints have one kernel a convolution, and '{layer.path}' has a LoRA beside it. Load a checkpoint "
            "before `enable_lora`; to write one, `save_weights` joins both to one kernel: load that file into a model "
            "without."
        )
    for name, attribute in {**_CONVOLUTION, **_NORMALIZATION}.items():
        if layer is not None and layer.built and getattr(layer, attribute, None) is not None:
            yield name, getattr(layer, attribute)
