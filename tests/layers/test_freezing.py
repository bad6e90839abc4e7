import copy

import keras
import numpy as np
import pytest
from keras import ops

import sact_tf
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, GlobalHaltingBranch, SpatialHaltingBranch
from sact_tf.layers.freezing import PARTS, parts_of
from sact_tf.models import CifarBackbone, Classifier


@keras.saving.register_keras_serializable(package="sact_tf_tests")
class LateUnit(keras.layers.Layer):
    """Somebody's unit, one part of which is made in `build`; it has a config by Keras' own means."""

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.early = keras.layers.Dense(channels)

    def build(self, input_shape):
        self.early.build(input_shape)
        self.late = keras.layers.Dense(self.channels)
        self.late.build(input_shape)

    def call(self, features, residual_mask=None):
        residual = self.late(self.early(features))
        return features + (residual if residual_mask is None else ops.where(residual_mask, residual, 0.0))

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def block(unit=BottleneckUnit, **kwargs):
    units = [unit(4, 2, name=f"unit_{n}") if unit is BottleneckUnit else unit(4) for n in range(3)]
    return AdaptiveBlock(units, "sact", name="block", **kwargs)


def network():
    return sact_tf.cifar_resnet("1_2_1", "sact", num_classes=3, base_channels=2, image_shape=(4, 4, 3))


def flags(layer):
    return [layer.trainable, *(part.trainable for _, part, _ in parts_of(layer))]


def freeze_here_and_there(block):
    block.units[0].trainable = False
    block.units[1].norm1.trainable = False
    block.halting_branches[1].trainable = False
    block.halting_branches[1].local_conv.trainable = True


def freeze_all_but_a_unit(block):
    block.trainable = False
    block.units[2].trainable = True


FREEZINGS = [freeze_here_and_there, freeze_all_but_a_unit]


def from_config(layer):
    return type(layer).from_config(layer.get_config())


def through_json(layer):
    return keras.models.model_from_json(layer.to_json())


@pytest.mark.parametrize("duplicate", [from_config, copy.deepcopy])
@pytest.mark.parametrize("freeze", FREEZINGS)
def test_copy_of_a_block_is_frozen_where_the_block_is(freeze, duplicate, make_images):
    original = block()
    features = make_images(2, 3, 2, channels=4)
    original(features)
    freeze(original)
    assert len(set(flags(original))) == 2
    twin = duplicate(original)
    twin(features)
    assert flags(twin) == flags(original)
    assert [variable.trainable for variable in twin.weights] == [variable.trainable for variable in original.weights]


@pytest.mark.parametrize("freeze", FREEZINGS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, keras.models.clone_model, through_json])
def test_copy_of_somebody_s_model_is_frozen_where_the_model_is(freeze, duplicate):
    features = keras.Input((3, 2, 4))
    inner = keras.Model(features, block()(features)["features"], name="inner")
    model = keras.Model(features, inner(features))
    freeze(inner.get_layer("block"))
    twin = duplicate(model)
    assert flags(twin.get_layer("inner").get_layer("block")) == flags(inner.get_layer("block"))
    assert len(twin.trainable_variables) == len(model.trainable_variables)


@pytest.mark.usefixtures("without_graphs")
def test_frozen_backbone_stays_as_it_is_when_a_reloaded_classifier_trains(make_images, tmp_path):
    model = network()
    everything = len(model.trainable_variables)
    model.backbone.trainable = False
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(reloaded.trainable_variables) == len(model.trainable_variables) == 4 < everything
    before = [variable.numpy() for variable in reloaded.backbone.variables]
    head = reloaded.logits_conv.kernel.numpy()
    reloaded.fit(make_images(4, 4, 4), np.array([0, 1, 2, 1]), verbose=0)
    for variable, value in zip(reloaded.backbone.variables, before, strict=True):
        # Moving statistics among them.
        np.testing.assert_array_equal(variable.numpy(), value, variable.path)
    assert (reloaded.logits_conv.kernel.numpy() != head).any()


@pytest.mark.parametrize("duplicate", [from_config, copy.deepcopy])
def test_one_layer_deep_inside_a_classifier_stays_frozen(duplicate):
    model = network()
    model.blocks["block_2"].units[1].conv2.trainable = False
    model.postnorm.trainable = False
    twin = duplicate(model)
    assert flags(twin) == flags(model)
    assert not twin.blocks["block_2"].units[1].conv2.trainable
    assert twin.blocks["block_2"].units[1].conv1.trainable
    assert len(twin.trainable_variables) == len(model.trainable_variables)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BottleneckUnit(4, 2, trainable=False),
        lambda: BasicUnit(4, trainable=False),
        lambda: GlobalHaltingBranch(trainable=False),
        lambda: SpatialHaltingBranch(trainable=False),
        lambda: block(trainable=False),
        lambda: block(LateUnit, trainable=False),
    ],
    ids=["BottleneckUnit", "BasicUnit", "GlobalHaltingBranch", "SpatialHaltingBranch", "AdaptiveBlock", "own units"],
)
def test_layer_that_is_made_frozen_is_frozen_inside_and_keeps_its_statistics(make, make_images):
    layer = make()
    features = keras.Input((3, 2, 4))
    outputs = layer(features)
    model = keras.Model(features, outputs)
    assert model.trainable_variables == []
    before = [variable.numpy() for variable in model.variables]
    model(make_images(2, 3, 2, channels=4), training=True)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, variable.path)
    assert not any(flags(from_config(layer)))


def test_models_that_are_made_frozen_are_frozen_inside():
    backbone = CifarBackbone((1, 1, 1), "sact", 2, (4, 4, 3), trainable=False)
    assert not any(flags(backbone))
    model = Classifier(CifarBackbone((1, 1, 1), "act", 2, (4, 4, 3)), 3, trainable=False)
    assert not any(flags(model))
    assert not any(flags(from_config(model)))


def test_unit_of_somebody_that_is_frozen_is_frozen_inside_a_block(make_images):
    frozen = AdaptiveBlock([LateUnit(4), LateUnit(4, trainable=False)], "sact")
    frozen(make_images(2, 3, 2, channels=4))
    assert [variable.trainable for variable in frozen.units[1].weights] == [False] * 4
    assert len(frozen.units[0].trainable_variables) == 4


def test_parts_that_are_made_in_build_stay_frozen(make_images):
    original, features = block(LateUnit), make_images(2, 3, 2, channels=4)
    original(features)
    original.units[0].late.trainable = False
    twin = from_config(original)
    twin(features)
    assert not twin.units[0].late.trainable
    assert twin.units[0].early.trainable
    assert twin.units[1].late.trainable


def test_parts_of_a_frozen_block_stay_frozen_where_its_first_call_fails(make_images, monkeypatch):
    frozen, features = block(LateUnit, trainable=False), make_images(2, 3, 2, channels=4)
    with monkeypatch.context() as failing, pytest.raises(TypeError):
        failing.setattr(LateUnit, "call", lambda self, features, residual_mask=None: int(features))
        frozen(features)
    frozen(features)
    assert not any(unit.late.trainable for unit in frozen.units)


def test_config_of_what_is_trainable_or_frozen_as_a_whole_has_no_more_than_the_arguments():
    for layer in (block(), block(trainable=False), network()):
        assert PARTS not in layer.get_config()


def test_flags_of_a_copy_can_be_set_as_those_of_the_original():
    original = block()
    original.units[1].norm1.trainable = False
    twin = from_config(original)
    twin.trainable = False
    assert not any(flags(twin))
    twin.trainable = True
    assert all(flags(twin))
