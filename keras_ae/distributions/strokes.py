"""Densities of drawings: each point an offset from a mixture of Gaussians, and a state of the pen.

A drawing is a sequence of rows `(dx, dy, p1, p2, p3)`, "stroke-5": the offset from the last point, and which one of
three
states the pen has after the point: it goes on drawing (p1), it is lifted (p2), or the drawing has ended (p3). The rows
from the end on are `END`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions.likelihoods import Likelihood
from keras_ae.utils import validation
from keras_ae.utils.xla import softplus

tfd = tfp.distributions

WIDTH = 5
"""Numbers in a row of a drawing."""

START = (0.0, 0.0, 1.0, 0.0, 0.0)
"""The row before the first: the pen is down, at the origin."""

END = (0.0, 0.0, 0.0, 0.0, 1.0)
"""The rows after the last point."""

MIN_SCALE = 1e-2
"""Smallest s, for offsets of standard deviation 1: drawings are stored with steps of about 0.05. Without it, offsets
that occur exactly, such as 0 in straight lines, would have an infinite density."""

MAX_OFFSET = 1_000.0
"""Largest offset of a drawing, in units of the model's scale; anything larger is of another scale."""

_MAX_SLANT = 6.0  # of |a|, so that |rho| < 1 - 1e-5 and its square stays apart from 1 in float32
_COLDEST = 1e-6  # logits are divided by a temperature of at least this, which leaves one of them


class Params(NamedTuple):
    """The parts of a network's output for one row of a drawing.

    Attributes:
        logits: `(..., M)`, of the weights of the mixture.
        mean: `(..., M, 2)`.
        scale: `(..., M, 2)`, standard deviations, above `MIN_SCALE`.
        slant: `(..., M)`, a, the inverse hyperbolic tangent of the correlation.
        pen: `(..., 3)`, logits of the pen's state.
    """

    logits: tf.Tensor
    mean: tf.Tensor
    scale: tf.Tensor
    slant: tf.Tensor
    pen: tf.Tensor


def params_size(mixtures: int) -> int:
    """Number of params of one row: 6 M + 3.

    Example: `params_size(20)    # 123`
    """
    return 6 * mixtures + 3


def split(params: tf.Tensor) -> Params:
    """Splits a network's output `(..., 6 M + 3)` into its parts.

        [pi | m_x, m_y | r_x, r_y | b | q] = params,    s = softplus(r) + MIN_SCALE,    a = 6 tanh(b / 6)

    Raises:
        ValueError: if the last axis is not 6 M + 3.

    Example: `split(tf.zeros([4, 123])).mean    # (4, 20, 2)`

    Source: Ha & Eck 2017, section 3.2, with softplus in place of exp. See also: `log_density`, which takes the parts.
    """
    size = params.shape[-1]
    if size is None or size < 9 or (size - 3) % 6:
        raise ValueError(f"params: expected 6 M + 3 numbers for M Gaussians in the last axis; received {size}.")
    m = (size - 3) // 6
    logits, mean_x, mean_y, raw_x, raw_y, slant, pen = tf.split(params, [m] * 6 + [3], axis=-1)
    scale = softplus(tf.stack([raw_x, raw_y], axis=-1)) + MIN_SCALE
    slant = _MAX_SLANT * tf.tanh(slant / _MAX_SLANT)
    return Params(logits, tf.stack([mean_x, mean_y], axis=-1), scale, slant, pen)


