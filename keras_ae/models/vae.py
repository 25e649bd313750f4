"""The variational autoencoder: a Gaussian code, pulled to a prior."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae import divergences, importance, likelihoods, priors, sampling
from keras_ae.batching import in_batches
from keras_ae.models.autoencoder import Autoencoder, target
from keras_ae.training import Objective

tfd = tfp.distributions

# One served request must stay cheap, and rank rows well; for figures there is `log_prob`.
SCORE_SAMPLES = 64


@keras.saving.register_keras_serializable("keras_ae")
class VAE(Autoencoder):
    """A Gaussian posterior and a prior: maximum likelihood through the evidence lower bound.

        q(z|x) = N(z; m(x), diag(s(x))^2),    [m | r] = encoder(x),    s = softplus(r) + 1e-6
        log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))
        loss = reconstruction + beta (kl + free_bits)

    Args:
        encoder: Keras model from x to `(B, 2 * latent_dim)`, `[mean | raw scale]`.
        decoder: Keras model from codes `(B, latent_dim)` to the likelihood's raw outputs.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or callable from raw outputs to a tfd.
        prior: None (standard normal), a name in `keras_ae.priors.NAMES`, a tfd with event `(latent_dim,)`, or a Keras
            layer whose `call` has no inputs and returns one; its weights are then learned. Monte Carlo KL where TFP
            knows no closed form. A prior without mass far out, such as `uniform`, is refused: the KL is infinite.
        beta: float, weight of the KL in the loss (not in the log); assign `vae.beta` at any time.
        num_samples: int, samples of z a row in the reconstruction term (L).
        free_bits: float, nats of KL a latent dimension, on average over the batch, that cost nothing (Kingma 2016,
            equation 16): adds the term `free_bits = sum_j max(free_bits - mean_b KL_j, 0)`.
        seed: int or None, of all randomness in training.

    Raises:
        ValueError: if the networks do not fit, or an argument is unknown or out of range.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=32, parameters=2)
        decoder = ka.networks.mlp_decoder(latent_dim=32, output_shape=(28, 28, 1))
        vae = ka.VAE(encoder, decoder)
        vae.compile("adam")
        vae.fit(x_train, epochs=10)
        images = vae.sample(16, seed=0)    # (16, 28, 28, 1)

    Source: Kingma & Welling 2014, equation 10. See also: `Autoencoder`, the same without posterior noise and prior.
    """

    terms = ("reconstruction", "kl")
    posterior_parameters = 2
    _default_prior, _check_prior = priors.Normal, staticmethod(priors.check_covers_gaussians)

    def __init__(
        self,
        encoder,
        decoder,
        likelihood="bernoulli",
        prior=None,
        beta=1.0,
        num_samples=1,
        free_bits=0.0,
        *,
        seed=None,
        **kwargs,
    ):
        super().__init__(encoder, decoder, likelihood, seed=seed, **kwargs)
        if num_samples < 1 or num_samples != int(num_samples):
            raise ValueError(f"num_samples: expected a whole number, 1 or more; received {num_samples}.")
        if beta < 0 or free_bits < 0:
            raise ValueError(f"beta and free_bits: expected 0 or more; received {beta} and {free_bits}.")
        self.num_samples = num_samples
        self.free_bits = free_bits
        # The standard normal is made when it is asked for: the size of a code may not be known yet.
        self._prior = None if prior is None else priors.get(prior, self.latent_dim)
        if prior is not None:
            self._check_prior(self.prior)
        self._beta = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(beta), trainable=False, name="beta"
        )
        if free_bits:
            if prior is not None:
                divergences.kl_per_dimension(self.prior, self.prior)  # raises where there is no such thing
            self.terms = (*self.terms, "free_bits")

    def objectives(self):
        networks = [self.encoder, self.decoder, self._likelihood]
        if isinstance(self._prior, keras.layers.Layer):
            networks.append(self._prior)
        return {"autoencoder": Objective(self.autoencode, networks, self.term_weights())}

    def term_weights(self):
        """`{term: weight in the loss}`; 1 where absent."""
        return {"kl": self._beta, "free_bits": self._beta}

    def autoencode(self, x, y, training):
        return self.elbo_terms(self.posterior(x, training), target(x, y), training)

    def elbo_terms(self, q, x, training):
        """Minus the bound on log p(x) in its parts, z drawn from q: `{name: (B,)}`."""
        p, z = self.prior, self.draw(q, self.next_seed())  # z (L, B, D)
        log_likelihood = self.likelihood(z, training).log_prob(x)  # (L, B)
        terms = {"reconstruction": -tf.reduce_mean(log_likelihood, axis=0), "kl": divergences.kl(q, p, z)}
        if self.free_bits:
            average = tf.reduce_mean(divergences.kl_per_dimension(q, p), axis=0)  # (D,)
            terms["free_bits"] = tf.reduce_sum(tf.maximum(self.free_bits - average, 0.0))
        return terms

    def draw(self, q, seed):
        """Samples of q `(L, B, D)` that pass gradients on to its parameters."""
        return sampling.draw(q, self.num_samples, seed)

    def _posterior(self, raw):
        mean, raw_scale = tf.split(raw, 2, axis=-1)
        return tfd.MultivariateNormalDiag(mean, likelihoods.positive(raw_scale))

    @property
    def prior(self):
        """p(z): a tfd with event `(latent_dim,)`."""
        return priors.distribution(self._prior or self._default_prior(self.latent_dim))

    @property
    def beta(self):
        """Weight of the KL in the loss; assigning acts at once, also during `fit`."""
        return float(self._beta.numpy())

    @beta.setter
    def beta(self, value):
        self._beta.assign(value)

    def sample(self, n, seed=0):
        """n means of p(x|z) for z from the prior, `(n, ...)`; row i depends on `seed + i` and the weights only."""
        return self.sample_at(seed + tf.range(n, dtype=tf.int64))

    @in_batches
    def sample_at(self, seeds):
        """One mean of p(x|z), z from the prior, for each of the int64 seeds `(B,)`."""
        return self.likelihood(sampling.draw_rows(self.prior, seeds)).mean()

    @in_batches
    def log_prob(self, x, *, num_samples=500, seed=0):
        """Importance-weighted estimate of log p(x), `(B,)` nats; its mean rises with `num_samples` to the truth.

            log p(x) ~ log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

        Works through the samples in chunks, so that memory does not grow with their number (Burda 2016, equation 8).
        """
        return importance.log_marginal(self, x, num_samples, seed)

    @in_batches
    def score_at(self, x, seeds):
        """`log_prob(x)` with 64 samples, each row's drawn from its own seed alone: `(B,)` nats."""
        return importance.log_marginal_rows(self, x, SCORE_SAMPLES, seeds)

    def card(self):
        return super().card() | {"score_samples": SCORE_SAMPLES}
