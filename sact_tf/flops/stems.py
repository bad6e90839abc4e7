"""What comes before the blocks of a backbone: its kernels, and by how much it makes maps smaller."""

from sact_tf.flops.costs import stride_between

# Large, so that strides of several layers can be told from what is cut off; a prime and another.
_A_SIZE = (4093, 4092)


def stem_of(layers):
    """List of `[stride, kernel_shape]`, the shape `None` for a layer without a kernel, as `ModelFlops` takes it.

    Args:
        layers: list of built layers, from images `(batch, height, width, 3)` on.

    Raises:
        ValueError: for layers whose kernels are not known, and those that leave maps of another size than one that was
            divided by a whole number and rounded up.
    """
    size, shape, stem = _A_SIZE, (1, *_A_SIZE, 3), []
    for layer in layers:
        shape, kernels = layer.compute_output_shape(shape), _kernels(layer)
        stride = stride_between(size, shape[1:3])
        if stride is not None:
            size = shape[1:3]
            first, *others = kernels or [None]
            stem += [[stride, first], *([1, kernel] for kernel in others)]
        elif kernels or layer is layers[-1]:  # Anything else may be padding for the next layer.
            raise ValueError(
                "FLOPs are counted of stems that keep height and width, or divide both by one whole number and round "
                f"up, as padding='same' does. With '{layer.name}', {type(layer).__name__}, {tuple(size)} turned into "
                f"{tuple(shape[1:3])}; pad what it reads, or count the blocks alone: sact_tf.flops.BlockFlops(block)."
            )
    return stem


def _kernels(layer):
    """Shapes of the kernels that a layer runs one after the other."""
    if hasattr(layer, "pointwise_kernel"):
        return [list(layer.depthwise_kernel.shape), list(layer.pointwise_kernel.shape)]
    if hasattr(layer, "kernel"):
        return [list(layer.kernel.shape)]
    if any(len(variable.shape) > 1 for variable in layer.weights):
        raise ValueError(
            f"The convolutions of {type(layer).__name__} '{layer.name}' of a stem are not known, so its FLOPs cannot "
            "be counted. Put Keras' own layers into the stem, or count the blocks alone: "
            "sact_tf.flops.BlockFlops(block)."
        )
    return []
