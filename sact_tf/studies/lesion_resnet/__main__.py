"""Is the place where an adaptive network computes worth anything? Lesions of a plain network at the same FLOPs.

python -m sact_tf.studies.lesion_resnet --adaptive_dir=runs/sact --vanilla_dir=runs/vanilla
"""

from absl import flags

from sact_tf import command_line
from sact_tf.studies import lesion_resnet

FLAGS = flags.FLAGS

command_line.define_path("adaptive_dir", None, "Directory of a trained act or sact run.")
command_line.define_path("vanilla_dir", None, "Directory of a trained plain run of the same shape.")
command_line.define_path("run_dir", "runs/lesion_resnet", "Directory for everything that is written.")
flags.DEFINE_list("kinds", list(lesion_resnet.KINDS), "What to measure; all by default.")
flags.DEFINE_integer("seeds", 3, "Draws of the kinds that are drawn at random.")
flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
flags.DEFINE_integer("train_examples", 1000, "First images of the train split, for least_harm and mean_map.")
flags.DEFINE_integer(
    "fine_tune_steps",
    None,
    "Steps of fine-tuning under each kind; as many as the adaptive run had by default, 0: none.",
)


def main():
    """Flags to one call."""
    lesion_resnet.run(
        FLAGS.adaptive_dir,
        FLAGS.vanilla_dir,
        FLAGS.run_dir,
        FLAGS.kinds,
        FLAGS.seeds,
        FLAGS.num_examples,
        FLAGS.train_examples,
        FLAGS.fine_tune_steps,
    )


if __name__ == "__main__":
    command_line.run(main, writes_to="run_dir")