def log_density(offset: tf.Tensor, p: Params) -> tf.Tensor:
    """Log density of offsets under the mixture of bivariate Gaussians: `(...)` nats.

        log p(x) = log sum_k exp(log softmax(pi)_k + log N_k)
        log N = -1/2 (u^2 + w^2) - log(2 pi s_x s_y) + log cosh(a)
        u = (x - m_x) / s_x,    v = (y - m_y) / s_y,    w = (v - rho u) cosh(a),    rho = tanh(a)

    cosh(a)^2 = 1 / (1 - rho^2), so nothing is subtracted from 1. Values and gradients are finite for any params that
    are.

    Args:
        offset: `(..., 2)`.
        p: `Params`.

    Example: `log_density(tf.zeros([4, 2]), split(tf.zeros([4, 123])))    # (4,)`

    Source: Ha & Eck 2017, equation 3. See also: `Strokes`, with the pen; `log_pen`, its other factor.
    """
    u, v = tf.unstack((offset[..., None, :] - p.mean) / p.scale, axis=-1)
    w = v * tf.cosh(p.slant) - u * tf.sinh(p.slant)
    log_cosh = tf.abs(p.slant) + softplus(-2.0 * tf.abs(p.slant)) - float(np.log(2.0))
    log_n = log_cosh - 0.5 * (u * u + w * w) - tf.reduce_sum(tf.math.log(p.scale), axis=-1) - float(np.log(2 * np.pi))
    return tf.reduce_logsumexp(p.logits + log_n, axis=-1) - tf.reduce_logsumexp(p.logits, axis=-1)


def log_pen(state: tf.Tensor, p: Params) -> tf.Tensor:
    """Log probability of the pen's state `(..., 3)`, one-hot: `(...)` nats.

    Example: `log_pen(tf.constant([[0.0, 0.0, 1.0]]), split(tf.zeros([1, 123])))    # log 1/3`

    See also: `log_density`, of the offset.
    """
    return -tf.nn.softmax_cross_entropy_with_logits(state, p.pen)


def lengths(x: tf.Tensor) -> tf.Tensor:
    """Number of points of drawings `(..., T, 5)`, the rows before the first with p3: int32 `(...)`.

    Example: `lengths(tf.constant([[START, END, END]]))    # 1`
    """
    return tf.reduce_sum(tf.cast(tf.cumsum(x[..., 4], axis=-1) < 0.5, tf.int32), axis=-1)


