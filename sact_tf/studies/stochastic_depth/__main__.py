"""Stochastic depth against constant depth: the error of both, and the time of their training steps.

python -m sact_tf.studies.stochastic_depth --run_dir=runs/stochastic_depth --models=1,2,3 --survival=0.5
"""

from absl import flags

from sact_tf import command_line
from sact_tf.studies import stochastic_depth

FLAGS = flags.FLAGS

command_line.define_path("run_dir", "runs/stochastic_depth", "Directory for everything that is written.")
flags.DEFINE_list(
    "models", ["1", "2", "3"], "Depths, as --model of train.py takes them; these by default are of the cifar network."
)
flags.DEFINE_list("survival", ["0.5"], "Survival probabilities of the last unit, above 0 and below 1.")
flags.DEFINE_list("seeds", ["0"], "Each is a training of every network.")
flags.DEFINE_string("dataset", "cluttered_digits", "Data set: cluttered_digits, cifar10 or imagenet.")
command_line.define_path("dataset_dir", None, "Directory of the data set, if it is not the embedded one.")
flags.DEFINE_integer("steps", None, "Steps of each training; the data set's by default.")
flags.DEFINE_integer("batch_size", None, "Images of a step; the data set's by default.")
flags.DEFINE_float("learning_rate", None, "At the first step; the data set's by default.")
flags.DEFINE_string("learning_rate_schedule", None, "As of train.py; the data set's by default.")
flags.DEFINE_integer("warmup_steps", None, "Steps over which the learning rate rises from zero.")
flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
flags.DEFINE_integer("rounds", 9, "How often the steps of a network are timed; the median is reported.")


def main():
    """Flags to one call."""
    with command_line.full_disk_named(FLAGS.run_dir, "run_dir"):
        stochastic_depth.run(
            FLAGS.run_dir,
            FLAGS.models,
            command_line.numbers_of("survival"),
            command_line.numbers_of("seeds", int),
            FLAGS.dataset,
            FLAGS.num_examples,
            FLAGS.rounds,
            dataset_dir=FLAGS.dataset_dir,
            max_number_of_steps=FLAGS.steps,
            batch_size=FLAGS.batch_size,
            learning_rate=FLAGS.learning_rate,
            learning_rate_schedule=FLAGS.learning_rate_schedule,
            warmup_steps=FLAGS.warmup_steps,
        )


if __name__ == "__main__":
    command_line.run(main)
