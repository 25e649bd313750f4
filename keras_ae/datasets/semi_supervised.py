"""Data sets with labelled and unlabelled rows, for semi-supervised learning."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ae.datasets import epochs
from keras_ae.training import feeding
from keras_ae.typing import Rows
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation

UNKNOWN = -1


def keep_labels(y: Rows, count: int, seed: int = 0) -> np.ndarray:
    """Hides all but `count` labels, keeping equally many per class: int64 `(N,)`, -1 where hidden.

    Args:
        y: `(N,)` integer labels, 0 to K - 1, -1 or masked where unknown.
        count: int, labels to keep, a multiple of K.
        seed: int, for choosing the rows that keep their label.

    Raises:
        ValueError: if y are not labels, all are unknown, `count` is not a multiple of the number of classes, or a class
            has too few rows.

    Example: `keep_labels(y_train, 100, seed=0)`    # 10 of each digit

    Source: Kingma 2014, for labels balanced over the classes. See also: `semi_supervised`, which takes the
    result.
    """
    y = _unmasked(y)
    any_number: Any = math.inf
    validation.check_labels("y", y, any_number, UNKNOWN)
    count = validation.positive_int("count", count)
    classes = np.unique(y[y != UNKNOWN])
    if len(classes) == 0:
        raise ValueError("y: all rows are unlabelled (-1), so there are no labels to keep.")
    each, rest = divmod(count, len(classes))
    if rest or each < 1:
        raise ValueError(f"count: expected a multiple of the {len(classes)} classes, received {count}.")
    rng, kept = np.random.default_rng(seed), np.full(y.shape, UNKNOWN, "int64")
    for label in classes:
        rows = np.flatnonzero(y == label)
        if len(rows) < each:
            raise ValueError(f"y: class {label} has {len(rows)} rows, fewer than the {each} labels to keep.")
        kept[rng.choice(rows, each, replace=False)] = label
    return kept


def semi_supervised(
    x: Rows, y: Rows, batch_size: int, labelled: int, num_classes: int, seed: int = 0, *, first_epoch: int = 0
) -> tf.data.Dataset:
    """Batches with a fixed number of labelled rows each.

    With few labels and uniform shuffling, most batches would have no labelled rows. Each epoch visits every unlabelled
    row once, in a new order, and cycles through the shuffled labelled rows. The order depends only on the seed and the
    epoch number.

    Args:
        x: rows `(N, ...)` as in `fit`; sparse ones become dense batch by batch.
        y: `(N,)` integer labels, -1 or masked where unknown.
        batch_size: int, rows per batch; the last batch of an epoch may have fewer unlabelled rows.
        labelled: int, labelled rows per batch, 1 to batch_size - 1.
        num_classes: int, K, used to check the labels; a class without labels causes a warning.
        seed: non-negative int, for shuffling.
        first_epoch: int, number of epochs completed before an interruption, for resuming training. An epoch counts once
            its second batch has been requested, so you can inspect the first one.

    Returns:
        `tf.data.Dataset` of (x, y), labelled rows first; y int32.

    Raises:
        ValueError: if x and y differ in length, no row or every row is labelled, or labels or `labelled` are out of
            range.

    Example:

        x, y = ka.datasets.arrays(ka.datasets.load("digits", labels=True))
        some = ka.datasets.keep_labels(y, 100)
        batches = ka.datasets.semi_supervised(x, some, batch_size=200, labelled=100, num_classes=10)

    See also: `keep_labels`, which hides labels; `M2` and `M1M2`, which train on these batches.
    """
    x, y = rows_of.to_rows("x", x), _unmasked(y)
    batch_size, labelled = (
        validation.positive_int("batch_size", batch_size),
        validation.positive_int("labelled", labelled),
    )
    num_classes = validation.positive_int("num_classes", num_classes)
    seed = validation.positive_int("seed", seed, at_least=0)
    if x.shape[0] != len(y):
        raise ValueError(f"y: expected a label for each of the {x.shape[0]} rows, received {len(y)}.")
    known = np.flatnonzero(y != UNKNOWN)
    unknown = np.flatnonzero(y == UNKNOWN)
    validation.check_some_labels(y, x.shape[0], num_classes)
    if len(unknown) == 0:
        raise ValueError("y: all rows are labelled; expected -1 for unknown ones. Train a classifier instead.")
    if labelled >= batch_size:
        raise ValueError(f"labelled: expected 1 to batch_size - 1 = {batch_size - 1}; received {labelled}.")
    # Keep one copy in memory and gather from it, because a batch has rows from anywhere.
    gather = feeding.gatherer([x, y.astype("int32")])
    others = batch_size - labelled
    steps = -(-len(unknown) // others)

    def orders(epoch):
        random = np.random.default_rng([seed, epoch])
        rounds = -(-steps * labelled // len(known))
        return np.concatenate([random.permutation(known) for _ in range(rounds)]), random.permutation(unknown)

    def make(epoch):
        first, second = tf.numpy_function(orders, [epoch], (tf.int64, tf.int64))
        first, second = tf.ensure_shape(first, [None]), tf.ensure_shape(second, [None])

        def batch(i):
            i = tf.concat([first[i * labelled : (i + 1) * labelled], second[i * others : (i + 1) * others]], axis=0)
            return gather(i)

        return tf.data.Dataset.range(steps).map(batch)

    return epochs.numbered(make, steps, first_epoch)


def _unmasked(y: Any) -> np.ndarray:
    return y.astype("int64").filled(UNKNOWN) if np.ma.is_masked(y) else np.asarray(rows_of.to_rows("y", y))
