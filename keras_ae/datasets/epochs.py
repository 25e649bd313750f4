"""Data sets with numbered epochs, so that equal seeds give identical runs."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_ae.utils import numbering, validation
from keras_ae.utils.xla import as_it_is


def numbered(
    make: Callable[[tf.Tensor], tf.data.Dataset], batches: int | None, first_epoch: int = 0, is_random: bool = True
) -> tf.data.Dataset:
    """A data set whose epochs are `make(first_epoch)`, `make(first_epoch + 1)`, and so on.

    An epoch counts once its second batch has been requested. Inspecting the first batch with `next(iter(data))` or
    `data.take(1)` therefore has no effect: the next iteration starts the same epoch again. If an epoch has a single
    batch, inspecting it counts as an epoch.

    `fit` of this package's models does not count: its epoch e reads epoch e of the data, or epoch `first_epoch` + e,
    and `fit(initial_epoch=e)` begins with epoch e if that is later. A second `fit` goes on after the first. This holds
    for data sets that `map`, `prefetch` and other methods make from this one, and no thread that prefetches changes it.

    Args:
        make: function from the epoch number, int64 `()`, to the `tf.data.Dataset` of its batches. All its randomness
            must depend only on that number and a seed, so that neither timing nor prefetching affects the result.
        batches: int, batches per epoch; None if unknown.
        first_epoch: int, number of epochs completed before an interruption, for resuming training.
        is_random: bool; False if all epochs are identical and need no numbers.

    Returns:
        `tf.data.Dataset`.

    Raises:
        ValueError: if `first_epoch` is not a whole number, 0 or more.

    Example:

        data = numbered(lambda epoch: tf.data.Dataset.range(3).map(lambda i: 10 * epoch + i), batches=3)
        list(data.as_numpy_iterator())    # [0, 1, 2]
        list(data.as_numpy_iterator())    # [10, 11, 12]

    See also: `seed_of`, a seed for each epoch.
    """
    first_epoch, make = validation.positive_int("first_epoch", first_epoch, at_least=0), as_it_is(make)
    numbers = numbering.Numbers(first_epoch)
    data = _counted(make, batches, numbers) if is_random else make(tf.constant(0, tf.int64))
    if batches is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(batches))
    # Disable TensorFlow's automatic prefetching: after the counter, it would count batches that nobody has requested.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = not is_random
    if not is_random:
        return data.prefetch(tf.data.AUTOTUNE).with_options(options)
    return numbering.attach(data.with_options(options), numbers)


def _counted(make, batches, numbers):
    telling = 0 if batches == 1 else 1

    def count(begun):
        numbers.count(*begun)
        return np.int64(0)

    @as_it_is
    def begin(_):
        return tf.ensure_shape(tf.numpy_function(numbers.begin, [], tf.int64), [2])

    @as_it_is
    def batches_of(begun):
        made = make(begun[0]).prefetch(tf.data.AUTOTUNE)
        return tf.data.Dataset.zip(tf.data.Dataset.from_tensors(begun).repeat(), made)

    @as_it_is
    def counting(i, numbered_batch):
        begun, batch = numbered_batch
        zero = tf.constant(0, tf.int64)
        counted = tf.cond(i == telling, lambda: tf.numpy_function(count, [begun], tf.int64), lambda: zero)
        with tf.control_dependencies([counted]):
            return tf.nest.map_structure(tf.identity, batch)

    return tf.data.Dataset.from_tensors(0).map(begin).flat_map(batches_of).enumerate().map(counting)


def seed_of(key: int, epoch: tf.Tensor) -> tf.Tensor:
    """Seed `(2,)` of an epoch for TensorFlow's stateless random ops, hashed from the key and the epoch number.

    Example: `seed_of(7, 0)    # int64 (2,)`
    """
    key = tf.stack([tf.constant(key, tf.int64), tf.constant(0, tf.int64)])
    return tf.random.fold_in(key, tf.cast(epoch, tf.int64), alg="philox")
