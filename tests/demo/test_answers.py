"""What the page is told of a photograph: what other commands say of it, at any threshold, for every kind of network."""

import base64
import dataclasses
import io
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import depth, detect, ponder_map
from sact_tf.data.photographs import prepare, read_photograph, resize_for_detector
from sact_tf.demo import answers, networks
from sact_tf.evaluation import inference


def decoded(url):
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def by_name(entries):
    return {each["name"]: each for each in entries}


def test_maps_classes_and_flops_are_those_of_the_other_commands(serve, picture, file_of, eagerly):
    page, content = serve("sact"), file_of(picture())
    about = json.loads(page.request("GET", "/about")[2])
    assert about["epsilon"] == 0.01 and about["model_type"] == "sact" and not about["is_detector"]
    status, answer = page.look(content)
    assert status == 200
    model = inference.load_model(page.config)
    image = read_photograph(content)
    with eagerly():
        computed = ponder_map.compute(model, inference.predictor(model, "masked"), image, "cluttered_digits")
    assert answer["size"] == answer["original_size"] == [40, 56]
    np.testing.assert_array_equal(decoded(answer["picture"]), np.asarray(picture()))
    shown = by_name(answer["maps"])
    assert list(shown) == ["total", *computed.maps]
    for name, value in {"total": computed.ponder_map, **computed.maps}.items():
        figures = [shown[name][key] for key in ("least", "mean", "most")]
        assert figures == pytest.approx([value.min(), value.mean(), value.max()], abs=1e-3)
        assert decoded(shown[name]["source"]).shape == (40, 56, 3)
    assert shown["total"]["limits"] == [0, 8] and shown["block_1"]["limits"] == [0, 4]
    timed = by_name(answer["timed"])
    assert timed["Masked"]["flops"] == timed["Engine"]["flops"] == computed.flops < timed["Plain network"]["flops"]
    assert timed["Engine"]["share"] == pytest.approx(computed.flops / timed["Plain network"]["flops"])
    assert all(each["milliseconds"] > 0 for each in answer["timed"]) and answer["rounds"] >= 1
    assert answer["difference"] < 1e-3
    shares = tf.nn.softmax(model(prepare(image, "cluttered_digits")[None])["logits"])[0].numpy()
    best = np.argsort(-shares)[:5]
    assert [each["name"] for each in answer["classes"]] == [str(number) for number in best]
    assert [each["probability"] for each in answer["classes"]] == pytest.approx(list(shares[best]), abs=1e-4)


def test_the_plain_network_has_the_same_weights_and_nothing_that_halts(serve):
    page = serve("sact")
    model = inference.load_model(page.config)
    images = np.random.default_rng(1).uniform(-1, 1, (1, 24, 32, 3)).astype("float32")
    # Handed-in depths: all units, of which the last alone counts.
    units = {name: len(block.units) for name, block in model.blocks.items()}
    last = {name: tf.one_hot([number - 1], number) for name, number in units.items()}
    expected = depth.call(model, images, depth.NumUnits(units, last))
    for name in ("plain", "plain engine"):
        outputs = page.server.answers._networks._functions[name](images)
        np.testing.assert_allclose(outputs["logits"], expected["logits"], rtol=1e-4, atol=1e-4)
        assert not [key for key in outputs if "num_units" in key]


@pytest.mark.parametrize("epsilon", [0.3, 0.8])
def test_another_threshold_is_that_of_blocks_made_with_it(serve, epsilon, picture, file_of, eagerly):
    page, content = serve("sact"), file_of(picture())
    usual = page.look(content)[1]
    status, answer = page.look(content, f"epsilon={epsilon}&picture=0")
    assert status == 200 and answer["picture"] is None and answer["epsilon"] == epsilon
    model = inference.load_model(page.config)
    for block in model.blocks.values():
        block.epsilon = epsilon
    with eagerly():
        predict = inference.predictor(model, "masked")
        computed = ponder_map.compute(model, predict, read_photograph(content), "cluttered_digits")
    timed = by_name(answer["timed"])
    assert timed["Engine"]["flops"] == timed["Masked"]["flops"] == computed.flops
    assert computed.flops < by_name(usual["timed"])["Engine"]["flops"]
    assert by_name(answer["maps"])["total"]["mean"] == pytest.approx(computed.ponder_map.mean(), abs=1e-3)
    assert timed["Plain network"]["flops"] == by_name(usual["timed"])["Plain network"]["flops"]
    # And back: nothing is left of the other one.
    again = page.look(content)[1]
    for name in ("maps", "classes", "size"):
        assert again[name] == usual[name]


def test_a_threshold_next_to_nothing_is_crossed_by_the_first_unit(serve, picture, file_of):
    status, answer = serve("sact").look(file_of(picture()), "epsilon=0.9999999999")
    # Three blocks, each with one unit and a remainder of (nearly) 1.
    assert status == 200 and by_name(answer["maps"])["total"]["least"] == pytest.approx(6, abs=1e-5)


