"""What is said of networks that never halt, or all at once."""

import numpy as np
import pytest

from sact_tf import cifar_resnet, flops
from sact_tf.evaluation import advice


@pytest.fixture(scope="module")
def model():
    return cifar_resnet("1_3_2", "sact", base_channels=2, tau=0.005, image_shape=(None, None, 3))


def figures(first, second, third):
    means = {"block_1": first, "block_2": second, "block_3": third}
    return {
        **{f"{name}/num_units_mean": mean for name, mean in means.items()},
        **{f"{name}/ponder_cost_mean": mean + 0.5 for name, mean in means.items()},
        "Total Flops/mean": 750.0,
    }


def test_a_network_that_halts_here_and_there_needs_no_remark(model):
    assert advice.remarks(model, figures(1, 2.5, 1.01), 1000) == []


def test_a_network_whose_later_units_are_never_used_has_collapsed(model):
    (remark,) = advice.remarks(model, figures(1, 1, 1), 1000)
    assert remark.startswith("Every position halts after the first unit of every block: 75.0% of the FLOPs")
    for way_out in ("--finetune_path", "--tau (now 0.005)", "--tau_warmup_steps"):
        assert way_out in remark


def test_blocks_that_never_halt_are_named(model):
    (remark,) = advice.remarks(model, figures(1, 3, 1.7), 1000)
    assert remark.startswith("No position of block_2 ever halts early: 75.0% of the FLOPs")
    (remark,) = advice.remarks(model, figures(1, 3, 2), 1000, first_ponder_cost=7.25)
    assert remark.startswith("No position of any block ever halts early")
    assert "(now 7.50 of at most 9, from 7.25 at the start)" in remark


def test_plain_networks_and_networks_of_one_unit_a_block_have_nothing_to_decide():
    assert advice.remarks(cifar_resnet("2", "vanilla", base_channels=2), {}, 1) == []
    single = cifar_resnet("1", "sact", base_channels=2)
    assert advice.remarks(single, figures(1, 1, 1), 1000) == []
    (remark,) = advice.about_depth(single)
    assert remark.startswith("Every block has one unit, so no position ever halts") and "--model" in remark


def test_networks_that_have_something_to_decide_and_plain_ones_are_deep_enough(model):
    assert advice.about_depth(model) == advice.about_depth(cifar_resnet("1", "vanilla", base_channels=2)) == []


@pytest.mark.parametrize("model_type", ["act", "sact"])
def test_most_flops_are_those_of_a_network_that_never_halts(spread_halting, model_type):
    model = cifar_resnet("2", model_type, base_channels=2, image_shape=(None, None, 3))
    blank = np.zeros((1, 12, 12, 3), "float32")
    # A fresh branch never halts.
    fresh = int(flops.count(model, model(blank))["flops"][0])
    assert advice.most_flops(model, np.zeros((2, 12, 12, 3), "float32")) == fresh
    spread_halting(model, bias=9.0, gain=0.0)
    assert int(flops.count(model, model(blank))["flops"][0]) < fresh
    assert advice.most_flops(model, np.zeros((2, 12, 12, 3), "float32")) == fresh
