"""Many training steps in one call, which is what makes `fit` fast.

Keras calls the compiled step once per batch or, with `steps_per_execution`, from a loop that fetches each batch through
an `Optional`. Here the batches of one execution are stacked first, and the steps run in a single `tf.while_loop` that
XLA can compile as a whole: weights and optimizer slots stay in place between steps.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.layers.corruption import Corruption
from keras_ae.training import feeding, roles, states
from keras_ae.typing import Logs
from keras_ae.utils import xla

# More steps per call give no measurable gain; fewer make the call overhead visible on small networks.
MAX_STEPS = 32
# Under XLA the values before a call are kept, so that a bad step can be undone, which copies all weights once per call.
# With 32 steps that took a twentieth of a small adversarial model's time. Rows of other sources wait in a stack, so a
# call of more steps would start later.
MAX_STEPS_OF_ARRAYS = 128
# Stacking copies the batches of one execution, so limit its size: large images would fill the memory.
MAX_BYTES = 64 * 2**20

# Inside a compiled loop, XLA's CPU convolutions lose their thread pool (measured: 30 times slower).
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
# On a CPU, XLA takes 200 ns per random number for these layers (measured: 50 times as long as TensorFlow).
_NOISE = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    Corruption,
)


def xla_pays(layers: Iterable[keras.layers.Layer]) -> bool:
    """Whether XLA speeds up training of `layers` on this machine's devices."""
    layers = list(layers)
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    slow = any(isinstance(layer, _CONVOLUTIONS) or (isinstance(layer, _NOISE) and _is_noisy(layer)) for layer in layers)
    return bool(tf.config.list_physical_devices("GPU")) or not slow


def _is_noisy(layer):
    return bool(getattr(layer, "rate", 0.0) or getattr(layer, "stddev", 0.0))


