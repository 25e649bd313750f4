"""The autoencoder: a point code and a likelihood. Every other model of the family changes a term of it."""

import keras
import tensorflow as tf

from keras_ae.models.base.latent_model import LatentModel
from keras_ae.training import Objective


@keras.saving.register_keras_serializable("keras_ae")
class Autoencoder(LatentModel):
    """An encoder to a code and a decoder back, trained to make x likely given its code.

        z = encoder(x)
        reconstruction = -log p(x | z)

    With the Gaussian likelihood this is half the squared error, summed over the event, plus D/2 log(2 pi).

    Args:
        encoder: Keras model from x `(B, ...)` to codes `(B, latent_dim)`.
        decoder: Keras model from codes to the likelihood's raw outputs `(B, ...)`.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or callable from raw outputs to a tfd.
        posterior: None (a point), or another that subclasses train, as in `VAE`.
        prior: None, or what `sample` draws codes from, as in `VAE`. It is not in the loss.
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

    def objectives(self):
        return {"autoencoder": Objective(self.loss_terms, self.networks)}

    def loss_terms(self, x, y, training, q=None):
        """The terms of one batch, `{name: (B,)}`; q is the posterior where a shared pass has it already."""
        q = self.posterior(x, training=training) if q is None else q
        return {"reconstruction": -self.likelihood(q.mean(), training=training).log_prob(target(x, y))}


def target(x, y):
    """What to reconstruct: y where it is given, x otherwise; float32."""
    return tf.cast(x if y is None else y, tf.float32)