def scaled(x: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Drawings `(..., T, 5)` whose offsets are multiplied by a factor."""
    return tf.concat([factor * x[..., :2], x[..., 2:]], axis=-1)


def shifted(x: tf.Tensor) -> tf.Tensor:
    """The rows that a decoder sees when it predicts x `(T, B, 5)`: `START`, then all but the last of x."""
    return tf.concat([tf.ones_like(x[:1]) * tf.constant(START), x[:-1]], axis=0)


def row_terms(x: tf.Tensor, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The terms of log p(x) by row, time first: those of offsets, of pens before the end, and of the end, `(T, ...)`.

        log p(x) = sum_i=1..n log p(offset_i) + sum_i=1..n log p(pen_i) + log p(end after n)

    After the end a drawing has nothing left to say: further rows of `END` have probability 1, so that padding changes
    nothing. Without a row of `END`, x is the beginning of a longer drawing, and the last term is missing.

    Args:
        x: `(T, ..., 5)`.
        params: `(T, ..., 6 M + 3)`.

    Example: `sum(tf.reduce_sum(term) for term in row_terms(tf.constant([START, END]), tf.zeros([2, 123])))`

    Source: Ha & Eck 2017, equation 9: the sum of all is -(L_R N_max) where their decoder is certain of the rows after
    the end. See also: `Strokes`, the distribution.
    """
    p = split(params)
    ended = tf.cumsum(x[..., 4], axis=0) > 0.5  # (T, ...)
    first = ended & (tf.cumsum(x[..., 4], axis=0, exclusive=True) < 0.5)
    inside, last = tf.cast(~ended, tf.float32), tf.cast(first, tf.float32)
    pen = log_pen(x[..., 2:], p)
    return inside * log_density(x[..., :2], p), inside * pen, last * pen


class Strokes(tfp.distributions.Distribution):
    """p(x|z) of drawings `(T, 5)`, one point after the other.

        p(x|z) = prod_i p(x_i | x_1 ... x_i-1, z),    params_i = network(x_1 ... x_i-1, z)

    Args:
        params_of: function from drawings, time first `(T, N, 5)`, to the params of each row `(T, N, 6 M + 3)`, for the
            N members of the batch, flattened.
        batch_shape: shape of the batch, a tensor or a tuple.
        static_shape: the same, with None for sizes that are not known while a graph is traced; None if all are.
        scale: float, by which offsets are divided first.

    `log_prob(x)` is in nats; rows from the end on do not count.

    Example:

        p = Strokes(lambda x: tf.zeros([*x.shape[:2], 123]), [1])
        p.log_prob(tf.constant([[START, END]]))    # (1,)

    Source: Ha & Eck 2017, equations 3 and 9. See also: `log_density`, of one offset.
    """

    def __init__(
        self,
        params_of: Callable[[tf.Tensor], tf.Tensor],
        batch_shape: Any,
        static_shape: Any = None,
        scale: float = 1.0,
    ) -> None:
        parameters = dict(locals())
        self._params_of, self._batch, self._scale = params_of, batch_shape, scale
        self._static = batch_shape if static_shape is None else static_shape
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, True, parameters, name="Strokes")

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {}

    def _batch_shape(self):
        return tf.TensorShape(self._static)

    def _batch_shape_tensor(self):
        return tf.convert_to_tensor(self._batch)

    def _event_shape(self):
        return tf.TensorShape([None, WIDTH])

    def row_terms(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The terms of `log_prob(x)`, see the function `row_terms`: each `(T, *batch)`; x `(..., T, 5)`."""
        x = scaled(tf.cast(x, tf.float32), 1.0 / self._scale)
        batch = self._batch_shape_tensor()
        many = tf.broadcast_to(x, tf.concat([batch, tf.shape(x)[-2:]], axis=0))
        many = tf.transpose(tf.reshape(many, [-1, tf.shape(x)[-2], WIDTH]), [1, 0, 2])  # (T, N, 5)
        shape = tf.concat([tf.shape(many)[:1], batch], axis=0)
        static = [x.shape[-2], *self.batch_shape]
        terms = row_terms(many, self._params_of(many))
        return tuple(tf.ensure_shape(tf.reshape(term, shape), static) for term in terms)

    def _log_prob(self, x):
        return tf.reduce_sum(tf.add_n(self.row_terms(x)), axis=0)

    # A batch of drawings is one event more than TFP's default reshaping of x expects.
    def log_prob(self, value: tf.Tensor, name: str = "log_prob", **kwargs: Any) -> tf.Tensor:
        return self._log_prob(tf.convert_to_tensor(value))


def pick(params: tf.Tensor, noise: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Draws one row for each params `(B, 6 M + 3)` from given noise: `(B, 5)`.

        pi, q: divided by t,    s: multiplied by sqrt(t)

    The lower the temperature t, the more probable the rows; 0 gives the mean of the likeliest Gaussian and the
    likeliest state of the pen.

    Args:
        params: `(B, 6 M + 3)`.
        noise: `(B, 4)`, standard normal: two numbers for the offset, one for the Gaussian, one for the pen.
        temperature: `(B,)`, 0 or more.

    Example: `pick(tf.zeros([4, 123]), tf.random.normal([4, 4]), tf.fill([4], 0.5))    # (4, 5)`

    Source: Ha & Eck 2017, equation 8. See also: `row_noise`, which makes the noise.
    """
    p = split(params)
    t = temperature[:, None]
    uniform = tfd.Normal(0.0, 1.0).cdf(noise[:, 2:])
    k = _chosen(p.logits / tf.maximum(t, _COLDEST), uniform[:, 0])
    state = tf.one_hot(_chosen(p.pen / tf.maximum(t, _COLDEST), uniform[:, 1]), 3)
    mean, scale, slant = (tf.gather(each, k, batch_dims=1) for each in (p.mean, p.scale, p.slant))
    e1, e2 = noise[:, 0], noise[:, 1]
    # (e1, rho e1 + sqrt(1 - rho^2) e2) has unit variances and the correlation rho = tanh(a).
    e = tf.stack([e1, tf.tanh(slant) * e1 + e2 / tf.cosh(slant)], axis=-1)
    return tf.concat([mean + tf.sqrt(t) * scale * e, state], axis=-1)


def _chosen(logits, uniform):
    """Returns the class of each row whose part of [0, 1] the uniform number falls into: int32 `(B,)`."""
    edges = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    found = tf.reduce_sum(tf.cast(edges <= uniform[:, None], tf.int32), axis=-1)
    return tf.minimum(found, logits.shape[-1] - 1)  # the last edge may be below 1


def row_noise(seeds: tf.Tensor, steps: int | tf.Tensor) -> tf.Tensor:
    """Noise of `pick` for drawings of up to `steps` rows, each from its own int64 seed `(B,)`: `(steps, B, 4)`.

    A row's numbers depend on its seed alone, not on the other rows.

    Example: `row_noise(tf.range(3, dtype=tf.int64), 10)    # (10, 3, 4)`
    """

    def one(seed):
        # Folded once, so that the noise of a drawing and a code from the same seed are independent.
        folded = tf.random.experimental.stateless_fold_in(tf.bitcast(seed, tf.int32), 1)
        return tf.random.stateless_normal([steps, 4], folded, alg="philox")

    made = tf.map_fn(one, tf.cast(seeds, tf.int64), fn_output_signature=tf.TensorSpec([None, 4], tf.float32))
    return tf.transpose(made, [1, 0, 2])


def generate(
    step: Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any]],
    state: Any,
    seeds: tf.Tensor,
    temperature: tf.Tensor,
    steps: int,
    begun: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws whole drawings, row by row, until all have ended: `(B, steps, 5)` and their numbers of points, int32
    `(B,)`.

    Args:
        step: function of the last rows `(B, 5)` and the state to the params of the next rows and the new state.
        state: structure of tensors, the state before the first row.
        seeds: int64 `(B,)`; a row depends on its own seed only.
        temperature: float32 `(B,)`, as in `pick`.
        steps: int, rows of the longest drawing.
        begun: drawings `(B, T, 5)` whose points are taken as they are; the rest is drawn. None to draw all.

    Source: Ha & Eck 2017, sections 3.2 and 4.3. See also: `Strokes`, which scores drawings.
    """
    seeds = tf.convert_to_tensor(seeds)
    rows = tf.shape(seeds)[0]
    noise = row_noise(seeds, steps)
    given = tf.zeros([rows], tf.int32)
    if begun is not None:
        given = tf.minimum(lengths(begun), steps)
        begun = tf.transpose(begun, [1, 0, 2])[:steps]
        begun = tf.pad(begun, [[0, steps - tf.shape(begun)[0]], [0, 0], [0, 0]])

    def body(i, last, ended, points, state, made):
        params, state = step(last, state)
        row = pick(params, noise[i], temperature)
        if begun is not None:
            row = tf.where((i < given)[:, None], begun[i], row)
        row = tf.where((ended | (row[:, 4] > 0.5))[:, None], tf.constant(END), row)
        ended |= row[:, 4] > 0.5
        points += tf.cast(~ended, tf.int32)
        return i + 1, row, ended, points, state, made.write(i, row)

    def unfinished(i, last, ended, *_):
        return (i < steps) & ~tf.reduce_all(ended)

    array = tf.TensorArray(tf.float32, steps, element_shape=[None, WIDTH])
    array = array.unstack(tf.ones([steps, rows, 1]) * tf.constant(END))
    first = tf.ones([rows, 1]) * tf.constant(START)
    start = (tf.constant(0), first, tf.zeros([rows], tf.bool), tf.zeros([rows], tf.int32), state, array)
    _, _, _, points, _, made = tf.while_loop(unfinished, body, start, maximum_iterations=steps)
    return tf.ensure_shape(tf.transpose(made.stack(), [1, 0, 2]), [None, steps, WIDTH]), points


@keras.saving.register_keras_serializable("keras_ae")
class StrokeMixture(Likelihood):
    """Which drawings a model takes, and their scale; the density is that of `Strokes`.

    Args:
        scale: float above 0, by which offsets are divided.
        max_length: int, points of the longest drawing.

    Raises:
        ValueError: if the scale is not above 0.

    Example: `StrokeMixture(20.0, 250).valid(tf.constant([[START, END]]))    # [True]`

    Source: Ha & Eck 2017, section 3.1. See also: `Strokes`.
    """

    def __init__(self, scale: float, max_length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = validation.non_negative("scale", scale)
        if not scale:
            raise ValueError("scale: expected a number above 0; received 0. Do all drawings have offsets of 0?")
        self.max_length = max_length

    def preprocess(self, x: tf.Tensor) -> tf.Tensor:
        return scaled(tf.cast(x, tf.float32), 1.0 / self.scale)

    def restore(self, x: tf.Tensor) -> tf.Tensor:
        """The inverse of `preprocess`."""
        return scaled(x, self.scale)

    def valid(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        pen, points = x[..., 2:], lengths(x)
        inside = tf.sequence_mask(points, tf.shape(x)[1])
        one_hot = tf.reduce_all((pen == 0.0) | (pen == 1.0), axis=[1, 2]) & tf.reduce_all(
            tf.reduce_sum(pen, axis=-1) == 1.0, axis=1
        )
        padded = tf.reduce_all(inside | tf.reduce_all(x == tf.constant(END), axis=-1), axis=1)
        near = tf.reduce_all(tf.abs(x[..., :2]) <= MAX_OFFSET * self.scale, axis=[1, 2])  # False for NaN
        return one_hot & padded & near & (points >= 1) & (points <= self.max_length)

    def check(self, name: str, x: np.ndarray) -> None:
        """Raises a `ValueError` unless all drawings `(N, T, 5)`, which are finite, are valid."""
        for start in range(0, len(x), _LOOKS_AT_MOST):
            part = x[start : start + _LOOKS_AT_MOST]
            wrong = np.flatnonzero(~self.valid(tf.convert_to_tensor(part)).numpy())
            if len(wrong):
                raise ValueError(f"{name}: drawing {start + wrong[0]} {self._reason(part[wrong[0]])}")

    def _reason(self, x):
        pen = x[:, 2:]
        if not np.isin(pen, (0, 1)).all() or (pen.sum(axis=1) != 1).any():
            return (
                "has rows whose last three numbers are not (1, 0, 0), (0, 1, 0) or (0, 0, 1). From stroke-3, "
                "keras_ae.datasets.sketches.to_strokes5 makes them."
            )
        points = int((np.cumsum(pen[:, 2]) == 0).sum())
        if points == 0:
            return "is empty: expected one point or more. Drop it."
        if points > self.max_length:
            return (
                f"has {points} points, and the model's longest drawing {self.max_length}. Drop it, or split it: "
                "keras_ae.datasets.sketches.split."
            )
        if (np.abs(x[:, :2]) > MAX_OFFSET * self.scale).any():
            return (
                f"has an offset of {np.abs(x[:, :2]).max():.4g}, over {MAX_OFFSET:,.0f} times the model's scale, "
                f"{self.scale:.4g}. Scale the drawing, or pass scale=keras_ae.datasets.sketches.scale(train)."
            )
        return f"goes on after its end: expected rows {END} only."

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.scale, "max_length": self.max_length}


_LOOKS_AT_MOST = 4_096  # drawings checked at a time
