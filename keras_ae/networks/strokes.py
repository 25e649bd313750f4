"""The encoder and the decoder of drawings, sequences of rows `(dx, dy, p1, p2, p3)`: see `distributions.strokes`."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from keras_ae.distributions import strokes
from keras_ae.layers import cells
from keras_ae.utils import validation


def _cell(name, units, dropout):
    if name not in cells.CELLS:
        raise ValueError(f"cell: expected one of {', '.join(cells.CELLS)}; received {name!r}.")
    return cells.CELLS[name](units, dropout)


class _Recurrent(keras.Model):
    """A network with cells: seeds for their dropout, and no XLA, which compiles a program for each length."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()
        self.supports_jit = False

    def _seed(self, training):
        return tf.cast(self.seed_generator.next(), tf.int32) if training and self.dropout else None


@keras.saving.register_keras_serializable("keras_ae")
class StrokeEncoder(_Recurrent):
    """A bidirectional recurrent network from drawings to the params of q(z|x).

        h = [forward(x_1 ... x_n), backward(x_n ... x_1)],    params = W h + b

    Args:
        latent_dim: int, size of a code.
        units: int, of the cell in each direction.
        parameters: int, params of each dimension of the code: 2 for `[mean | raw scale]`.
        cell: name in `keras_ae.layers.cells.CELLS`: "lstm", "layer_norm" or "hyper".
        dropout: float in [0, 1), recurrent dropout.

    Called on drawings `(B, T, 5)`; returns `(B, parameters * latent_dim)`. Rows from a drawing's end on have no effect.

    Raises:
        ValueError: if an argument is out of range, or there is no such cell.

    Example: `ka.networks.StrokeEncoder(latent_dim=8, units=16)(drawings)    # (4, 16)`

    Source: Ha & Eck 2017, section 3.2. See also: `StrokeDecoder`.
    """

    def __init__(
        self,
        latent_dim: int,
        units: int = 256,
        parameters: int = 2,
        cell: str = "lstm",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = validation.positive_int("latent_dim", latent_dim)
        self.parameters = validation.positive_int("parameters", parameters)
        self.units, self.cell, self.dropout = units, cell, dropout
        self.cells = [_cell(cell, units, dropout) for _ in ("forward", "backward")]
        self.leave = layers.Dense(self.parameters * self.latent_dim)
        for each in self.cells:
            each.build((None, None, strokes.WIDTH), (None, 0))
        self.leave.build((None, 2 * units))
        self.built = True

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input, with the batch axis."""
        return (None, None, strokes.WIDTH)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the output, with the batch axis."""
        return (None, self.parameters * self.latent_dim)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output `(B, parameters * latent_dim)`."""
        return (input_shape[0], *self.output_shape[1:])

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        n = tf.maximum(strokes.lengths(x), 1)
        nothing = tf.zeros([tf.shape(x)[0], 0])
        ends = []
        for cell, rows in zip(self.cells, (x, tf.reverse_sequence(x, n, seq_axis=1)), strict=True):
            h = cell(tf.transpose(rows, [1, 0, 2]), nothing, seed=self._seed(training))  # (T, B, H)
            ends.append(tf.gather_nd(h, tf.stack([n - 1, tf.range(tf.shape(n)[0])], axis=1)))
        return self.leave(tf.concat(ends, axis=-1))

    def get_config(self) -> dict[str, Any]:
        names = ("latent_dim", "units", "parameters", "cell", "dropout")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("keras_ae")
class StrokeDecoder(_Recurrent):
    """An autoregressive network: each row's params from the rows before, and from a code that every step sees.

        s_0, c_0 = tanh(V z + v),    h_i, ... = cell([x_i-1, z], ...),    params_i = W h_i + w

    Args:
        latent_dim: int, size of a code; 0 for a network without codes, which starts from zeros.
        units: int, of the cell.
        mixtures: int, M, Gaussians of an offset.
        cell: name in `keras_ae.layers.cells.CELLS`: "lstm", "layer_norm" or "hyper".
        dropout: float in [0, 1), recurrent dropout.
        max_length: int, points of the longest drawing that it draws.
        num_classes: int, classes of drawings of a conditional model, which every step sees too; None for no classes.

    Called on codes `(B, latent_dim)`, or on `[codes, one-hot classes]`, and on drawings, time first `(T, B, 5)`;
    returns params `(T, B, 6 M + 3)`.

    Raises:
        ValueError: if an argument is out of range, or there is no such cell.

    Example:

        decoder = ka.networks.StrokeDecoder(latent_dim=8, units=16, mixtures=5)
        decoder(tf.zeros([4, 8]), tf.transpose(drawings, [1, 0, 2]))    # (T, 4, 33)

    Source: Ha & Eck 2017, section 3.2. See also: `StrokeEncoder`; `keras_ae.distributions.strokes`, for the params.
    """

    def __init__(
        self,
        latent_dim: int,
        units: int = 512,
        mixtures: int = 20,
        cell: str = "lstm",
        dropout: float = 0.1,
        max_length: int = 250,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = validation.positive_int("latent_dim", latent_dim, at_least=0)
        self.mixtures = validation.positive_int("mixtures", mixtures)
        self.max_length = validation.positive_int("max_length", max_length)
        self.num_classes = validation.int_or_none("num_classes", num_classes)
        self.units, self.cell, self.dropout = units, cell, dropout
        self.recurrent = _cell(cell, units, dropout)
        self.leave = layers.Dense(strokes.params_size(self.mixtures))
        width = self.latent_dim + (self.num_classes or 0)
        self.recurrent.build((None, None, strokes.WIDTH), (None, width))
        self.leave.build((None, None, units))
        self.enter = layers.Dense(sum(self.recurrent.state_sizes), activation="tanh") if width else None
        if self.enter is not None:
            self.enter.build((None, width))
        self.built = True

    @property
    def input_shape(self) -> Any:
        """Shape of codes, with the batch axis; of codes and classes, a list, if there are classes."""
        codes = (None, self.latent_dim)
        return [codes, (None, self.num_classes)] if self.num_classes else codes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the params `(T, B, 6 M + 3)`."""
        return (None, None, strokes.params_size(self.mixtures))

    def call(self, z: tf.Tensor | Sequence[tf.Tensor], x: tf.Tensor, training: bool = False) -> tf.Tensor:
        context = self._context(z)
        h = self.recurrent(strokes.shifted(x), context, self._start(context), self._seed(training))  # (T, B, H)
        return self.leave(h)

    def begin(self, z: tf.Tensor | Sequence[tf.Tensor]) -> Any:
        """The state before the first row, for `one`."""
        context = self._context(z)
        return self.recurrent.products(context), self._start(context)

    def one(self, row: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
        """The params of the row after `row` `(B, 5)`, `(B, 6 M + 3)`, and the state after it."""
        products, state = state
        h, state = self.recurrent.one(row, products, state)
        return self.leave(h), (products, state)

    def _context(self, z):
        return tf.concat(z, axis=-1) if isinstance(z, list | tuple) else z

    def _start(self, context):
        sizes = list(self.recurrent.state_sizes)
        if self.enter is None:
            return tuple(tf.zeros([tf.shape(context)[0], size]) for size in sizes)
        return tuple(tf.split(self.enter(context), sizes, axis=-1))

    def get_config(self) -> dict[str, Any]:
        names = ("latent_dim", "units", "mixtures", "cell", "dropout", "max_length", "num_classes")
        return super().get_config() | {name: getattr(self, name) for name in names}
