"""Many training steps in one call: where `fit` gets its speed.

Keras calls the compiled step once a batch and, with `steps_per_execution`, from a loop that fetches every batch through
an `Optional`. Here the batches of one execution are stacked first and the steps run in a single `tf.while_loop`, which
XLA can compile as a whole: weights and optimizer slots stay in place between the steps.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from keras_ae.utils import xla

# More steps in one call gain nothing measurable; fewer make the calls' overhead visible on small networks.
MAX_STEPS = 32
# The stacked batches of one execution are a copy: bounded, so that large images do not fill the memory.
MAX_BYTES = 64 * 2**20

# Inside a compiled loop XLA's CPU convolutions lose their thread pool (measured: 30 times slower).
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
# XLA's random numbers for these take 200 ns each on a CPU (measured: 50 times as long as TensorFlow's).
_NOISE = (keras.layers.Dropout, keras.layers.AlphaDropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise)


def xla_pays(layers):
    """Whether XLA makes the training of `layers` faster on the devices of this machine."""
    layers = list(layers)
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    slow = any(isinstance(layer, _CONVOLUTIONS) or (isinstance(layer, _NOISE) and _is_noisy(layer)) for layer in layers)
    return bool(tf.config.list_physical_devices("GPU")) or not slow


def _is_noisy(layer):
    return bool(getattr(layer, "rate", 0.0) or getattr(layer, "stddev", 0.0))


def steps_that_fit(batch, steps_in_epoch, steps_per_epoch):
    """Steps of one execution for a first `batch` (a structure of arrays), by memory and by the length of an epoch.

    A `steps_per_epoch` that the user gave is divided evenly: Keras would otherwise run past the end of the epoch.
    """
    size = sum(array.nbytes for array in map(_as_numpy, keras.tree.flatten(batch)))
    steps = min(MAX_STEPS, max(1, MAX_BYTES // max(size, 1)), max(1, steps_in_epoch or MAX_STEPS))
    if steps_per_epoch:
        steps = max(k for k in range(1, steps + 1) if steps_per_epoch % k == 0)
    return steps


def _as_numpy(tensor):
    return tensor.numpy() if hasattr(tensor, "numpy") else tensor


def are_arrays(data):
    """Whether the structure holds NumPy arrays and dense tensors only, and so fits in memory."""
    return all(leaf is None or isinstance(leaf, np.ndarray | tf.Tensor) for leaf in keras.tree.flatten(data))


def resident(data):
    """`(x, y, sample_weight)` as a tuple of tensors without what is absent; float64 becomes float32, as in Keras."""
    x, y, sample_weight = data
    present = (x,) if y is None else (x, y) if sample_weight is None else (x, y, sample_weight)

    def tensor(array):
        is_double = isinstance(array, np.ndarray) and array.dtype == np.float64
        return tf.convert_to_tensor(array.astype("float32") if is_double else array)

    return keras.tree.map_structure(tensor, present)


def row_numbers(rows, batch_size, shuffle):
    """A data set of the numbers 0 to `rows - 1` in batches; with `shuffle` in a new random order each epoch.

    It runs on a thread of its own: Keras's pipeline for arrays takes the step's threads, see benchmarks/NOTES.md.
    """
    steps = -(-rows // batch_size)

    def batches(_):
        order = tf.range(rows)
        order = tf.random.shuffle(order) if shuffle else order
        return tf.data.Dataset.range(steps, output_type=tf.int32).map(
            lambda i: order[i * batch_size : (i + 1) * batch_size]
        )

    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    made = tf.data.Dataset.range(1).flat_map(batches).with_options(options)
    return made.apply(tf.data.experimental.assert_cardinality(steps))


def can_stack(iterator):
    """Whether all elements of `iterator` are plain tensors, which can be stacked."""
    return isinstance(iterator, tf.data.Iterator) and all(
        isinstance(spec, tf.TensorSpec) for spec in keras.tree.flatten(iterator.element_spec)
    )


def make_loop(train, record, summary_shape, steps, jit_compile):
    """A function of an iterator, and arrays or None, that runs up to `steps` steps and returns the log.

    With `arrays`, as `resident` makes them, the iterator gives row numbers. `train(batch)` is a step that returns a
    summary of `summary_shape`; `record(summary)` takes their sum and returns the log. Recording every step by itself
    took a tenth of a small VAE's time.

    The loop ends early where the data end or a logged value is not finite. Batches of equal shape run as one program; a
    batch alone in its shape (the last of an epoch) runs without XLA, as compiling for one step an epoch does not pay.

    Raises:
        tf.errors.OutOfRangeError: if the iterator has no more batches, as Keras expects.
    """

    def rows(batch, arrays):
        if arrays is None:
            return batch
        return keras.tree.map_structure(lambda array: tf.gather(array, keras.tree.flatten(batch)[0]), arrays)

    nothing = functools.partial(tf.zeros, summary_shape)

    def run(batches, arrays, count):
        def body(i, total, finite):
            total += train(rows(keras.tree.map_structure(lambda batch: batch[i], batches), arrays))
            return i + 1, total, tf.reduce_all(tf.math.is_finite(total))

        outside = xla.compiling.set(bool(jit_compile))
        try:
            return tf.while_loop(lambda i, total, finite: (i < count) & finite, body, (0, nothing(), True))[1]
        finally:
            xla.compiling.reset(outside)

    compiled = tf.function(run, jit_compile=jit_compile, autograph=False, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def function(iterator, arrays):
        def group(done, total, finite, optional):
            first = optional.get_value()
            batches, count, optional = _pull(iterator, first, steps, steps - done)
            total += tf.cond(count > 1, lambda: compiled(batches, arrays, count), lambda: train(rows(first, arrays)))
            return done + count, total, tf.reduce_all(tf.math.is_finite(total)), optional

        def more(done, total, finite, optional):
            return (done < steps) & finite & optional.has_value()

        start = tf.experimental.Optional.from_value(iterator.get_next())
        return record(tf.while_loop(more, group, (0, nothing(), True, start))[1])

    return function


def _pull(iterator, first, places, most):
    """`first` and the up to `most - 1` batches of equal shape after it, stacked; their number; the batch after them.

    All `places` are filled, with the first batch again where there is no other, so that the shape, and with it the
    compiled program, is always the same. The batch after them, an `Optional`, is empty once `most` are there.
    """
    leaves = keras.tree.flatten(first)
    arrays = [tf.TensorArray(leaf.dtype, size=places, element_shape=leaf.shape).write(0, leaf) for leaf in leaves]

    def write(arrays, i, batch):
        return [array.write(i, leaf) for array, leaf in zip(arrays, keras.tree.flatten(batch), strict=True)]

    def following(count):
        empty = tf.experimental.Optional.empty(iterator.element_spec)
        return tf.cond(count < most, iterator.get_next_as_optional, lambda: empty)

    def same_shape(batch):
        pairs = zip(keras.tree.flatten(batch), leaves, strict=True)
        return tf.reduce_all([tf.reduce_all(tf.equal(tf.shape(a), tf.shape(b))) for a, b in pairs])

    def fits(count, optional, arrays):
        return tf.cond(optional.has_value(), lambda: same_shape(optional.get_value()), lambda: False)

    def body(count, optional, arrays):
        arrays = write(arrays, count, optional.get_value())
        return count + 1, following(count + 1), arrays

    one = tf.constant(1)
    count, optional, arrays = tf.while_loop(fits, body, (one, following(one), arrays))
    _, arrays = tf.while_loop(
        lambda i, arrays: i < places, lambda i, arrays: (i + 1, write(arrays, i, first)), (count, arrays)
    )
    stacked = keras.tree.pack_sequence_as(first, [array.stack() for array in arrays])
    return stacked, count, optional
