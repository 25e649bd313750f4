"""The loop over epochs: multi-step calls, callbacks, validation and early stops."""

import functools
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ae.training import feeding, loop, optimizers, states
from keras_ae.training.callbacks import TEST_HOOKS, TRAIN_HOOKS, acts_on_batches
from keras_ae.typing import Logs
from keras_ae.utils import xla

_log = logging.getLogger("keras_ae")


class EvaluationSetting(NamedTuple):
    """Settings that a model's test function was created with.

    Attributes:
        per_call: int, maximum steps per call.
        averaging: the model's `averaging`, whose averages it uses.
    """

    per_call: int
    averaging: tuple[Any, ...]


class WithoutXLA(Exception):
    """Raised when XLA cannot compile the step; the model falls back to no XLA, and the epoch must be restarted."""


def fit(
    model: keras.Model,
    feed: feeding.Feed,
    callbacks: keras.callbacks.CallbackList,
    *,
    epochs: int,
    initial_epoch: int,
    steps_per_epoch: int | None,
    shuffle: bool,
    validation: feeding.Feed | None,
    validation_steps: int | None,
    validation_freq: int | Iterable[int],
) -> keras.callbacks.History:
    """Trains a model up to epoch `epochs`; returns its history.

    Args:
        model: a compiled `ObjectiveModel`.
        feed: `feeding.Feed`.
        callbacks: `keras.callbacks.CallbackList`.
        validation: `feeding.Feed` or None.
        others: as in `keras.Model.fit`.
    """
    steps = steps_per_epoch or feed.steps
    tell_of_single_steps(model, callbacks, TRAIN_HOOKS if validation is None else TRAIN_HOOKS + TEST_HOOKS)
    per_call = steps_per_call(model, feed, steps, callbacks, TRAIN_HOOKS)
    if per_call != model.steps_per_execution:
        model.steps_per_execution, model.train_function = per_call, None
    numbers = feed.arrays is not None and per_call > 1
    arrays = feed.arrays if numbers else None
    model.stop_training = False
    iterator, used, logs = None, 0, {}
    callbacks.on_train_begin()
    first = model._initial_epoch or initial_epoch  # a callback that restores a backup sets the former
    for each in (feed, validation):
        if each is not None:
            each.begin_at(first)
    for epoch in range(first, epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        with feed.epoch():
            if iterator is None or not steps_per_epoch:
                seed, used = model.next_seed() if shuffle and feed.is_whole else None, 0
                if epoch == first or not steps_per_epoch:  # with steps_per_epoch, passes over the data count themselves
                    feed.go_to(epoch)
                iterator = feed.start(model.distribute_strategy, numbers, seed)
            try:
                made, done, ended = _epoch(model, feed, iterator, arrays, steps, callbacks)
            except WithoutXLA:
                feed.put_back()
                feed.go_to(epoch)
                iterator = feed.start(model.distribute_strategy, numbers, seed)
                made, done, ended = _epoch(model, feed, iterator, arrays, steps, callbacks)
        used += done
        if ended:
            _warn_of_end(model, epoch, done, steps)
        if ended or used == feed.steps:
            iterator = None  # the next epoch begins anew
        feed.has_read(None if steps_per_epoch else epoch)
        check_weights(model, f"after epoch {epoch + 1}")
        logs = dict(model._get_metrics_result_or_logs(made)) if done else {}
        if validation is not None and model._should_eval(epoch, validation_freq):
            validation.go_to(epoch)
            measured = measure(model, validation, validation_steps, callbacks)
            validation.has_read(epoch)
            logs |= {f"val_{name}": value for name, value in measured.items()}
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    callbacks.on_train_end(logs)
    return model.history


def _epoch(model, feed, iterator, arrays, steps, callbacks):
    """Trains for one epoch; returns the last logs, the number of steps run, and whether the data ran out early."""
    logs, done = {}, 0
    while (steps is None or done < steps) and not model.stop_training:
        limit = model.steps_per_execution if steps is None else min(model.steps_per_execution, steps - done)
        callbacks.on_train_batch_begin(done)
        try:
            logs, made = _run(model, iterator, arrays, limit)
        except (StopIteration, tf.errors.OutOfRangeError):
            return logs, done, True
        feed.keep_going()
        done += made
        callbacks.on_train_batch_end(done - 1, logs)
    return logs, done, False


def _warn_of_end(model, epoch, done, steps):
    if done >= (steps or 1):
        return
    wanted = f" of {steps}" if steps else ""
    warnings.warn(
        f"x ran out of batches after {done}{wanted} steps in epoch {epoch + 1}. Lower steps_per_epoch, or pass an "
        "endless source: use data.repeat() for a data set. A generator can be iterated only once.",
        stacklevel=4,
    )
    model.stop_training |= not done


def _run(model, iterator, arrays, limit):
    """Runs up to `limit` training steps; raises `WithoutXLA` if XLA cannot compile them."""
    try:
        logs, done = model.make_train_function()(iterator, arrays, limit)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if not (model.jit_compile and model._may_fall_back and "XLA" in str(error)):
            raise
        warnings.warn(
            "XLA cannot compile this model: restarting the epoch without XLA. Use compile(jit_compile=False) to skip "
            "the attempt.",
            stacklevel=5,
        )
        model.jit_compile, model.train_function, model.test_function = False, None, None
        raise WithoutXLA from error
    check_finite(model, logs)
    return logs, done


def measure(
    model: keras.Model, feed: feeding.Feed, steps: int | None, callbacks: keras.callbacks.CallbackList
) -> dict[str, float]:
    """Evaluates on `steps` batches, or on all if None; returns the logs, `{name: float}`."""
    steps = steps or feed.steps
    per_call = steps_per_call(model, feed, steps, callbacks, TEST_HOOKS)
    run = test_function(model, per_call)
    with feed.epoch():
        logs = _measured(model, run, feed, steps, per_call, callbacks)
    logs = {name: float(np.mean(value)) for name, value in model._get_metrics_result_or_logs(logs).items()}
    callbacks.on_test_end(logs)
    return logs


def test_function(model: keras.Model, per_call: int) -> Callable[..., tuple[Logs, int]]:
    """Returns the model's test function for calls of up to `per_call` steps, with the averages that there are now."""
    setting = EvaluationSetting(per_call, model.averaging)
    if setting != model._test_setting:
        model._test_setting, model.test_function = setting, None
    return model.make_test_function()


def _measured(model, run, feed, steps, per_call, callbacks):
    numbers = feed.arrays is not None and per_call > 1
    iterator = feed.start(model.distribute_strategy, numbers)
    model.stop_evaluating = False
    callbacks.on_test_begin()
    model.reset_metrics()
    logs, done = {}, 0
    while (steps is None or done < steps) and not model.stop_evaluating:
        callbacks.on_test_batch_begin(done)
        limit = per_call if steps is None else min(per_call, steps - done)
        try:
            logs, made = run(iterator, feed.arrays if numbers else None, limit)
        except (StopIteration, tf.errors.OutOfRangeError):
            if steps is not None:
                warnings.warn(f"x ended after {done} of {steps} steps: only those were evaluated.", stacklevel=4)
            break
        done += made
        callbacks.on_test_batch_end(done - 1, logs)
    return logs


def steps_per_call(
    model: keras.Model,
    feed: feeding.Feed,
    steps: int | None,
    callbacks: keras.callbacks.CallbackList,
    hooks: Iterable[str],
) -> int:
    """Returns the maximum number of steps per call, which is 1 if anything needs to act on each batch."""
    if model._requested_steps == 1 or model.run_eagerly or model._distribute_strategy is not None:
        return 1
    if model._needs_single_steps(TRAIN_HOOKS[0] in hooks):
        return 1
    if any(acts_on_batches(each, hooks) for each in callbacks.callbacks):
        return 1
    if model._requested_steps != "auto":
        return model._requested_steps
    compiled = model.jit_compile and feed.arrays is not None
    return loop.steps_that_fit(feed.batch, steps, loop.MAX_STEPS_OF_ARRAYS if compiled else loop.MAX_STEPS)


def tell_of_single_steps(model: keras.Model, callbacks: keras.callbacks.CallbackList, hooks: Iterable[str]) -> None:
    """Logs why steps run one per call, if something other than the model's settings is the reason."""
    if model._requested_steps == 1 or model.run_eagerly or model._distribute_strategy is not None:
        return
    if any(acts_on_batches(each, hooks) for each in callbacks.callbacks):
        _log.warning("A callback acts on every batch, so steps run one per call, which is slower.")
    elif model._needs_single_steps(TRAIN_HOOKS[0] in hooks):
        _log.warning("Metrics or an overridden step see every batch, so steps run one per call, which is slower.")


def function(
    model: keras.Model,
    one_step: Callable[[Any], Logs],
    summarise: Callable[[Any], tf.Tensor],
    per_call: int,
    trains: bool,
) -> Callable[..., tuple[Logs, int]]:
    """Returns a function `(iterator, arrays or None, limit) -> (logs, steps run)` that runs up to `limit` steps.

    Args:
        model: `ObjectiveModel`.
        one_step: function of a batch that returns the logs.
        summarise: function of a batch that returns a summary, see `loop.make_loop`.
        per_call: int, maximum value of `limit`.
        trains: bool, whether to stop once a logged value is not finite, with the variables as before that step.
    """
    undoes = trains and model.jit_compile and not model.run_eagerly and model._distribute_strategy is None

    def traced(data):
        with xla.tracing(bool(model.jit_compile) and not model.run_eagerly):
            return one_step(data)

    by_batch, many = model._make_function(traced), None

    def single(iterator):
        steps, model.steps_per_execution = model.steps_per_execution, 1  # disables Keras's own multi-step loop
        variables = states.variables(model) if undoes else []
        before = states.values(variables)
        try:
            logs = by_batch(iterator)
        finally:
            model.steps_per_execution = steps
        if variables and not all(np.all(np.isfinite(value)) for value in logs.values()):
            states.restore(variables, before)
        return logs, 1

    def run(iterator, arrays=None, limit=1):
        nonlocal many
        if per_call == 1 or not loop.can_stack(iterator):
            return single(iterator)
        if many is None:
            shape = (1 + len(model.terms), 2)
            changed = functools.partial(states.variables, model) if trains else None
            many = loop.make_loop(summarise, model._record, shape, per_call, model.jit_compile, changed)
        logs, done = many(iterator, arrays, tf.constant(limit))
        return logs, int(done)

    return run


def check_weights(model: keras.Model, when: str) -> None:
    """Raises a `FloatingPointError` if a weight is not finite although every loss was: a gradient was NaN.

    Args:
        model: `ObjectiveModel`.
        when: str, "after epoch ..." or "at step ...", for the message.
    """
    spoilt = _spoilt(model)
    if spoilt:
        raise FloatingPointError(
            f"Training stopped {when} of {type(model).__name__}: the losses are finite, but "
            f"{spoilt[0]} became NaN or infinite. Load an earlier checkpoint before training again. The usual cause is "
            "a loss whose gradient is NaN where its value is not, such as tf.norm or tf.sqrt at 0."
        )


def _spoilt(model):
    """Returns the paths of the model's variables that hold NaN or infinity."""
    floats = [v for v in model.variables if tf.as_dtype(v.dtype).is_floating]
    return [v.path for v in floats if not tf.reduce_all(tf.math.is_finite(v.value))]


def check_finite(model: keras.Model, logs: Logs) -> None:
    """Raises a `FloatingPointError` if a logged value is not finite, naming the term and the state of the weights."""
    broken = [name for name, value in logs.items() if not np.all(np.isfinite(value))]
    if not broken:
        return
    players = model._objectives_of_terms
    terms = [f"{name} of objective {players[name]}" for name in broken if name in players]
    causes = [
        "a learning rate that is too high (lower it, or set clipnorm=1.0 on the optimizer)",
        "inputs far outside [-1, 1]",
        "rows with NaN, or with values or labels out of range (only the first batch of a data set is checked)",
    ]
    if broken == ["loss"]:  # the terms are finite, so rows are invalid: see `Role.row_mask`
        causes = causes[::-1]
    state = "The weights are those of the previous step"
    if _spoilt(model):
        state = "Some weights are NaN or infinite: load an earlier checkpoint before training again"
    applied = model._distribute_strategy is not None  # replicas cannot agree to skip a step
    failed = int(optimizers.unscaled(model.optimizer)._iterations.numpy()) + (not applied)
    raise FloatingPointError(
        f"Training stopped at step {failed} of {type(model).__name__}: "
        f"{', '.join(terms or broken)} became NaN or infinite. {state}. Usual causes, most likely first: "
        f"{'; '.join(causes)}."
    )
