"""What an evaluation saw beyond means: distributions, mistakes, and the images with the least and most computation."""

import numpy as np

from sact_tf.visualize import block_maps

# Bins of a histogram of ponder cost for each residual unit.
BINS_PER_UNIT = 8
# With more classes than this, mistakes are listed and not shown as a matrix.
MATRIX_CLASSES = 20


class Record:
    """Gathers it batch by batch; memory does not grow with images, but for one number each.

    Args:
        model: `Classifier`.
        kept: int, how many images to keep at either end of the computation.

    Attributes:
        flops: list of ints, of each image.
        num_units: dict from a block's name to int64 `(units + 1,)`, how often so many units were executed.
        ponder_cost: dict from a block's name to `(edges, counts)` of a histogram, in residual units.
        mistakes: int64 `(classes, classes)`, rows the label, columns what was read.
        least, most: lists of dicts, by FLOPs: `index`, `flops`, `label`, `read`, `image` float `(h, w, 3)`, and `map`,
            the ponder map of a SACT network or None.
    """

    def __init__(self, model, kept=6):
        self._kept = kept
        self._spatial = model.backbone.model_type == "sact"
        self.flops, self.least, self.most = [], [], []
        self.mistakes = np.zeros((model.num_classes, model.num_classes), np.int64)
        adaptive = model.backbone.model_type != "vanilla"
        units = {name: len(block.units) for name, block in model.blocks.items()} if adaptive else {}
        self.num_units = {name: np.zeros(count + 1, np.int64) for name, count in units.items()}
        self.ponder_cost = {}
        for name, count in units.items():
            edges = np.linspace(0.0, count + 1.0, BINS_PER_UNIT * (count + 1) + 1)
            self.ponder_cost[name] = (edges, np.zeros(len(edges) - 1, np.int64))

    @staticmethod
    def wanted(outputs):
        """The part of a model's outputs, with its FLOPs, that `add` looks at."""
        kept = ("ponder_cost", "num_units", "halting_distribution")
        return {name: value for name, value in outputs.items() if name in ("logits", "flops") or name.endswith(kept)}

    def add(self, batch, outputs):
        """Takes a batch into account: its `image` and `label`, and the `wanted` outputs as tensors."""
        outputs = {name: np.asarray(value) for name, value in outputs.items()}
        labels, read = np.asarray(batch["label"]), np.argmax(outputs["logits"], -1)
        np.add.at(self.mistakes, (labels, read), 1)
        for name, counts in self.num_units.items():
            counts += np.bincount(outputs[f"{name}/num_units"].ravel(), minlength=len(counts))
            edges, bins = self.ponder_cost[name]
            bins += np.histogram(outputs[f"{name}/ponder_cost"], edges)[0]
        self._keep(batch["image"], labels, read, outputs)
        self.flops.extend(int(value) for value in outputs["flops"])

    def _keep(self, images, labels, read, outputs):
        flops, first = outputs["flops"], len(self.flops)
        order = np.argsort(flops, kind="stable")
        maps = None
        if self._spatial:
            maps = sum(np.asarray(value) for value in block_maps(outputs, images.shape[1:3]).values())

        def entry(number):
            return {
                "index": first + int(number),
                "flops": int(flops[number]),
                "label": int(labels[number]),
                "read": int(read[number]),
                "image": np.asarray(images[number]),
                "map": None if maps is None else maps[number],
            }

        least = self.least + [entry(number) for number in order[: self._kept]]
        most = self.most + [entry(number) for number in order[::-1][: self._kept]]
        self.least = sorted(least, key=lambda each: each["flops"])[: self._kept]
        self.most = sorted(most, key=lambda each: -each["flops"])[: self._kept]
