"""Do a network's ponder maps tell where people look? Scored against fixations, beside what tells it without a network.

  python -m sact_tf.studies.saliency --checkpoint_dir=runs/sact --dataset=osie --dataset_dir=osie

Writes `saliency.csv` (means with standard errors), `images.csv` (every picture), `saliency.png` and `.svg`,
`saliency_images.png` (the best, the middle and the worst pictures) and `saliency.txt`, what the figures say. Started
again, it goes on where it was stopped. Without `--checkpoint_dir` it scores what needs no network.
"""

from absl import flags

from sact_tf import checkpoints, command_line
from sact_tf.studies import saliency

FLAGS = flags.FLAGS


def main():
    """Flags to one call."""
    config = None
    if FLAGS.checkpoint_dir is not None:
        # First: without a run, the network would be taken for another one, and what is said be of that.
        checkpoints.checkpoint_prefix(FLAGS.checkpoint_dir)
        config = command_line.saliency_config()
    if not FLAGS.dataset:
        raise ValueError("--dataset is needed: cat2000, osie or folder, the form of the pictures and fixations.")
    saliency.run(
        config,
        FLAGS.dataset,
        FLAGS.dataset_dir,
        FLAGS.run_dir,
        sigmas=command_line.numbers_of("sigmas"),
        centre_weights=command_line.numbers_of("centre_weights"),
        density_sigma=FLAGS.density_sigma,
        shuffles=FLAGS.shuffles,
        num_images=FLAGS.num_images,
        score_size=FLAGS.score_size,
    )


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the longer edge to, of a detector the shorter one; see the docs.",
        trained_on=True,
        reads="others",
    )
    command_line.define_saliency_flags()
    command_line.run(main, writes_to="run_dir")
