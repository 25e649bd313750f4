"""Loss-term weights and targets that can change during `fit`."""

from typing import Any

import keras

from keras_ae.utils import validation


class TermWeight:
    """A number in a model's loss, as an attribute whose assignment takes effect at once, also during `fit`.

    It is a variable of the model, a float32 scalar that is not trained, so compiled steps read the current value, and
    saved files contain it. Reading gives a float, or None if the model has no such variable, as for an optional term.

    Raises:
        ValueError: on creation and assignment, if the value is not finite or is negative; on assignment, if the model
            has no such variable.

    Example:

        class Shrinking(ka.ObjectiveModel):
            terms = ("size",)
            strength = TermWeight()

            def __init__(self, encoder, strength=1.0, **kwargs):
                super().__init__(**kwargs)
                self.encoder = encoder
                self._strength = Shrinking.strength.variable(self, strength)

            def objectives(self):
                return {"encoder": ka.Objective(self.size, [self.encoder], {"size": self._strength})}

            def size(self, x, y, training):
                return {"size": tf.reduce_sum(self.encoder(x, training=training) ** 2, axis=-1)}

        model = Shrinking(encoder)
        model.strength = 0.5

    See also: `Objective.weights`, which holds the variable; `keras_ae.callbacks.Annealing`, which assigns to it.
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
            raise ValueError(f"{self.name}: this model has no {self.name}. Pass {self.name}=... to the constructor.")
        variable.assign(validation.non_negative(self.name, value))
