"""What models with a prior p(z) and a posterior q(z|x) share: samples, and estimates of log p(x)."""

import keras
import tensorflow as tf

from keras_ae.distributions import hierarchical, importance, posteriors, priors, sampling
from keras_ae.models.deterministic.autoencoder import Autoencoder
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches

# One served request must stay cheap, and rank rows well; for figures there is `log_prob`.
SCORE_SAMPLES = 64


class LatentVariableModel(Autoencoder):
    """A posterior near a prior. Subclasses say which bound on log p(x) they train by: `loss_terms`, and `objectives`.

    Where the model is conditional, y is the condition of every x: see `keras_ae.conditional`.
    """

    default_posterior = "diagonal"
    _default_prior, _check_prior = priors.Normal, staticmethod(priors.check_covers_gaussians)

    def __init__(self, encoder, decoder, likelihood, prior=None, posterior=None, *, seed=None, **kwargs):
        layers = any(isinstance(each, list | tuple) for each in (encoder, decoder))
        if layers:
            if prior is not None or posterior is not None:
                raise ValueError("prior and posterior: lists of encoders and decoders make their own; leave both out.")
            encoder, decoder, posterior, prior = hierarchical.compose(encoder, decoder)
        super().__init__(encoder, decoder, likelihood, posterior=posterior, seed=seed, **kwargs)
        posteriors.check_has_density(self._posterior, self.default_posterior)
        if hasattr(prior, "bind"):
            if self._posterior.knows_own_samples_only:
                raise ValueError(
                    f"prior: {type(prior).__name__} asks for the posteriors' density at codes of other rows, which "
                    f"{self._posterior.name} does not give. Expected a Gaussian posterior."
                )
            prior.bind(self.posterior, self._likelihood, self.event_shape)
        # The standard normal is made when it is asked for: the size of a code may not be known yet.
        self._prior = None if prior is None else priors.get(prior, self.latent_dim)
        if prior is not None and not layers:
            self._check_prior(self.prior)

    @property
    def networks(self):
        """Everything that training moves: encoder, decoder, and what is learned of the likelihood, posterior, prior."""
        return [*super().networks, *([self._prior] if isinstance(self._prior, keras.layers.Layer) else [])]

    @property
    def prior(self):
        """p(z): a tfd with event `(latent_dim,)`."""
        return priors.distribution(self._prior or self._default_prior(self.latent_dim))

    def conditional_prior(self, y=None, *, training=False):
        """p(z|y), the prior itself where codes do not depend on a condition."""
        return self.prior

    def draw(self, q, num_samples, seed):
        """Samples of q `(num_samples, B, D)` that pass gradients on to its parameters."""
        return sampling.draw(q, num_samples, seed)

    def sample(self, n, y=None, seed=0):
        """n means of p(x|z) for z from the prior, `(n, ...)`; row i depends on `seed + i`, y and the weights only.

        Raises:
            ValueError: if n is no whole number, 1 or more, or y does not suit the model.
        """
        seeds = seed + tf.range(validation.positive_int("n", n), dtype=tf.int64)
        return self.sample_from_seeds(seeds) if y is None else self.sample_from_seeds(seeds, y)

    @in_batches
    def sample_from_seeds(self, seeds, y=None):
        """One mean of p(x|z), z from the prior, for each of the int64 seeds `(B,)`."""
        return self.likelihood(sampling.draw_rows(self.conditional_prior(y), seeds), y).mean()

    @in_batches
    def log_prob(self, x, y=None, *, num_samples=500, seed=0):
        """Importance-weighted estimate of log p(x), `(B,)` nats; its mean rises with `num_samples` to the truth.

            log p(x) ~ log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

        Works through the samples in chunks, so that memory does not grow with their number (Burda 2016, equation 8).
        A Bernoulli's value at fractions of 0 and 1 is returned as it is, though it is neither a probability nor a
        density: `evaluation.likelihood.negative_log_likelihood` refuses it.

        Raises:
            ValueError: if x or y does not suit the model, or `num_samples` is no whole number, 1 or more.

        Example: `vae.log_prob(x_test, num_samples=5000).mean()`
        """
        return importance.log_marginal(self, x, y, num_samples, seed)

    @in_batches
    def score_from_seeds(self, x, seeds, y=None):
        """`log_prob(x)` with 64 samples, each row's drawn from its own seed alone: `(B,)` nats."""
        return importance.log_marginal_rows(self, x, y, SCORE_SAMPLES, seeds)

    def card(self):
        return super().card() | {"score_samples": SCORE_SAMPLES}
