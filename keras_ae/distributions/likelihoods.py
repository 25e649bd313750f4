"""p(x|z): layers that turn a decoder's output, the params, into a distribution over x.

Each likelihood is a Keras layer from params `(..., H, W, parameters * C)` (or any shape with channels last) to a
`tfp.distributions` object whose event is one x. Log densities are in nats and sum over the event.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import layers
from keras_ae.typing import Distribution, Shape
from keras_ae.utils import validation
from keras_ae.utils.constants import SCALE_FLOOR
from keras_ae.utils.xla import softplus

tfd = tfp.distributions

_LOOKED_AT = 64  # rows, to judge whether a likelihood suits them

POINTS = (tfd.Deterministic, tfd.VectorDeterministic)


class Likelihood(keras.layers.Layer):
    """Base class of likelihoods: defines which x are valid and creates the distribution.

        p = likelihood.call(decoder(z)),    log p(x|z) = p.log_prob(x)

    Subclasses set the attributes and define `call(params, event_rank=None)`, which returns a tfd.

    Attributes:
        parameters: int, number of params per value of x, in blocks along the last axis.
        levels: int or None, number of levels if x holds integers; the last axis of the params then has this size.
        low, high: range of x; None if unbounded.
        dtype_of_x: dtype of x as passed to the model, "float32" or "uint8".

    Example:

        likelihood = get("gaussian_per_dimension")
        likelihood.params_shape((28, 28, 1))          # (28, 28, 2)
        likelihood.event_shape_for((28, 28, 2))       # (28, 28, 1)

    Source: Kingma & Welling 2014, section 2. See also: `posteriors.Posterior` and `priors.Prior`, the distributions of
    codes.
    """

    parameters = 1
    levels: int | None = None
    low: float | None = None
    high: float | None = None
    dtype_of_x = "float32"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**layers.options(self, kwargs))
        self.built = True  # any weights are created in the constructor

    def params_shape(self, shape: Sequence[int | None]) -> Shape | None:
        """Shape of the decoder's output for x of `shape`, both without the batch axis; None for unknown sizes."""
        shape = tuple(shape)
        if self.levels:
            return (*shape, self.levels)
        return (*shape[:-1], None if shape[-1] is None else shape[-1] * self.parameters)

    def event_shape_for(self, params_shape: Sequence[int | None]) -> Shape | None:
        """Shape of x for a decoder's output shape, the inverse of `params_shape`; None if unknown.

        Raises:
            ValueError: if no shape of x matches.
        """
        shape = tuple(params_shape)
        if self.levels:
            if len(shape) < 2 or shape[-1] != self.levels:
                raise ValueError(
                    f"decoder: the likelihood {self.name} expects outputs whose last axis has {self.levels} levels; "
                    f"received {shape}."
                )
            return shape[:-1]
        if shape[-1] is not None and shape[-1] % self.parameters:
            raise ValueError(
                f"decoder: the likelihood {self.name} expects {self.parameters} values per value of x in the last "
                f"axis; received {shape}."
            )
        return (*shape[:-1], None if shape[-1] is None else shape[-1] // self.parameters)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """Shape of x, with the batch axis, for params of `input_shape`."""
        shape = self.event_shape_for(tuple(input_shape[1:]))
        if shape is None:
            raise NotImplementedError(f"The shape of x is not known for the likelihood {self.name}.")
        return (input_shape[0], *shape)

    def preprocess(self, x: tf.Tensor) -> tf.Tensor:
        """Preprocesses x for the encoder: float32."""
        return tf.cast(x, tf.float32)

    def valid(self, x: tf.Tensor) -> tf.Tensor:
        """Row mask of x, True where finite and in range: bool `(B,)`."""
        x = tf.cast(x, tf.float32)
        good = tf.math.is_finite(x)
        if self.low is not None:
            good &= x >= self.low
        if self.high is not None:
            good &= x <= self.high
        return tf.reduce_all(good, axis=tf.range(1, tf.rank(x)))

    def doubt(self, x: Any) -> str | None:
        """A warning if the likelihood does not suit the rows x, which names a better one; or None."""
        return None


LikelihoodLike: TypeAlias = str | Likelihood | Callable[[tf.Tensor], Distribution]
"""What `get` takes: one of `NAMES`, a layer, or a function from params to a distribution."""


class _FastBernoulli(tfp.distributions.Bernoulli):
    # TFP computes log p and log(1 - p) separately: two softplus, two masked products. As in TFP, x may be fractional.
    def _log_prob(self, x):
        return _log_bernoulli(tf.convert_to_tensor(x), tf.convert_to_tensor(self.logits))


@tf.custom_gradient
def _log_bernoulli(x, logits):
    # TensorFlow's own gradient makes more passes over the pixels: see benchmarks/NOTES.md, IWAE.
    def gradient(g):
        return _summed_to(x, g * logits), _summed_to(logits, g * (x - tf.sigmoid(logits)))

    return x * logits - softplus(logits), gradient


def _summed_to(tensor, gradient):
    """Sums the gradient of a broadcast tensor to the tensor's own shape."""
    if tensor.shape.is_fully_defined() and tensor.shape == gradient.shape:
        return gradient
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(tensor), s1=tf.shape(gradient))
    return tf.reshape(tf.reduce_sum(gradient, axes), tf.shape(tensor))


