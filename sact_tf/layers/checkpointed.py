"""What files of Keras and a `tf.train.Checkpoint` keep of layers with lists of others, or with draws of their own."""

from keras import ops


class FoundByCheckpoints:
    """Mixin of a layer with lists of layers, or with draws of its own, before the Keras class.

    TensorFlow walks through attributes, and of Keras 3 it sees neither lists nor seed generators: a checkpoint of a
    model would lack their variables without a word, and restoring it would leave them as they are. Files of Keras have
    lists, but no seed generator either.
    """

    # Name of the seed generator that such a layer may have.
    _draws_name = None

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        children = super()._trackable_children(save_type, **kwargs)
        if save_type != "checkpoint":  # Keras itself sees to a SavedModel.
            return children
        known = {id(child) for child in children.values()}
        parts = {f"layer-{index}": layer for index, layer in enumerate(self._layers) if id(layer) not in known}
        seeds = {f"seed-{index}": generator.state for index, generator in enumerate(self._seed_generators)}
        return {**children, **parts, **seeds}

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for generator in self._seed_generators:
            store[generator.name] = ops.convert_to_numpy(generator.state)

    def load_own_variables(self, store):
        keys = set(store.keys())
        super().load_own_variables({key: store[key] for key in keys - {self._draws_name}})
        # A layer may draw where the one that was saved did not, and the other way round.
        for generator in self._seed_generators:
            if generator.name in keys:
                generator.state.assign(store[generator.name])
