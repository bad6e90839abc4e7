"""Each kind measured once, as it is or fine-tuned, and read again when it is asked for again."""

import dataclasses
import os

import numpy as np

from sact_tf import training
from sact_tf.studies import runs
from sact_tf.studies.lesion_resnet import greedy, kinds, matching
from sact_tf.studies.lesion_resnet.fine_tuning import rule_of
from sact_tf.studies.lesion_resnet.networks import OtherWeights, kept, placed

# Whose weights a row has: the plain network's, the adaptive network's own, the plain network's after fine-tuning.
PLAIN, OWN, FINE_TUNED = "plain", "adaptive", "fine-tuned"
# How a row's FLOPs are those of the adaptive network: matched, or of whole units below and above.
MATCHED, BELOW, ABOVE = "matched", "below", "above"
WHOLE = "all_units"


@dataclasses.dataclass(frozen=True)
class Item:
    """One measurement: a kind, the weights that it is done to, and the number of the draw, from 0."""

    kind: str
    weights: str
    draw: int = 0

    @property
    def name(self):
        return f"{self.kind}-{self.weights}-{self.draw}"


def planned(inputs):
    """List of the `Item`s of a study: first what is only measured, then what is fine-tuned as well."""
    items = [Item(WHOLE, PLAIN)]
    draws = {kind: inputs.draws if kind in kinds.DRAWN else 1 for kind in inputs.kinds}
    for kind in inputs.kinds:
        for weights in (PLAIN,) if kind in kinds.SETS else (PLAIN, OWN):
            items += [Item(kind, weights, draw) for draw in range(draws[kind])]
    for kind in inputs.kinds if inputs.fine_tune_steps else ():
        # Another set of units would take a training of its own.
        items += [Item(kind, FINE_TUNED, draw) for draw in range(1 if kind in kinds.SETS else draws[kind])]
    return items


