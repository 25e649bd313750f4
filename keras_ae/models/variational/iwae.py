"""The importance-weighted autoencoder: a VAE's networks, trained on a bound that k samples tighten."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import importance, likelihoods, posteriors, priors
from keras_ae.models.base import bounds
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.training import Objective
from keras_ae.typing import Distribution, Networks, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class IWAE(LatentModel):
    """A VAE trained on the importance-weighted bound with k samples, which rises to log p(x) as k grows.

        log p(x) >= E[log 1/k sum_i w_i],    w_i = p(x|z_i) p(z_i) / q(z_i|x),    z_i ~ q(z|x)
        loss = bound = -1/L sum_l log 1/k sum_i w_li

    With k = 1 it is a `VAE` with a Monte Carlo KL. The encoder's reparameterised gradient gets noisier as k grows; the
    doubly reparameterised gradient has the same expectation and does not:

        sum_i v_i^2 (d log w_i / d z_i) (d z_i / d phi),    v_i = w_i / sum_j w_j,    phi the encoder's weights

    Args:
        encoder, decoder, likelihood, prior, posterior: as in `VAE`, including lists for several stochastic layers.
        importance_samples: int, k.
        num_samples: int, number of independent bounds to average per row (L).
        gradient: "doubly_reparameterised" or "reparameterised". Use the latter with an `InverseAutoregressive`
            posterior, whose density is slow to evaluate with the former.
        seed: int or None, seeds all randomness in training.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown or out of range.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=50, hidden=(200, 200), parameters=2)
        decoder = ka.networks.mlp_decoder(latent_dim=50, output_shape=(28, 28, 1), hidden=(200, 200))
        model = ka.IWAE(encoder, decoder, importance_samples=50)
        model.compile("adam")
        model.fit(x_train, epochs=50)    # binary pixels

    Source: Burda 2016, equation 8; Tucker 2019 (DReG), equation 8. See also: `VAE`, whose bound does not tighten with
    more samples.
    """

    terms: tuple[str, ...] = ("bound",)
    default_posterior, default_prior = "diagonal", "normal"

    def __init__(
        self,
        encoder: Networks,
        decoder: Networks,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        importance_samples: int = 5,
        num_samples: int = 1,
        gradient: str = "doubly_reparameterised",
        posterior: posteriors.PosteriorLike | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, posterior, prior, seed=seed, **kwargs)
        bounds.check(self, prior)
        self.importance_samples = validation.positive_int("importance_samples", importance_samples)
        self.num_samples = validation.positive_int("num_samples", num_samples)
        if gradient not in ("doubly_reparameterised", "reparameterised"):
            raise ValueError(
                f"gradient: expected 'doubly_reparameterised' or 'reparameterised'; received {gradient!r}."
            )
        self.gradient = gradient
        if gradient == "doubly_reparameterised" and self._posterior.knows_own_samples_only:
            self.supports_jit = False  # XLA cannot compile the gradient of their slow density

    def objectives(self) -> dict[str, Objective]:
        return {"autoencoder": Objective(self.loss_terms, self.networks)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        k, L = self.importance_samples, self.num_samples
        q = self.posterior(x, training=training) if q is None else q
        z = self.draw(q, L * k, self.next_seed())  # (L k, B, D)
        if self.gradient == "doubly_reparameterised":
            z, weigh = importance.doubly_reparameterised(z)
            log_q = importance.path_log_prob(q, z)
        else:
            log_q = q.log_prob(z)
        log_w = self.likelihood(z, training=training).log_prob(target(x, y)) + self.prior.log_prob(z) - log_q
        log_w = tf.reshape(log_w, [L, k, -1])
        if self.gradient == "doubly_reparameterised":
            weigh(tf.reshape(tf.nn.softmax(log_w, axis=1), [L * k, -1]))
        bounds = tf.reduce_logsumexp(log_w, axis=1) - tf.math.log(float(k))  # (L, B)
        return {"bound": -tf.reduce_mean(bounds, axis=0)}
