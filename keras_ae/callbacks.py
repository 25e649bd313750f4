"""Keras callbacks for what changes during training."""

import keras


class Annealing(keras.callbacks.Callback):
    """Moves a model's weight from `start` to `end` in a straight line over the first `steps` training steps.

        weight(step) = start + (end - start) * min(step / steps, 1)

    The step is the optimizer's, so a resumed run goes on where it was. Validation uses `end`, so that `val_loss`, and
    with it EarlyStopping and ModelCheckpoint, compares across epochs. Acts once an execution: compile with
    `steps_per_execution=1` for a change at every step.

    Args:
        steps: int, training steps until `end`.
        start, end: floats.
        weight: name of the model's property, `"beta"` for the KL term.

    Example: `vae.fit(x, epochs=20, callbacks=[ka.callbacks.Annealing(steps=2_000)])`

    Source: Bowman 2016, section 3.1.
    """

    def __init__(self, steps, start=0.0, end=1.0, weight="beta"):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps: expected 1 or more, received {steps}.")
        self.steps, self.start, self.end, self.weight = steps, start, end, weight

    def value(self, step):
        """The weight after `step` training steps."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)

    def _set(self, value):
        setattr(self.model, self.weight, value)

    def on_train_batch_begin(self, batch, logs=None):
        self._set(self.value(int(self.model.optimizer.iterations.numpy())))

    def on_test_begin(self, logs=None):
        self._set(self.end)

    def on_train_end(self, logs=None):
        self._set(self.end)
