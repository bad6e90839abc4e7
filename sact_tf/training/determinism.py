"""What makes a step the same to the bit in every run."""

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.eager import context


def compute_deterministically():
    """Has operations, and the sums of gradients between them, give the same bits in every run, in this process.

    `enable_op_determinism` is about single operations. Where TensorFlow believes that a step takes more than four
    fifths of a CPU's memory, for which it takes 256 MB, its memory optimizer also has gradients that come from several
    places added up in the order in which they are ready, which is another one each time. No public function of
    TensorFlow 2.21 turns that off.
    """
    tf.config.experimental.enable_op_determinism()
    here = context.context()
    config = config_pb2.ConfigProto()
    if here._config is not None:
        config.CopyFrom(here._config)
    config.graph_options.rewrite_options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    here._config = config
    # Read again by whatever is traced from here on.
    here._thread_local_data.function_call_options = None