@keras.saving.register_keras_serializable("keras_ae")
class Bernoulli(Likelihood):
    """Independent Bernoulli variables; for x between 0 and 1, the negative cross-entropy.

        log p(x|z) = sum_i x_i l_i - softplus(l_i),    mean = sigmoid(l),    l = params (logits)

    x is float32 in [0, 1], with the shape of the params. For pixels strictly between 0 and 1 this is not a density, so
    only compare models on the same data; binarise x to compare with published numbers.

    Example:

        p = Bernoulli().call(tf.zeros([2, 28, 28, 1]))
        p.log_prob(tf.ones([2, 28, 28, 1]))    # (2,), 784 log 1/2

    Source: Kingma & Welling 2014, appendix C.1. See also: `ContinuousBernoulli`, a density for pixels between 0 and 1.
    """

    low, high = 0.0, 1.0

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _independent(_FastBernoulli(logits=params, dtype=tf.float32), event_rank)

    def doubt(self, x: Any) -> str | None:
        if len(x.shape) != 4 or x.shape[-1] != 3:
            return None
        pixels = np.asarray(x[:_LOOKED_AT], "float32")
        if np.mean((pixels > 0.02) & (pixels < 0.98)) < 0.5:
            return None
        return (
            "likelihood: x looks like colour photographs, which 'bernoulli' suits badly: its noise hides all but the "
            "average, and its values are no density. Use 'gaussian_learned_scale', or "
            "'discretized_logistic_mixture' for bits per pixel."
        )


@keras.saving.register_keras_serializable("keras_ae")
class ContinuousBernoulli(Likelihood):
    """A density on [0, 1] with the Bernoulli's shape.

        log p(x|z) = sum_i log C(l_i) + x_i l_i - softplus(l_i),    l = params (logits)

    x is float32 in [0, 1], with the shape of the params.

    Example:

        p = ContinuousBernoulli().call(tf.zeros([2, 784]))    # uniform where l = 0
        p.log_prob(tf.fill([2, 784], 0.3))                    # (2,), 0 nats

    Source: Loaiza-Ganem & Cunningham 2019, equation 6. See also: `Bernoulli`, without the normalising constant C.
    """

    low, high = 0.0, 1.0

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _independent(tfd.ContinuousBernoulli(logits=params), event_rank)


