"""Arguments of constructors that are settled: what was made of them would not notice others."""


class SettledArguments:
    """Mixin of layers and models, before the Keras class.

    Of attributes in `_settled`, the first value is the last one. A config would have the others nevertheless, and what
    is reloaded of it would compute something else.
    """

    _settled = ()

    def __setattr__(self, name, value):
        if name in self._settled and name in vars(self) and vars(self)[name] != value:
            raise ValueError(
                f"`{name}` of '{self.name}' is settled when it is made: setting it would have no effect, or not all of "
                f"it. Make another one, type(it).from_config({{**it.get_config(), '{name}': ...}}), build it, and give "
                f"it these weights by set_weights(it.get_weights()). Received: {name}={value!r}"
            )
        super().__setattr__(name, value)
