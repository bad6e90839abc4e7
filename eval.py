"""Evaluates the checkpoints of a training run, or one of the original release.

python eval.py --checkpoint_dir=runs/sact --evaluate_once
"""

from sact_tf import command_line, evaluation

command_line.define_model_flags()
command_line.define_evaluation_flags()


def main():
    """Flags to configuration to one call; of a run that has not begun the configuration comes with its checkpoint."""
    if not command_line.evaluates_once() and not evaluation.wait_for_checkpoint(command_line.checkpoint_dir()):
        return
    evaluation.evaluate_run(command_line.evaluation_config(), strategy=command_line.strategy())


if __name__ == "__main__":
    command_line.run(main)
