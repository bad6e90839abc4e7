"""What an evaluation saw beyond means, for its report: distributions, and images with little and much computation.

`evaluate_run` makes a `Record` where a report or TensorBoard wants one, `evaluate_model` gives it every batch, and
`page` draws it.
"""

import numpy as np

from sact_tf import flops
from sact_tf.visualize import block_maps

# Bins of a histogram of ponder cost for each residual unit.
BINS_PER_UNIT = 8
_KEPT = ("ponder_cost", "num_units", "halting_distribution")


class Record:
    """Gathers it batch by batch; memory does not grow with images, but for a few numbers each.

    Args:
        task: of the model; says what its answers mean.
        model: what the task built.
        kept: int, how many images to keep at either end of the computation.
        names: dict of the task's `names_of`; None for a task without, or for numbers.

    Attributes:
        flops: list of ints, of each image.
        most_flops: list of ints, what they would be if nothing halted early; empty for a plain network.
        sizes: list of pairs of ints, height and width in pixels of each image, without padding.
        num_units: dict from a block's name to int64 `(units + 1,)`, how often so many units were executed,
            padding around images left out.
        ponder_cost: dict from a block's name to `(edges, counts)` of a histogram, in residual units.
        findings: what the task makes of its answers, see `sact_tf.tasks`.
        least, most: lists of dicts, by FLOPs: `index`, `flops`, `caption` (the task's), `image` float `(h, w, 3)`
            without padding, `map`, the ponder map of a SACT network or None, and `marks`, the task's, or None.
    """

    def __init__(self, task, model, kept=6, names=None):
        self._task, self._model = task, model
        self._named = {} if names is None else {"names": names}
        self._kept = kept
        self._spatial = model.backbone.model_type == "sact"
        self.flops, self.most_flops, self.sizes, self.least, self.most = [], [], [], [], []
        self.findings = task.findings(model, **self._named)
        adaptive = model.backbone.model_type != "vanilla"
        units = {name: len(block.units) for name, block in model.blocks.items()} if adaptive else {}
        self.num_units = {name: np.zeros(count + 1, np.int64) for name, count in units.items()}
        self.ponder_cost = {}
        for name, count in units.items():
            edges = np.linspace(0.0, count + 1.0, BINS_PER_UNIT * (count + 1) + 1)
            self.ponder_cost[name] = (edges, np.zeros(len(edges) - 1, np.int64))

    def _wanted(self, name):
        return name == "flops" or name in self._task.KEPT or name.endswith(_KEPT)

    def add(self, batch, outputs):
        """Takes a batch into account: a dict of `image` and the task's targets, and the outputs with their FLOPs."""
        sizes = np.asarray(outputs.get("image_size", [batch["image"].shape[1:3]] * len(batch["image"])))
        self.sizes.extend(map(tuple, sizes.tolist()))
        if self.num_units:
            self.most_flops.extend(int(value) for value in flops.count_most(self._model, outputs)["flops"])
        outputs = {name: np.asarray(value) for name, value in outputs.items() if self._wanted(name)}
        self.findings.add(batch, outputs)
        for name, counts in self.num_units.items():
            units = outputs[f"{name}/num_units"]
            # Padding alone has run none.
            counts += np.bincount(units[units > 0], minlength=len(counts))
            edges, bins = self.ponder_cost[name]
            bins += np.histogram(outputs[f"{name}/ponder_cost"][units > 0], edges)[0]
        self._keep(batch, outputs, sizes)
        self.flops.extend(int(value) for value in outputs["flops"])

    def _keep(self, batch, outputs, sizes):
        images, counted, first = batch["image"], outputs["flops"], len(self.flops)
        captions = self._task.captions(batch, outputs, **self._named)
        marks = self._task.marks(batch, outputs, **self._named) if hasattr(self._task, "marks") else None
        order = np.argsort(counted, kind="stable")
        maps = None
        if self._spatial:
            maps = sum(np.asarray(value) for value in block_maps(outputs, images.shape[1:3]).values())

        def entry(number):
            height, width = sizes[number]
            return {
                "index": first + int(number),
                "flops": int(counted[number]),
                "caption": captions[number],
                "image": np.asarray(images[number])[:height, :width],
                "map": None if maps is None else maps[number, :height, :width],
                "marks": None if marks is None else marks[number],
            }

        least = self.least + [entry(number) for number in order[: self._kept]]
        most = self.most + [entry(number) for number in order[::-1][: self._kept]]
        self.least = sorted(least, key=lambda each: each["flops"])[: self._kept]
        self.most = sorted(most, key=lambda each: -each["flops"])[: self._kept]
