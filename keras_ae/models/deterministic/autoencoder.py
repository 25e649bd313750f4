"""The plain autoencoder: a deterministic code and a likelihood. The other models change its loss terms."""

import keras
import tensorflow as tf

from keras_ae.models.base.latent_model import LatentModel
from keras_ae.training import Objective
from keras_ae.typing import Distribution, Terms


@keras.saving.register_keras_serializable("keras_ae")
class Autoencoder(LatentModel):
    """An autoencoder, trained to maximise the likelihood of x given its code.

        z = encoder(x)
        reconstruction = -log p(x | z)

    With the Gaussian likelihood, this is half the squared error summed over the event, plus D/2 log(2 pi).

    Args:
        encoder: Keras model from x `(B, ...)` to codes `(B, latent_dim)`.
        decoder: Keras model from codes to the likelihood's params `(B, ...)`.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or a callable from params to a tfd.
        posterior: None (deterministic), or the posterior that a subclass trains, as in `VAE`.
        prior: None, or the distribution that `sample` draws codes from, as in `VAE`. It is not part of the loss.
        seed: int or None, seeds all randomness in training.

    In `fit(x, y)`, y is the clean target, of the same shape as x; without y, the target is x.

    Raises:
        ValueError: if the network shapes do not match, the likelihood is unknown, or the data are invalid for it.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=32)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(28, 28, 1))
        model = ka.Autoencoder(encoder, decoder)
        model.compile("adam")
        model.fit(x_train, epochs=5)
        z = model.encode(x_test)    # (B, 32)

    Source: Hinton & Salakhutdinov, Science 2006. See also: `VAE`, which adds a posterior and a prior.
    """

    terms: tuple[str, ...] = ("reconstruction",)

    def objectives(self) -> dict[str, Objective]:
        return {"autoencoder": Objective(self.loss_terms, self.networks)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        """The loss terms of one batch, `{name: (B,)}`; q is the posterior if a shared pass has already computed it."""
        q = self.posterior(x, training=training) if q is None else q
        return {"reconstruction": -self.likelihood(q.mean(), training=training).log_prob(target(x, y))}


def target(x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
    """The reconstruction target: y if given, else x; float32.

    Example: `target(x, None)    # x`
    """
    return tf.cast(x if y is None else y, tf.float32)
