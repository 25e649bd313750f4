"""The InfoVAE: a VAE that matches all codes taken together to the prior, beside the KL of each."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, priors
from keras_ae.losses import mmd
from keras_ae.models.base import critics
from keras_ae.models.variational.vae import VAE
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class InfoVAE(VAE):
    """A VAE with the maximum mean discrepancy between its codes and the prior as a third term.

        loss = reconstruction + beta kl + mmd_weight mmd

    In the paper's letters, beta = 1 - alpha and mmd_weight = alpha + lambda - 1. A small `beta` lets each code say more
    about its x, while `mmd` keeps the codes together at the prior; beta = 0 is the MMD-VAE. `mmd` compares the rows of
    a batch, so batches need two rows or more.

    Args:
        encoder, decoder, likelihood, num_samples, posterior, seed: as in `VAE`.
        prior: as in `VAE`, but without weights: nothing trains it.
        beta: float, weight of the KL; assign `model.beta` to change it at any time.
        mmd_weight: float; assign `model.mmd_weight` to change it at any time.
        kernel, bandwidth: as in `WAE`.

    Raises:
        ValueError: as in `VAE` and `WAE`.

    Example: `ka.InfoVAE(encoder, decoder, beta=0.5, mmd_weight=100.0)`

    Source: Zhao 2019, equation 6. See also: `WAE`, without the KL; `BetaTCVAE`, which splits the KL.
    """

    terms: tuple[str, ...] = ("reconstruction", "kl", "mmd")
    least_rows = 2

    mmd_weight = TermWeight()
    """float, the argument `mmd_weight`; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        beta: float = 0.5,
        mmd_weight: float = 10.0,
        kernel: str = "inverse_multiquadric",
        bandwidth: float | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validation.refuse(kwargs, {"free_bits"}, "InfoVAE", "it already weakens the KL")
        super().__init__(encoder, decoder, likelihood, prior, beta, seed=seed, **kwargs)
        critics.check_prior(self)
        mmd.check_kernel(kernel, mmd.SCALES)
        self.kernel, self.bandwidth = kernel, critics.bandwidth(self, bandwidth)
        self._mmd_weight = InfoVAE.mmd_weight.variable(self, mmd_weight)

    def term_weights(self) -> dict[str, Any]:
        return super().term_weights() | {"mmd": self._mmd_weight}

    def elbo_terms(self, q: Distribution, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool) -> Terms:
        z = self.draw(q, 1, self.next_seed())[0]
        return super().elbo_terms(q, x, y, training=training) | {"mmd": critics.mmd_to_prior(self, z)}
