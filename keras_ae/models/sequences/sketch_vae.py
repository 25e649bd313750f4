"""The VAE of drawings: sequences of strokes, drawn one point after the other."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ae.distributions import sampling, strokes
from keras_ae.models.base.parts import needs
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.models.variational.vae import VAE
from keras_ae.training import roles
from keras_ae.typing import Distribution, Network, Rows, Shape, Terms
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class SketchVAE(VAE):
    """Sketch-RNN: a VAE of drawings, or, without an encoder, a network that draws.

        x = (dx_i, dy_i, p1_i, p2_i, p3_i), i = 1 ... T    offsets, and the pen: drawing, lifted, or the drawing has
        ended q(z|x) = N(z; m(x), diag(s(x))^2),    p(x|z) = prod_i p(offset_i | x_1 ... x_i-1, z) p(pen_i | x_1 ...
        x_i-1, z) offset / scale ~ mixture of M bivariate Gaussians,    pen ~ Categorical
        loss = reconstruction + beta (kl + floor),    floor = max(kl_floor - mean_b kl_b, 0)

    Terms are nats per drawing, where the density is that of offsets divided by `scale`. In the paper's letters and with
    its N_max, the rows of the longest drawing, L_R = reconstruction / N_max, L_KL = kl / latent_dim, w_KL = beta
    latent_dim / N_max and KL_min = kl_floor / latent_dim. `ka.callbacks.ExponentialAnnealing` raises beta as the paper
    does.

    Args:
        encoder: Keras model from drawings `(B, T, 5)` to `(B, 2 * latent_dim)`, such as `ka.networks.StrokeEncoder`;
            None for the decoder-only model, whose decoder takes codes of size 0.
        decoder: `ka.networks.StrokeDecoder`, or a Keras layer with its methods and attributes.
        scale: float, the standard deviation of the training offsets: `keras_ae.datasets.sketches.scale(train)`.
        beta: float, weight of the KL in the loss (not in the logs); assign `model.beta` to change it at any time.
        kl_floor: float in nats, KL of the batch that is not penalised.
        num_classes: int, if drawings belong to classes, which the decoder then sees as y; None otherwise.
        classes: list of str, label names, so that y may hold names; None if y holds only integers.
        seed: int or None, seeds all randomness in training.

    Drawings are float32 `(B, T, 5)`, "stroke-5"; `keras_ae.datasets.sketches` makes them. From its end on, a drawing
    has rows `(0, 0, 0, 0, 1)`, and their number has no effect on anything.

    Raises:
        ValueError: if the network shapes do not match, an argument is out of range, or drawings are empty, malformed,
            far out of scale or longer than the decoder's `max_length`.

    Example:

        encoder = ka.networks.StrokeEncoder(latent_dim=8, units=16)
        decoder = ka.networks.StrokeDecoder(latent_dim=8, units=32, mixtures=5)
        model = ka.SketchVAE(encoder, decoder, scale=20.0, beta=0.5, kl_floor=1.0)
        model.compile("adam")
        model.fit(drawings, epochs=10)                                # (N, T, 5)
        new = model.sample(16, seed=0, temperature=0.5)               # (16, 250, 5)
        rest = model.complete(drawings, temperature=0.5, seed=0)      # (N, 250, 5)

    Source: Ha & Eck 2017, equations 3 to 11. See also: `VAE`, for data that are not sequences; `CVAE`, with a
    condition.
    """

    def __init__(
        self,
        encoder: Network | None,
        decoder: Network,
        scale: float = 1.0,
        beta: float = 1.0,
        kl_floor: float = 0.0,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        role = roles.Target() if num_classes is None and classes is None else roles.Condition(num_classes, classes)
        if not hasattr(decoder, "begin"):
            raise ValueError(f"decoder: expected a ka.networks.StrokeDecoder; received {type(decoder).__name__}.")
        likelihood = strokes.StrokeMixture(scale, decoder.max_length)
        super().__init__(encoder, decoder, likelihood, None, beta, y_role=role, seed=seed, **kwargs)
        self.scale, self.kl_floor = likelihood.scale, validation.non_negative("kl_floor", kl_floor)
        if encoder is None:
            if self.latent_dim:
                raise ValueError(f"decoder: without an encoder, expected codes of size 0; received {self.latent_dim}.")
            self._prior, self.terms = None, ("reconstruction",)
        elif kl_floor:
            self.terms = (*self.terms, "floor")

    def term_weights(self) -> dict[str, Any]:
        return {"kl": self._beta, "floor": self._beta}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        condition = y if self.conditional else None
        x, given = tf.cast(x if self.conditional else target(x, y), tf.float32), x
        if self.encoder is None:
            p = self.likelihood(self._no_codes(tf.shape(x)[0]), condition, training=training)
            return {"reconstruction": -p.log_prob(x)}
        q = self.posterior(given, condition, training=training) if q is None else q
        terms = self.elbo_terms(q, x, condition, training=training)
        if self.kl_floor:
            terms["floor"] = tf.maximum(self.kl_floor - tf.reduce_mean(terms["kl"]), 0.0)
        return terms

    @needs("decoder")
    def likelihood(self, z: tf.Tensor, y: tf.Tensor | None = None, *, training: bool = False) -> strokes.Strokes:
        """Returns p(x|z), or p(x|z, y), for codes `(..., B, latent_dim)`: a tfd, `distributions.strokes.Strokes`."""
        z = tf.convert_to_tensor(z)
        given = self._given("decoder", tf.reshape(z, [tf.reduce_prod(tf.shape(z)[:-1]), z.shape[-1]]), y)

        def params(x):
            with self.averaged():  # the distribution asks for them later
                return self.decoder(given, x, training=training)

        return strokes.Strokes(params, tf.shape(z)[:-1], z.shape[:-1], self.scale)

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
            temperature: float, 0 or more. 0 draws the likeliest row each time, 1 draws from p(x|z).
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

    def card(self) -> dict[str, Any]:
        facts = {"scale": self.scale, "max_length": self.decoder.max_length, "mixtures": self.decoder.mixtures}
        return super().card() | facts | {"cell": self.decoder.cell}


def _seeds(seed, rows):
    return tf.cast(seed, tf.int64) + tf.range(tf.cast(rows, tf.int64), dtype=tf.int64)


def rest(x: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """What follows the first `points` `(B,)` rows of drawings `(B, T, 5)`, with `END` behind it: `(B, T, 5)`."""
    length = tf.shape(x)[1]
    place = tf.range(length)[None] + points[:, None]
    found = tf.gather(x, tf.minimum(place, length - 1), batch_dims=1)
    return tf.where((place < length)[..., None], found, tf.constant(strokes.END))
