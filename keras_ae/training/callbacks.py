"""Keras callbacks that change a model's settings during training."""

import inspect
from collections.abc import Iterable
from typing import Any

import keras

from keras_ae.typing import Logs
from keras_ae.utils import validation


class Annealing(keras.callbacks.Callback):
    """Anneals a loss weight of the model linearly from `start` to `end` over the first `steps` training steps.

        weight(step) = start + (end - start) * min(step / steps, 1)

    The step is the optimizer's, so a resumed run continues where it stopped. Validation uses `end`, so that `val_loss`
    is comparable across epochs for EarlyStopping and ModelCheckpoint. The callback acts on every step, which disables
    multi-step execution and slows down small networks.

    Args:
        steps: int, number of training steps until the weight reaches `end`.
        start, end: floats, 0 or more.
        weight: str, name of a `TermWeight` or another property of the model that can be set, such as `"beta"` for the
            KL term.

    Raises:
        ValueError: if `steps` is not a positive whole number, or, during training, if the model has no such weight or
            refuses its value.

    Example: `vae.fit(x, epochs=20, callbacks=[ka.callbacks.Annealing(steps=2_000)])`

    Source: Bowman 2016, section 3.1, for the idea; its schedule is a sigmoid. See also: `BetaVAE`, whose `capacity`
    is annealed instead; assigning to `model.beta`, for a value that does not depend on the step.
    """

    def __init__(self, steps: int, start: float = 0.0, end: float = 1.0, weight: str = "beta") -> None:
        super().__init__()
        self.steps = validation.positive_int("steps", steps)
        self.start, self.end, self.weight = start, end, weight

    def value(self, step: int) -> float:
        """Returns the weight after `step` training steps."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        settable = inspect.getmembers(type(model), _is_settable)
        weights = [name for name, _ in settable if not name.startswith("_") and not hasattr(keras.Model, name)]
        if self.weight not in weights:
            raise ValueError(
                f"weight: {type(model).__name__} has no {self.weight!r} that can be set during training; it has "
                f"{', '.join(weights) or 'none'}."
            )

    def _set(self, value):
        setattr(self.model, self.weight, value)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._set(self.value(int(self.model.optimizer.iterations.numpy())))

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._set(self.end)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._set(self.end)


def refuse_swaps(callbacks: Any) -> None:
    """Raises a `ValueError` if a callback would swap weights with their averages, which a model already uses.

    Args:
        callbacks: a callback, several of them, a `keras.callbacks.CallbackList`, or None.
    """
    given = keras.tree.flatten(getattr(callbacks, "callbacks", callbacks))
    if any(isinstance(each, keras.callbacks.SwapEMAWeights) for each in given):
        raise ValueError(
            "callbacks: SwapEMAWeights would put the weights in place of their averages, which validation, evaluate, "
            "predict and the other methods already use. Leave it out. A ModelCheckpoint saves both."
        )


TRAIN_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_HOOKS = ("on_test_batch_begin", "on_test_batch_end")


def _is_settable(member):
    return member.fset is not None if isinstance(member, property) else hasattr(member, "__set__")


def _counts_batches(callback):
    if isinstance(callback, keras.callbacks.ModelCheckpoint | keras.callbacks.BackupAndRestore):
        return callback.save_freq != "epoch"
    if isinstance(callback, keras.callbacks.TensorBoard):
        return callback.update_freq != "epoch" or callback.write_steps_per_second or callback._start_batch > 0
    return False


def acts_on_batches(callback: keras.callbacks.Callback, hooks: Iterable[str]) -> bool:
    """Whether a callback needs to run on every batch.

    A user's callback does if it overrides one of the hooks; if it only needs to run once per call, it can set
    `acts_on_every_step = False`. Of Keras's own, those that count batches do: `TensorBoard` and `ModelCheckpoint` when
    they act within an epoch.
    """
    if not getattr(callback, "acts_on_every_step", True):
        return False
    if TRAIN_HOOKS[0] in hooks and _counts_batches(callback):
        return True
    if any(name in vars(callback) for name in hooks):  # of a LambdaCallback
        return not type(callback).__module__.startswith("keras.") or isinstance(
            callback, keras.callbacks.LambdaCallback
        )
    owners = {base for base in type(callback).__mro__ if any(name in vars(base) for name in hooks)}
    return any(not base.__module__.startswith("keras.") for base in owners)
