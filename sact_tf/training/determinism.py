"""What makes a step the same to the bit in every run."""

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.eager import context


def compute_deterministically():
    """Has operations, and the sums of gradients between them, give the same bits in every run, in this process.

    `enable_op_determinism` is about single operations. In steps that TensorFlow takes for large, such as one of 64
    images of 64 x 64 pixels, its memory optimizer makes the sums of gradients that come from several places other ones
    in each run, where operations run beside each other. No public function of TensorFlow 2.21 turns it off.
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
