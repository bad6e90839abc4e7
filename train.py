"""Trains a plain, ACT or SACT residual network, or goes on with a run that was stopped.

python train.py --dataset=cluttered_digits --model_type=vanilla --train_log_dir=runs/vanilla
python train.py --dataset=cluttered_digits --model_type=sact --finetune_path=runs/vanilla --train_log_dir=runs/sact
"""

from absl import flags

from sact_tf import command_line, training
from sact_tf.progress import print_line

FLAGS = flags.FLAGS
command_line.define_model_flags()
command_line.define_training_flags()


def main():
    """Flags to configuration to one call."""
    result = training.train(
        command_line.training_config(),
        command_line.train_log_dir(),
        save_interval_secs=FLAGS.save_interval_secs,
        save_summaries_secs=FLAGS.save_summaries_secs,
        strategy=FLAGS.strategy,
        tpu=FLAGS.tpu,
    )
    print_line(f"Trained to step {result['step']}: {command_line.train_log_dir()}")


if __name__ == "__main__":
    command_line.run(main)
