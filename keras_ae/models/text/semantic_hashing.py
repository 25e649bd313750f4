"""Semantic hashing: a variational autoencoder with a binary code."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ae.distributions import likelihoods, priors, relaxed_bits
from keras_ae.losses.contrastive import contrast
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.models.text.hashing import Hashing
from keras_ae.models.variational.vae import VAE
from keras_ae.training import roles
from keras_ae.typing import Distribution, Network, Rows, Terms
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class SemanticHashing(Hashing, VAE):
    """A VAE with short binary codes, which are close for documents on similar subjects.

        q(z|x) = prod_j Bernoulli(z_j; p_j),    p = sigmoid(encoder(x)),    code = [p > 1/2]
        reconstruction = -log p(y|z) = -sum_w y_w log softmax(decoder(z))_w
        kl = KL(q(z|x) || p(z)),    p(z) = prod_j Bernoulli(z_j; 1/2)
        contrast = -1/2 log softmax_b(s_ib)[i] - 1/2 log softmax_b(s_bi)[i],    s_ib = m_i . m'_b / (D temperature)
        loss = reconstruction + beta kl + contrast_weight contrast

    m = 2 p - 1 are the mean signs of the code of x, m' those of y; i and b index rows of the batch. `fit(x, y)` takes a
    neighbour y of each document x, ideally a different one in every epoch. The code of x then has to predict the words
    of its neighbour, and to identify it among the neighbours of the other documents. log B minus the contrast is a
    lower bound on the mutual information of neighbouring codes. A low contrast requires bits that are balanced and
    differ from each other, since constant or duplicate bits do not distinguish neighbours. Without y, a document is its
    own neighbour, up to the encoder's dropout.

    Args:
        encoder: Keras model from word weights `(B, V)` to logits of bits `(B, bits)`.
        decoder: Keras model from bits `(B, bits)`, 0 or 1, to logits of words `(B, V)`.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or a callable from params to a tfd.
        prior: None (each bit is 1 with probability 1/2), or a Keras layer whose `call` takes no inputs and returns a
            distribution over bits, such as `priors.BernoulliMixture`; the KL is then a Monte Carlo estimate.
        beta: float, weight of the KL in the loss (not in the logs); assign `model.beta` to change it at any time.
        num_samples: int, samples of z per row in the reconstruction term (L).
        contrast_weight: float; 0 drops the term.
        temperature: float, temperature of the contrast; lower values put more weight on the nearest documents.
        relaxation: how gradients pass through the bits, a name in `keras_ae.distributions.relaxed_bits.RELAXATIONS`.
        seed: int or None, seeds all randomness in training.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown or out of range.

    Example:

        encoder = ka.networks.mlp_encoder((10_000,), latent_dim=32)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(10_000,), hidden=())
        model = ka.SemanticHashing(encoder, decoder)
        model.compile("adam")
        model.fit(x, neighbours_of_x, epochs=10)    # TF-IDF rows (N, 10000), see ka.layers.TfIdf
        p = model.encode(x)                         # (N, 32) probabilities
        code = model.hash(x)                        # (N, 4) uint8

    Source: Shen 2018 (NASH), section 3, for the variational code with straight-through gradients; Hansen 2020 (PairRec)
    for neighbours as targets; van den Oord 2018, equation 4, for the contrast. See also: `VDSH`, whose Gaussian code is
    thresholded into bits after training; `VAE`, whose code stays Gaussian.
    """

    default_posterior = "bernoulli"
    default_prior = "bernoulli"
    y_role = roles.AnotherRow("neighbour")

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        likelihood: likelihoods.LikelihoodLike = "multinomial",
        prior: priors.PriorLike | None = None,
        beta: float = 0.1,
        num_samples: int = 1,
        contrast_weight: float = 30.0,
        temperature: float = 0.1,
        relaxation: str = "straight_through",
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, prior, beta, num_samples, seed=seed, **kwargs)
        contrast_weight = validation.non_negative("contrast_weight", contrast_weight)
        if not validation.non_negative("temperature", temperature):
            raise ValueError("temperature: expected a number above 0; received 0.")
        if relaxation not in relaxed_bits.RELAXATIONS:
            raise ValueError(
                f"Unknown relaxation {relaxation!r}: expected one of {', '.join(relaxed_bits.RELAXATIONS)}."
            )
        self.contrast_weight, self.temperature, self.relaxation = contrast_weight, temperature, relaxation
        if contrast_weight:
            self.terms = (*self.terms, "contrast")

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        q = self.posterior(x, training=training) if q is None else q
        terms = self.elbo_terms(q, target(x, y), training=training)
        if self.contrast_weight:
            neighbour = self.posterior(target(x, y), training=training)
            u, v = (2 * code.mean() - 1 for code in (q, neighbour))  # mean signs
            terms["contrast"] = contrast(u, v, self.latent_dim * self.temperature)
        return terms

    def term_weights(self) -> dict[str, Any]:
        return super().term_weights() | {"contrast": self.contrast_weight}

    def draw(self, q: Distribution, num_samples: int, seed: tf.Tensor) -> tf.Tensor:
        return relaxed_bits.RELAXATIONS[self.relaxation](q.distribution.logits, num_samples, seed)

    @in_batches
    def probabilities(self, x: Rows) -> np.ndarray:
        """Probability p that each bit is 1: `(B, bits)`, the same as `encode(x)`."""
        return self.posterior(x).mean()
