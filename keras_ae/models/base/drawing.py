"""What models of drawings share: drawing point by point, completing, shapes and checks."""

import numpy as np
import tensorflow as tf

from keras_ae.distributions import sampling, strokes
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.models.base.parts import needs
from keras_ae.typing import Rows, Shape
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


class DrawingModel(LatentModel):
    """A model whose decoder draws rows one after the other; inherit it before a model with an objective."""

    saves_gradients = False  # a custom gradient of a loop cannot be saved

    def generate(
        self,
        z: tf.Tensor,
        seeds: tf.Tensor,
        temperature: tf.Tensor,
        y: tf.Tensor | None = None,
        begun: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws from p(x|z) on tensors: drawings `(B, max_length, 5)` and their numbers of points, int32 `(B,)`.

        Args:
            z: codes `(B, latent_dim)`.
            seeds: int64 `(B,)`. Equal z, seed and temperature give equal drawings, whatever the other rows are.
            temperature: float32 `(B,)`, 0 or more; see `keras_ae.distributions.strokes.pick`.
            y: conditions of a conditional model.
            begun: drawings `(B, T, 5)` to go on with; None for new ones.
        """
        with self.averaged():
            state = self.decoder.begin(self._given("decoder", z, y))
            begun = None if begun is None else self._likelihood.preprocess(begun)
            made, points = strokes.generate(self.decoder.one, state, seeds, temperature, self.decoder.max_length, begun)
        return self._likelihood.restore(made), points

    def _drawn(self, z, y, temperature, seed, begun=None):
        temperature = validation.non_negative("temperature", temperature)
        rows = tf.shape(z)[0]
        return self.generate(z, _seeds(seed, rows), tf.fill([rows], temperature), y, begun)

    def _no_codes(self, rows):
        return tf.zeros([rows, 0])

    @needs("decoder")
    @in_batches
    def decode(self, z: Rows, y: Rows | None = None, *, temperature: float = 0.0, seed: int = 0) -> np.ndarray:
        """Draws each code: `(B, max_length, 5)` float32.

        Args:
            z: codes `(B, latent_dim)`.
            y: conditions of a conditional model.
            temperature: float, 0 or more. 0 always draws the most probable row, 1 draws from p(x|z).
            seed: int; row i depends on `seed + i`, except at temperature 0.
        """
        return self._drawn(z, y, temperature, seed)[0]

    @needs("encoder", "decoder")
    @in_batches
    def reconstruct(self, x: Rows, y: Rows | None = None, *, temperature: float = 0.0, seed: int = 0) -> np.ndarray:
        """Draws `encode(x)`: `(B, max_length, 5)` float32; temperature and seed as in `decode`."""
        return self._drawn(self.posterior(x, *([y] if self.conditional else [])).mean(), y, temperature, seed)[0]

    def call(self, x: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        x, y = x if isinstance(x, tuple | list) else (x, None)
        z = self._no_codes(tf.shape(x)[0]) if self.encoder is None else self.posterior(x, y).mean()
        return self._drawn(z, y, 0.0, 0)[0]

    @needs("decoder")
    @in_batches
    def complete(self, x: Rows, y: Rows | None = None, *, temperature: float = 0.5, seed: int = 0) -> np.ndarray:
        """Goes on with drawings that have begun, and returns what is added to each: `(B, max_length, 5)` float32.

        The code is that of the beginning. Temperature and seed as in `decode`.

        Args:
            x: beginnings of drawings, `(B, T, 5)`; rows from an end on are ignored.
            y: conditions of a conditional model.
        """
        made, _ = self._drawn(self.codes_of(x, y), y, temperature, seed, x)
        return rest(made, strokes.lengths(x))

    def codes_of(self, x: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        """The codes of drawings, on tensors: posterior means, or codes of size 0 of a model without an encoder."""
        return self._no_codes(tf.shape(x)[0]) if self.encoder is None else self.posterior(x, y).mean()

    @needs("decoder")
    def sample(self, n: int, y: Rows | None = None, seed: int = 0, *, temperature: float = 1.0) -> np.ndarray:
        """Draws n new drawings, `(n, max_length, 5)`, with codes from the prior.

        Row i depends only on `seed + i`, y, the temperature and the weights.

        Args:
            n: int.
            y: conditions of a conditional model, `(n, ...)`, or a single label for all rows.
            seed: int.
            temperature: float, as in `decode`; codes do not depend on it.

        Raises:
            ValueError: if n is not a positive integer, the seed is not an integer, the temperature is negative, or y is
                invalid for the model.
        """
        seeds = validation.seed(seed) + tf.range(validation.positive_int("n", n), dtype=tf.int64)
        return self.sample_from_seeds(seeds, *([] if y is None else [y]), temperature=temperature)

    @needs("decoder")
    @in_batches
    def sample_from_seeds(self, seeds: Rows, y: Rows | None = None, *, temperature: float = 1.0) -> np.ndarray:
        """Draws one new drawing for each int64 seed `(B,)`, as `sample` does."""
        seeds = tf.cast(seeds, tf.int64)
        rows = tf.shape(seeds)[0]
        z = self._no_codes(rows) if self.encoder is None else sampling.draw_rows(self.prior, seeds)
        return self.generate(z, seeds, tf.fill([rows], validation.non_negative("temperature", temperature)), y)[0]

    def squared_error(self, x: Rows, y: Rows | None = None) -> np.ndarray:
        """Raises a `ValueError`: drawings have no rows to compare one by one; use `score` or `log_prob`."""
        raise ValueError("squared_error: drawings of different lengths cannot be compared row by row. Use score.")

    # Shapes and checks

    @property
    def event_shape(self) -> Shape:
        """Shape of one drawing, of any length."""
        return (None, strokes.WIDTH)

    target_shape = event_shape

    @property
    def params_size(self) -> int:
        return self.decoder.max_length * strokes.params_size(self.decoder.mixtures)

    def check_x(self, x: Rows, name: str = "x") -> None:
        validation.check_array(name, x, self.event_shape, None)
        self._likelihood.check(name, np.asarray(x))

    def check_target(self, x: Rows, name: str = "x") -> None:
        self.check_x(x, name)

    def in_range(self, x: tf.Tensor, slack: bool = False) -> tf.Tensor:
        return tf.reduce_all(self._likelihood.valid(x))


def _seeds(seed, rows):
    return tf.cast(seed, tf.int64) + tf.range(tf.cast(rows, tf.int64), dtype=tf.int64)


def rest(x: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """What follows the first `points` `(B,)` rows of drawings `(B, T, 5)`, with `END` behind it: `(B, T, 5)`."""
    length = tf.shape(x)[1]
    place = tf.range(length)[None] + points[:, None]
    found = tf.gather(x, tf.minimum(place, length - 1), batch_dims=1)
    return tf.where((place < length)[..., None], found, tf.constant(strokes.END))