class Measurements:
    """Measures `Item`s.

    Args:
        inputs: `Inputs`.
        networks: `Networks`.
        store: `Store` of all results.
        run_dir: directory, for the runs of fine-tuning.
        log: called with lines of text.
    """

    def __init__(self, inputs, networks, store, run_dir, log):
        self._inputs, self._networks, self._store = inputs, networks, store
        self._run_dir, self._log = run_dir, log
        self._chosen, self._tuned = {}, {}

    def adaptive(self):
        """The adaptive network by itself.

        Returns:
            dict: `scores`, list of floats, one an image; `flops`, the mean of all that it spends; `targets`, dict from
            names of blocks to the mean FLOPs of their units; `matched_flops`, `flops` without the halting branches.
        """
        stored = self._store.read("adaptive")
        if stored is None:
            maps, scores, counts = self._networks.decisions
            units = self._networks.unit_flops.of_maps(maps.num_units)
            targets = {name: units[f"{name}/flops"] for name in self._networks.adaptive.model.blocks}
            stored = {
                "scores": scores.tolist(),
                "flops": counts["flops"],
                "matched_flops": units["flops"],
                "targets": targets,
            }
            self._store.write("adaptive", stored)
        return stored

    def read(self, item):
        """The rows of an item that was measured before, or `None`; see `measure`."""
        return self._store.read(item.name, **self._more(item))

    def measure(self, item):
        """Measures an item and keeps what came out.

        Returns:
            list of dicts, one for each way in which its FLOPs are matched: `match`, `flops`, `match_error` (of the
            block where it is largest, a part of the adaptive network's) and `scores`, list of floats, one an image.
        """
        if item.weights == FINE_TUNED:
            if item.kind not in self._tuned:
                self._tuned[item.kind] = self._fine_tune(item.kind)
            prefix, averages = self._tuned[item.kind]
            with OtherWeights(self._networks.plain) as weights:
                weights.load(prefix, averages)
                rows = self._rows(item)
        else:
            rows = self._rows(item)
        self._store.write(item.name, rows, **self._more(item))
        return rows

    def _more(self, item):
        return {"fine_tune_steps": self._inputs.fine_tune_steps} if item.weights == FINE_TUNED else {}

    def _rows(self, item):
        if item.kind == WHOLE:
            return [self._of_units("", self._networks.plain.everything())]
        if item.kind in kinds.MAPS:
            return [self._of_maps(item)]
        choices = self._choices(item.kind, item.draw)
        if all(choice.matches for choice in choices.values()):
            return [self._of_units(MATCHED, {name: choice.matched() for name, choice in choices.items()})]
        rows = [self._of_mixture(choices, item.draw)]
        if item.weights == PLAIN:
            rows.append(self._of_units(BELOW, {name: choice.below for name, choice in choices.items()}))
            rows.append(self._of_units(ABOVE, {name: choice.above for name, choice in choices.items()}))
        return rows

    def _of_units(self, match, units):
        counts = self._networks.unit_flops.of_network(units, 1)
        return self._row(match, counts, self._networks.plain.measure(units).score)

    def _of_mixture(self, choices, draw):
        network = self._networks.plain
        images = len(self.adaptive()["scores"])
        masks = matching.mix(choices, images, np.random.default_rng([draw, 1]))
        scores = network.measure_each(kept(masks, network.config.batch_size)).score
        return self._row(MATCHED, self._networks.unit_flops.of_network(masks, images), scores)

    def _of_maps(self, item):
        network = self._networks.adaptive if item.weights == OWN else self._networks.plain
        placement = self._placement(item.kind, item.draw)
        moved = [f"{name} {value:+.2f}" for name, value in placement.shifts.items() if abs(value) > 0.005]
        if moved:
            self._log(f"{item.kind}: units added to match the FLOPs: {', '.join(moved)}")
        policies = placed(placement, network.config.batch_size, averages=item.weights == OWN)
        scores = network.measure_each(policies).score
        return self._row(MATCHED, self._networks.unit_flops.of_maps(placement.num_units), scores)

    def _row(self, match, counts, scores):
        targets = self.adaptive()["targets"]
        errors = [counts[f"{name}/flops"] / target - 1 for name, target in targets.items()]
        error = max(errors, key=abs)
        return {"match": match, "flops": counts["flops"], "match_error": error, "scores": scores.tolist()}

    def _choices(self, kind, draw):
        """Dict from names of blocks to `Choice`s: which units go."""
        if (kind, draw) not in self._chosen:
            self._chosen[kind, draw] = self._choose(kind, draw)
        return self._chosen[kind, draw]

    def _choose(self, kind, draw):
        targets, unit_flops = self.adaptive()["targets"], self._networks.unit_flops
        # In the order of execution, as the targets are.
        costs = {name: unit_flops.of_units(name) for name in targets}
        if kind == "least_harm":
            network = self._networks.plain_in_training
            going = greedy.find_order(network, costs, targets, self._store, self._log)
        elif kind == "random":
            generator = np.random.default_rng(draw)
            going = {name: generator.permutation(len(value)) for name, value in costs.items()}
        else:
            going = {name: range(len(value))[::-1] for name, value in costs.items()}
        return {name: matching.choose(going[name], costs[name], targets[name]) for name in targets}

    def _placement(self, kind, draw):
        maps, _, _ = self._networks.decisions
        mean = kinds.mean_of(self._networks.maps_in_training) if kind == "mean_map" else None
        return kinds.place(kind, maps, mean, self._networks.unit_flops, self.adaptive()["targets"], draw)

    def _fine_tune(self, kind):
        """Trains the plain network under a kind as far as that was not done; its checkpoint, and whether of averages.

        Everything else is as the adaptive network was trained.
        """
        adaptive, steps = self._inputs.adaptive, self._inputs.fine_tune_steps
        # A run that began from another place would be refused in its directory, where its results are not.
        start = os.path.abspath(self._inputs.plain_prefix)
        digest = self._store.digest(kind=kind, steps=steps, start=start)
        config = dataclasses.replace(
            adaptive,
            model=self._inputs.plain.model,
            finetune_path=self._inputs.plain_prefix,
            finetune_skip_logits=False,
            max_number_of_steps=steps,
            tau_warmup_steps=0,
            depth_rule=f"lesion_resnet {kind} {digest}",
        )
        directory = os.path.join(self._run_dir, f"{kind}-{digest}")
        rule = self._rule(kind, adaptive.seed)
        with runs.in_a_study(config, directory, self._log) as log:
            trained = training.train(config, directory, save_interval_secs=60, log=log, kept_units=rule)
        return trained["checkpoint"], config.moving_average_decay is not None

    def _rule(self, kind, seed):
        if kind in kinds.SETS:
            return rule_of(kind, seed, choices=self._choices(kind, 0))
        if kind == "shuffled_maps":
            return rule_of(kind, seed, adaptive=self._networks.adaptive.model)
        maps, unit_flops = self._networks.maps_in_training, self._networks.unit_flops
        targets = {name: unit_flops.of_block(name, value) for name, value in maps.num_units.items()}
        mean = kinds.mean_of(maps)
        return rule_of(kind, seed, placement=kinds.place(kind, maps, mean, unit_flops, targets, 0), mean=mean)
