"""What a trained network says without some of its units, and which paths its gradients take.

python -m sact_tf.studies.lesion --checkpoint_dir=runs/cluttered_digits/vanilla --run_dir=runs/lesion
"""

from absl import flags

from sact_tf import command_line
from sact_tf.studies import lesion

FLAGS = flags.FLAGS

command_line.define_model_flags()
command_line.define_split_flags()
command_line.define_paths("checkpoint_dirs", [], "Directories of networks that are compared, in place of one.")
command_line.define_path("run_dir", "runs/lesion", "Directory for everything that is written.")
flags.DEFINE_list("experiments", None, f"Some of {', '.join(lesion.checks.EXPERIMENTS)}; by default all.")
flags.DEFINE_list("ks", None, "Numbers of units to delete at random; by default 1, 2, ... up to 20 or all but one.")
flags.DEFINE_list("swaps", None, "Numbers of pairs of units to swap; by default 1, 2, ... up to 20 or all.")
flags.DEFINE_integer("draws", 10, "Random lesions for each of these numbers.")
flags.DEFINE_integer("seed", 0, "Of what is drawn.")
flags.DEFINE_integer("gradient_draws", 20, "Random paths of each length whose gradient is measured.")
flags.DEFINE_integer("gradient_images", 32, "Random images that the gradient of a path is measured on.")


def main():
    """Flags to configurations to one call."""
    if FLAGS.checkpoint_dir and FLAGS.checkpoint_dirs:
        raise ValueError("Give one network as --checkpoint_dir, or several as --checkpoint_dirs, not both.")
    directories = FLAGS.checkpoint_dirs or [FLAGS.checkpoint_dir] * bool(FLAGS.checkpoint_dir)
    split_configs = [command_line.split_config(directory) for directory in directories]
    with command_line.full_disk_named(FLAGS.run_dir, "run_dir"):
        lesion.run(
            split_configs,
            FLAGS.run_dir,
            FLAGS.experiments,
            _numbers("ks"),
            _numbers("swaps"),
            FLAGS.draws,
            FLAGS.seed,
            FLAGS.gradient_draws,
            FLAGS.gradient_images,
        )


def _numbers(name):
    """The ints of a flag that is a list of them, each once, or None."""
    texts = FLAGS[name].value
    if texts is None:
        return None
    if not all(text.strip().isdecimal() for text in texts):
        raise ValueError(f"--{name} takes positive integers separated by commas. Received: {','.join(texts)}")
    return sorted({int(text) for text in texts})


if __name__ == "__main__":
    command_line.run(main)
