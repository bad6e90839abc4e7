"""Ponder maps as predictions of where people look (Figurnov et al. 2017, section 4.3).

A map is the ponder cost summed over the blocks, blurred by a Gaussian, scaled to [0, 1], and mixed with a Gaussian in
the middle of the picture. Nothing is learned from fixations but the blur and the weight of the middle: these are chosen
on one half of the pictures and scored on the other, both ways round. Beside it stands what a network has to beat.
"""

import os

from sact_tf import command_line
from sact_tf.data.fixations import read_fixations
from sact_tf.progress import print_line
from sact_tf.studies.saliency import choosing, report
from sact_tf.studies.saliency.network import FIGURES, NetworkMaps
from sact_tf.studies.saliency.pictures import Picture, pictures_of, with_progress
from sact_tf.studies.saliency.scoring import Scorer
from sact_tf.studies.saliency.settings import CENTRE_WEIGHTS, SIGMAS, Settings
from sact_tf.studies.store import Store

# Raised with every change of what is computed, so that nothing is taken for the same that is not.
_VERSION = 2


def run(
    config,
    form,
    dataset_dir,
    run_dir,
    sigmas=None,
    centre_weights=None,
    density_sigma=None,
    shuffles=5,
    num_images=None,
    score_size=None,
    log=print_line,
):
    """Scores the maps of a network, and what stands beside them; writes tables, figures and what they say.

    Args:
        config: `SaliencyConfig`; None for what needs no network.
        form: a key of `sact_tf.data.fixations.FORMATS`.
        dataset_dir: directory of the pictures and the fixations.
        run_dir: directory for everything that is written. Maps and scores that it has of the same network, pictures
            and settings are not computed again.
        sigmas: floats >= 0, blurs to choose from, in pixels of the pictures.
        centre_weights: floats in [0, 1], weights of the centre prior to choose from.
        density_sigma: float > 0, the blur of fixations in pixels; None for that of the data set.
        shuffles: int, other pictures' maps that are tried on each picture.
        num_images: int, pictures, evenly from all; None for all.
        score_size: int, pixels of the longer edge that maps are scored at; None for the pictures' own size.
        log: called with lines of text.

    Returns:
        list of dicts, the rows of `saliency.csv`.

    Raises:
        OSError, ValueError: for a data set, a checkpoint or settings that do not fit, before anything is computed; for
            a picture that cannot be read, when it is its turn.
    """
    settings = Settings(
        form,
        tuple(sorted(set(SIGMAS if sigmas is None else sigmas))),
        tuple(sorted(set(CENTRE_WEIGHTS if centre_weights is None else centre_weights))),
        density_sigma,
        shuffles,
        num_images,
        score_size,
    )
    data = read_fixations(form, dataset_dir, log)
    pictures = pictures_of(data.images, num_images)
    log(f"{len(pictures)} of {len(data.images)} pictures with fixations, {len(data.without)} without")
    command_line.make_directory(run_dir, "run_dir")
    network = NetworkMaps(config, run_dir) if config else None
    if network:
        _compute_maps(network, pictures, log)
    else:
        log("No --checkpoint_dir: only what needs no network is scored.")
    store = _store(run_dir, network)
    kinds = {"contrast": Picture.contrast, **(_kinds_of(network) if network else {})}
    choices = choosing.choose(pictures, kinds, settings, store, log)
    scorer = Scorer(pictures, kinds, network, choices, settings, store)
    scores = scorer.score(log)
    rows = report.table(scores)
    spent = report.collapse(network, pictures) if network else None
    texts = report.paragraphs(data, scores, choices, spent)
    report.write(run_dir, pictures, scores, choices, rows, texts, scorer)
    for line in [*report.lines_of(rows), *texts]:
        log(line)
    log(f"Tables and figures: {os.path.join(run_dir, 'saliency')}*, {os.path.join(run_dir, 'images.csv')}")
    return rows


def _compute_maps(network, pictures, log):
    network.load()
    missing = {picture.digest: picture for picture in pictures if not network.has(picture)}
    for picture in with_progress(list(missing.values()), "maps of pictures", log):
        network.compute(picture)


def _kinds_of(network):
    """Dict from a figure to a function from a picture to its map."""

    def of(figure):
        return lambda picture: network.of(picture, figure, picture.viewed.height, picture.viewed.width)

    return {figure: of(figure) for figure in FIGURES}


def _store(run_dir, network):
    inputs = {"version": _VERSION, "network": network.identity if network else None}
    directory = os.path.join(run_dir, f"scores_{Store(run_dir, inputs).digest()}")
    command_line.make_directory(directory, "run_dir")
    return Store(directory, inputs)
