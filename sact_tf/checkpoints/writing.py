"""Files as TensorFlow 1.0 wrote them."""

import os

import tensorflow as tf


def write_tensors(directory, step, tensors):
    """Writes named tensors as a V2 checkpoint, `model.ckpt-<step>`, and makes it the latest of its directory.

    Args:
        directory: that exists; `~` is the home directory.
        step: int.
        tensors: dict from names to tensors.

    Returns:
        Prefix of the checkpoint's files.

    Raises:
        OSError: if the files cannot be written.
    """
    # In the order of their names, as TensorFlow 1's `Saver` has them.
    names = sorted(tensors)
    directory = os.path.expanduser(os.fspath(directory))
    prefix = os.path.join(directory, f"model.ckpt-{step}")
    try:
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tensors[name] for name in names],
        )
    except tf.errors.OpError as error:
        raise OSError(f"The checkpoint {prefix} cannot be written: {error.message}") from error
    with open(os.path.join(directory, "checkpoint"), "w", encoding="utf-8") as file:
        # Relative, so that the directory can be moved.
        name = os.path.basename(prefix)
        file.write(f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n')
    return prefix
