"""What a `tf.train.Checkpoint` finds of layers that keep others in lists."""


class FoundByCheckpoints:
    """Mixin of a layer with lists of layers, or with draws of its own, before the Keras class.

    TensorFlow walks through attributes, and of Keras 3 it sees neither lists nor seed generators: a checkpoint of a
    model would lack their variables without a word, and restoring it would leave them as they are.
    """

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        children = super()._trackable_children(save_type, **kwargs)
        if save_type != "checkpoint":  # Keras itself sees to a SavedModel.
            return children
        known = {id(child) for child in children.values()}
        parts = {f"layer-{index}": layer for index, layer in enumerate(self._layers) if id(layer) not in known}
        seeds = {f"seed-{index}": generator.state for index, generator in enumerate(self._seed_generators)}
        return {**children, **parts, **seeds}
