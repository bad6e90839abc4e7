"""Boxes and crops in ONNX Runtime against `sact_tf.detection`."""

import numpy as np
import onnxruntime
import pytest

from sact_tf.detection import codes, crops, nms
from sact_tf.sparse.onnx import boxes
from sact_tf.sparse.onnx.crops import write_crops
from sact_tf.sparse.onnx.features import Features, Size
from sact_tf.sparse.onnx.graph import FLOAT, INT64, Graph


def run(write, rank, *arrays):
    """What the function `write`, of a graph and names, makes of arrays: an array of so many axes."""
    graph, kinds = Graph(), {"f": FLOAT, "i": INT64}
    names = [f"input_{number}" for number in range(len(arrays))]
    inputs = {name: (kinds[each.dtype.kind], each.shape) for name, each in zip(names, arrays, strict=True)}
    written = graph.model("test", inputs, {"output": (write(graph, *names), FLOAT, [None] * rank)}, {})
    session = onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


def draw_boxes(generator, *shape):
    starts, sizes = generator.uniform(0, 60, (*shape, 2)), generator.uniform(0, 40, (*shape, 2))
    return np.concatenate([starts, starts + sizes], axis=-1).astype("float32")


def kept_by_ours(found, scores, most, threshold):
    """Scores of what is kept, 0 of the others, by `sact_tf.detection.nms`."""
    kept = nms.non_max_suppression(found, scores, most, threshold)
    result = np.zeros(scores.shape, "float32")
    for row, (indices, valid) in enumerate(zip(kept.indices.numpy(), kept.valid.numpy(), strict=True)):
        result[row, indices[valid]] = scores[row, indices[valid]]
    return result


@pytest.mark.parametrize("most", [3, 40])
def test_the_same_boxes_are_kept_where_scores_are_equal_too(most):
    generator = np.random.default_rng(0)
    found = draw_boxes(generator, 3, 60)
    found[:, 30:] = found[:, :30] + np.float32(0.5)
    # Nine different scores, 0, NaN and a subnormal number among them: most boxes are as good as their neighbours.
    scores = generator.choice(np.array([0.0, 1e-40, 0.1, 0.2, 0.4, 0.7, 0.8, 0.9, np.nan], "float32"), (3, 60))

    def write(graph, found, scores):
        return boxes.suppress(graph, *boxes.candidates(graph, found, scores), most, 0.6)

    got = run(write, 2, found, scores)
    np.testing.assert_array_equal(got, kept_by_ours(found, scores, most, 0.6))
    assert not got[scores == np.float32(1e-40)].any()


def test_an_overlap_of_exactly_the_threshold_is_kept():
    # The second has 3 of the 4 positions of the first, the third 2 of them.
    found = np.array([[[0, 0, 4, 1], [0, 0, 3, 1], [0, 0, 2, 1]]], "float32")
    scores = np.array([[0.9, 0.8, 0.7]], "float32")
    for threshold, expected in ((0.75, [0.9, 0.8, 0.7]), (0.7, [0.9, 0.0, 0.7]), (0.5, [0.9, 0.0, 0.7])):
        got = run(lambda graph, *names, most=threshold: boxes.suppress(graph, *names, 9, most), 2, found, scores)
        np.testing.assert_array_equal(got, [np.float32(expected)])


def test_codes_are_decoded_to_the_same_boxes():
    generator = np.random.default_rng(1)
    anchors, shifts = draw_boxes(generator, 50), generator.normal(0, 3, (2, 50, 4)).astype("float32")
    # Beyond what is taken as a side.
    shifts[0, :3, 2:] = 1e4
    np.testing.assert_allclose(
        run(boxes.decode, 3, shifts, anchors), codes.decode(shifts, anchors), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("max_pool", [False, True])
@pytest.mark.parametrize("size", [(7, 9), (1, 4), (1, 1)])
def test_crops_are_those_of_the_kernel(size, max_pool):
    generator = np.random.default_rng(2)
    height, width = size
    features = generator.normal(size=(2, height, width, 5)).astype("float32")
    pixels = np.array([[16 * height, 16 * width - 7], [16 * ((height + 1) // 2), 16 * ((width + 1) // 2) - 3]])
    corners = generator.uniform(0, 1, (2, 20, 2, 2))
    # To the border, all of the picture, without area.
    corners[:, :4, 1], corners[:, 2:6, 0], corners[:, 7, 0] = 1.0, 0.0, corners[:, 7, 1]
    found = (np.sort(corners, axis=2) * pixels[:, None, None]).reshape(2, 20, 4).astype("float32")
    expected = crops.crop(features, found, pixels.astype("int32"), size=4, max_pool=max_pool)

    def write(graph, maps, found, numbers, pixels):
        sizes = Size(*(graph.ints([each]) for each in (2, height, width)))
        entering = Features(graph.op("Transpose", maps, perm=[0, 3, 1, 2]), sizes, 5)
        return write_crops(graph, entering, found, numbers, pixels, 4, max_pool).channels_last(graph)

    got = run(write, 4, features, found.reshape(-1, 4), np.repeat(np.arange(2), 20), pixels)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
