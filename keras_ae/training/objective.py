"""Objectives: which networks minimise which loss terms, and the resulting losses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_ae.typing import Network, Terms
from keras_ae.utils import validation


class Objective(NamedTuple):
    """One objective of a model: its networks minimise a weighted sum of its terms.

        loss = sum_t weight_t mean_b(sample_weight_b term_t[b]) + regularisers of the networks

    Attributes:
        terms: function `(x, y, training) -> {name: tensor}`. Each tensor has one of three forms: one value per row,
            `(B,)`, already summed over the event; a pair of such a tensor and per-row weights for its mean, `(B,)`, for
            example 0 for rows without a label; or a scalar for the whole batch (MMD, batch-mean sparsity), which
            ignores `sample_weight`. All are floats, which the loss and the logs use as float32. If the model overrides
            `shared_pass`, the function receives its result as a fourth argument.
        networks: list of Keras layers whose trainable variables this objective updates. Their regularisers are added to
            its loss.
        weights: `{term name: float or scalar variable}`; missing terms have weight 1.
        steps: int, updates of this objective per training step. Each update uses a different batch.

    `compile` raises a `ValueError` if there are no networks, one is not a Keras layer, or `steps` is not a positive
    integer; the first step raises one for terms that the model does not declare, or of another shape.

    Example:

        def error(x, y, training):
            made = decoder(encoder(x, training=training)[:, :32], training=training)    # (B, 28, 28, 1)
            return {"error": tf.reduce_sum((x - made) ** 2, axis=(1, 2, 3))}    # (B,)

        objective = ka.Objective(error, [encoder, decoder], weights={"error": 0.5})

    See also: `ObjectiveModel`, whose `objectives` returns these; `TermWeight`, for a weight that changes during `fit`.
    """

    terms: Callable[..., Terms]
    networks: Sequence[Network]
    weights: Mapping[str, Any] = {}
    steps: int = 1


def check(name: str, objective: Objective) -> None:
    """Raises a `ValueError` unless the objective has networks and a positive integer number of steps."""
    if not objective.networks:
        raise ValueError(
            f"objectives: {name!r} has no networks, so nothing would be trained. List the Keras layers that it trains."
        )
    wrong = [each for each in objective.networks if not isinstance(each, keras.layers.Layer)]
    if wrong:
        raise ValueError(f"objectives: the networks of {name!r} must be Keras layers; received {wrong[0]!r}.")
    validation.positive_int(f"steps of the objective {name!r}", objective.steps)


def loss_of(objective: Objective, terms: Terms, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Computes the weighted sum of the terms' batch means plus the networks' regularisers: a float32 scalar.

    loss = sum_t weight_t mean_b(sample_weight_b term_t[b]) + regularisers
    """
    loss = tf.add_n([tf.zeros([])] + [tf.cast(each, tf.float32) for each in _regularisers(objective)])
    for name, term in terms.items():
        term, counts = with_counts(term)
        if term.shape.rank and sample_weight is not None:
            term = term * tf.cast(sample_weight, term.dtype)
        if counts is None:
            mean = tf.reduce_mean(term)
        else:
            mean = tf.math.divide_no_nan(tf.reduce_sum(counts * term), tf.reduce_sum(counts))
        loss += tf.cast(objective.weights.get(name, 1.0), tf.float32) * tf.cast(mean, tf.float32)
    return loss


def _regularisers(objective):
    """Returns the losses from `add_loss` and regularisers of the networks; a shared layer counts once."""
    layers = {id(layer): layer for network in objective.networks for layer in network._flatten_layers()}
    added = [loss for layer in layers.values() for loss in layer._get_own_losses()]
    return added + [v.regularizer(v) for v in trainable_variables(objective) if v.regularizer is not None]


def with_counts(term: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns a term's values and the per-row weights of its mean, None if all rows count equally."""
    return term if isinstance(term, tuple) else (term, None)


def trainable_variables(objective: Objective) -> list[keras.Variable]:
    """Returns the variables that an objective updates, each once."""
    return _unique(v for network in objective.networks for v in network.trainable_variables)


def variables(objective: Objective) -> list[keras.Variable]:
    """Returns all variables of an objective's networks, each once, including batch normalisation statistics."""
    return _unique(v for network in objective.networks for v in network.variables)


def _unique(variables):
    return list({id(v): v for v in variables}.values())
