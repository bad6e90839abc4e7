"""`predict` without the features of blocks, which are most of what a network returns."""


class PredictsWithoutFeatures:
    """Mixin of models with `blocks` that return a flat dict, before `keras.Model`."""

    _predicts_features = False

    def predict(self, *args, features=False, **kwargs):
        """As in Keras; the features of the blocks, under the blocks' names, come with `features=True` alone.

        Keras collects the outputs for all images in memory, and features are most of them by far.

        Raises:
            ValueError: if there is no image.
        """
        self._select_predicted(features)
        try:
            return super().predict(*args, **kwargs)
        except UnboundLocalError as error:  # Keras has no outputs to put together where there was no batch
            if "batch_outputs" not in str(error):
                raise
            raise ValueError(
                "`predict` takes one image or more: there was no batch with any. Look whether the images were found."
            ) from error

    def predict_on_batch(self, x, features=False):
        """As in Keras; `features` as in `predict`."""
        self._select_predicted(features)
        return super().predict_on_batch(x)

    def _select_predicted(self, features):
        if bool(features) != self._predicts_features:
            self._predicts_features = bool(features)
            self.predict_function = None

    def predict_step(self, data):
        outputs = super().predict_step(data)
        return {name: output for name, output in outputs.items() if self._predicts_features or name not in self.blocks}
