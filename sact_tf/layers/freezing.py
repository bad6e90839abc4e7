"""Frozen parts: `trainable` at every depth is part of a layer's config, so that all its copies have it.

Keras keeps the flag of a layer in its config, but not those of the layers that it makes by itself. Saving and loading,
`copy.deepcopy`, `from_config` and `keras.models.clone_model` all go through the config.
"""

from sact_tf.layers.settled import SettledArguments

# Key of the config; where every part is as trainable as the layer it is part of, absent or empty.
PARTS = "trainable_parts"


class KeepsFrozenParts(SettledArguments):
    """Mixin of every layer and model of this package, before the Keras class.

    A constructor that makes or takes parts ends with `self._freeze_parts()`; a `build` that makes some with
    `self._freeze_new_parts(known)`.
    """

    # What a config says of parts that do not exist before `build`.
    _flags_of_missing_parts = ()

    def _freeze_parts(self):
        """Lets a constructor's `trainable=False` hold for the parts, which come after Keras has read it."""
        if not self.trainable:
            set_trainable(self, False)

    def _freeze_new_parts(self, known):
        """Does the same for parts that are not among the ids `known`, then what a config says of them."""
        for _, part, parent in parts_of(self):
            if id(part) not in known and not parent.trainable:
                set_trainable(part, False)
        self._flags_of_missing_parts = set_flags(self, self._flags_of_missing_parts)

    def get_config(self):
        flags = flags_of(self)
        return {**super().get_config(), **({PARTS: flags} if flags else {})}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        flags = config.pop(PARTS, None)
        layer = cls(**config)
        if flags is not None:
            # They are all that differ, whatever the constructor froze.
            set_trainable(layer, layer.trainable)
        layer._flags_of_missing_parts = set_flags(layer, flags or ())
        return layer


def parts_of(layer, position=()):
    """Yields `(position, part, parent)` for the layers below a layer, at every depth, parents before their parts.

    A position is a tuple of indices, the same in every copy; names are not, where Keras makes them.
    """
    for index, part in enumerate(layer._layers):
        yield (*position, index), part, layer
        yield from parts_of(part, (*position, index))


def set_trainable(layer, trainable):
    """Sets the flag of a layer and of all its parts.

    `layer.trainable = False` reaches the parts too, unless the layer has that flag already: then Keras does nothing.
    """
    layer.trainable = trainable
    for _, part, _ in parts_of(layer):
        part.trainable = trainable


def flags_of(layer):
    """List of `[position, trainable]`, parents first, of the parts that differ from what they are part of."""
    return [
        [list(position), part.trainable]
        for position, part, parent in parts_of(layer)
        if part.trainable != parent.trainable
    ]


def set_flags(layer, flags):
    """Sets what `flags_of` returned; returns the flags of parts that are not there (yet)."""
    parts = {position: part for position, part, _ in parts_of(layer)}
    missing = []
    for position, trainable in flags:
        if tuple(position) in parts:
            # Reaches everything below, so parents come first.
            set_trainable(parts[tuple(position)], trainable)
        else:
            missing.append([position, trainable])
    return missing