def steps_that_fit(batch: Any, steps_in_epoch: int | None, most: int = MAX_STEPS) -> int:
    """Returns the steps per execution for a `batch` (a structure of arrays), limited by memory and epoch length."""
    leaves = [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]
    size = sum(math.prod(leaf.shape) * tf.as_dtype(leaf.dtype).size for leaf in leaves)
    return min(most, max(1, MAX_BYTES // max(size, 1)), max(1, steps_in_epoch or most))


def can_stack(iterator: Iterator[Any]) -> bool:
    """Whether all elements of `iterator` are plain tensors and so can be stacked."""
    return isinstance(iterator, tf.data.Iterator) and all(
        isinstance(spec, tf.TensorSpec) for spec in _present(iterator.element_spec)
    )


def make_loop(
    step: Callable[[Any], tf.Tensor],
    record: Callable[[tf.Tensor], Logs],
    summary_shape: tuple[int, ...],
    steps: int,
    jit_compile: bool,
    changed: Callable[[], Sequence[keras.Variable]] | None = None,
) -> Callable[..., tuple[Logs, tf.Tensor]]:
    """Returns a function `(iterator, arrays or None, limit) -> (logs, steps run)` that runs up to `limit` steps.

    With `arrays` (see `feeding.Feed`), the iterator yields row indices instead of rows. The summaries of all steps are
    summed and recorded once per call, because recording each step took a tenth of a small VAE's training time.

    The loop ends early if the data run out or, with `changed`, a logged value is not finite. Under XLA, such a step is
    then undone: the variables get the values back that they had before the call, and the steps before it run again.
    Batches of equal shape run as one program. A batch of a different shape, such as the last one, runs without XLA.

    Args:
        step: function of a batch that returns a summary, a float32 tensor.
        record: function of the sum of all summaries that returns the logs.
        summary_shape: shape of a summary.
        steps: int, maximum value of `limit`, and the size of the stack of batches.
        jit_compile: bool, whether to compile with XLA.
        changed: function that returns the variables that steps change, of training; None if they change none.

    Raises:
        tf.errors.OutOfRangeError: by the returned function, if the iterator has no more batches.
    """

    def rows(batch, arrays):
        if arrays is None:
            return batch
        batches = batch if isinstance(batch, tuple) else (batch,)  # a tuple if a step takes several batches
        gathered = tuple(feeding.gather(arrays, numbers) for numbers in batches)
        return gathered if isinstance(batch, tuple) else gathered[0]

    def one(batch, arrays):
        with roles.validated(arrays is not None):
            return step(rows(batch, arrays))

    nothing = functools.partial(tf.zeros, summary_shape)

    def goes_on(total):
        return tf.constant(True) if changed is None else tf.reduce_all(tf.math.is_finite(total))

    def run(batches, arrays, count):
        def body(i, total, fine):
            total += one(_map(lambda batch: batch[i], batches), arrays)
            return i + 1, total, goes_on(total)

        with xla.tracing(bool(jit_compile)):
            done, total, _ = tf.while_loop(lambda i, total, fine: (i < count) & fine, body, (0, nothing(), True))
        return done, total

    compiled = tf.function(run, jit_compile=jit_compile, autograph=False, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def function(iterator, arrays, limit):
        def group(done, total, fine, optional):
            first = optional.get_value()
            batches, count, optional = _pull(iterator, first, steps, limit - done)

            def several():
                if changed is None or not jit_compile:
                    return compiled(batches, arrays, count)
                variables = changed()
                before = states.values(variables)
                made, new = compiled(batches, arrays, count)

                def again():
                    states.restore(variables, before)
                    return compiled(batches, arrays, made - 1)[0]

                tf.cond(goes_on(new), lambda: made, again)
                return made, new

            def alone():
                return 1, one(first, arrays)

            made, new = tf.cond(count > 1, several, alone) if jit_compile else several()
            total += new
            return done + made, total, goes_on(total), optional

        def more(done, total, fine, optional):
            return (done < limit) & fine & optional.has_value()

        start = tf.experimental.Optional.from_value(iterator.get_next())
        done, total, _, _ = tf.while_loop(more, group, (0, nothing(), True, start))
        return record(total), done

    return function


def _pull(iterator, first, capacity, most):
    """Stacks `first` and up to `most - 1` following batches of equal shape; returns stack, count and rest.

    The stack always has `capacity` entries, padded with the first batch, so that its shape and the compiled program
    never change. The rest is an `Optional` with the next batch, empty once `most` batches are stacked.
    """
    leaves = _present(first)
    arrays = [tf.TensorArray(leaf.dtype, size=capacity, element_shape=leaf.shape).write(0, leaf) for leaf in leaves]

    def write(arrays, i, batch):
        return [array.write(i, leaf) for array, leaf in zip(arrays, _present(batch), strict=True)]

    def following(count):
        empty = tf.experimental.Optional.empty(iterator.element_spec)
        return tf.cond(count < most, iterator.get_next_as_optional, lambda: empty)

    def same_shape(batch):
        pairs = zip(_present(batch), leaves, strict=True)
        return tf.reduce_all([tf.reduce_all(tf.equal(tf.shape(a), tf.shape(b))) for a, b in pairs])

    def fits(count, optional, arrays):
        return tf.cond(optional.has_value(), lambda: same_shape(optional.get_value()), lambda: False)

    def body(count, optional, arrays):
        arrays = write(arrays, count, optional.get_value())
        return count + 1, following(count + 1), arrays

    one = tf.constant(1)
    count, optional, arrays = tf.while_loop(fits, body, (one, following(one), arrays))
    _, arrays = tf.while_loop(
        lambda i, arrays: i < capacity, lambda i, arrays: (i + 1, write(arrays, i, first)), (count, arrays)
    )
    stacks = iter([array.stack() for array in arrays])
    return _map(lambda _: next(stacks), first), count, optional


def _present(batch):
    """Returns the tensors of a batch, or their specs, without absent parts."""
    return [leaf for leaf in keras.tree.flatten(batch) if leaf is not None and not isinstance(leaf, tf.NoneTensorSpec)]


def _map(function, batch):
    return keras.tree.map_structure(lambda leaf: None if leaf is None else function(leaf), batch)
