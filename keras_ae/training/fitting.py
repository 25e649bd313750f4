"""The loop over epochs: multi-step calls, callbacks, validation and early stops."""

import logging
import warnings
from collections import namedtuple

import numpy as np
import tensorflow as tf

from keras_ae.training import loop
from keras_ae.training.callbacks import TEST_HOOKS, TRAIN_HOOKS, acts_on_batches

_log = logging.getLogger("keras_ae")

TestSetting = namedtuple("TestSetting", "places averaged")
TestSetting.__doc__ = """Settings that a model's test function was created with.

Attributes:
    places: int, maximum steps per call.
    averaged: bool, whether it uses averaged weights.
"""


class WithoutXLA(Exception):
    """Raised when XLA cannot compile the step; the model falls back to no XLA, and the epoch must be restarted."""


def fit(
    model,
    feed,
    callbacks,
    *,
    epochs,
    initial_epoch,
    steps_per_epoch,
    shuffle,
    validation,
    validation_steps,
    validation_freq,
):
    """Trains a model up to epoch `epochs`; returns its history.

    Args:
        model: a compiled `ObjectiveModel`.
        feed: `feeding.Feed`.
        callbacks: `keras.callbacks.CallbackList`.
        validation: `feeding.Feed` or None.
        others: as in `keras.Model.fit`.
    """
    steps = steps_per_epoch or feed.steps
    places = places_for(model, feed, steps, callbacks, TRAIN_HOOKS)
    if places != model.steps_per_execution:
        model.steps_per_execution, model.train_function = places, None
    numbers = feed.arrays is not None and places > 1
    arrays = feed.arrays if numbers else None
    model.stop_training = False
    iterator, logs = None, {}
    callbacks.on_train_begin()
    for epoch in range(model._initial_epoch or initial_epoch, epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        if iterator is None or not steps_per_epoch:
            seed = model.next_seed() if shuffle and feed.is_whole else None
            iterator = feed.start(model.distribute_strategy, numbers, seed)
        try:
            made, done, ended = _epoch(model, iterator, arrays, steps, callbacks)
        except WithoutXLA:
            iterator = feed.start(model.distribute_strategy, numbers, seed)
            made, done, ended = _epoch(model, iterator, arrays, steps, callbacks)
        if ended:
            iterator = None
            _warn_of_end(model, epoch, done, steps)
        logs = dict(model._get_metrics_result_or_logs(made)) if done else {}
        if validation is not None and model._should_eval(epoch, validation_freq):
            measured = measure(model, validation, validation_steps, callbacks)
            logs |= {f"val_{name}": value for name, value in measured.items()}
        callbacks.on_epoch_end(epoch, logs)
        feed.end()
        if model.stop_training:
            break
    callbacks.on_train_end(logs)
    return model.history


def _epoch(model, iterator, arrays, steps, callbacks):
    """Trains for one epoch; returns the last logs, the number of steps run, and whether the data ran out early."""
    logs, done = {}, 0
    while (steps is None or done < steps) and not model.stop_training:
        limit = model.steps_per_execution if steps is None else min(model.steps_per_execution, steps - done)
        callbacks.on_train_batch_begin(done)
        try:
            logs, made = _run(model, iterator, arrays, limit)
        except (StopIteration, tf.errors.OutOfRangeError):
            return logs, done, True
        done += made
        callbacks.on_train_batch_end(done - 1, logs)
    return logs, done, False


def _warn_of_end(model, epoch, done, steps):
    if done >= (steps or 1):
        return
    wanted = f" of {steps}" if steps else ""
    warnings.warn(
        f"x ended after {done}{wanted} steps in epoch {epoch + 1}. A generator runs once: pass an endless one and "
        "steps_per_epoch, or a data set that repeats.",
        stacklevel=4,
    )
    model.stop_training |= not done


def _run(model, iterator, arrays, limit):
    """Runs up to `limit` training steps; raises `WithoutXLA` if XLA cannot compile them."""
    try:
        logs, done = model.make_train_function()(iterator, arrays, limit)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if not (model.jit_compile and model.may_lose_xla and "XLA" in str(error)):
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


def measure(model, feed, steps, callbacks):
    """Evaluates on `steps` batches, or on all if None; returns the logs, `{name: float}`."""
    steps = steps or feed.steps
    setting = TestSetting(places_for(model, feed, steps, callbacks, TEST_HOOKS), model.has_averages)
    if setting != model.test_setting:
        model.test_setting, model.test_function = setting, None
    places, numbers = setting.places, feed.arrays is not None and setting.places > 1
    run, iterator = model.make_test_function(), feed.start(model.distribute_strategy, numbers)
    model.stop_evaluating = False
    callbacks.on_test_begin()
    model.reset_metrics()
    logs, done = {}, 0
    while (steps is None or done < steps) and not model.stop_evaluating:
        callbacks.on_test_batch_begin(done)
        limit = places if steps is None else min(places, steps - done)
        try:
            logs, made = run(iterator, feed.arrays if numbers else None, limit)
        except (StopIteration, tf.errors.OutOfRangeError):
            break
        done += made
        callbacks.on_test_batch_end(done - 1, logs)
    logs = {name: float(np.mean(value)) for name, value in model._get_metrics_result_or_logs(logs).items()}
    callbacks.on_test_end(logs)
    return logs


def places_for(model, feed, steps, callbacks, hooks):
    """Returns the maximum number of steps per call, which is 1 if anything needs to act on each batch."""
    if model.requested_steps == 1 or model.run_eagerly or model._distribute_strategy is not None:
        return 1
    wanted = model.requested_steps
    if wanted == "auto":
        wanted = loop.steps_that_fit(feed.batch, steps)
    if wanted > 1 and any(acts_on_batches(each, hooks) for each in callbacks.callbacks):
        _log.warning("A callback acts on every batch, so steps run one per call, which is slower.")
        return 1
    return 1 if model.looks_at_batches else wanted


def function(model, one_step, summarise, places, stops):
    """Returns a function `(iterator, arrays or None, limit) -> (logs, steps run)` that runs up to `limit` steps.

    Args:
        model: `ObjectiveModel`.
        one_step: function of a batch that returns the logs.
        summarise: function of a batch that returns a summary, see `loop.make_loop`.
        places: int, maximum value of `limit`.
        stops: bool, whether to stop once a logged value is not finite.
    """
    by_batch, many = model._make_function(one_step), None

    def single(iterator):
        steps, model.steps_per_execution = model.steps_per_execution, 1  # disables Keras's own multi-step loop
        try:
            return by_batch(iterator), 1
        finally:
            model.steps_per_execution = steps

    def run(iterator, arrays=None, limit=1):
        nonlocal many
        if places == 1 or not loop.can_stack(iterator):
            return single(iterator)
        if many is None:
            shape = (1 + len(model.terms), 2)
            many = loop.make_loop(summarise, model._record, shape, places, model.jit_compile, stops)
        logs, done = many(iterator, arrays, tf.constant(limit))
        return logs, int(done)

    return run


def check_finite(model, logs):
    """Raises a `FloatingPointError` if a logged value is not finite, naming the term and the state of the weights."""
    broken = [name for name, value in logs.items() if not np.all(np.isfinite(value))]
    if not broken:
        return
    players = model.players_of_terms
    terms = [f"{name} of objective {players[name]}" for name in broken if name in players]
    causes = [
        "a learning rate that is too high (lower it, or give the optimizer clipnorm=1.0)",
        "inputs far outside [-1, 1]",
        "rows with NaN, or with values or labels out of range (only the first batch of a data set is checked)",
    ]
    if broken == ["loss"]:  # the terms are finite, so rows are invalid: see `Role.row_mask`
        causes = causes[::-1]
    state = "The weights are those of the previous step"
    if not all(np.isfinite(v).all() for v in model.trainable_variables):
        state = "Some weights are NaN or infinite: load an earlier checkpoint before training again"
    applied = model._distribute_strategy is not None  # replicas cannot agree to skip a step
    failed = int(model.optimizer._iterations.numpy()) + (not applied)
    raise FloatingPointError(
        f"Training stopped at step {failed} of {type(model).__name__}: "
        f"{', '.join(terms or broken)} became NaN or infinite. {state}. Usual causes, most likely first: "
        f"{'; '.join(causes)}."
    )
