"""The report of an evaluation, what it is made from, and the pictures for TensorBoard."""

import dataclasses
import html.parser
import itertools
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sact_tf import checkpoints, evaluation, flops, training
from sact_tf.config import EvaluationConfig, ModelConfig, default_training_config
from sact_tf.data import trained_classes
from sact_tf.evaluation import page as report_page
from sact_tf.evaluation import showing
from sact_tf.evaluation.record import Record
from sact_tf.models.build import build_model
from sact_tf.tasks import classification

NUM_IMAGES = 23


class Page(html.parser.HTMLParser):
    """The tables of a page as lists of cells, its headings, its figures, and everything that it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.headings, self.references, self.pictures = [], [], [], 0
        self._open = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.references += [attributes[name] for name in ("src", "href", "xlink:href") if name in attributes]
        self.pictures += tag in ("svg", "img")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        self._open = tag

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open in ("td", "th"):
            self.tables[-1][-1].append(data)
        elif self._open == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, spread_halting, eagerly):
    """Directory of a plain run and of a SACT checkpoint whose halting varies, and the SACT `ModelConfig`."""
    directory = tmp_path_factory.mktemp("report")
    config = default_training_config("cluttered_digits", {"model": "2"}, max_number_of_steps=1, batch_size=4)
    with eagerly():
        training.train(config, str(directory / "plain"), log=lambda line: None)
    model_config = dataclasses.replace(config.model, model_type="sact")
    model = build_model(model_config, 64)
    spread_halting(model, bias=-0.5)
    checkpoints.save_release_checkpoint(model, str(directory / "sact"), 7)
    return directory, model_config


def evaluation_of(trained, **changes):
    directory, model_config = trained
    fields = {
        "model": model_config,
        "dataset": "cluttered_digits",
        "image_size": 64,
        "checkpoint_dir": str(directory / "sact"),
        "eval_dir": str(directory / "eval"),
        "split_name": "test",
        "num_examples": NUM_IMAGES,
        "batch_size": 10,
    }
    return EvaluationConfig(**{**fields, **changes})


@pytest.fixture(scope="module")
def reported(trained, eagerly):
    """The page, the lines that were printed, and the metrics."""
    lines, directory = [], trained[0]
    config = evaluation_of(trained, report_dir=str(directory / "report"), report_vanilla_dir=str(directory / "plain"))
    with eagerly():
        metrics = evaluation.evaluate_run(config, lines.append)
    return (directory / "report" / report_page.PAGE).read_text(encoding="utf-8"), lines, metrics


def test_every_number_of_the_report_is_the_one_that_was_printed(reported):
    text, lines, metrics = reported
    page = Page(text)
    printed = dict(re.fullmatch(r"(.+)\[(.+)\]", line).groups() for line in lines if line.endswith("]"))
    assert set(printed) == set(metrics)
    (values,) = (table[1:] for table in page.tables if table[0] == ["metric", "value"])
    assert dict(values) == printed
    network, plain = page.tables[0][1:]
    assert network[1] == f"{100 * float(printed['eval/Accuracy']):.2f} %"
    assert network[2] == f"{float(printed['Total Flops/mean']) / 1e6:.1f} million"
    share = float(printed["Total Flops/mean"]) / 1e4 / float(plain[2].split()[0])
    assert float(network[3].split()[0]) == pytest.approx(share, abs=0.1)
    assert plain[3] == "100.0 %"


def test_flops_of_images_have_digits_enough_to_differ():
    assert report_page.millions([1_812_300, 1_812_900, 1_812_300]) == ["1.812", "1.813", "1.812"]
    assert report_page.millions([56_300_000, 56_310_000, 57_000_000]) == ["56.30", "56.31", "57.00"]
    assert report_page.millions([56_312_345] * 2) == ["56.3"] * 2


@pytest.mark.usefixtures("without_graphs")
def test_report_compares_with_the_plain_network(reported, trained):
    directory, model_config = trained
    plain = evaluation_of(
        trained,
        model=dataclasses.replace(model_config, model_type="vanilla"),
        checkpoint_dir=str(directory / "plain"),
        eval_dir=str(directory / "plain" / "eval"),
    )
    metrics = evaluation.evaluate(plain, plain.checkpoint_dir)
    row = Page(reported[0]).tables[0][2]
    assert row[1:3] == [f"{100 * metrics['eval/Accuracy']:.2f} %", f"{metrics['Total Flops/mean'] / 1e6:.1f} million"]


def test_report_has_its_figures_and_needs_no_network(reported):
    page = Page(reported[0])
    assert page.headings == [
        "Computation",
        "Executed units of each block",
        "Ponder cost of each block",
        "Images with the least computation",
        "Images with the most computation",
        "What is read as what",
        "All metrics",
        "Configuration",
    ]
    assert page.pictures == 6
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert not re.search(r"@import|url\((?!#)|<script|<link", reported[0])
    names = re.findall(r'\bid="([^"]+)"', reported[0])
    assert len(names) == len(set(names))


@pytest.mark.usefixtures("without_graphs")
def test_a_run_that_the_report_cannot_compare_with_is_refused_before_anything_is_computed(trained):
    directory, lines = trained[0], []
    for other, error in ((directory / "gone", FileNotFoundError), (directory / "sact", ValueError)):
        config = evaluation_of(trained, report_dir=str(directory / "never"), report_vanilla_dir=str(other))
        with pytest.raises(error, match=r"No checkpoint at|^--report_vanilla_dir must be a run of the plain network"):
            evaluation.evaluate_run(config, lines.append)
    assert not lines and not (directory / "never").exists()


@pytest.mark.usefixtures("without_graphs")
def test_a_plain_run_of_other_classes_is_refused_before_the_network_is_evaluated(trained, monkeypatch):
    directory, lines = trained[0], []
    monkeypatch.setattr(showing, "class_names_of", lambda *_: {0: "bear", 1: "cat"})
    trained_classes.note(str(directory / "plain"), {0: "cat", 1: "bear"})
    plain = {"report_dir": str(directory / "never"), "report_vanilla_dir": str(directory / "plain")}
    with pytest.raises(ValueError, match=r"plain was trained on other classes than these, or on .* in another order"):
        evaluation.evaluate_run(evaluation_of(trained, **plain), lines.append)
    (directory / "plain" / trained_classes.CLASSES_FILE).unlink()
    assert not lines


def test_the_plain_network_of_a_report_has_the_weights_that_its_own_run_kept(trained):
    directory = trained[0]
    report = {"report_dir": str(directory / "report")}
    # A run that kept no averages, and a checkpoint of the release, which says nothing of them.
    for named in ("plain", "sact"):
        config = evaluation_of(trained, **report, report_vanilla_dir=str(directory / named), use_moving_average=True)
        assert not showing._plain_config(config).use_moving_average
    averaged = default_training_config("cluttered_digits", moving_average_decay=0.9)
    (directory / "averaged").mkdir()
    (directory / "averaged" / "config.json").write_text(averaged.to_json())
    for named in ("averaged", "averaged/model.ckpt-2"):
        config = evaluation_of(trained, **report, report_vanilla_dir=str(directory / named))
        assert showing._plain_config(config).use_moving_average


def test_the_plain_network_of_a_report_is_computed_as_its_own_run_computes_it(trained):
    """Weights do not tell whether residuals are scaled, nor how far apart positions are."""
    directory = trained[0] / "of_its_own"
    directory.mkdir()
    settings = (("final_survival_probability", 0.5), ("stem_stride", 4), ("shortcuts", False))
    for (setting, value), named in itertools.product(settings, (directory, directory / "model.ckpt-2")):
        config = evaluation_of(trained, report_dir=str(trained[0] / "never"), report_vanilla_dir=str(named))
        run = default_training_config("cluttered_digits", {"model": "2", setting: value})
        (directory / "config.json").write_text(run.to_json())
        if setting == "final_survival_probability":
            assert showing._plain_config(config).model == dataclasses.replace(run.model, tau=config.model.tau)
        else:
            received = f"{setting}: {getattr(config.model, setting)}, {value}"
            with pytest.raises(ValueError, match=f"^--report_vanilla_dir must be a run of .*Received: {received}"):
                showing.check(config)


def test_the_plain_network_of_a_report_may_be_training_still(trained, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text((trained[0] / "plain" / "config.json").read_text())
    lines, asked = [], []

    def save(step):
        for ending in ("index", "data-00000-of-00001"):
            (tmp_path / f"model.ckpt-{step}.{ending}").touch()
        (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "model.ckpt-{step}"')

    def evaluate(config, checkpoint, log):
        asked.append(checkpoint)
        if checkpoint.endswith("-3"):
            save(5)
            (tmp_path / "model.ckpt-3.index").unlink()
            raise FileNotFoundError("gone")
        if len(asked) >= 4:
            raise ValueError("damaged")
        return {"eval/Accuracy": 0.5}

    monkeypatch.setattr(showing, "evaluate", evaluate)
    config = evaluation_of(trained, report_dir="report", report_vanilla_dir=str(tmp_path))
    save(3)
    assert showing._plain_metrics(config, lines.append) == {"eval/Accuracy": 0.5}
    assert lines == [
        f"Evaluating the plain network: {tmp_path}/model.ckpt-3",
        f"{tmp_path}/model.ckpt-3 was removed before it was read. Going on with the next one.",
        f"Evaluating the plain network: {tmp_path}/model.ckpt-5",
    ]
    # One that is there whole, or whose data are gone with nothing after it, is no reason to go on.
    assert showing._plain_metrics(config, lines.append)
    (tmp_path / "model.ckpt-5.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="damaged"):
        asked.append(showing._plain_metrics(config, lines.append))


@pytest.mark.usefixtures("without_graphs")
def test_a_plain_run_that_is_gone_in_the_end_does_not_cost_the_figures(trained, tmp_path):
    plain = shutil.copytree(trained[0] / "plain", tmp_path / "plain")
    report = {"report_dir": str(tmp_path / "report"), "report_vanilla_dir": str(plain)}
    report["eval_dir"], lines = str(tmp_path / "eval"), []

    def say(text):
        lines.append(text)
        if text.startswith("evaluated"):
            shutil.rmtree(plain)

    with pytest.raises(OSError, match=r"^There is no report, as .* was not evaluated\. No checkpoint at .*plain\."):
        evaluation.evaluate_run(evaluation_of(trained, num_examples=2, **report), say)
    assert any(line.startswith("eval/Accuracy[") for line in lines) and not (tmp_path / "report").exists()


def test_a_plain_run_without_a_report_and_seconds_that_nobody_can_wait_are_refused(trained):
    with pytest.raises(ValueError, match=r"Give --report_dir, or leave out .* report_vanilla_dir='runs/plain'"):
        evaluation_of(trained, report_vanilla_dir="runs/plain")
    for seconds in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"from 0 to 1000000000. Received: eval_interval_secs={seconds}"):
            evaluation_of(trained, eval_interval_secs=seconds)


@pytest.mark.usefixtures("without_graphs")
def test_report_of_a_plain_network_has_no_maps(trained):
    directory, model_config = trained
    config = evaluation_of(
        trained,
        model=dataclasses.replace(model_config, model_type="vanilla"),
        checkpoint_dir=str(directory / "plain"),
        eval_dir=str(directory / "plain" / "eval"),
        report_dir=str(directory / "plain" / "report"),
    )
    evaluation.evaluate_run(config, lambda line: None)
    page = Page((directory / "plain" / "report" / report_page.PAGE).read_text(encoding="utf-8"))
    assert page.headings == ["Computation", "What is read as what", "All metrics", "Configuration"]
    assert page.tables[0][2][1] == "not given"


def test_report_that_cannot_be_written_is_noticed_before_evaluation(trained, tmp_path):
    (tmp_path / "file").write_text("kept")
    lines = []
    with pytest.raises(OSError, match="file"):
        evaluation.evaluate_run(evaluation_of(trained, report_dir=str(tmp_path / "file")), lines.append)
    assert lines == []
    assert (tmp_path / "file").read_text() == "kept"


def test_record_counts_what_the_network_returned(trained):
    directory, model_config = trained
    model = build_model(model_config, 64)
    checkpoints.load_release_checkpoint(model, str(directory / "sact"))
    images = np.random.default_rng(4).uniform(-1, 1, (9, 64, 64, 3)).astype("float32")
    images *= np.linspace(0.1, 1.0, 9, dtype="float32")[:, None, None, None]
    outputs = model(images, training=False)
    outputs.update(flops.count(model, outputs))
    labels = np.arange(9)
    seen = Record(classification, model, kept=2)
    for part in (slice(0, 4), slice(4, 9)):
        seen.add({"image": images[part], "label": labels[part]}, {key: value[part] for key, value in outputs.items()})
    counted = np.asarray(outputs["flops"])
    assert seen.flops == counted.tolist()
    assert len(set(seen.flops)) > 4
    for name, counts in seen.num_units.items():
        units = np.asarray(outputs[f"{name}/num_units"])
        assert counts.tolist() == [(units == number).sum() for number in range(3)]
        edges, bins = seen.ponder_cost[name]
        assert (edges[0], edges[-1], bins.sum()) == (0.0, 3.0, units.size)
    assert [each["index"] for each in seen.least] == np.argsort(counted, kind="stable")[:2].tolist()
    assert [each["flops"] for each in seen.most] == sorted(counted)[::-1][:2]
    read = np.argmax(outputs["logits"], -1)
    assert seen.findings.counts.sum() == 9
    assert seen.findings.counts[labels[3], read[3]] == 1
    worst = seen.most[0]
    assert worst["map"].shape == (64, 64)
    np.testing.assert_array_equal(worst["image"], images[worst["index"]])


def test_many_classes_give_a_list_of_mistakes():
    mistakes = classification.Mistakes(30)
    mistakes.counts[3, 4], mistakes.counts[3, 3], mistakes.counts[9, 1] = 2, 5, 7
    table = Page("".join(map(report_page._section, mistakes.sections()))).tables[0]
    assert table == [["label", "read as", "images", "of"], ["9", "1", "7", "7"], ["3", "4", "2", "7"]]


def test_classes_of_converted_pictures_are_called_by_their_folders(tmp_path):
    (tmp_path / "imagenet_classes.txt").write_text("a cup\nn01440764\n")
    (tmp_path / "cifar10_classes.txt").write_text("ape\nbee\n")
    names = classification.names_of(None, "imagenet", str(tmp_path))
    assert names == {1: "a cup", 2: "n01440764"}
    assert classification.names_of(None, "cifar10", str(tmp_path)) == {0: "ape", 1: "bee"}
    assert classification.names_of(None, "cluttered_digits", None) == {}
    batch, outputs = {"label": np.array([1, 3])}, {"logits": np.eye(30)[[0, 2]]}
    assert classification.captions(batch, outputs, names) == ["a cup, read as 0", "3, read as n01440764"]
    mistakes = classification.findings(type("Model", (), {"num_classes": 30}), names)
    mistakes.add(batch, outputs)
    assert {row[:2] for row in next(mistakes.sections()).rows} == {("a cup", 0), (3, "n01440764")}
    few = classification.Mistakes(3, names)
    few.add({"label": np.array([1, 2])}, {"logits": np.eye(3)[[1, 1]]})
    assert next(few.sections()).figure.axes[0].get_yticklabels()[1].get_text() == "a cup"


def test_text_is_escaped():
    page = report_page._table(("<b>",), [("a & b",)])
    assert "&lt;b&gt;" in page
    assert "a &amp; b" in page


def events_of(directory):
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    events.Reload()
    return {tag: tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto) for tag in events.Tags()["tensors"]}


def pictures_of(values):
    """Width and height of the pictures of an image summary, and their pixels."""
    width, height, *pictures = values
    return int(width), int(height), [tf.io.decode_png(picture).numpy() for picture in pictures]


def test_evaluation_shows_heat_maps_and_distributions(reported, trained):
    events = events_of(trained[0] / "eval")
    for figure in ("ponder_cost", "num_units"):
        width, height, pictures = pictures_of(events[f"Heat Map/{figure}"])
        assert (width, height, len(pictures)) == (2 * 64 + 5, 64, 5)
        # The stripe between the image and its map.
        assert not pictures[0][:, 64:69].any()
        assert pictures[0][:, 69:, 0].astype(int).sum() > pictures[0][:, 69:, 2].astype(int).sum()
    histogram = events["Total Flops"]
    assert histogram[:, 2].sum() == NUM_IMAGES
    metrics = reported[2]
    units = events["block_1/num_units"]
    assert units[-1, 1] == pytest.approx(metrics["block_1/num_units_max"], abs=1e-6)


@pytest.mark.usefixtures("without_graphs")
def test_training_shows_heat_maps_and_distributions(trained, tmp_path):
    config = default_training_config(
        "cluttered_digits", {"model": "2", "model_type": "sact"}, max_number_of_steps=1, batch_size=4
    )
    training.train(config, str(tmp_path), log=lambda line: None)
    events = events_of(tmp_path)
    assert len(pictures_of(events["Heat Map/ponder_cost"])[2]) == 4
    assert events["Total Flops"][:, 2].sum() == 4
    assert events["block_3/num_units"][:, 2].sum() == 4 * 8 * 8
    # Of the step, beside its losses; the cosine leaves none for another one.
    assert events["training/Learning Rate"] == pytest.approx(config.learning_rate / config.warmup_steps)


@pytest.mark.parametrize(("model_type", "shown"), [("vanilla", set()), ("act", {"Total Flops", "block_1/num_units"})])
@pytest.mark.usefixtures("without_graphs")
def test_only_sact_has_heat_maps(trained, tmp_path, model_type, shown):
    directory = trained[0] / "plain" if model_type == "vanilla" else tmp_path
    if model_type == "act":
        model = ModelConfig(network="cifar", model="1", model_type="act", num_classes=10, base_channels=4)
        config = default_training_config("cluttered_digits", max_number_of_steps=1, batch_size=4)
        training.train(dataclasses.replace(config, model=model), str(directory), log=lambda line: None)
    events = events_of(directory)
    assert events
    assert not any(tag.startswith("Heat Map") for tag in events)
    assert shown <= set(events)
    assert ("Total Flops" in events) == (model_type == "act")


@pytest.mark.usefixtures("without_graphs")
def test_a_collapsed_network_is_told_of_in_print_and_on_the_page(trained, spread_halting, tmp_path):
    _, model_config = trained
    model = build_model(model_config, 64)
    spread_halting(model, bias=9.0, gain=0.0)
    checkpoints.save_release_checkpoint(model, str(tmp_path), 7)
    lines = []
    evaluation.evaluate_run(
        evaluation_of(trained, checkpoint_dir=str(tmp_path), report_dir=str(tmp_path / "report"), num_examples=3),
        lines.append,
    )
    assert lines[-1].startswith("Note: Every position halts after the first unit of every block")
    page = (tmp_path / "report" / report_page.PAGE).read_text(encoding="utf-8")
    assert "Every position halts after the first unit of every block" in page
