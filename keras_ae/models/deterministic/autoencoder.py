"""The autoencoder: a point code and a likelihood. Every other model of the family changes a term of it."""

import keras
import tensorflow as tf

from keras_ae.models.base.encoder_decoder import EncoderDecoder
from keras_ae.training import Objective


@keras.saving.register_keras_serializable("keras_ae")
class Autoencoder(EncoderDecoder):
    """An encoder to a code and a decoder back, trained to make x likely given its code.

        z = encoder(x)
        reconstruction = -log p(x | z)

    With the Gaussian likelihood this is half the squared error, summed over the event, plus D/2 log(2 pi).

    Args:
        encoder: Keras model from x `(B, ...)` to codes `(B, latent_dim)`.
        decoder: Keras model from codes to the likelihood's raw outputs `(B, ...)`.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or callable from raw outputs to a tfd.
        seed: int or None, of all randomness in training.

    In `fit(x, y)`, y is the clean target of x's shape; absent, x itself.

    Raises:
        ValueError: if the networks do not fit each other, the likelihood is unknown, or data do not suit it.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=32)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(28, 28, 1))
        model = ka.Autoencoder(encoder, decoder)
        model.compile("adam")
        model.fit(x_train, epochs=5)
        z = model.encode(x_test)    # (B, 32)

    Source: Hinton & Salakhutdinov, Science 2006. See also: `VAE`, whose code is a distribution near a prior.
    """

    terms = ("reconstruction",)

    def __init__(self, encoder, decoder, likelihood="gaussian", *, seed=None, **kwargs):
        super().__init__(encoder, decoder, likelihood, seed=seed, **kwargs)

    def objectives(self):
        return {"autoencoder": Objective(self.loss_terms, self.networks)}

    def loss_terms(self, x, y, training):
        """The terms of one batch, `{name: (B,)}`; the hook that siblings override."""
        z = self.posterior(x, training=training).mean()
        return {"reconstruction": -self.likelihood(z, training=training).log_prob(target(x, y))}


def target(x, y):
    """What to reconstruct: y where it is given, x otherwise; float32."""
    return tf.cast(x if y is None else y, tf.float32)
