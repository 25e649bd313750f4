"""Recurrent cells for long sequences on a CPU: LSTM, layer-normalised LSTM and HyperLSTM, with recurrent dropout.

The products of all inputs with the weights are one matrix product before the loop, and the gradient of the weights is
one after it. Inside the loop remain a product of the state with the recurrent weights, and element-wise operations.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import layers

from keras_ae.typing import Shape
from keras_ae.utils import validation

State: TypeAlias = tuple[tf.Tensor, tf.Tensor]
"""Of a cell: s, which enters the next step's products, and c, which does not; `(B, .)` each."""

Step: TypeAlias = Callable[..., State]

_FORGET = 1.0  # added to the forget gate, so that a new cell remembers
_GAIN = 0.1  # of layer normalisation in a new cell: its gates are then in their linear range
_EPSILON = 1e-3  # of layer normalisation


def recurrence(
    step: Step,
    inputs: tf.Tensor,
    kernels: Sequence[tf.Tensor],
    params: Sequence[tf.Tensor],
    start: State,
    noise: tf.Tensor | None = None,
    adds: bool = True,
) -> tf.Tensor:
    """All s of a recurrence, time first: `(T, B, S)`.

        r_t = [s_t-1[:n_1] U_1, s_t-1[:n_2] U_2, ...],    U_k: (n_k, .)
        s_t, c_t = step(a_t, r_t, c_t-1, params, noise_t),    a_t = inputs_t

    The gradient runs the steps again, backwards, each under a tape of its own. It replaces TensorFlow's gradient of a
    loop, which adds up the weights' gradient in every step.

    Args:
        step: function as above, of tensors only; without side effects.
        inputs: float32 `(T, B, A)`.
        kernels: list of U_k.
        params: list of further weights of the step. Their gradients are added up in every step, so they should be
            small.
        start: s_0 and c_0.
        noise: `(T, B, .)`, or None; it gets no gradient.
        adds: bool, whether the step only uses the sum of a_t and r_t, so that both have the same gradient.

    Example:

        step = lambda a, r, c, params, noise: (tf.tanh(a + r), c)
        recurrence(step, tf.zeros([9, 4, 3]), [tf.eye(3)], [], (tf.zeros([4, 3]), tf.zeros([4, 0])))    # (9, 4, 3)

    Source: Hochreiter & Schmidhuber 1997, for what it is used for. See also: `recurrent.linear_recurrence`, without
    products in the loop.
    """
    count, given = len(kernels), noise is not None
    widths = [kernel.shape[1] for kernel in kernels]

    def products(s, kernels):
        made = [tf.matmul(s[:, : kernel.shape[0]], kernel) for kernel in kernels]
        return made[0] if count == 1 else tf.concat(made, axis=-1)

    def reader(sequence, length):
        return tf.TensorArray(sequence.dtype, length, element_shape=sequence.shape[1:]).unstack(sequence)

    @tf.custom_gradient
    def run(inputs, s, c, *weights):
        kernels, params = weights[:count], weights[count:]
        length = tf.shape(inputs)[0]
        a, e = reader(inputs, length), reader(noise, length) if given else None

        def array(like):
            return tf.TensorArray(tf.float32, length, element_shape=like, clear_after_read=False)

        def body(t, s, c, all_s, all_c, all_r):
            r = products(s, kernels)
            all_c, all_r = all_c.write(t, c), all_r.write(t, r)
            s, c = step(a.read(t), r, c, params, e.read(t) if given else None)
            return t + 1, s, c, all_s.write(t, s), all_c, all_r

        empty = (array(s.shape), array(c.shape), array([s.shape[0], sum(widths)]))
        loop = (tf.constant(0), s, c, *empty)
        *_, all_s, all_c, all_r = tf.while_loop(lambda t, *_: t < length, body, loop, maximum_iterations=length)
        made = all_s.stack()

        def gradient(ds):
            upstream = reader(ds, length)
            a, e = reader(inputs, length), reader(noise, length) if given else None

            def back(t, ds, dc, dparams, all_dr, all_da):
                x, r, c = a.read(t), all_r.read(t), all_c.read(t)
                with tf.GradientTape() as tape:
                    tape.watch([x, r, c, *params])
                    new = step(x, r, c, params, e.read(t) if given else None)
                ds = ds + upstream.read(t)
                dx, dr, dc, *more = tape.gradient(new, [x, r, c, *params], [ds, dc], unconnected_gradients="zero")
                dparams = [total + each for total, each in zip(dparams, more, strict=True)]
                ds = tf.zeros_like(ds)
                for kernel, part in zip(kernels, tf.split(dr, widths, axis=-1), strict=True):
                    rows = kernel.shape[0]
                    product = tf.matmul(part, kernel, transpose_b=True)
                    full = ds.shape[-1]
                    ds = ds + (product if rows == full else tf.pad(product, [[0, 0], [0, full - rows]]))
                all_dr = all_dr.write(t, dr)
                return t - 1, ds, dc, dparams, all_dr, all_da if adds else all_da.write(t, dx)

            zeros = [tf.zeros_like(each) for each in params]
            arrays = (array([s.shape[0], sum(widths)]), array(inputs.shape[1:]))
            loop = (length - 1, tf.zeros_like(s), tf.zeros_like(c), zeros, *arrays)
            _, ds0, dc0, dparams, all_dr, all_da = tf.while_loop(
                lambda t, *_: t >= 0, back, loop, maximum_iterations=length
            )
            dr = all_dr.stack()
            before = tf.concat([s[None], made[:-1]], axis=0)
            dkernels = [
                tf.matmul(_rows(before[..., : kernel.shape[0]]), _rows(part), transpose_a=True)
                for kernel, part in zip(kernels, tf.split(dr, widths, axis=-1), strict=True)
            ]
            return dr if adds else all_da.stack(), ds0, dc0, *dkernels, *dparams

        return made, gradient

    return run(inputs, *start, *kernels, *params)


