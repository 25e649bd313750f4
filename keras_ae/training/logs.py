"""What a training step logs: the loss, every term, and the metrics given to `compile`."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_ae.training import distribute
from keras_ae.training.objective import with_counts
from keras_ae.typing import Logs, Terms


def summary(model: keras.Model, batch: Any, terms: Terms, loss: tf.Tensor) -> tf.Tensor:
    """Returns a step's summary, `(1 + T, 2)` float32: a sum and its weight for the loss and for each term.

    Raises:
        ValueError: if the objectives returned other terms than the class declares, or terms of another shape.
    """
    if set(terms) != set(model.terms):
        raise ValueError(
            f"{type(model).__name__} declares the terms {list(model.terms)}; its objectives returned {list(terms)}."
        )
    rows = tf.cast(batch.rows, tf.float32)
    sums = [[tf.where(batch.valid, loss, math.nan) * rows, rows]]
    weight = None if batch.sample_weight is None else tf.cast(batch.sample_weight, tf.float32)
    for name in model.terms:
        term, counts = with_counts(terms[name])
        term = tf.cast(term, tf.float32)
        if term.shape.rank > 1:
            raise ValueError(f"The term {name} has shape {term.shape}: expected one value per row, or a scalar.")
        if not term.shape.rank or (counts is None and weight is None):
            sums.append([tf.reduce_mean(term) * rows, rows])
            continue
        each = tf.ones_like(term) if counts is None else tf.cast(counts, tf.float32)
        each = each if weight is None else each * weight
        sums.append([tf.reduce_sum(each * term), tf.reduce_sum(each)])
    return tf.convert_to_tensor(sums)


def measure(model: keras.Model, metrics: Iterable[keras.metrics.Metric], batch: Any) -> None:
    """Updates `metrics`, the ones given to `compile`, with the model's predictions of a batch."""
    truth, prediction, counts = model.prediction(batch.x, batch.y)
    weights = [each for each in (batch.sample_weight, counts) if each is not None]
    weight = functools.reduce(tf.multiply, weights) if weights else None
    for each in metrics:
        each.update_state(truth, prediction, sample_weight=weight)


def record(model: keras.Model, trackers: Iterable[keras.metrics.Metric], summary: tf.Tensor) -> Logs:
    """Adds the summary of one or more steps to the trackers of the loss and the terms, and returns the logs."""
    for i, tracker in enumerate(trackers):
        total, weight = summary[i, 0], summary[i, 1]
        tracker.update_state(tf.math.divide_no_nan(total, weight), sample_weight=weight)
    results = model.get_metrics_result()
    if distribute.spans_workers(model.distribute_strategy):
        # Keras reduces the workers' results along axis 0, and a scalar has no axes.
        return {name: tf.reshape(value, [1]) for name, value in results.items()}
    return results


def metrics(
    given: Iterable[str | Callable[..., Any] | keras.metrics.Metric], terms: Iterable[str]
) -> dict[str, keras.metrics.Metric]:
    """Returns `{name: metric}` for the metrics given to `compile`; the name of a term adds none, as terms are logged.

    Raises:
        ValueError: if a metric has the name of the loss, of a term, or of another metric.
    """
    taken, made = {"loss", *terms}, {}
    for each in given:
        if isinstance(each, str) and each in taken - {"loss"}:
            continue
        found = metric(each)
        if found.name in taken or found.name in made:
            raise ValueError(
                f"metrics: {found.name!r} would replace what the logs call {found.name!r} already. Give the metric "
                "another name: name=..."
            )
        made[found.name] = found
    return made


def listed(metrics: Any) -> list[Any]:
    """Returns the argument `metrics` of `compile` as a list.

    Raises:
        ValueError: unless it is a list of metrics, or None.
    """
    if metrics is None:
        return []
    if not isinstance(metrics, list | tuple):
        hint = f" Pass metrics=[{metrics!r}]." if isinstance(metrics, str) else ""
        raise ValueError(f"metrics: expected a list of metrics; received {metrics!r}.{hint}")
    wrong = [each for each in metrics if not isinstance(each, str) and not callable(each)]
    if wrong:
        raise ValueError(f"metrics: expected names, functions or keras.metrics.Metric objects; received {wrong[0]!r}.")
    return list(metrics)


def metric(given: str | Callable[..., Any] | keras.metrics.Metric) -> keras.metrics.Metric:
    """Returns the Keras metric for an instance, function or name, named as it should appear in the logs."""
    if isinstance(given, keras.metrics.Metric):
        return given
    found = keras.metrics.get(given)
    name = given if isinstance(given, str) else given.__name__
    if not isinstance(found, keras.metrics.Metric):
        return keras.metrics.MeanMetricWrapper(found, name=name)
    return type(found).from_config(found.get_config() | {"name": name})
