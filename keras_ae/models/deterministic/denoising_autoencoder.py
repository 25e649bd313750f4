"""The denoising autoencoder: it predicts clean rows from corrupted ones."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import likelihoods
from keras_ae.models.deterministic.autoencoder import Autoencoder, target
from keras_ae.training import roles
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class DenoisingAutoencoder(Autoencoder):
    """An autoencoder that sees a corrupted x in training, and is trained to maximise the likelihood of the clean one.

        z = encoder(x'),    x' = corruption(x)
        reconstruction = -log p(x | z)

    With `emphasis=(a, b)`, corrupted and other values have different weights in training:

        reconstruction = -a sum_{i: x'_i != x_i} log p(x_i | z) - b sum_{i: x'_i = x_i} log p(x_i | z)

    `encode`, `reconstruct` and the other methods, `evaluate` and validation corrupt nothing, and weigh all values
    equally. To validate on noisy rows, pass pairs, `validation_data=(noisy, clean)`.

    Args:
        encoder: Keras model from x to codes `(B, latent_dim)`.
        decoder: Keras model from codes to the likelihood's params.
        corruption: Keras layer from rows x to rows of the same shape, such as `ka.layers.MaskingNoise`,
            `ka.layers.SaltAndPepperNoise` or `keras.layers.GaussianNoise`. It is called in training only, receives x as
            float32, in the units of the data, and is not trained.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or a callable from params to a tfd.
        emphasis: None, or two floats (a, b), 0 or more and not both 0. It needs a likelihood of independent values.
        corrupt_pairs: bool, whether x is also corrupted if y is given and differs from it.
        seed: int or None, seeds the order of the rows; the corruption has a seed of its own.

    In `fit(x, y)`, x is noisy and y clean, of the decoder's output shape, and nothing is corrupted, unless
    `corrupt_pairs` is True. Without y, or in batches where x equals y, as in `fit(x, x)`, x is clean and is corrupted.

    Raises:
        ValueError: if the network shapes do not match, an argument is invalid, or the data are.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=32)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(28, 28, 1))
        model = ka.DenoisingAutoencoder(encoder, decoder, ka.layers.MaskingNoise(0.25), "bernoulli")
        model.compile("adam")
        model.fit(x_train, epochs=5)
        clean = model.reconstruct(x_test)    # (B, 28, 28, 1)

    Source: Vincent 2008, section 2.3; Vincent 2010, for emphasis. See also: `Autoencoder`, without corruption;
    `ContractiveAutoencoder`, which penalises what small noise does to the code; `pretrain`, which stacks layers.
    """

    y_role = roles.Target()

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        corruption: keras.layers.Layer,
        likelihood: likelihoods.LikelihoodLike = "gaussian",
        emphasis: Sequence[float] | None = None,
        corrupt_pairs: bool = False,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, seed=seed, **kwargs)
        if not isinstance(corruption, keras.layers.Layer):
            raise ValueError(
                "corruption: expected a Keras layer, such as keras_ae.layers.MaskingNoise(0.25); received "
                f"{corruption!r}."
            )
        self.corruption, self.corrupt_pairs = corruption, corrupt_pairs
        self.emphasis = None if emphasis is None else _weights(emphasis)

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        noisy, clean = self.corrupted(x, y, training), target(x, y)
        q = self.posterior(noisy, training=training) if q is None else q
        p = self.likelihood(q.mean(), training=training)
        if self.emphasis is None or not training:
            return {"reconstruction": -p.log_prob(clean)}
        if not isinstance(p, tfp.distributions.Independent) or p.distribution.event_shape.rank != 0:
            raise ValueError(f"emphasis: the values of x are not independent under {p.name}. Leave emphasis out.")
        a, b = self.emphasis
        dtype = self.corruption.compute_dtype  # half precision under a mixed policy, which rounds what is not corrupted
        weights = tf.where(tf.cast(noisy, dtype) == tf.cast(clean, dtype), b, a)
        return {"reconstruction": -tf.reduce_sum(weights * p.distribution.log_prob(clean), tf.range(1, tf.rank(clean)))}

    def corrupted(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> tf.Tensor:
        """The encoder's input for rows x and their targets y, which may be None: float32, the shape of x."""
        x = tf.cast(x, tf.float32)
        if not training:  # some layers are always active
            return x
        noisy = tf.cast(self.corruption(x, training=True), tf.float32)
        if y is None or self.corrupt_pairs:
            return noisy
        if not x.shape.is_compatible_with(y.shape):
            return x
        return tf.where(tf.reduce_all(x == tf.cast(y, tf.float32)), noisy, x)


def _weights(emphasis):
    if np.shape(emphasis) != (2,):
        raise ValueError(f"emphasis: expected two numbers, (a, b); received {emphasis!r}.")
    a, b = (validation.non_negative("emphasis", each) for each in emphasis)
    if not a and not b:
        raise ValueError("emphasis: expected at least one number above 0; received (0, 0).")
    return a, b
