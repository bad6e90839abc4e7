"""Blocks on the frames of sequences, and what a block declares of its outputs."""

import keras
import numpy as np
import pytest

import sact_tf
from sact_tf.config import MODEL_TYPES
from sact_tf.layers import AdaptiveBlock, BottleneckUnit, TimeDistributed


def make_block(model_type="sact", **kwargs):
    first = BottleneckUnit(8, 2, stride=2, dtype=kwargs.get("dtype"))
    return AdaptiveBlock([first, BottleneckUnit(8, 2, dtype=kwargs.get("dtype"))], model_type, name="block", **kwargs)


@pytest.mark.parametrize("size", [(7, 5), (None, 5), (None, None)])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_block_declares_the_shapes_and_dtypes_that_it_returns(model_type, size):
    block = make_block(model_type, dtype="mixed_bfloat16")
    shapes = block.compute_output_shape((None, *size, 4))
    declared = block.compute_output_spec(keras.KerasTensor((None, *size, 4), "bfloat16"))
    returned = block(np.zeros((2, 7, 5, 4), "float32"))
    assert set(declared) == set(returned) == set(shapes)
    reduced = tuple(length and -(-length // 2) for length in size)
    assert declared["features"].shape == (None, *reduced, 8)
    for name, value in returned.items():
        assert declared[name].dtype == keras.backend.standardize_dtype(value.dtype), name
        assert shapes[name] == declared[name].shape
        for length, expected in zip(value.shape, declared[name].shape, strict=True):
            assert expected in (None, length), name


@pytest.mark.parametrize("time", [3, None])
def test_every_frame_is_computed_as_by_the_block(make_images, spread_halting, tmp_path, time):
    frames = np.stack([make_images(2, 7, 5, 4, seed=seed) for seed in range(3)], axis=1)
    block = make_block(ponder_weight=0.1)
    inputs = keras.Input((time, None, None, 4))
    model = keras.Model(inputs, TimeDistributed(block)(inputs))
    assert model.output["num_units"].shape == (None, time, None, None) and model.output["num_units"].dtype == "int32"
    spread_halting(model)
    model.save(tmp_path / "model.keras")
    outputs = keras.models.load_model(tmp_path / "model.keras")(frames)
    for number in range(3):
        for name, value in block(frames[:, number]).items():
            np.testing.assert_allclose(outputs[name][:, number], value, atol=1e-6, err_msg=name)
    model(frames)
    ponder = [0.1 * np.mean(outputs["ponder_cost"])]
    assert any(float(loss) == pytest.approx(ponder[0], rel=1e-5) for loss in model.losses)


@pytest.mark.parametrize(
    "make", [make_block, lambda: sact_tf.cifar_resnet("1", base_channels=2, image_shape=(7, 5, 3))]
)
def test_keras_own_layer_says_which_one_to_use(make):
    with pytest.raises(ValueError, match=r"single output(.|\n)*sact_tf.layers.TimeDistributed"):
        keras.layers.TimeDistributed(make())(keras.Input((3, 7, 5, 3)))
