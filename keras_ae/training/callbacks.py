"""Keras callbacks for what changes during training."""

import inspect

import keras

from keras_ae.utils import validation


class Annealing(keras.callbacks.Callback):
    """Moves a model's weight from `start` to `end` in a straight line over the first `steps` training steps.

        weight(step) = start + (end - start) * min(step / steps, 1)

    The step is the optimizer's, so a resumed run goes on where it was. Validation uses `end`, so that `val_loss`, and
    with it EarlyStopping and ModelCheckpoint, compares across epochs. It acts at every step, so each step is a call of
    its own, which is slower for small networks.

    Args:
        steps: int, training steps until `end`.
        start, end: floats.
        weight: name of the model's property, `"beta"` for the KL term.

    Raises:
        ValueError: if `steps` is below 1, and when training begins if the model has no such weight.

    Example: `vae.fit(x, epochs=20, callbacks=[ka.callbacks.Annealing(steps=2_000)])`

    Source: Bowman 2016, section 3.1.
    """

    def __init__(self, steps, start=0.0, end=1.0, weight="beta"):
        super().__init__()
        self.steps = validation.positive_int("steps", steps)
        self.start, self.end, self.weight = start, end, weight

    def value(self, step):
        """The weight after `step` training steps."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)

    def set_model(self, model):
        super().set_model(model)
        properties = inspect.getmembers(type(model), lambda member: isinstance(member, property) and member.fset)
        weights = [name for name, _ in properties if not hasattr(keras.Model, name)]
        if self.weight not in weights:
            raise ValueError(
                f"weight: {type(model).__name__} has no {self.weight!r} that can be set during training; it has "
                f"{', '.join(weights) or 'none'}."
            )

    def _set(self, value):
        setattr(self.model, self.weight, value)

    def on_train_batch_begin(self, batch, logs=None):
        self._set(self.value(int(self.model.optimizer.iterations.numpy())))

    def on_test_begin(self, logs=None):
        self._set(self.end)

    def on_train_end(self, logs=None):
        self._set(self.end)


TRAIN_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_HOOKS = ("on_test_batch_begin", "on_test_batch_end")


def acts_on_batches(callback, hooks):
    """Whether a callback needs every batch: it overrides one of the hooks, and is not one of Keras's own.

    Keras's callbacks count batches by the numbers that they receive, which grow by the steps of a call. A callback for
    which once a call is enough sets `acts_on_every_step = False`.
    """
    if not getattr(callback, "acts_on_every_step", True):
        return False
    if any(name in vars(callback) for name in hooks):  # of a LambdaCallback
        return not type(callback).__module__.startswith("keras.") or isinstance(
            callback, keras.callbacks.LambdaCallback
        )
    owners = {base for base in type(callback).__mro__ if any(name in vars(base) for name in hooks)}
    return any(not base.__module__.startswith("keras.") for base in owners)
