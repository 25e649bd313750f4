"""Weights of loss terms, and targets in them, that can change while `fit` runs."""

from typing import Any

import keras

from keras_ae.utils import validation


class TermWeight:
    """A number in a model's loss, as an attribute whose assignment takes effect at once, also during `fit`.

    It is a variable of the model, so compiled steps read its present value, and a file holds it.

        class VAE(LatentModel):
            beta = TermWeight()

            def __init__(self, encoder, decoder, beta=1.0):
                super().__init__(encoder, decoder)
                self._beta = VAE.beta.variable(self, beta)

    Reading gives a float, or None if the model has no such variable, as for an optional term.

    Raises:
        ValueError: on assignment, if the value is not finite or is negative, or the model has no such variable.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def variable(self, model: keras.Model, value: float) -> keras.Variable:
        """Returns the model's new variable for this number, to be kept as `_<name>`."""
        initial = keras.initializers.Constant(validation.non_negative(self.name, value))
        return model.add_weight(shape=(), initializer=initial, trainable=False, name=self.name)

    def __get__(self, model: keras.Model | None, owner: type | None = None) -> Any:
        if model is None:
            return self
        variable = getattr(model, f"_{self.name}")
        return None if variable is None else float(variable.numpy())

    def __set__(self, model: keras.Model, value: float) -> None:
        variable = getattr(model, f"_{self.name}")
        if variable is None:
            raise ValueError(f"{self.name}: this model has none. Pass one to the constructor, such as {self.name}=0.0.")
        variable.assign(validation.non_negative(self.name, value))
