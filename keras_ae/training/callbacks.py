"""Keras callbacks that change a model's settings during training, or draw its codes."""

import inspect
import io
import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_ae.typing import FilePath, Logs, Rows
from keras_ae.utils import extras, validation


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
    is annealed instead; `ExponentialAnnealing`; assigning to `model.beta`, for a value that does not depend on the
    step.
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


class ExponentialAnnealing(Annealing):
    """Anneals a loss weight of the model from `start` to `end`, fast at first and then ever more slowly.

        weight(step) = end - (end - start) rate^step

    Otherwise like `Annealing`. In Sketch-RNN's letters, `end` is w_KL, `start` w_KL eta_min, and `rate` R.

    Args:
        rate: float between 0 and 1; the distance from `end` falls to 1/e in about 1 / (1 - rate) steps.
        start, end: floats, 0 or more.
        weight: str, as in `Annealing`.

    Raises:
        ValueError: if `rate` is not between 0 and 1, and as `Annealing` does.

    Example: `vae.fit(x, epochs=20, callbacks=[ka.callbacks.ExponentialAnnealing(rate=0.9995, start=0.01)])`

    Source: Ha & Eck 2017, equation 11. See also: `Annealing`, a straight line.
    """

    def __init__(self, rate: float, start: float = 0.0, end: float = 1.0, weight: str = "beta") -> None:
        super().__init__(1, start, end, weight)
        self.rate = validation.fraction("rate", rate, ends=False)

    def value(self, step: int) -> float:
        return self.end - (self.end - self.start) * self.rate**step


class CodesAgainstPrior(keras.callbacks.Callback):
    """Draws the codes of some rows beside samples of the prior after each epoch, to see a critic at work.

    Args:
        x: rows to encode; one to a few thousand.
        labels: `(N,)` integers that colour the codes, or None.
        directory: folder for the pictures, `codes_<epoch>.png`; created if it does not exist. None writes none.
        log_dir: folder of TensorBoard logs, where the pictures are the image `codes`; None writes none.
        every: int, epochs between pictures.
        seed: int, for the samples of codes and prior.

    Raises:
        ValueError: if neither folder is given, or `every` is not a positive integer; in `fit`, if the model has no
            posterior and prior of vectors.
        ImportError: if matplotlib is not installed; the message names the extra.

    Example: `vae.fit(x, epochs=3, callbacks=[ka.callbacks.CodesAgainstPrior(x[:100], directory="codes")])`

    See also: `plots.codes_and_prior`, the picture; `evaluation.two_sample`, for numbers.
    """

    def __init__(
        self,
        x: Rows,
        labels: ArrayLike | None = None,
        directory: FilePath | None = None,
        log_dir: FilePath | None = None,
        every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if directory is None and log_dir is None:
            raise ValueError("directory and log_dir: expected at least one of them, to write pictures to.")
        self.x, self.labels, self.directory, self.log_dir = x, labels, directory, log_dir
        self.every, self.seed = validation.positive_int("every", every), seed
        self._writer: Any = None
        extras.library("matplotlib.figure", "keras_ae.callbacks.CodesAgainstPrior")

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if not {"encoder", "prior"} <= getattr(model, "parts", set()) or model.y_role.conditional:
            raise ValueError(
                f"CodesAgainstPrior: expected a model with an encoder of x alone and a prior; received "
                f"{type(model).__name__}."
            )

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._draw(epoch + 1)

    def _draw(self, epoch):
        from keras_ae import plots
        from keras_ae.evaluation import latent

        z = latent.sample_codes(self.model, self.x, seed=self.seed)
        p = self.model.prior.sample(len(z), seed=tf.constant([0, self.seed]))
        png = io.BytesIO()
        plots.codes_and_prior(z, p, self.labels, title=f"epoch {epoch}").savefig(png, format="png")
        if self.directory is not None:
            folder = pathlib.Path(self.directory)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"codes_{epoch:04d}.png").write_bytes(png.getvalue())
        if self.log_dir is not None:
            self._writer = self._writer or tf.summary.create_file_writer(str(self.log_dir))
            with self._writer.as_default():
                tf.summary.image("codes", tf.image.decode_png(png.getvalue())[None], step=epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


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
