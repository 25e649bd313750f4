"""Adversarial variational Bayes: a posterior of any shape, whose KL to the prior a critic estimates."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, priors, sampling
from keras_ae.distributions.posteriors import DiagonalGaussian
from keras_ae.losses.adversarial import cross_entropy, per_row
from keras_ae.models.base import critics
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.training import Objective
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class AVB(LatentModel):
    """A variational autoencoder whose encoder gets x and noise, and so can make any posterior; a critic gives the KL.

        z = encoder([x, e]),    e ~ N(0, I)
        loss = reconstruction + kl,    reconstruction = -log p(x|z)
        kl = T(z, x),    at the critic's optimum log q(z|x) - log p(z)
        critic: discrimination = -log S(T(z, x)) - log(1 - S(T(p, x))),    p ~ p(z),    S = sigmoid

    A critic is poor at densities that are far apart. With a `contrast` network, it only compares the posterior with a
    Gaussian r(z|x) = N(z; m(x), diag(s(x))^2) of nearly the same mean and scale (adaptive contrast):

        kl = T(u, x) + log r(z|x) - log p(z),    u = (z - m) / s,    at the optimum T = log q(z|x) - log r(z|x)
        contrast: contrast = -log r(z|x), which fits m and s to the samples z

    The paper takes the mean and the scale from many samples of z for each x; the network costs one pass, and the
    identity above holds for any r.

    There is no density q(z|x), hence no `log_prob`: `evaluation.likelihood.annealed_importance_sampling` estimates
    log p(x) without it. `kl` is an estimate, and too low while the critic lags behind: -loss is no bound then.

    Args:
        encoder: Keras model from `[x, noise]` to codes `(B, latent_dim)`.
        decoder: Keras model from codes to the likelihood's params.
        critic: Keras model from `[codes, x]` to scores `(B, 1)`, such as `networks.code_critic`.
        likelihood: as in `VAE`.
        prior: as in `VAE`, with a density if there is a `contrast`.
        contrast: None, or a Keras model from x to `[m | raw scale]`, `(B, 2 * latent_dim)`, as a VAE's encoder.
        critic_steps: int, updates of the critic per step.
        seed: int or None, seeds all randomness in training.

    `compile("adam")` gives the critic and the contrast network twice the learning rate: here they must not lag behind.

    Raises:
        ValueError: if the network shapes do not match, an argument is unknown or out of range, or the prior cannot be
            sampled or has weights.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=8, condition_shape=(16,))    # noise of size 16
        decoder = ka.networks.mlp_decoder(latent_dim=8, output_shape=(28, 28, 1))
        critic = ka.networks.code_critic(8, hidden=(64,), condition_shape=(28, 28, 1))
        contrast = ka.networks.mlp_encoder((28, 28, 1), latent_dim=8, parameters=2)
        avb = ka.AVB(encoder, decoder, critic, contrast=contrast)
        avb.compile("adam")
        avb.fit(x_train, epochs=1)

    Source: Mescheder 2017, equations 3.3 and 3.7, section 4 for adaptive contrast. See also: `VAE`, with a Gaussian
    posterior and a closed-form KL; `AAE`, whose critic sees all codes together, without their x.
    """

    terms: tuple[str, ...] = ("discrimination", "reconstruction", "kl")
    default_posterior, default_prior = "universal", "normal"
    relative_rates: Mapping[str, float] = {"critic": 2.0, "contrast": 2.0}

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        critic: Network,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        contrast: Network | None = None,
        critic_steps: int = 1,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validation.refuse(kwargs, {"posterior"}, "AVB", "its posterior is what the encoder makes of noise")
        super().__init__(encoder, decoder, likelihood, prior=prior, seed=seed, **kwargs)
        self.critic, self.contrast = critic, contrast
        self.critic_steps = validation.positive_int("critic_steps", critic_steps)
        critics.check_prior(self)
        critics.check_critic("critic", critic, self.code_shape, self.event_shape)
        if contrast is not None:
            self.terms = ("contrast", *self.terms)
            width = validation.static_shape(contrast, "output_shape")
            validation.check_width("contrast", width, 2 * (self.latent_dim or 0), "params, [mean | raw scale]")

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, self.critic, *([] if self.contrast is None else [self.contrast])]

    def objectives(self) -> dict[str, Objective]:
        players = {"critic": Objective(self.discriminate, [self.critic], steps=self.critic_steps)}
        if self.contrast is not None:
            players = {"contrast": Objective(self.fit_contrast, [self.contrast])} | players
        return players | {"autoencoder": Objective(self.loss_terms, super().networks)}

    def shared_pass(
        self, x: tf.Tensor, y: tf.Tensor | None, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor, Distribution | None]:
        z = self.draw(self.posterior(x, training=training), 1, self.next_seed())[0]
        given = self._likelihood.preprocess(x)
        r = None
        if self.contrast is not None:
            r = DiagonalGaussian().call(tf.cast(self.contrast(given, training=training), tf.float32))
        return z, given, r

    def fit_contrast(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[Any, ...]) -> Terms:
        """The contrast network's loss term, `{"contrast": (B,)}`."""
        z, _, r = shared
        return {"contrast": -r.log_prob(tf.stop_gradient(z))}

    def discriminate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[Any, ...]) -> Terms:
        """The critic's loss term, `{"discrimination": (B,)}`."""
        z, given, r = shared
        other = (
            critics.draw_prior(self, tf.shape(z)[0]) if r is None else sampling.normal(tf.shape(z), self.next_seed())
        )
        pair = critics.scores(self.critic, _relative(z, r), other, [given], training=training)
        return {"discrimination": per_row(cross_entropy().critic(*pair))}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[Any, ...]) -> Terms:
        """The terms of the negative bound: `{"reconstruction": (B,), "kl": (B,)}`."""
        z, given, r = shared
        kl = per_row(critics.score(self.critic, _relative(z, r), [given], training=training))
        if r is not None:
            kl += r.log_prob(z) - self.prior.log_prob(z)
        return {"reconstruction": -self.likelihood(z, training=training).log_prob(target(x, y)), "kl": kl}


def _relative(z, r):
    return z if r is None else (z - r.mean()) / r.stddev()
