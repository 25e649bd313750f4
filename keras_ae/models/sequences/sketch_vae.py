"""The VAE of drawings: sequences of strokes, drawn one point after the other."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import strokes
from keras_ae.models.base.drawing import DrawingModel
from keras_ae.models.base.parts import needs
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.models.variational.vae import VAE
from keras_ae.training import roles
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class SketchVAE(DrawingModel, VAE):
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

    def card(self) -> dict[str, Any]:
        facts = {"scale": self.scale, "max_length": self.decoder.max_length, "mixtures": self.decoder.mixtures}
        return super().card() | facts | {"cell": self.decoder.cell}
