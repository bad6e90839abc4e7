"""Both networks under every dtype policy, as an argument and as Keras' default."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf

EXACT = {"ponder_cost": "float32", "num_units": "int32", "halting_distribution": "float32", "image_size": "int32"}


def imagenet(**kwargs):
    return sact_tf.imagenet_resnet("1_1_1_2", "sact", num_classes=3, base_channels=2, **kwargs)


def cifar(**kwargs):
    return sact_tf.cifar_resnet("1_2_1", "act", num_classes=3, base_channels=2, image_shape=(32, 32, 3), **kwargs)


@pytest.fixture
def floatx(request):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(request.param)
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def trains_saves_and_halts_in_float32(model, dtype, images, folder, graph=True):
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), metrics=["accuracy"], run_eagerly=not graph)
    history = model.fit(images, np.array([0, 2]), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    outputs = model(images)
    for name, value in outputs.items():
        expected = dtype if name in model.blocks else EXACT.get(name.rpartition("/")[2], "float32")
        assert keras.backend.standardize_dtype(value.dtype) == expected, name
    assert model.backbone.stem[-1].compute_dtype == dtype
    model.save(folder / "model.keras")
    reloaded = keras.models.load_model(folder / "model.keras")(images)
    np.testing.assert_array_equal(reloaded["logits"], outputs["logits"])


# All pairs, in graphs, are long proofs; as Keras' default, a dtype makes a graph below.
@pytest.mark.parametrize(
    ("network", "dtype", "graph"),
    [
        (cifar, "float64", False),
        (cifar, "float16", False),
        (imagenet, "bfloat16", False),
        *(pytest.param(cifar, dtype, True, marks=pytest.mark.slow) for dtype in ("float64", "float16", "bfloat16")),
        *(pytest.param(imagenet, dtype, True, marks=pytest.mark.slow) for dtype in ("float64", "float16", "bfloat16")),
    ],
)
def test_networks_take_every_dtype(network, graph, dtype, make_images, tmp_path):
    trains_saves_and_halts_in_float32(network(dtype=dtype), dtype, make_images(2, 32, 32), tmp_path, graph)


@pytest.mark.parametrize(
    ("floatx", "graph"),
    [("float16", True), ("float64", False), pytest.param("float64", True, marks=pytest.mark.slow)],
    indirect=["floatx"],
)
def test_networks_take_every_default_of_keras(floatx, graph, make_images, tmp_path):
    trains_saves_and_halts_in_float32(cifar(), floatx, make_images(2, 32, 32), tmp_path, graph)


@pytest.mark.parametrize("floatx", ["float16", "bfloat16"], indirect=True)
def test_flops_of_images_of_unequal_sizes_are_counted_under_every_default_of_keras(floatx):
    model = sact_tf.cifar_resnet("1_2_1", "sact", base_channels=2, dtype="float32")
    maps = {"block_1": (8, 10, 1), "block_2": (4, 5, 2), "block_3": (2, 3, 1)}
    outputs = {f"{name}/num_units": np.ones((2, *side[:2]), "int32") for name, side in maps.items()}
    outputs["image_size"] = np.array([[8, 10], [8, 10]], "int32")
    # TensorFlow has no kernel for some of what Keras takes for the default's ints, and tells in graphs alone.
    counted = tf.function(lambda: sact_tf.flops.count(model, outputs)["flops"], autograph=False)()
    keras.config.set_floatx("float32")
    np.testing.assert_array_equal(counted, sact_tf.flops.count(model, outputs)["flops"])


@pytest.mark.parametrize("build", [imagenet, cifar, lambda dtype: sact_tf.layers.BasicUnit(4, dtype=dtype)])
def test_types_without_fractions_are_refused(build):
    with pytest.raises(ValueError, match=r"`dtype` must be a floating point type(.|\n)*'int32'"):
        build(dtype="int32")
    with pytest.raises(ValueError, match=r"quantizes no convolutions(.|\n)*'int8_from_float32'"):
        build(dtype="int8_from_float32")
