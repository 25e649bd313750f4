"""Several stochastic layers h_1, ..., h_T, concatenated into one code z = [h_1 | ... | h_T].

    q(z|x) = q(h_1|x) prod_t q(h_t+1|h_t),    p(z) = p(h_T) prod_t p(h_t|h_t+1),    p(x|z) = p(x|h_1)

A model with several layers differs from a single-layer model only in its posterior, its prior and the part of z that
the decoder receives. The KL is a Monte Carlo estimate. Networks between two layers of codes run in inference mode, even
in training: no dropout, and batch normalisation uses its moving averages.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import posteriors, priors, sampling
from keras_ae.typing import Distribution, Network
from keras_ae.utils import validation

tfd = tfp.distributions


def compose(encoders: Any, decoders: Any) -> tuple[Network, Network, posteriors.Posterior, priors.Prior]:
    """Converts lists of networks to the arguments of a single-layer model: `(encoder, decoder, posterior, prior)`.

        q(z|x) = q(h_1|x) prod_t q(h_t+1|h_t),    p(z) = p(h_T) prod_t p(h_t|h_t+1),    z = [h_1 | ... | h_T]

    Args:
        encoders: Keras models, from x to `[mean | raw scale]` of h_1, from h_1 to that of h_2, and so on.
        decoders: Keras models in the opposite direction, listed in the same order: from h_1 to the likelihood's params,
            from h_2 to `[mean | raw scale]` of h_1, and so on.

    Raises:
        ValueError: if the lists differ in length, a network has no static shape, or sizes do not match.

    Example:

        mlp_encoder, mlp_decoder = ka.networks.mlp_encoder, ka.networks.mlp_decoder
        encoders = [mlp_encoder((28, 28, 1), 8, parameters=2), mlp_encoder((8,), 4, parameters=2)]
        decoders = [mlp_decoder(8, (28, 28, 1)), mlp_decoder(4, (8,), parameters=2)]
        vae = ka.VAE(encoders, decoders)    # calls it; a code is [h_1 | h_2], (12,)

    Source: Burda 2016, section 2, for several layers. See also: `VAE` and `IWAE`, which take such lists.
    """
    if not all(isinstance(each, list | tuple) for each in (encoders, decoders)):
        raise ValueError("encoder and decoder: expected two lists or two models; received one list.")
    if not encoders or len(encoders) != len(decoders):
        raise ValueError(
            f"encoder and decoder: expected lists of equal length, received {len(encoders)} and {len(decoders)} models."
        )
    for network in (*encoders, *decoders):
        if validation.static_shape(network, "input_shape") is None:
            raise ValueError(f"{network.name}: expected a known input shape. Start the network with a keras.Input.")
    sizes = [network.input_shape[-1] for network in decoders]
    wrong = [e.name for e, size in zip(encoders[1:], sizes, strict=False) if e.input_shape[-1] != size]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: expected inputs of sizes {sizes[:-1]}, the codes of the layers below.")
    pairs = [*zip(encoders, sizes, strict=True), *zip(decoders[1:], sizes, strict=False)]
    for network, size in pairs:
        if network.output_shape[-1] != 2 * size:
            raise ValueError(
                f"{network.name}: expected {2 * size} params, [mean | raw scale] for a layer of size {size}; "
                f"received {network.output_shape[-1]}."
            )
    z = keras.Input((sum(sizes),))
    decoder = keras.Model(z, decoders[0](z[:, : sizes[0]]), name="first_layer_decoder")
    return encoders[0], decoder, BottomUpPosterior(sizes, encoders[1:]), TopDownPrior(sizes, decoders[1:])


class BottomUpPosterior(posteriors.Posterior):
    """q(h_1|x) q(h_2|h_1) ... q(h_T|h_T-1), a posterior over z = [h_1 | ... | h_T].

    See also: `TopDownPrior`, in the opposite direction; `compose`, which makes both.
    """

    def __init__(self, sizes: Sequence[int], encoders: Sequence[Network], **kwargs: Any) -> None:
        super().__init__(**{"name": "bottom_up_posterior"} | kwargs)
        self.sizes, self.encoders = sizes, encoders

    def parameters_for(self, latent_dim: int) -> int:
        return 2 * self.sizes[0]

    def latent_dim_for(self, width: int) -> int:
        return sum(self.sizes)

    def call(self, params: tf.Tensor) -> Distribution:
        first = posteriors.DiagonalGaussian().call(params)
        return Chain(first, self.encoders, self.sizes)


# Keras stores the weights of a layer in a list, such as `model.layers`, under its class's `__name__`, whatever the
# layer's own name. Files of version 0.1 have the paths layers/upward and layers/downward, so the classes keep these
# names there; `repr`, summaries and messages show the layer's own name.
BottomUpPosterior.__name__ = "Upward"


class TopDownPrior(priors.Prior):
    """p(h_T) p(h_T-1|h_T) ... p(h_1|h_2), a prior over z = [h_1 | ... | h_T]; h_T is standard normal.

    See also: `BottomUpPosterior`, in the opposite direction; `compose`, which makes both.
    """

    def __init__(self, sizes: Sequence[int], decoders: Sequence[Network], **kwargs: Any) -> None:
        super().__init__(sum(sizes), **{"name": "top_down_prior"} | kwargs)
        self.sizes, self.decoders = sizes, decoders

    def call(self) -> Distribution:
        last = priors.Normal(self.sizes[-1]).call()
        return Chain(last, self.decoders[::-1], self.sizes[::-1], reverse=True)


TopDownPrior.__name__ = "Downward"


class Chain(tfp.distributions.Distribution):
    """A chain of diagonal Gaussians, p(a_1) p(a_2|a_1) ..., over `[a_1 | a_2 | ...]`, reversed with `reverse`.

    Args:
        first: diagonal Gaussian, p(a_1).
        networks: Keras models from a_t to `[mean | raw scale]` of a_t+1.
        sizes: ints, sizes of a_1, a_2, ...
        reverse: bool.
    """

    def __init__(
        self,
        first: Distribution,
        networks: Sequence[Network],
        sizes: Sequence[int],
        reverse: bool = False,
    ) -> None:
        self._first, self._networks, self._sizes, self._reverse = first, networks, sizes, reverse
        super().__init__(
            dtype=first.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            name="chain",
        )

    def _sample_n(self, n, seed=None):
        seed = tfp.random.sanitize_seed(seed)  # TFP callers pass None or an int
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 1 + len(self._networks)))
        parts = [sampling.draw(self._first, n, seeds[0])]
        for network, seed in zip(self._networks, seeds[1:], strict=True):
            parts.append(sampling.draw(_conditional(network, parts[-1]), 1, seed)[0])
        return self._joined(parts)

    def _log_prob(self, z):
        parts = tf.split(z, self._sizes[::-1] if self._reverse else self._sizes, axis=-1)
        parts = parts[::-1] if self._reverse else parts
        total = self._first.log_prob(parts[0])
        for network, given, part in zip(self._networks, parts, parts[1:], strict=False):
            total += _conditional(network, given).log_prob(part)
        return total

    def _mean(self):
        # Each layer's mean, given the previous layer's mean: the expectation has no closed form.
        parts = [self._first.mean()]
        for network in self._networks:
            parts.append(_conditional(network, parts[-1]).mean())
        return self._joined(parts)

    def _joined(self, parts):
        return tf.concat(parts[::-1] if self._reverse else parts, axis=-1)

    def _batch_shape_tensor(self):
        return self._first.batch_shape_tensor()

    def _batch_shape(self):
        return self._first.batch_shape

    def _event_shape_tensor(self):
        return tf.constant([sum(self._sizes)])

    def _event_shape(self):
        return tf.TensorShape([sum(self._sizes)])


def _conditional(network, given):
    """p(a_t+1 | a_t) for a_t `(..., D)`."""
    leading = tf.shape(given)[:-1]
    params = tf.cast(network(tf.reshape(given, [-1, given.shape[-1]])), tf.float32)
    flat = posteriors.DiagonalGaussian().call(params)
    shape = tf.concat([leading, [params.shape[-1] // 2]], axis=0)
    return tfd.MultivariateNormalDiag(tf.reshape(flat.mean(), shape), tf.reshape(flat.stddev(), shape))
