"""Data sets that number their epochs, so that equal seeds give equal runs."""

import numpy as np
import tensorflow as tf


def numbered(make, batches, first_epoch=0, is_random=True):
    """A data set whose epochs are `make(first_epoch)`, `make(first_epoch + 1)`, and so on.

    An epoch counts once its second batch has been asked for. So a look at the first batch, `next(iter(data))` or
    `data.take(1)`, changes nothing: the next iteration begins the same epoch again. Where an epoch is a single batch, a
    look cannot be told from an epoch, and counts as one.

    Args:
        make: function from the number of an epoch, int64 `()`, to the `tf.data.Dataset` of its batches. All that is
            random in it must follow from that number and a seed: then neither timing nor prefetching matters.
        batches: int, batches of every epoch; None where it is unknown.
        first_epoch: int, epochs that an interrupted training has completed.
        is_random: bool; False where all epochs are alike, and need no numbers.

    Returns:
        `tf.data.Dataset`.

    Raises:
        ValueError: if `first_epoch` is not a whole number, 0 or more.
    """
    first_epoch = whole_number("first_epoch", first_epoch)
    data = _counted(make, batches, first_epoch) if is_random else make(tf.constant(0, tf.int64))
    if batches is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(batches))
    # Prefetching after the count, as TensorFlow adds it on its own, would count batches that nobody has asked for.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = not is_random
    return (data if is_random else data.prefetch(tf.data.AUTOTUNE)).with_options(options)


def _counted(make, batches, first_epoch):
    upcoming = first_epoch
    telling = 0 if batches == 1 else 1

    def current():
        return np.int64(upcoming)

    def count(epoch):
        nonlocal upcoming
        upcoming = max(upcoming, int(epoch) + 1)
        return np.int64(upcoming)

    def begin(_):
        return tf.ensure_shape(tf.numpy_function(current, [], tf.int64), [])

    def batches_of(epoch):
        return tf.data.Dataset.zip(tf.data.Dataset.from_tensors(epoch).repeat(), make(epoch).prefetch(tf.data.AUTOTUNE))

    def counting(i, numbered_batch):
        epoch, batch = numbered_batch
        counted = tf.cond(i == telling, lambda: tf.numpy_function(count, [epoch], tf.int64), lambda: epoch)
        with tf.control_dependencies([counted]):
            return tf.nest.map_structure(tf.identity, batch)

    return tf.data.Dataset.from_tensors(0).map(begin).flat_map(batches_of).enumerate().map(counting)


def whole_number(name, value):
    """`value` as an int; raises a `ValueError` unless it is a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"{name}: expected a whole number, 0 or more; received {value!r}.")
    return int(value)


def seed_of(key, epoch):
    """A seed `(2,)` of TensorFlow's stateless operations for an epoch: a hash of the key, and the epoch's number."""
    key = tf.stack([tf.constant(key, tf.int64), tf.constant(0, tf.int64)])
    return tf.random.fold_in(key, tf.cast(epoch, tf.int64), alg="philox")
