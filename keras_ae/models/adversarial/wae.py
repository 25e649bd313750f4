"""The Wasserstein autoencoder: the distribution of all codes is matched to the prior by MMD or by a critic."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.losses import mmd
from keras_ae.models.base import critics
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.training import Objective
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Network, Terms


@keras.saving.register_keras_serializable("keras_ae")
class WAE(critics.CriticModel):
    """An autoencoder whose codes, taken together, follow the prior; a single code need not be noisy.

        loss = reconstruction + weight D(q(z), p(z)),    reconstruction = -log p(x|z),    z ~ q(z|x)
        divergence="mmd":     D = mmd, the squared maximum mean discrepancy between z and as many samples of the prior
        divergence=a critic:  D = adversarial = -log S(critic(z)),    S = sigmoid
                              discrimination = -log S(critic(p)) - log(1 - S(critic(z))),    p ~ p(z)

    `mmd` is unbiased: it averages 0 once the codes follow the prior, and can be negative. It compares the rows of a
    batch, so batches need two rows or more. With a critic there is a second player, "critic", and `compile("adam")`
    gives it half the learning rate.

    With the Gaussian likelihood the reconstruction is half the squared error, so `weight` is half the paper's lambda.

    Args:
        encoder: Keras model from x to codes, or to the params of another posterior.
        decoder: Keras model from codes to the likelihood's params.
        divergence: "mmd", or a Keras model from codes to scores `(B, 1)`, such as `networks.code_critic`.
        likelihood: as in `VAE`.
        prior, posterior, adversary, smoothing, instance_noise, critic_steps: as in `AAE`.
        weight: float; assign `wae.weight` to change it at any time.
        kernel: str, a name in `losses.mmd.KERNELS`.
        bandwidth: float above 0, the scale C of the kernels in squared units of z, of which each kernel takes several
            multiples; None is the median of |p - p'|^2 over draws of the prior.
        seed: int or None, seeds all randomness in training.

    Raises:
        ValueError: if the network shapes do not match, an argument is unknown or out of range, the prior cannot be
            sampled or has weights, or, in `fit`, batches have a single row under "mmd".

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=8)
        decoder = ka.networks.mlp_decoder(latent_dim=8, output_shape=(28, 28, 1))
        wae = ka.WAE(encoder, decoder)
        wae.compile("adam")
        wae.fit(x_train, batch_size=100, epochs=10)
        images = wae.sample(16, seed=0)    # (16, 28, 28, 1)

    Source: Tolstikhin 2018, algorithms 1 and 2. See also: `AAE`, whose encoder fools the critic with an optimizer of
    its own; `InfoVAE`, with the MMD beside the KL; `losses.mmd`.
    """

    default_prior = "normal"
    relative_rates: Mapping[str, float] = {"critic": 0.5}

    weight = TermWeight()
    """float, the argument `weight`; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        divergence: str | Network = "mmd",
        likelihood: likelihoods.LikelihoodLike = "gaussian",
        prior: priors.PriorLike | None = None,
        posterior: posteriors.PosteriorLike | None = None,
        weight: float = 10.0,
        kernel: str = "inverse_multiquadric",
        bandwidth: float | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(divergence, str) and divergence != "mmd":
            raise ValueError(f"divergence: expected 'mmd' or a critic, a Keras model; received {divergence!r}.")
        super().__init__(encoder, decoder, likelihood, posterior, prior, seed=seed, **kwargs)
        self._weight = WAE.weight.variable(self, weight)
        self.critic = None if divergence == "mmd" else divergence
        if self.critic is None:
            mmd.check_kernel(kernel, mmd.SCALES)
            self.kernel, self.bandwidth = kernel, critics.bandwidth(self, bandwidth)
            self.terms, self.least_rows = ("reconstruction", "mmd"), 2
        else:
            critics.check_critic("divergence", self.critic, self.code_shape)
            self.terms = ("discrimination", "reconstruction", "adversarial")

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, *([] if self.critic is None else [self.critic])]

    def objectives(self) -> dict[str, Objective]:
        weights = {"mmd": self._weight, "adversarial": self._weight}
        players = {"autoencoder": Objective(self.loss_terms, super().networks, weights)}
        if self.critic is None:
            return players
        return {"critic": Objective(self.discriminate, [self.critic], steps=self.critic_steps)} | players

    def shared_pass(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> tf.Tensor:
        return self.draw(self.posterior(x, training=training), 1, self.next_seed())[0]

    def discriminate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, z: tf.Tensor) -> Terms:
        """The critic's loss term, `{"discrimination": (B,)}`."""
        p = critics.draw_prior(self, tf.shape(z)[0])
        return {"discrimination": self.discrimination(self.critic, p, z, training=training)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, z: tf.Tensor) -> Terms:
        """The autoencoder's loss terms: `{"reconstruction": (B,)}`, and the divergence from the prior."""
        terms = {"reconstruction": -self.likelihood(z, training=training).log_prob(target(x, y))}
        if self.critic is None:
            return terms | {"mmd": critics.mmd_to_prior(self, z)}
        return terms | {"adversarial": self.deception(self.critic, z, training=training)}
