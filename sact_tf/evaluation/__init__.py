"""Evaluation of trained networks: accuracy, loss, FLOPs and ponder cost over a whole split.

`following` finds the checkpoints of a run and evaluates each, `measuring` computes the figures of one, `record` keeps
what is beyond means, and `showing` writes both for TensorBoard and, with `page`, as a report in HTML. `inference` is a
checkpoint as a function of images.
"""

from sact_tf.evaluation.following import evaluate_run, wait_for_checkpoint
from sact_tf.evaluation.measuring import evaluate, evaluate_model

__all__ = ["evaluate", "evaluate_model", "evaluate_run", "wait_for_checkpoint"]
