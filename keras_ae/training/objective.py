"""Who minimises what: the players of a model's game, and their losses."""

from collections import namedtuple

import tensorflow as tf

Objective = namedtuple("Objective", "terms networks weights steps", defaults=({}, 1))
Objective.__doc__ = """One player of a model's game: `networks` minimise the weighted sum of `terms`.

Attributes:
    terms: function `(x, y, training) -> {name: tensor}`. A tensor has one value a row, `(B,)`, already summed over the
        event; or is a pair of such a tensor and how much each row counts in its mean, `(B,)`, such as 0 where a label
        is not known; or is a scalar of the whole batch (MMD, batch-mean sparsity), which ignores `sample_weight`.
    networks: Keras layers whose trainable variables this objective moves; their regularisers join its loss.
    weights: `{term name: float or scalar variable}`; 1 where absent.
    steps: int, moves of this objective in one training step.
"""


def loss_of(objective, terms, sample_weight):
    """The objective's weighted sum of its terms' batch means, plus its networks' regularisers; float32 scalar."""
    loss = tf.add_n([tf.zeros([])] + [tf.cast(each, tf.float32) for each in _regularisers(objective)])
    for name, term in terms.items():
        term, counts = with_counts(term)
        if term.shape.rank and sample_weight is not None:
            term = term * tf.cast(sample_weight, term.dtype)
        if counts is None:
            mean = tf.reduce_mean(term)
        else:
            mean = tf.math.divide_no_nan(tf.reduce_sum(counts * term), tf.reduce_sum(counts))
        loss += tf.cast(objective.weights.get(name, 1.0), tf.float32) * mean
    return loss


def _regularisers(objective):
    """What `add_loss` and regularisers ask of an objective's networks; of a layer that several of them hold, once."""
    layers = {id(layer): layer for network in objective.networks for layer in network._flatten_layers()}
    added = [loss for layer in layers.values() for loss in layer._get_own_losses()]
    return added + [v.regularizer(v) for v in trainable_variables(objective) if v.regularizer is not None]


def with_counts(term):
    """A term's values, and how much each row counts, None where all count alike."""
    return term if isinstance(term, tuple) else (term, None)


def product(a, b):
    return b if a is None else a if b is None else a * b


def trainable_variables(objective):
    variables = [v for network in objective.networks for v in network.trainable_variables]
    return list({id(v): v for v in variables}.values())