@keras.saving.register_keras_serializable("keras_ae")
class Gaussian(Likelihood):
    """Normal with the params as mean and scale 1: squared error, in nats.

        log p(x|z) = -1/2 sum_i (x_i - m_i)^2 - D/2 log(2 pi),    m = params

    x is float32 with the shape of the params.

    Example:

        p = Gaussian().call(tf.zeros([2, 784]))
        p.log_prob(tf.zeros([2, 784]))    # (2,), -392 log(2 pi)

    Source: Bishop 2006, section 5.2. See also: `GaussianLearnedScale` and `GaussianPerDimension`, which learn the
    scale; `Laplace`, absolute error.
    """

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _independent(tfd.Normal(params, 1.0), event_rank)


@keras.saving.register_keras_serializable("keras_ae")
class GaussianLearnedScale(Likelihood):
    """Normal with one learned scale for all values of x.

        log p(x|z) = sum_i log N(x_i; m_i, s^2),    m = params,    s = softplus(raw_scale) + 1e-6

    The weight `raw_scale` is a scalar, trained with the model. x is float32 with the shape of the params. For pixels in
    [0, 1] the scale usually ends between 0.03 and 0.1. Starting near there, for example at the root mean square error
    of PCA, keeps the KL of a VAE from switching off dimensions in the meantime.

    Args:
        scale: float above 1e-6, the scale at first; None for log 2, which a raw scale of 0 gives.

    Raises:
        ValueError: if the scale is not above 1e-6.

    Example: `vae = ka.VAE(encoder, decoder, likelihood="gaussian_learned_scale")`

    Source: Rybkin 2021 (sigma-VAE). See also: `Gaussian`, with scale 1; `GaussianPerDimension`, whose scales depend on
    z.
    """

    def __init__(self, scale: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = None if scale is None else _above_floor(scale)
        self.raw_scale = self.add_weight(shape=(), initializer="zeros", name="raw_scale")
        if self._scale is not None:
            self.raw_scale.assign(math.log(math.expm1(self._scale - SCALE_FLOOR)))

    @property
    def scale(self) -> tf.Tensor:
        """The present scale s, a scalar."""
        return positive(tf.convert_to_tensor(self.raw_scale))

    def calibrate(self, squared_error: float, dimensions: int) -> None:
        """Sets the scale to its optimum for a squared error per row, the sum over all dimensions.

            s^2 = squared_error / dimensions,    which maximises E log p(x|z) over s

        Source: Rybkin 2021, equation 8.
        """
        scale = _above_floor(math.sqrt(max(squared_error, 0.0) / dimensions) + 2 * SCALE_FLOOR)
        self.raw_scale.assign(math.log(math.expm1(scale - SCALE_FLOOR)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self._scale}

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _independent(tfd.Normal(params, positive(self.raw_scale)), event_rank)


def _above_floor(scale):
    if not scale > SCALE_FLOOR or not math.isfinite(scale):
        raise ValueError(f"scale: expected a number above {SCALE_FLOOR}; received {scale!r}.")
    return float(scale)


@keras.saving.register_keras_serializable("keras_ae")
class GaussianPerDimension(Likelihood):
    """Normal with a mean and a scale for each value of x.

        log p(x|z) = sum_i log N(x_i; m_i, s_i^2),    [m | r] = params,    s = softplus(r) + 1e-6

    The params have twice the channels of x, in two blocks; x is float32. The scale of a constant pixel can collapse
    towards 0: add noise to such data, or use another likelihood.

    Example:

        decoder = ka.networks.mlp_decoder(32, (28, 28, 1), parameters=2)
        vae = ka.VAE(encoder, decoder, likelihood="gaussian_per_dimension")

    Source: Kingma & Welling 2014, appendix C.2. See also: `GaussianLearnedScale`, with a single scale.
    """

    parameters = 2

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        mean, raw_scale = tf.split(params, 2, axis=-1)
        return _independent(tfd.Normal(mean, positive(raw_scale)), event_rank)


@keras.saving.register_keras_serializable("keras_ae")
class Laplace(Likelihood):
    """Laplace with the params as location and scale 1: absolute error, in nats.

        log p(x|z) = -sum_i |x_i - m_i| - D log 2,    m = params

    x is float32 with the shape of the params.

    Example:

        p = Laplace().call(tf.zeros([2, 784]))
        p.log_prob(tf.zeros([2, 784]))    # (2,), -784 log 2

    Source: Laplace 1774. See also: `Gaussian`, squared error, which large errors dominate.
    """

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _independent(tfd.Laplace(params, 1.0), event_rank)


@keras.saving.register_keras_serializable("keras_ae")
class Categorical(Likelihood):
    """One of 256 classes for each uint8 value of x; the params `(..., C, 256)` are logits.

        log p(x|z) = sum_i log softmax(l_i)[x_i],    l = params (logits)

    The encoder receives x / 255, and `decode` returns the mean level / 255.

    Example:

        decoder = ka.networks.mlp_decoder(32, (28, 28, 1), levels=256)
        vae = ka.VAE(encoder, decoder, likelihood="categorical")    # of x uint8 (N, 28, 28, 1)

    Source: van den Oord 2016 (PixelRNN), section 2.2. See also: `Bernoulli`, for two levels;
    `evaluation.likelihood.dequantise`, which turns levels into values with a density.
    """

    levels = 256
    low, high = 0, 255
    dtype_of_x = "uint8"

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _independent(_Levels(logits=params), event_rank)

    def preprocess(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(x, tf.float32) / (self.levels - 1)


class _Levels(tfp.distributions.Categorical):
    # A categorical variable has no mean, but brightness levels do.
    def _mean(self):
        levels = tf.linspace(0.0, 1.0, self.logits.shape[-1])
        return tf.linalg.matvec(tf.nn.softmax(self.logits), levels)

    def _log_prob(self, x):
        return super()._log_prob(tf.cast(x, tf.int32))


@keras.saving.register_keras_serializable("keras_ae")
class DiscretizedLogisticMixture(Likelihood):
    """A mixture of logistic distributions, rounded to the 256 levels of a pixel: a probability, so in bits per pixel.

        P(x|z) = prod_i sum_k w_ik (sigma((x_i + d - m_ik) / s_ik) - sigma((x_i - d - m_ik) / s_ik)),    d = 1 / 510
        [l_1 .. l_K | m_1 .. m_K | r_1 .. r_K] = params,    w = softmax(l),    s = softplus(r - 3) + 1e-6

    The first and the last level take the tails. x is float32 in [0, 1], a level divided by 255. The params have 3 K
    times the channels of x, in that many blocks. Component k is shifted by (2 k + 1 - K) / 4 K, so that components
    differ when all params are equal. The mean is that of the mixture clipped to [0, 1], which differs from the mean of
    the levels by less than 1e-4 unless s is far below a level.

    Args:
        components: int, K.

    Raises:
        ValueError: if `components` is not a positive integer.

    Example:

        decoder = ka.networks.mlp_decoder(32, (28, 28, 1), parameters=15)
        vae = ka.VAE(encoder, decoder, likelihood="discretized_logistic_mixture")

    Source: Salimans 2017 (PixelCNN++), section 2.1, without the dependence between channels. See also: `Categorical`,
    with a logit for each level; `GaussianLearnedScale`, with a density.
    """

    low, high = 0.0, 1.0

    def __init__(self, components: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = validation.positive_int("components", components)
        self.parameters = 3 * self.components

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components}

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        k = self.components
        # (..., 3 K C) to three of (..., C, K)
        channels = params.shape[-1] // self.parameters
        blocks = tf.reshape(params, tf.concat([tf.shape(params)[:-1], [3, k, channels]], axis=0))
        logits, mean, raw = (tf.linalg.matrix_transpose(blocks[..., i, :, :]) for i in range(3))
        shift = (2 * tf.range(k, dtype=tf.float32) + 1 - k) / (4 * k)
        shape = params.shape[:-1].concatenate([channels, k])
        logits, mean, raw = (tf.ensure_shape(each, shape) for each in (logits, mean + shift, raw))
        components = _RoundedLogistic(mean, positive(raw - _LOGISTIC_SHIFT))
        return _independent(tfd.MixtureSameFamily(tfd.Categorical(logits=logits), components), event_rank)


_LOGISTIC_SHIFT = 3.0  # scales start at softplus(-3) = 0.05, about that of a blurred photograph
_HALF_LEVEL = 1 / 510


class _RoundedLogistic(tfp.distributions.Logistic):
    """A logistic variable, clipped to [0, 1] and rounded to multiples of 1 / 255."""

    def _log_prob(self, x):
        above = (x + _HALF_LEVEL - self.loc) / self.scale
        below = (x - _HALF_LEVEL - self.loc) / self.scale
        # sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - exp(b - a)), each factor of which is safe in the tails.
        upper = tf.where(x < _HALF_LEVEL, 0.0, -tf.nn.softplus(below))
        lower = tf.where(x > 1 - _HALF_LEVEL, 0.0, -tf.nn.softplus(-above))
        width = tf.where(
            (x < _HALF_LEVEL) | (x > 1 - _HALF_LEVEL), 0.0, tfp.math.log1mexp(2 * _HALF_LEVEL / self.scale)
        )
        return upper + lower + width

    def _mean(self):
        # The mean of a variable clipped to [0, 1] is the integral of P(x > t) = sigma((m - t) / s) over t.
        a, b = self.loc / self.scale, (self.loc - 1) / self.scale
        return self.scale * (tf.nn.softplus(a) - tf.nn.softplus(b))

    def _sample_n(self, n, seed=None):
        return tf.round(tf.clip_by_value(super()._sample_n(n, seed), 0.0, 1.0) * 255) / 255


@keras.saving.register_keras_serializable("keras_ae")
class Multinomial(Likelihood):
    """Words drawn from one softmax over the vocabulary; x `(V,)` holds word counts, or weights such as TF-IDF.

        log p(x|z) = sum_w x_w log softmax(l)_w,    mean = softmax(l), the share of each word,    l = params (logits)

    x is float32, 0 or more. The multinomial coefficient is omitted, because it does not depend on z. Perplexity is
    exp(-log p / sum_w x_w).

    Raises:
        ValueError: if x is not a row of words, shape (V,).

    Example:

        p = Multinomial().call(tf.zeros([2, 1000]))
        p.log_prob(tf.one_hot([3, 5], 1000))    # (2,), -log 1000

    Source: Miao 2016 (NVDM); Liang 2018. See also: `evaluation.topics.perplexity`.
    """

    low = 0.0

    def params_shape(self, shape: Sequence[int | None]) -> Shape | None:
        if len(shape) != 1:
            raise ValueError(f"likelihood: multinomial expects word counts of shape (V,); received x of shape {shape}.")
        return tuple(shape)

    def event_shape_for(self, params_shape: Sequence[int | None]) -> Shape | None:
        return self.params_shape(params_shape)

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        return _Words(1.0, logits=params)


class _Words(tfp.distributions.Multinomial):
    # TFP adds the multinomial coefficient and requires integer counts that sum to the total.
    def _log_prob(self, x):
        return tf.reduce_sum(x * tf.nn.log_softmax(self.logits), axis=-1)


def positive(params: tf.Tensor) -> tf.Tensor:
    """Maps params to positive scales: `softplus(params) + 1e-6`.

    Example: `positive(tf.constant([0.0]))    # [0.693148]`

    See also: `networks.from_mean_log_var`, for encoders that give log variances.
    """
    return tf.nn.softplus(params) + SCALE_FLOOR


def _independent(distribution, event_rank):
    """The event is all axes but the first, or the last `event_rank` axes if there are several leading axes."""
    if event_rank is None:
        event_rank = distribution.batch_shape.rank - 1
    return tfd.Independent(distribution, event_rank)


NAMES = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "gaussian_learned_scale": GaussianLearnedScale,
    "gaussian_per_dimension": GaussianPerDimension,
    "laplace": Laplace,
    "categorical": Categorical,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
    "multinomial": Multinomial,
}


class Custom(Likelihood):
    """A user's function from params to a distribution; x is not checked.

        log p(x|z) = function(params).log_prob(x)

    Args:
        function: from params, as the decoder returns them, to a tfd whose event is one x. Missing event axes are added.

    Raises:
        ValueError: when called: if the function does not return a tfd, returns a point, or an event with too many axes.

    Example: `vae = ka.VAE(encoder, decoder, likelihood=lambda params: tfd.StudentT(3.0, params, 1.0))`

    See also: `get`, which makes this of any function; the other classes of this module, which check x.
    """

    def __init__(self, function: Callable[[tf.Tensor], Distribution], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def params_shape(self, shape: Sequence[int | None]) -> Shape | None:
        return None

    def event_shape_for(self, params_shape: Sequence[int | None]) -> Shape | None:
        return None  # only known from the distribution

    def call(self, params: tf.Tensor, event_rank: int | None = None) -> Distribution:
        distribution = self.function(params)
        if not isinstance(distribution, tfd.Distribution):
            raise ValueError(
                f"likelihood: expected the callable to return a tfp.distributions object; received {distribution!r}."
            )
        if _is_point(distribution):
            raise ValueError(
                "likelihood: p(x|z) is a point mass, so x has neither a probability nor a density. Choose a "
                "distribution with a width, such as 'gaussian'."
            )
        missing = (params.shape.rank - 1 if event_rank is None else event_rank) - distribution.event_shape.rank
        if missing < 0:
            raise ValueError(
                f"likelihood: expected the callable to return a distribution whose event is one x; received "
                f"{distribution} for params of shape {params.shape}. Pass reinterpreted_batch_ndims to "
                "tfd.Independent, because params may have several leading axes."
            )
        return tfd.Independent(distribution, missing) if missing else distribution


def _is_point(distribution):
    return all(isinstance(each, POINTS) for each in parts(distribution))


def parts(distribution: Distribution) -> list[Distribution]:
    """The components of a mixture or wrapper, recursively; transformed or quantized distributions are not split.

    Example: `parts(tfd.Independent(tfd.Normal([0.0, 1.0], 1.0), 1))    # [Normal]`
    """
    if isinstance(distribution, tfd.QuantizedDistribution | tfd.TransformedDistribution):
        return [distribution]
    if isinstance(distribution, tfd.Mixture):
        return [part for each in distribution.components for part in parts(each)]
    for wrapped in ("components_distribution", "distribution"):  # MixtureSameFamily; other wrappers
        if hasattr(distribution, wrapped):
            return parts(getattr(distribution, wrapped))
    return [distribution]


def get(likelihood: LikelihoodLike) -> Likelihood:
    """The `Likelihood` layer for a name, a layer, or a function `params -> tfd distribution`.

    Raises:
        ValueError: for an unknown name or an object that is none of these.

    Example: `get("bernoulli")    # a Bernoulli layer`

    See also: `NAMES`; `posteriors.get` and `priors.get`, for distributions of codes.
    """
    if isinstance(likelihood, str) and likelihood in NAMES:
        return NAMES[likelihood]()
    if isinstance(likelihood, Likelihood):
        return likelihood
    if callable(likelihood):
        return Custom(likelihood)
    raise ValueError(
        f"Unknown likelihood {likelihood!r}: expected one of {', '.join(NAMES)}, or a callable from the decoder's "
        "params to a tfp.distributions object."
    )
