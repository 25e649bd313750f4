"""The beta-VAE: a VAE whose KL has a larger weight, or is held at a capacity."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.models.variational.vae import VAE
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Networks, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class BetaVAE(VAE):
    """A VAE whose constrained KL encourages each latent dimension to learn a separate factor of the data.

        loss = reconstruction + beta kl                               without a capacity
        loss = reconstruction + beta |mean_b kl_b - capacity|         with a capacity, in nats

    `capacity` is the target for the batch's mean KL. Raise it from 0 to C with
    `ka.callbacks.Annealing(steps, 0, C, weight="capacity")`: the model then learns the most informative factor first,
    and the others as the capacity grows. The logged `reconstruction` and `kl` remain the ELBO's terms, so they are
    comparable to a VAE's.

    Args:
        encoder, decoder, likelihood, prior, posterior, num_samples, seed: as in `VAE`.
        beta: float, weight of the KL, or of its distance from the capacity; assign `model.beta` to change it at any
            time.
        capacity: float in nats, or None; assign `model.capacity` to change it at any time.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown or out of range.

    Example:

        model = ka.BetaVAE(encoder, decoder, beta=4.0)
        narrow = ka.BetaVAE(encoder, decoder, beta=100.0, capacity=0.0)
        narrow.compile("adam")
        narrow.fit(x, epochs=30, callbacks=[ka.callbacks.Annealing(10_000, 0.0, 25.0, weight="capacity")])

    Source: Higgins 2017, equation 4; Burgess 2018, equation 8. See also: `BetaTCVAE`, which weights only the part of
    the KL that measures dependence between dimensions.
    """

    capacity = TermWeight()
    """float, target of the KL in nats, or None; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Networks,
        decoder: Networks,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        beta: float = 4.0,
        capacity: float | None = None,
        num_samples: int = 1,
        posterior: posteriors.PosteriorLike | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validation.refuse(kwargs, {"free_bits"}, "BetaVAE", "its KL already has a weight or a capacity")
        options: dict[str, Any] = {"num_samples": num_samples, "posterior": posterior}
        super().__init__(encoder, decoder, likelihood, prior, beta, **options, seed=seed, **kwargs)
        self._capacity = None
        if capacity is not None:
            self._capacity = BetaVAE.capacity.variable(self, capacity)
            self.terms = (*self.terms, "off_capacity")

    def term_weights(self) -> dict[str, Any]:
        if self._capacity is None:
            return super().term_weights()
        return {"kl": 0.0, "off_capacity": self._beta}

    def elbo_terms(self, q: Distribution, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool) -> Terms:
        terms = super().elbo_terms(q, x, y, training=training)
        if self._capacity is not None:
            terms["off_capacity"] = tf.abs(tf.reduce_mean(terms["kl"]) - self._capacity)
        return terms
