"""KerasHub's RetinaNet on our backbones; runs where keras-hub is installed."""

import functools

import keras
import numpy as np
import pytest

from sact_tf.losses import regularization_loss
from sact_tf.models import CifarBackbone, ImageNetBackbone

BACKBONES = {
    "imagenet": functools.partial(ImageNetBackbone, (1, 2, 1, 1), "sact", 2, ponder_weight=0.5),
    "cifar": functools.partial(CifarBackbone, (1, 2, 1), "sact", 2, (None, None, 3), stem_stride=4, ponder_weight=0.5),
}
# KerasHub's highest level of a CIFAR backbone is 4: it has three blocks, and 4 is the largest stride of its stem.
MAX_LEVELS = {"imagenet": 5, "cifar": 4}


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub")


def detector(keras_hub, encoder, max_level):
    pyramid = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=max_level, use_p5=False, image_shape=(32, 64, 3)
    )
    return keras_hub.models.RetinaNetObjectDetector(
        pyramid, num_classes=3, bounding_box_format="yxyx", pre_logits_num_conv_layers=1
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_retinanet_trains_with_the_ponder_cost_in_its_loss_and_is_reloaded(keras_hub, make_images, tmp_path, name):
    encoder = BACKBONES[name]()
    model, images = detector(keras_hub, encoder, MAX_LEVELS[name]), make_images(2, 32, 64)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01),
        box_loss=keras.losses.Huber(reduction="sum"),
        classification_loss=keras.losses.BinaryFocalCrossentropy(from_logits=True, reduction="sum"),
        run_eagerly=True,  # faster than tracing, for a single step
    )
    model(images)
    costs = [cost for key, cost in encoder(images).items() if key.endswith("/ponder_cost")]
    ponder = 0.5 * sum(float(np.mean(cost)) for cost in costs)
    assert float(sum(model.losses) - regularization_loss(model)) == pytest.approx(ponder, rel=1e-4)
    bias = encoder.blocks[list(encoder.blocks)[1]].halting_branches[0].local_conv.bias
    before = bias.numpy()
    boxes = {"boxes": np.array([[[4.0, 8, 20, 40]]] * 2, "float32"), "labels": np.ones((2, 1), "float32")}
    history = model.fit(images, boxes, batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert not np.array_equal(bias, before)
    model.save(tmp_path / "detector.keras")
    again = keras.models.load_model(tmp_path / "detector.keras")
    assert again.backbone.image_encoder.ponder_weight == 0.5
    for key, value in model(images).items():
        np.testing.assert_allclose(again(images)[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    np.testing.assert_allclose(sum(again.losses), sum(model.losses), rtol=1e-5)
