"""The dynamic autoencoder: codes of dated documents that change little from one document to the next."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import likelihoods
from keras_ae.models.deterministic.autoencoder import Autoencoder, target
from keras_ae.training import Objective, roles
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Network, Rows, Terms
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class DynamicAutoencoder(Autoencoder):
    """A bag-of-words autoencoder whose codes follow a random walk from each document to the next.

        z = encoder(x),    z' = encoder(y),    y the document before x
        reconstruction = -log p(x|z) = -sum_w x_w log softmax(decoder(z))_w
        dynamics = 1/2 ||z - z'||^2 = -log N(z; z', I) - D/2 log(2 pi)
        loss = reconstruction + dynamics_weight dynamics

    `dynamics_weight` is the precision of the walk's steps. A model with small codes and large decoder weights can evade
    the dynamics term: end the encoder with a `BatchNormalization`, or regularise the decoder's kernels.

    Args:
        encoder: Keras model from word counts `(B, V)` to codes `(B, latent_dim)`.
        decoder: Keras model from codes to word logits `(B, V)`.
        dynamics_weight: float, 0 or more; assign `model.dynamics_weight` to change it at any time.
        likelihood, seed: as in `Autoencoder`.

    In `fit(x, y)`, row i of y is the document before row i of x in its sequence (a stream, a thread), or a copy of row
    i of x if there is none. Rows may be in any order. Without y, no document has a predecessor.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown or out of range.

    Example:

        first = ka.DynamicAutoencoder(ka.networks.mlp_encoder((2000,), 500), ka.networks.mlp_decoder(500, (2000,)))
        first.compile("adam")
        first.fit(x[1:], x[:-1], epochs=20)    # x: (N, 2000) counts, in chronological order
        model = first.deepen(ka.networks.mlp_encoder((500,), 10), ka.networks.mlp_decoder(10, (500,)))
        model.compile("adam")
        model.fit(x[1:], x[:-1], epochs=20)
        z = model.encode(x)    # (N, 10)

    Source: Mirowski, Ranzato & LeCun 2010, who train on codes of low energy, as `infer` finds them, not the encoder's.
    See also: `Autoencoder`, without dynamics; `keras_ae.evaluation.topics` for perplexity.
    """

    terms: tuple[str, ...] = ("reconstruction", "dynamics")
    y_role = roles.AnotherRow("row before")

    dynamics_weight = TermWeight()
    """float, precision of the random walk's steps; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        likelihood: likelihoods.LikelihoodLike = "multinomial",
        dynamics_weight: float = 1.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, seed=seed, **kwargs)
        self._dynamics_weight = DynamicAutoencoder.dynamics_weight.variable(self, dynamics_weight)

    def objectives(self) -> dict[str, Objective]:
        return {"autoencoder": Objective(self.loss_terms, self.networks, {"dynamics": self._dynamics_weight})}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        q = self.posterior(x, training=training) if q is None else q
        z = before = q.mean()
        if y is not None:
            # The first document of a sequence has no step, even if dropout makes its second encoding differ.
            begins = tf.reduce_all(x == y, axis=tf.range(1, tf.rank(x)))
            before = tf.where(begins[:, None], z, self.posterior(y, training=training).mean())
        return {
            "reconstruction": -self.likelihood(z, training=training).log_prob(target(x, None)),
            "dynamics": 0.5 * tf.reduce_sum((z - before) ** 2, axis=-1),
        }

    def deepen(self, encoder: Network, decoder: Network) -> "DynamicAutoencoder":
        """Stacks the next stage: a model of the same kind whose `encoder` takes this model's codes.

            z_2 = encoder(z_1),    z_1 = self.encoder(x),    p(x|z_2) = self.likelihood(decoder(z_2))

        Both models share this model's networks, which are frozen, and every stage reconstructs the words themselves.
        Call `unfreeze` to train all stages together afterwards.

        Args:
            encoder: Keras model from this model's codes to shorter ones.
            decoder: Keras model from those back to this model's codes.

        Raises:
            ValueError: if the network shapes do not match, or this model was never built.
        """
        self.require_built()
        self.encoder.trainable = self.decoder.trainable = False
        encoder = _chain(self.event_shape, self.encoder, encoder)
        decoder = _chain(decoder.input_shape[1:], decoder, self.decoder)
        seed = self._arguments.get("seed")
        return DynamicAutoencoder(encoder, decoder, self._likelihood, self.dynamics_weight, seed=seed)

    def unfreeze(self) -> None:
        """Makes the networks of all stages trainable again, from the next `compile` on."""
        for network in (self.encoder, self.decoder):
            network.trainable = False  # else assigning True to a trainable network would not reach its layers
            network.trainable = True

    @in_batches
    def infer(self, x: Rows, before: Rows, *, encoding_weight: float = 1.0, max_iterations: int = 50) -> np.ndarray:
        """Codes `(B, latent_dim)` of lowest energy, given the document, the encoder's code and the previous code.

            E(z) = -log p(x|z) + encoding_weight/2 ||z - encoder(x)||^2 + dynamics_weight/2 ||z - before||^2

        L-BFGS starts at the encoder's codes and minimises each row separately; the minimum may be a local one.

        Args:
            x: documents, as in `encode`.
            before: `(B, latent_dim)`, codes of the documents before; for a first one, its row of `encode(x)`.
            encoding_weight: float, precision around the encoder's code.
            max_iterations: int.
        """
        code, words = self.posterior(x).mean(), target(x, None)

        def energy(z):
            steps = encoding_weight * (z - code) ** 2 + self._dynamics_weight * (z - before) ** 2
            return 0.5 * tf.reduce_sum(steps, axis=-1) - self.likelihood(z).log_prob(words)

        # Energies are hundreds of nats in float32; smaller relative changes are rounding errors.
        search = {"initial_position": code, "max_iterations": max_iterations, "f_relative_tolerance": 1e-6}
        return tfp.optimizer.lbfgs_minimize(lambda z: tfp.math.value_and_gradient(energy, z), **search).position

    def check_inputs(self, before: Rows | None = None, **rows: Rows) -> None:  # type: ignore[override]  # given by name
        super().check_inputs(**rows)
        if before is not None:
            validation.check_array("before", before, self.code_shape, None)


def _chain(input_shape, *networks):
    # A model cannot have two layers of the same name, such as "encoder", so each network is wrapped in its own stage.
    stages = [keras.Sequential([network], name=f"stage_{i}") for i, network in enumerate(networks)]
    return keras.Sequential([keras.Input(input_shape), *stages])
