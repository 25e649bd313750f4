"""Semantic hashing: a variational autoencoder whose code is bits."""

import keras

from keras_ae.distributions import relaxed_bits
from keras_ae.losses.contrastive import contrast
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.models.variational.vae import VAE
from keras_ae.training import roles
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class SemanticHashing(relaxed_bits.Hashing, VAE):
    """Short binary codes of documents, near where subjects are near.

        q(z|x) = prod_j Bernoulli(z_j; p_j),    p = sigmoid(encoder(x)),    code = [p > 1/2]
        reconstruction = -log p(y|z) = -sum_w y_w log softmax(decoder(z))_w
        kl = KL(q(z|x) || p(z)),    p(z) = prod_j Bernoulli(z_j; 1/2)
        contrast = -1/2 log softmax_b(s_ib)[i] - 1/2 log softmax_b(s_bi)[i],    s_ib = m_i . m'_b / (D temperature)
        loss = reconstruction + beta kl + contrast_weight contrast

    m = 2 p - 1 are the mean signs of a code of x, m' those of y, i and b rows of the batch. `fit(x, y)` takes a
    neighbour y of each document x, best another one in every epoch: the code of x then has to tell the words of its
    neighbour, and to find it among the neighbours of the others. The contrast plus log B bounds the mutual information
    of neighbouring codes from below, with the sign turned; where it is low, bits are balanced and differ from each
    other, as equal or constant bits tell no neighbours apart. Without y a document is its own neighbour, apart from
    the encoder's dropout.

    Args:
        encoder: Keras model from word weights `(B, V)` to logits of bits `(B, bits)`.
        decoder: Keras model from bits `(B, bits)`, 0 or 1, to logits of words `(B, V)`.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or callable from raw outputs to a tfd.
        prior: None (fair coins) or a Keras layer whose `call` has no inputs and returns a distribution over bits, such
            as `priors.BernoulliMixture`: Monte Carlo KL.
        beta: float, weight of the KL in the loss (not in the log); assign `model.beta` at any time.
        num_samples: int, samples of z a row in the reconstruction term (L).
        contrast_weight: float; at 0 the term is left out.
        temperature: float, of the contrast; the lower, the more the nearest documents count.
        relaxation: how gradients pass through the bits, a name in `keras_ae.distributions.relaxed_bits.RELAXATIONS`.
        seed: int or None, of all randomness in training.

    Raises:
        ValueError: if the networks do not fit, or an argument is unknown or out of range.

    Example:

        encoder = ka.networks.mlp_encoder((10_000,), latent_dim=32)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(10_000,), hidden=())
        model = ka.SemanticHashing(encoder, decoder)
        model.compile("adam")
        model.fit(x, neighbours_of_x, epochs=10)    # TF-IDF rows (N, 10000), see ka.layers.TfIdf
        p = model.encode(x)                         # (N, 32) probabilities
        code = model.hash(x)                        # (N, 4) uint8

    Source: Shen 2018 (NASH), section 3, for the variational code with straight-through gradients; Hansen 2020 (PairRec)
    for neighbours as targets; van den Oord 2018, equation 4, for the contrast. See also: `VDSH`, a Gaussian code that
    is cut into bits afterwards; `VAE`, whose code stays Gaussian.
    """

    default_posterior = "bernoulli"
    default_prior = "bernoulli"
    y_role = roles.AnotherRow("neighbour")

    def __init__(
        self,
        encoder,
        decoder,
        likelihood="multinomial",
        prior=None,
        beta=0.1,
        num_samples=1,
        contrast_weight=30.0,
        temperature=0.1,
        relaxation="straight_through",
        *,
        seed=None,
        **kwargs,
    ):
        super().__init__(encoder, decoder, likelihood, prior, beta, num_samples, seed=seed, **kwargs)
        if contrast_weight < 0 or temperature <= 0:
            raise ValueError(
                f"contrast_weight and temperature: expected 0 or more, and more than 0; received {contrast_weight} and "
                f"{temperature}."
            )
        if relaxation not in relaxed_bits.RELAXATIONS:
            raise ValueError(
                f"Unknown relaxation {relaxation!r}: expected one of {', '.join(relaxed_bits.RELAXATIONS)}."
            )
        self.contrast_weight, self.temperature, self.relaxation = contrast_weight, temperature, relaxation
        if contrast_weight:
            self.terms = (*self.terms, "contrast")

    def loss_terms(self, x, y, training, q=None):
        q = self.posterior(x, training=training) if q is None else q
        terms = self.elbo_terms(q, target(x, y), training=training)
        if self.contrast_weight:
            neighbour = self.posterior(target(x, y), training=training)
            signs = [2 * code.mean() - 1 for code in (q, neighbour)]
            terms["contrast"] = contrast(*signs, self.latent_dim * self.temperature)
        return terms

    def term_weights(self):
        return super().term_weights() | {"contrast": self.contrast_weight}

    def draw(self, q, num_samples, seed):
        return relaxed_bits.RELAXATIONS[self.relaxation](q.distribution.logits, num_samples, seed)

    @in_batches
    def probabilities(self, x):
        """p, how likely each bit is 1: `(B, bits)`, the same as `encode(x)`."""
        return self.posterior(x).mean()
