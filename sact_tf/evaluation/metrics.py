"""Keras metrics over a whole data set."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="sact_tf")
class Moments(keras.metrics.Metric):
    """Mean, sample standard deviation and maximum of a stream of numbers.

    The deviation is that of all values ever seen (divided by n - 1), not a mean over batches. Batches are merged
    by their means and centred squares (Chan et al. 1979), in float64: FLOPs of 1e10 would drown in a sum of squares.
    `result()` is a dict of float64 scalars `mean`, `std` and `max`; the deviation of fewer than two values is 0.
    """

    def __init__(self, name="moments", dtype="float64"):
        super().__init__(name=name, dtype=dtype)
        lowest = keras.initializers.Constant(float("-inf"))
        self.count = self.add_variable((), "zeros", dtype, name="count")
        self.mean = self.add_variable((), "zeros", dtype, name="mean")
        self.centred_squares = self.add_variable((), "zeros", dtype, name="centred_squares")
        self.maximum = self.add_variable((), lowest, dtype, name="maximum")

    def update_state(self, values, sample_weight=None):
        """Takes in a tensor of any shape and numeric dtype."""
        values = ops.cast(values, self.count.dtype)
        count = ops.cast(ops.size(values), self.count.dtype)
        mean = ops.mean(values)
        difference, total = mean - self.mean, self.count + count
        centred = ops.sum(ops.square(values - mean)) + ops.square(difference) * self.count * count / total
        self.centred_squares.assign_add(centred)
        self.mean.assign_add(difference * count / total)
        self.maximum.assign(ops.maximum(self.maximum, ops.max(values)))
        self.count.assign(total)

    def result(self):
        variance = self.centred_squares / ops.maximum(self.count - 1, ops.ones((), self.count.dtype))
        return {"mean": self.mean + 0.0, "std": ops.sqrt(variance), "max": self.maximum + 0.0}