def _rows(sequence):
    return tf.reshape(sequence, [-1, sequence.shape[-1]])


def _normalised(x, gain, bias):
    """Layer normalisation over the last axis."""
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + _EPSILON) * gain + bias


class Cell(layers.Layer):
    """Base class of cells: their weights, and two ways to run them, over whole sequences and step by step.

        a = [x, context] W + b,    s_t, c_t = step(a_t, s_t-1 U, c_t-1)

    x varies in time, the context does not: its product is computed once, not once for each step.

    Args:
        units: int, H, size of the output h, the first H columns of s.
        dropout: float in [0, 1), recurrent dropout: the share of the candidates for c that each training step leaves
            out (Semeniuta 2016).

    Attributes:
        state_sizes: sizes of s and c.

    Subclasses set `adds`, as in `recurrence`, and define `widths`, the sizes of the products with each U and the rows
    of s that it takes; `params`, their further weights; and `step`.
    """

    adds = True

    def __init__(self, units: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = validation.positive_int("units", units)
        self.dropout = validation.fraction("dropout", dropout)
        if dropout == 1:
            raise ValueError("dropout: expected less than 1; received 1.")

    @property
    def widths(self) -> list[tuple[int, int]]:
        """`(rows, columns)` of each recurrent kernel."""
        return [(self.units, 4 * self.units)]

    @property
    def state_sizes(self) -> tuple[int, int]:
        return self.units, self.units

    @property
    def params(self) -> list[keras.Variable]:
        """Weights of the step, besides the kernels."""
        return []

    def step(
        self, a: tf.Tensor, r: tf.Tensor, c: tf.Tensor, params: Sequence[tf.Tensor], noise: tf.Tensor | None
    ) -> State:
        """The step: s and c `(B, .)`, from the products a of the inputs and r of the last s."""
        raise NotImplementedError

    def build(self, x_shape: Shape, context_shape: Shape) -> None:
        """Creates the weights, for the shapes of x and of the context; a context may have size 0."""
        columns = sum(width for _, width in self.widths)
        glorot = keras.initializers.GlorotUniform
        self.kernel = self.add_weight(shape=(x_shape[-1], columns), initializer=glorot(), name="kernel")
        self.context_kernel = None
        if context_shape[-1]:
            self.context_kernel = self.add_weight(
                shape=(context_shape[-1], columns), initializer=glorot(), name="context_kernel"
            )
        self.bias = self.add_weight(shape=(columns,), initializer="zeros", name="bias")
        self.recurrent_kernels = [
            self.add_weight(shape=each, initializer=_blocks, name=f"recurrent_kernel_{k}")
            for k, each in enumerate(self.widths)
        ]
        self.build_params()
        self.built = True

    def build_params(self) -> None:
        """Creates the weights of `params`."""

    def products(self, context: tf.Tensor) -> tf.Tensor:
        """The part of a that does not vary in time: `(B, A)`."""
        if self.context_kernel is None:
            return tf.ones([tf.shape(context)[0], 1]) * self.bias
        return tf.matmul(context, self.context_kernel) + self.bias

    def call(
        self,
        x: tf.Tensor,
        context: tf.Tensor,
        start: State | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The outputs of all steps, time first: `(T, B, H)`.

        Args:
            x: `(T, B, .)`.
            context: `(B, .)`, what every step sees.
            start: s_0 and c_0; None for zeros.
            seed: int32 `(2,)` of the dropout; None for no dropout.
        """
        rows = tf.shape(x)[1] if x.shape[1] is None else x.shape[1]
        inputs = tf.reshape(tf.matmul(_rows(x), self.kernel), [-1, rows, self.kernel.shape[1]])
        inputs += self.products(context)
        if start is None:
            start = tuple(tf.zeros([rows, size]) for size in self.state_sizes)
        noise = None
        if seed is not None and self.dropout:
            noise = _kept(tf.stack([tf.shape(x)[0], rows, self.units]), self.dropout, seed)
        kernels, params = ([tf.convert_to_tensor(w) for w in each] for each in (self.recurrent_kernels, self.params))
        s = recurrence(self.step, inputs, kernels, params, start, noise, self.adds)
        return s if s.shape[-1] == self.units else s[..., : self.units]

    def one(self, x: tf.Tensor, products: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One step without dropout: the output `(B, H)` and the new state.

        Args:
            x: `(B, .)`.
            products: of the context, see `products`.
            state: the last one.
        """
        s, c = state
        a = tf.matmul(x, self.kernel) + products
        r = tf.concat([tf.matmul(s[:, : kernel.shape[0]], kernel) for kernel in self.recurrent_kernels], axis=-1)
        s, c = self.step(a, r, c, [tf.convert_to_tensor(w) for w in self.params], None)
        return s[:, : self.units], (s, c)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units, "dropout": self.dropout}


def _blocks(shape, dtype=None):
    """Orthogonal matrices next to each other, one for each gate."""
    rows, columns = shape
    gates = (keras.initializers.Orthogonal() for _ in range(4))
    return tf.concat([gate((rows, columns // 4), dtype) for gate in gates], axis=1)


def _kept(shape, dropout, seed):
    """Factors of recurrent dropout: 0, or 1 / (1 - dropout)."""
    # 16 random bits are enough for each, and half the work.
    flat = tf.reduce_prod(shape)
    bits = tf.random.stateless_uniform([(flat + 1) // 2], seed, None, None, tf.uint32, alg="philox")
    halves = tf.cast(tf.reshape(tf.bitcast(bits, tf.uint16), [-1])[:flat], tf.float32)
    edge = round(dropout * 2**16)
    return tf.reshape(tf.cast(halves >= edge, tf.float32) * (2**16 / (2**16 - edge)), shape)


@keras.saving.register_keras_serializable("keras_ae")
class LSTM(Cell):
    """The long short-term memory.

        [i, g, f, o] = a + r
        c_t = sigmoid(f + 1) c_t-1 + sigmoid(i) d tanh(g),    h_t = sigmoid(o) tanh(c_t),    d: dropout

    Args:
        units, dropout: as in `Cell`.

    Example:

        cell = LSTM(8)
        h = cell(tf.zeros([12, 4, 5]), tf.zeros([4, 3]))    # (12, 4, 8): 12 steps of 4 rows

    Source: Hochreiter & Schmidhuber 1997; Semeniuta 2016, equation 9, for the dropout. See also: `LayerNormLSTM` and
    `HyperLSTM`; `keras.layers.LSTM`, whose recurrent dropout acts on h.
    """

    def step(
        self, a: tf.Tensor, r: tf.Tensor, c: tf.Tensor, params: Sequence[tf.Tensor], noise: tf.Tensor | None
    ) -> State:
        i, g, f, o = tf.split(a + r, 4, axis=-1)
        c = _remembered(i, g, f, c, noise)
        return tf.sigmoid(o) * tf.tanh(c), c


def _remembered(i, g, f, c, noise):
    new = tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(f + _FORGET) * c + (new if noise is None else new * noise)


@keras.saving.register_keras_serializable("keras_ae")
class LayerNormLSTM(Cell):
    """An LSTM with layer normalisation of each gate and of what the output sees of c.

        [i, g, f, o] = norm(a + r),    h_t = sigmoid(o) tanh(norm(c_t)),    otherwise as in LSTM
        norm(x) = (x - mean(x)) / sqrt(var(x) + 1e-3) gain + bias, over the units of a gate

    Args:
        units, dropout: as in `Cell`.

    Example: `LayerNormLSTM(8)(tf.zeros([12, 4, 5]), tf.zeros([4, 3]))    # (12, 4, 8)`

    Source: Ba 2016, equations 20 to 22, with one normalisation of the sum. See also: `LSTM`; `HyperLSTM`.
    """

    def build_params(self) -> None:
        gain = keras.initializers.Constant(_GAIN)
        self.gains = self.add_weight(shape=(5, self.units), initializer=gain, name="gains")
        self.shifts = self.add_weight(shape=(5, self.units), initializer="zeros", name="shifts")

    @property
    def params(self) -> list[keras.Variable]:
        return [self.gains, self.shifts]

    def step(
        self, a: tf.Tensor, r: tf.Tensor, c: tf.Tensor, params: Sequence[tf.Tensor], noise: tf.Tensor | None
    ) -> State:
        gains, shifts = params
        return _normalised_step(a + r, c, gains, shifts, noise)


def _normalised_step(total, c, gains, shifts, noise):
    """The step of a layer-normalised LSTM from the sum of its products `(B, 4 H)`."""
    units = c.shape[-1]
    gates = tf.reshape(total, [-1, 4, units])  # (B, 4, H)
    i, g, f, o = tf.unstack(_normalised(gates, gains[:4], shifts[:4]), axis=1)
    c = _remembered(i, g, f, c, noise)
    return tf.sigmoid(o) * tf.tanh(_normalised(c, gains[4], shifts[4])), c


@keras.saving.register_keras_serializable("keras_ae")
class HyperLSTM(Cell):
    """A layer-normalised LSTM whose weights a smaller one scales in every step.

        h^_t, c^_t = LayerNormLSTM([x_t, h_t-1], h^_t-1)                the smaller one
        y = d_a * a + d_r * r + b,    d = 1/10 + K z,    z = Z h^_t      for each gate
        [i, g, f, o] = norm(y),    otherwise as in LayerNormLSTM

    Args:
        units, dropout: as in `Cell`.
        hyper_units: int, size of h^.
        embedding: int, size of z.

    Example: `HyperLSTM(8, hyper_units=4, embedding=2)(tf.zeros([12, 4, 5]), tf.zeros([4, 3]))    # (12, 4, 8)`

    Source: Ha 2016 (HyperNetworks), equations 10 to 13. See also: `LayerNormLSTM`, without the smaller network, which
    needs about half of the time.
    """

    adds = False

    def __init__(
        self, units: int, dropout: float = 0.0, hyper_units: int = 256, embedding: int = 32, **kwargs: Any
    ) -> None:
        super().__init__(units, dropout, **kwargs)
        self.hyper_units = validation.positive_int("hyper_units", hyper_units)
        self.embedding = validation.positive_int("embedding", embedding)

    @property
    def widths(self) -> list[tuple[int, int]]:
        both = self.units + self.hyper_units
        return [(self.units, 4 * self.units), (both, 4 * self.hyper_units)]

    @property
    def state_sizes(self) -> tuple[int, int]:
        return (self.units + self.hyper_units,) * 2

    def build_params(self) -> None:
        constant, size = keras.initializers.Constant, self.hyper_units
        self.hyper_gains = self.add_weight(shape=(5, size), initializer=constant(_GAIN), name="hyper_gains")
        self.hyper_shifts = self.add_weight(shape=(5, size), initializer="zeros", name="hyper_shifts")
        # Three vectors for each gate: the scales of a and of r, and the bias.
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.embeddings = self.add_weight(shape=(size, 12 * self.embedding), initializer=normal, name="embeddings")
        self.scales = self.add_weight(shape=(12, self.embedding, self.units), initializer=normal, name="scales")
        self.gains = self.add_weight(shape=(5, self.units), initializer=constant(1.0), name="gains")
        self.shifts = self.add_weight(shape=(5, self.units), initializer="zeros", name="shifts")

    @property
    def params(self) -> list[keras.Variable]:
        return [self.hyper_gains, self.hyper_shifts, self.embeddings, self.scales, self.gains, self.shifts]

    def step(
        self, a: tf.Tensor, r: tf.Tensor, c: tf.Tensor, params: Sequence[tf.Tensor], noise: tf.Tensor | None
    ) -> State:
        hyper_gains, hyper_shifts, embeddings, scales, gains, shifts = params
        h, units = 4 * self.units, self.units
        c, hyper_c = c[:, :units], c[:, units:]
        hyper_h, hyper_c = _normalised_step(a[:, h:] + r[:, h:], hyper_c, hyper_gains, hyper_shifts, None)
        z = tf.reshape(tf.matmul(hyper_h, embeddings), [-1, 12, self.embedding])
        d = tf.transpose(tf.matmul(tf.transpose(z, [1, 0, 2]), scales), [1, 0, 2])  # (B, 12, H)
        of_a, of_r = (tf.reshape(each[:, :h], [-1, 4, units]) for each in (a, r))
        y = (_GAIN + d[:, :4]) * of_a + (_GAIN + d[:, 4:8]) * of_r + d[:, 8:]
        s, c = _normalised_step(tf.reshape(y, [-1, h]), c, gains, shifts, noise)
        return tf.concat([s, hyper_h], axis=-1), tf.concat([c, hyper_c], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"hyper_units": self.hyper_units, "embedding": self.embedding}


CELLS = {"lstm": LSTM, "layer_norm": LayerNormLSTM, "hyper": HyperLSTM}
"""Cells by name."""
