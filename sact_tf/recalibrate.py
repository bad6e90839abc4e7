"""Writes a run's checkpoint again, with statistics of batch normalization that are of its weights.

  python -m sact_tf.recalibrate --checkpoint_dir=runs/mine --output_dir=runs/mine_recalibrated

In training they are moving averages over the last steps, which in a short run are of other weights: then evaluation is
far worse than training. Here each is measured anew, over batches of training data; nothing else changes.
"""

from absl import flags

from sact_tf import command_line
from sact_tf.progress import print_line
from sact_tf.training.statistics import recalibrate

FLAGS = flags.FLAGS


def define_flags():
    """Flags of the command."""
    command_line.define_path("checkpoint_dir", None, "Directory of a run, or one of its checkpoints.")
    command_line.define_path("output_dir", None, "Directory for the new run, which has one checkpoint.")
    command_line.define_path("dataset_dir", None, "Directory of the data; that of the run if left out.")
    flags.DEFINE_integer("num_batches", 100, "Batches of training data, of the run's size.")


def main():
    """Flags to one call."""
    for name in ("checkpoint_dir", "output_dir"):
        if not FLAGS[name].value:
            raise ValueError(f"Give --{name}.")
    prefix = recalibrate(FLAGS.checkpoint_dir, FLAGS.output_dir, FLAGS.num_batches, FLAGS.dataset_dir)
    print_line(f"Wrote {prefix}")


if __name__ == "__main__":
    define_flags()
    command_line.run(main, writes_to="output_dir")
