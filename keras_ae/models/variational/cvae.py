"""The conditional variational autoencoder: a VAE conditioned on y."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.models.variational.vae import VAE
from keras_ae.training import roles
from keras_ae.training.model import by_averages
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class CVAE(VAE):
    """A VAE for p(x|y): the encoder, the decoder and optionally the prior receive the condition y.

        q(z|x, y) = N(z; m(x, y), diag(s(x, y))^2),    [m | r] = encoder([x, y]),    s = softplus(r) + 1e-6
        log p(x|y) >= E_q[log p(x|z, y)] - KL(q(z|x, y) || p(z|y))
        loss = reconstruction + beta (kl + free_bits)

    z need not encode what y already provides: with a label as y, z is the style, and decoding z with another label
    keeps the style. For image completion, x holds the pixels to predict and y the observed pixels.

    Args:
        encoder: Keras model from `[x, condition]` to `(B, 2 * latent_dim)`, `[mean | raw scale]`.
        decoder: Keras model from `[z, condition]` to the likelihood's params.
        num_classes: int for integer labels y `(B,)`, 0 to num_classes - 1, which the networks receive one-hot; None for
            a numeric condition y with the shape of the networks' second input. Numeric conditions are not preprocessed:
            divide pixels by 255, even if x holds integer levels; uint8 values other than 0 and 1 raise an error.
        classes: list of str, label names, so that y may hold names; None if y holds only integers.
        prior_network: None, for a prior that does not depend on y, or a Keras model from the condition to
            `[mean | raw scale]` of p(z|y), `(B, 2 * latent_dim)`.
        likelihood, prior, posterior, beta, num_samples, free_bits, seed: as in `VAE`.

    Raises:
        ValueError: if the network shapes do not match, an argument is unknown or out of range, labels are not 0 to
            num_classes - 1, or a condition is missing or has the wrong shape.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=10, parameters=2, condition_shape=(10,))
        decoder = ka.networks.mlp_decoder(latent_dim=10, output_shape=(28, 28, 1), condition_shape=(10,))
        model = ka.CVAE(encoder, decoder, num_classes=10)
        model.compile("adam")
        model.fit(x_train, y_train, epochs=10)
        z = model.encode(x, y)                         # the style of x
        sevens = model.decode(z, np.full(len(z), 7))   # 7s in the style of x

    Source: Sohn 2015, equation 4. See also: `VAE`, without a condition; `M2`, where y is known only for some rows.
    """

    y_role = roles.Condition()

    prior_network = None  # read while `VAE.__init__` runs

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        num_classes: int | None = None,
        prior_network: Network | None = None,
        beta: float = 1.0,
        num_samples: int = 1,
        free_bits: float = 0.0,
        posterior: posteriors.PosteriorLike | None = None,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(encoder, list | tuple) or hasattr(prior, "bind"):
            raise ValueError(
                "encoder and prior: lists of networks and priors that use the encoder cannot be conditional."
            )
        options: dict[str, Any] = {
            "beta": beta,
            "num_samples": num_samples,
            "free_bits": free_bits,
            "posterior": posterior,
        }
        options["y_role"] = type(self.y_role)(num_classes, classes)
        super().__init__(encoder, decoder, likelihood, prior, **options, seed=seed, **kwargs)
        if prior is not None and prior_network is not None:
            raise ValueError("prior and prior_network: expected at most one of them; received both.")
        self.prior_network = prior_network
        self._check_conditions(prior_network=validation.static_shape(prior_network, "input_shape"))
        if prior_network is not None and self.latent_dim:
            self._check_prior_width(validation.static_shape(prior_network, "output_shape"))

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, *([] if self.prior_network is None else [self.prior_network])]

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        q = self.posterior(x, y, training=training) if q is None else q
        return self.elbo_terms(q, tf.cast(x, tf.float32), y, training=training)

    @property
    def prior(self) -> Distribution:
        """p(z): a tfd with event `(latent_dim,)`.

        Raises:
            ValueError: if the prior depends on y; use `conditional_prior`.
        """
        if self.prior_network is not None:
            raise ValueError("prior: this model has p(z|y), not p(z). Use conditional_prior(y).")
        return super().prior

    @by_averages
    def conditional_prior(self, y: tf.Tensor | None, *, training: bool = False) -> Distribution:
        """p(z|y): a tfd, batch `(B,)` if it depends on y and `()` otherwise, event `(latent_dim,)`."""
        if self.prior_network is None:
            return self.prior
        params = self.prior_network(self.condition(y), training=training)
        self._check_prior_width(params.shape)
        return posteriors.DiagonalGaussian().call(tf.cast(params, tf.float32))

    def _check_prior_width(self, shape):
        validation.check_width("prior_network", shape, 2 * self.latent_dim, "params, [mean | raw scale]")
