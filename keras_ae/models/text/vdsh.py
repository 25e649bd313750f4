"""Variational deep semantic hashing: a Gaussian code, thresholded into bits at its medians."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import likelihoods, priors
from keras_ae.models.text.hashing import Hashing
from keras_ae.models.variational.vae import VAE
from keras_ae.typing import Networks, Rows
from keras_ae.utils.batching import in_batches

tfd = tfp.distributions


@keras.saving.register_keras_serializable("keras_ae")
class VDSH(Hashing, VAE):
    """A `VAE` of word weights whose codes are binarised after training: 1 where the posterior mean exceeds its median.

        bit_j = [m_j(x) > t_j],    t_j = median over the training documents of m_j,    [m | r] = encoder(x)

    Args: as in `VAE`; x `(B, V)` are word weights. After `fit`, call `set_thresholds(x)` to compute the medians.

    Raises:
        ValueError: as in `VAE`.

    Example:

        encoder = ka.networks.mlp_encoder((10_000,), latent_dim=32, hidden=(500, 500), parameters=2)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(10_000,), hidden=())
        model = ka.VDSH(encoder, decoder)
        model.compile("adam")
        model.fit(x, epochs=10)    # TF-IDF rows (N, 10000), see ka.layers.TfIdf
        model.set_thresholds(x)
        code = model.hash(x)       # (N, 4) uint8

    Source: Chaidaroon & Fang 2017, sections 3.1 and 3.4. See also: `SemanticHashing`, which trains on bits.
    """

    def __init__(
        self,
        encoder: Networks,
        decoder: Networks,
        likelihood: likelihoods.LikelihoodLike = "multinomial",
        prior: priors.PriorLike | None = None,
        beta: float = 1.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, prior, beta, seed=seed, **kwargs)
        self.thresholds = self.add_weight(
            shape=(self.latent_dim,), initializer="zeros", trainable=False, name="thresholds"
        )

    def set_thresholds(self, x: Rows, batch_size: int = 128) -> None:
        """Sets each bit's threshold to the median of its posterior mean over x, so that the bit is 1 for half of x."""
        self.thresholds.assign(np.median(self.encode(x, batch_size=batch_size), axis=0))

    @in_batches
    def probabilities(self, x: Rows) -> np.ndarray:
        """Probability that z_j > t_j, `(B, bits)`: Phi((m_j - t_j) / s_j)."""
        q = self.posterior(x)
        return tfd.Normal(0.0, 1.0).cdf((q.mean() - tf.convert_to_tensor(self.thresholds)) / q.stddev())