def test_colours_may_be_of_the_photograph_alone(serve, picture, file_of):
    answer = serve("sact").look(file_of(picture()), "scale=own")[1]
    for each in answer["maps"]:
        assert each["limits"] == [each["least"], each["most"]]
    total = decoded(by_name(answer["maps"])["total"]["source"])
    colours = decoded(answer["colours"])[0]
    assert {tuple(colours[0]), tuple(colours[-1])} <= {tuple(colour) for colour in total.reshape(-1, 3)}


def test_the_longer_edge_is_the_files_own_up_to_a_bound_or_what_is_asked_for(serve, picture, file_of):
    page = serve("sact")
    assert page.look(file_of(picture(40, 56)))[1]["size"] == [40, 56]
    large = page.look(file_of(picture(400, 640)))[1]
    assert large["size"] == [200, 320] and large["original_size"] == [400, 640]
    assert page.look(file_of(picture(40, 56)), "size=112")[1]["size"] == [80, 112]


def test_a_size_that_no_photograph_could_have_is_refused_before_anything_is_served(serve, monkeypatch):
    page = serve("detector")
    config = dataclasses.replace(page.config, image_size=31)
    # It is loaded already.
    monkeypatch.setattr(inference, "load_model", lambda config: page.server.answers._networks.model)
    with pytest.raises(ValueError, match=r"of 32 pixels each way or more\. Give --image_size=32 .* --image_size=31"):
        networks.Networks(config, lambda line: None)


def test_names_of_other_data_are_left_out_with_the_reason_unless_they_were_asked_for(serve, tmp_path):
    (tmp_path / "imagenet_classes.txt").write_text("".join(f"{number}\n" for number in range(11)))
    config = dataclasses.replace(serve("sact").config, dataset="imagenet", dataset_dir=str(tmp_path))
    lines = []
    assert answers._labels(config, lines.append) is None
    assert lines[0].startswith("Labels: none. The labels must be one line a class, ") and "11 lines in" in lines[0]
    with pytest.raises(ValueError, match="11 lines in"):
        asked = dataclasses.replace(config, labels=str(tmp_path / "imagenet_classes.txt"))
        answers._labels(asked, lines.append)


def test_act_has_a_number_for_each_block_and_no_map(serve, picture, file_of, eagerly):
    page, content = serve("act"), file_of(picture())
    status, answer = page.look(content)
    assert status == 200 and "maps" not in answer
    with eagerly():
        predict = inference.predictor(inference.load_model(page.config), "masked")
        outputs = predict(prepare(read_photograph(content), "cluttered_digits")[None])
    assert answer["ponder_cost"] == pytest.approx(
        {f"block_{number}": float(outputs[f"block_{number}/ponder_cost"][0]) for number in (1, 2, 3)}, abs=1e-3
    )
    assert by_name(answer["timed"])["Engine"]["flops"] == int(outputs["flops"][0])
    less = page.look(content, "epsilon=0.95")[1]
    assert sum(less["ponder_cost"].values()) <= sum(answer["ponder_cost"].values())


def test_a_vanilla_network_has_classes_and_times_alone(serve, picture, file_of):
    page = serve("vanilla")
    status, answer = page.look(file_of(picture()))
    assert status == 200 and not {"maps", "ponder_cost"} & set(answer) and answer["difference"] is None
    assert list(by_name(answer["timed"])) == ["Plain network", "Plain network, in the engine"]
    assert len(answer["classes"]) == 5


def test_a_detector_has_the_boxes_of_detect_in_shares_of_the_photograph(serve, picture, file_of, eagerly):
    page, content = serve("detector"), file_of(picture(72, 104))
    status, answer = page.look(content)
    assert status == 200 and "classes" not in answer and answer["size"] == [64, 92]
    model = inference.load_model(page.config)
    image = read_photograph(content)
    resized = resize_for_detector(image, 64, model.backbone.minimum_size)
    with eagerly():
        found = detect.find(model, detect.predictor(model, "masked"), resized, image.shape[:2], "digit_scenes")
    kept = found.scores >= 0.05
    assert 0 < len(answer["boxes"]) == min(kept.sum(), 100)
    boxes = [each["box"] for each in answer["boxes"]]
    np.testing.assert_allclose(boxes, (found.boxes / [72, 104, 72, 104])[kept][:100], atol=1e-3)
    # Classes count from 1, names are those of the data set: class 1 is the digit 0.
    assert [each["name"] for each in answer["boxes"]] == [str(number - 1) for number in found.classes[kept][:100]]
    total = by_name(answer["maps"])["total"]
    assert decoded(total["source"]).shape == (64, 92, 3)
    assert total["mean"] == pytest.approx(found.ponder_map.mean(), abs=1e-3)
    assert by_name(answer["timed"])["Engine"]["flops"] == found.flops
    assert by_name(page.look(content, "epsilon=0.9")[1]["maps"])["total"]["mean"] < total["mean"]


def test_photographs_are_never_written(serve, picture, file_of):
    written, watching = [], [True]

    def watch(event, arguments):
        # The mode is None for what is opened by its number of flags.
        if watching and event == "open" and re.search("[wax+]", str(arguments[1] or "")):
            written.append(arguments[0])

    sys.addaudithook(watch)
    try:
        for content in (file_of(picture()), file_of(picture(), "TIFF"), file_of(picture(), "JPEG"), b"no picture"):
            serve("sact").look(content)
    finally:
        watching.clear()
    assert written == []
