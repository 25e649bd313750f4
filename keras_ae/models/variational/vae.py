"""The variational autoencoder: a Gaussian code, regularised towards a prior."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.losses import divergences
from keras_ae.models.base import bounds
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.training import Objective
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Networks, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class VAE(LatentModel):
    """A variational autoencoder: a Gaussian posterior and a prior, trained on the evidence lower bound (ELBO).

        q(z|x) = N(z; m(x), diag(s(x))^2),    [m | r] = encoder(x),    s = softplus(r) + 1e-6
        log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))
        loss = reconstruction + beta (kl + free_bits)

    Args:
        encoder: Keras model from x to `(B, 2 * latent_dim)`, `[mean | raw scale]`.
        decoder: Keras model from codes `(B, latent_dim)` to the likelihood's params.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or a callable from params to a tfd.
        prior: None (standard normal), a name in `keras_ae.priors.NAMES`, a tfd with event `(latent_dim,)`, or a Keras
            layer whose `call` takes no inputs and returns one; the layer's weights are then trained. The KL is a Monte
            Carlo estimate where TFP has no closed form. A prior with bounded support, such as `uniform`, raises an
            error, because the KL is infinite.
        beta: float, weight of the KL in the loss (not in the logs); assign `vae.beta` to change it at any time.
        num_samples: int, samples of z per row in the reconstruction term (L).
        free_bits: float, nats of KL per latent dimension, averaged over the batch, that are not penalised (Kingma
            2016, equation 16): adds the term `free_bits = sum_j max(free_bits - mean_b KL_j, 0)`.
        posterior: None (diagonal Gaussian), a name in `keras_ae.posteriors.NAMES` or a `Posterior` layer; it determines
            the width of the encoder's output.
        seed: int or None, seeds all randomness in training.

    Lists of encoders and decoders define several stochastic layers, see `keras_ae.distributions.hierarchical`; these
    have their own prior and posterior.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown or out of range.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=32, parameters=2)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(28, 28, 1))
        vae = ka.VAE(encoder, decoder)
        vae.compile("adam")
        vae.fit(x_train, epochs=10)
        images = vae.sample(16, seed=0)    # (16, 28, 28, 1)

    Source: Kingma & Welling 2014, equation 10. See also: `Autoencoder`, without posterior noise and KL.
    """

    terms: tuple[str, ...] = ("reconstruction", "kl")
    default_posterior, default_prior = "diagonal", "normal"

    beta = TermWeight()
    """float, the argument `beta`; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Networks,
        decoder: Networks,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        beta: float = 1.0,
        num_samples: int = 1,
        free_bits: float = 0.0,
        posterior: posteriors.PosteriorLike | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, posterior, prior, seed=seed, **kwargs)
        bounds.check(self, prior)
        self.num_samples = validation.positive_int("num_samples", num_samples)
        self.free_bits = validation.non_negative("free_bits", free_bits)
        self._beta = VAE.beta.variable(self, beta)
        if free_bits:
            posteriors.check_is_diagonal(self._posterior, "free_bits")
            if prior is not None:
                divergences.kl_per_dimension(self.prior, self.prior)  # raises if undefined
            self.terms = (*self.terms, "free_bits")

    def objectives(self) -> dict[str, Objective]:
        """`{"autoencoder": Objective}`: `loss_terms`, weighted by `term_weights`, for all networks."""
        return {"autoencoder": Objective(self.loss_terms, self.networks, self.term_weights())}

    def term_weights(self) -> dict[str, Any]:
        """`{term: weight in the loss}`; the weight of other terms is 1."""
        return {"kl": self._beta, "free_bits": self._beta}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        """The loss terms of one batch, `{name: (B,)}`; q is the posterior if a shared pass has already computed it."""
        q = self.posterior(x, training=training) if q is None else q
        return self.elbo_terms(q, target(x, y), training=training)

    def elbo_terms(self, q: Distribution, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool) -> Terms:
        """The terms of the negative bound on log p(x) or log p(x|y), with z drawn from q: `{name: (B,)}`."""
        p = self.conditional_prior(y, training=training)
        z = self.draw(q, self.num_samples, self.next_seed())  # (L, B, D)
        log_likelihood = self.likelihood(z, y, training=training).log_prob(x)  # (L, B)
        terms = {"reconstruction": -tf.reduce_mean(log_likelihood, axis=0), "kl": divergences.kl(q, p, z)}
        if self.free_bits:
            average = tf.reduce_mean(divergences.kl_per_dimension(q, p), axis=0)  # (D,)
            terms["free_bits"] = tf.reduce_sum(tf.maximum(self.free_bits - average, 0.0))
        return terms
