"""Ways in which adaptive networks fail without an error, as sentences with the way out.

A network whose positions never halt early saves nothing; one whose positions all halt after the first unit of every
block has collapsed: its other units are never used; one whose blocks have one unit each has nothing to decide.
Training, evaluation and its report say so.
"""

import numpy as np

from sact_tf import flops


def remarks(model, figures, most_flops, first_ponder_cost=None):
    """What is wrong with where a network halts, as a list of sentences; empty for a plain network.

    Args:
        model: whose `blocks` are looked at; blocks of one unit have nothing to decide.
        figures: dict with `<block>/num_units_mean`, `<block>/ponder_cost_mean` and `Total Flops/mean`, floats.
        most_flops: mean FLOPs of an image if nothing halted early, such as `most_flops` returns.
        first_ponder_cost: float, the sum over blocks when the training began; None where it is not known.
    """
    if model.backbone.model_type == "vanilla":
        return []
    units = {name: len(block.units) for name, block in model.blocks.items() if len(block.units) > 1}
    means = {name: figures[f"{name}/num_units_mean"] for name in units}
    share = f"{figures['Total Flops/mean'] / most_flops:.1%}"
    who = "position" if model.backbone.model_type == "sact" else "image"
    if units and all(mean == 1 for mean in means.values()):
        return [
            f"Every {who} halts after the first unit of every block: {share} of the FLOPs of the network that never "
            "halts are spent, and all other units are never used. Start from a trained plain network "
            f"(--finetune_path), lower --tau (now {model.tau:g}), or let it rise slowly (--tau_warmup_steps)."
        ]
    lazy = [name for name, mean in means.items() if mean == units[name]]
    if not lazy:
        return []
    where = "any block" if len(lazy) == len(units) else ", ".join(lazy)
    cost = sum(figures[f"{name}/ponder_cost_mean"] for name in model.blocks)
    most = sum(len(block.units) + 1 for block in model.blocks.values())
    slope = "" if first_ponder_cost is None else f", from {first_ponder_cost:.2f} at the start"
    return [
        f"No {who} of {where} ever halts early: {share} of the FLOPs of the network that never halts are spent. Raise "
        f"--tau (now {model.tau:g}) or train for more steps, and look whether the ponder cost falls (now {cost:.2f} of "
        f"at most {most}{slope})."
    ]


def about_depth(model):
    """What is wrong with the depth of a network, whatever it has learned, as a list of sentences.

    Args:
        model: whose `blocks` are looked at; of a detector they are those of its extractor.
    """
    model_type = model.backbone.model_type
    if model_type == "vanilla" or any(len(block.units) > 1 for block in model.blocks.values()):
        return []
    who = "position" if model_type == "sact" else "image"
    return [
        f"Every block has one unit, so no {who} ever halts, and --tau changes nothing that is learned: this network "
        "computes what a plain one does. Give --model more units for some block."
    ]


def most_flops(model, inputs):
    """Mean FLOPs of images if nothing halted early, float.

    Args:
        model: that a task built.
        inputs: what it is called on, see `sact_tf.tasks.inputs_of`.
    """
    outputs = model(inputs, training=False)
    return float(np.mean(flops.count_most(model, outputs)["flops"]))
