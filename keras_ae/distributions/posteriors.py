"""q(z|x): layers that turn an encoder's output, the params, into a distribution over codes.

Each posterior is a Keras layer from params `(B, parameters_for(latent_dim))` to a `tfp.distributions` object, batch
`(B,)`, event `(latent_dim,)`. Samples are differentiable, except for bits. Log densities are in nats.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import layers, sampling
from keras_ae.distributions.likelihoods import positive
from keras_ae.layers.made import MADE
from keras_ae.typing import Activation, Distribution, Size
from keras_ae.utils import validation

tfb = tfp.bijectors
tfd = tfp.distributions


class Posterior(keras.layers.Layer):
    """Base class of posteriors: defines the width of the encoder's output and creates the distribution.

        q = posterior.call(encoder(x)),    z ~ q(z|x)

    Subclasses define `parameters_for` and `call(params)`, which returns a tfd.

    Attributes:
        has_density: bool; False if q is a point, or the samples of a network.
        knows_own_samples_only: bool, whether the density is fast, for any sample shape, only at q's own samples.
        vectors_only: bool, whether codes must be vectors; if not, codes have any shape with channels last.
        takes_noise: bool, whether noise is a second input of the encoder, see `Universal`.

    Example:

        posterior = get("diagonal", None)
        posterior.parameters_for(8)          # 16
        posterior.code_shape_for((16,))      # (8,)

    Source: Kingma & Welling 2014, section 2. See also: `priors.Prior`, p(z); `likelihoods.Likelihood`, p(x|z).
    """

    has_density = True
    knows_own_samples_only = False
    vectors_only = False
    takes_noise = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**layers.options(self, kwargs))
        self.built = True  # any weights are created in the constructor

    def given(self, x: tf.Tensor, encode: Callable[..., tf.Tensor], encoder: keras.Model) -> Distribution:
        """q(z|x): the distribution of codes of x.

        Args:
            x: `(B, ...)`.
            encode: function from x, and noise `(B, ...)` if the encoder takes it, to params `(B, ...)`.
            encoder: Keras model that `encode` calls.

        Raises:
            ValueError: if the encoder does not have the inputs that the posterior needs.
        """
        return self.call(encode(x))

    def parameters_for(self, latent_dim: int) -> int:
        """int, width of the encoder's output for a code of `latent_dim` dimensions."""
        raise NotImplementedError

    def latent_dim_for(self, width: int) -> int:
        """int, size of the code for an encoder output of `width`: the inverse of `parameters_for`.

        Raises:
            ValueError: if no code size has this width.
        """
        latent_dim = next((d for d in range(1, width + 1) if self.parameters_for(d) >= width), None)
        if latent_dim is None or self.parameters_for(latent_dim) != width:
            raise ValueError(
                f"encoder: no code size needs {width} params per row with the posterior {self.name}; a code of "
                f"size 2 needs {self.parameters_for(2)}, one of size 10 needs {self.parameters_for(10)}."
            )
        return latent_dim

    def code_shape_for(self, shape: tuple[Any, ...]) -> tuple[int, ...]:
        """Shape of a code for params of `shape`, both without the batch axis.

        Raises:
            ValueError: if no code shape matches.
        """
        if not shape or None in shape or (len(shape) > 1 and self.vectors_only):
            kind = "(width,)" if self.vectors_only else "known"
            raise ValueError(
                f"encoder: the posterior {self.name} expects an output of {kind} shape; received {tuple(shape)}."
            )
        return (*shape[:-1], self.latent_dim_for(shape[-1]))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Shape of a code, with the batch axis, for params of `input_shape`."""
        return (input_shape[0], *self.code_shape_for(tuple(input_shape[1:])))

    def params_shape_for(self, code_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the params for codes of `code_shape`: the inverse of `code_shape_for`."""
        return (*code_shape[:-1], self.parameters_for(code_shape[-1]))

    def _latent_dim(self, params):
        return self.code_shape_for(tuple(params.shape[1:]))[-1]


PosteriorLike: TypeAlias = str | Posterior
"""What `get` takes: one of `NAMES`, or a layer."""


@keras.saving.register_keras_serializable("keras_ae")
class Deterministic(Posterior):
    """No noise: the code is the encoder's output.

        z = params

    Params width: D.

    Example: `Deterministic().call(tf.constant(z)).mean()    # z itself, (64, 2)`

    Source: Hinton & Salakhutdinov, Science 2006. See also: `DiagonalGaussian`, with noise, and so with a density.
    """

    has_density = False

    def parameters_for(self, latent_dim: int) -> int:
        return latent_dim

    def call(self, params: tf.Tensor) -> Distribution:
        rank = params.shape.rank - 1
        return tfd.VectorDeterministic(params) if rank == 1 else tfd.Independent(tfd.Deterministic(params), rank)


@keras.saving.register_keras_serializable("keras_ae")
class Universal(Deterministic):
    """Any distribution that a network can make of noise: the encoder takes `[x, e]`, and its output is the code.

        z = encoder([x, e]),    e ~ N(0, I)

    It has samples, with gradients to the encoder, but no density. `mean()` is the code for e = 0, which is
    deterministic; it is not the expectation of z.

    Params width: D. The size of e is that of the encoder's second input.

    Example:

        encoder = ka.networks.mlp_encoder((784,), 2, (64,), condition_shape=(16,))    # noise of size 16
        decoder = ka.networks.mlp_decoder(2, (784,), (64,))
        ka.AVB(encoder, decoder, ka.networks.code_critic(2, (64,), condition_shape=(784,))).posterior(x)

    Source: Makhzani 2015, section 2.1, the universal approximator posterior; Mescheder 2017, figure 1. See also:
    `DiagonalGaussian`, with a density; `AVB`, whose bound needs none.
    """

    takes_noise = True

    def given(self, x: tf.Tensor, encode: Callable[..., tf.Tensor], encoder: keras.Model) -> Distribution:
        shapes = validation.input_shapes(encoder)
        if shapes is None or len(shapes) != 2:
            raise ValueError(
                f"encoder: the posterior {self.name} expects a network with two inputs, x and noise, each a "
                "keras.Input. Pass condition_shape=(noise_dim,) to the functions of keras_ae.networks."
            )
        x = tf.convert_to_tensor(x)
        rows = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]

        def encode_many(e):
            repeats = tf.concat([[tf.shape(e)[0] // rows], tf.ones(x.shape.rank - 1, tf.int32)], axis=0)
            return encode(tf.tile(x, repeats), e)

        return _OfNoise(encode_many, rows, validation.static_shape(encoder, "output_shape"), shapes[1])


class _OfNoise(tfp.distributions.Distribution):
    """What a network makes of noise, batch `(B,)`: samples and the code of no noise, without a density."""

    def __init__(self, encode, rows, code_shape, noise_shape):
        self._encode, self._rows = encode, rows
        self._code_shape, self._noise_shape = tuple(code_shape), tuple(noise_shape)
        super().__init__(tf.float32, tfd.FULLY_REPARAMETERIZED, False, True, {}, name="universal")

    def _batch_shape(self):
        return tf.TensorShape([self._rows if isinstance(self._rows, int) else None])

    def _batch_shape_tensor(self, **_):
        return tf.reshape(self._rows, [1])

    def _event_shape(self):
        return tf.TensorShape(self._code_shape)

    def _event_shape_tensor(self, **_):
        return tf.constant(self._code_shape)

    def _mean(self):
        return self._encode(tf.zeros([self._rows, *self._noise_shape]))

    def _sample_n(self, n, seed=None):
        e = sampling.normal([n * self._rows, *self._noise_shape], tfp.random.sanitize_seed(seed))
        return tf.reshape(self._encode(e), [n, self._rows, *self._code_shape])


@keras.saving.register_keras_serializable("keras_ae")
class StyleAndLabel(Deterministic):
    """A style, and a probability for each of K labels, side by side.

        z = [s | softmax(l)],    [s | l] = params

    Params width: D, where the style has D - K dimensions.

    Args:
        num_classes: int, K.

    Raises:
        ValueError: if `num_classes` is not a positive integer, or codes have no more than K dimensions.

    Example: `StyleAndLabel(10).call(tf.zeros([4, 12])).mean()    # (4, 12), two numbers and ten probabilities of 0.1`

    Source: Makhzani 2015, section 5. See also: `ClusterHeads`, which adds both up; `priors.StyleAndLabel`.
    """

    vectors_only = True

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = validation.positive_int("num_classes", num_classes)

    def latent_dim_for(self, width: int) -> int:
        return self.style_dim(width) + self.num_classes

    def style_dim(self, width: int) -> int:
        """int, size of the style for params of `width`.

        Raises:
            ValueError: if nothing is left for the style.
        """
        if width <= self.num_classes:
            raise ValueError(
                f"encoder: expected an output of more than {self.num_classes} numbers, a style and a logit for each of "
                f"{self.num_classes} labels; received {width}."
            )
        return width - self.num_classes

    def split(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The style and the labels' logits of params: `(B, D - K)` and `(B, K)`."""
        return params[:, : self.style_dim(params.shape[-1])], params[:, -self.num_classes :]

    def code(self, style: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """The code `(B, D)` of a style and of logits."""
        return tf.concat([style, tf.nn.softmax(logits)], axis=-1)

    def call(self, params: tf.Tensor) -> Distribution:
        return super().call(self.code(*self.split(params)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_classes": self.num_classes}


@keras.saving.register_keras_serializable("keras_ae")
class ClusterHeads(StyleAndLabel):
    """A style around the head of its cluster: D dimensions for both.

        z = s + softmax(l) W,    [s | l] = params

    The rows of the weights W `(K, D)` are the heads.

    Params width: D + K.

    Args:
        num_classes: int, K.
        latent_dim: int, D.
        spread: float, standard deviation of the heads at the start.

    Raises:
        ValueError: if a size is not a positive integer, or the params have another width.

    Example: `ClusterHeads(20, latent_dim=2).call(tf.zeros([4, 22])).mean()    # (4, 2)`

    Source: Makhzani 2015, section 7. See also: `StyleAndLabel`, which keeps both apart.
    """

    def __init__(self, num_classes: int, latent_dim: int, spread: float = 3.0, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.latent_dim = validation.positive_int("latent_dim", latent_dim)
        self.spread = validation.non_negative("spread", spread)
        start = keras.initializers.RandomNormal(stddev=self.spread)
        self.heads = self.add_weight(shape=(self.num_classes, self.latent_dim), initializer=start, name="heads")

    def parameters_for(self, latent_dim: int) -> int:
        return latent_dim + self.num_classes

    def latent_dim_for(self, width: int) -> int:
        if width != self.parameters_for(self.latent_dim):
            raise ValueError(
                f"encoder: expected {self.parameters_for(self.latent_dim)} numbers per row, a style of size "
                f"{self.latent_dim} and {self.num_classes} logits; received {width}."
            )
        return self.latent_dim

    def code(self, style: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return style + tf.matmul(tf.nn.softmax(logits), tf.convert_to_tensor(self.heads))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"latent_dim": self.latent_dim, "spread": self.spread}


@keras.saving.register_keras_serializable("keras_ae")
class IndependentBernoulli(Posterior):
    """Independent bits, float32 0 or 1.

        q(z|x) = prod_j Bernoulli(z_j; p_j),    p = sigmoid(params)

    Params width: D. Samples are not differentiable; those of `relaxed_bits.RELAXATIONS` are.

    Example: `IndependentBernoulli().call(tf.zeros([4, 8])).sample(3, seed=0)    # (3, 4, 8) bits`

    Source: Shen 2018 (NASH), section 3. See also: `priors.UniformBernoulli` and `priors.BernoulliMixture`, priors of
    bits.
    """

    def parameters_for(self, latent_dim: int) -> int:
        return latent_dim

    def call(self, params: tf.Tensor) -> Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=params, dtype=tf.float32), params.shape.rank - 1)


@keras.saving.register_keras_serializable("keras_ae")
class DiagonalGaussian(Posterior):
    """Gaussian with independent dimensions.

        q(z|x) = N(z; m, diag(s)^2),    [m | r] = params,    s = softplus(r) + 1e-6

    Params width: 2 D.

    Example:

        q = DiagonalGaussian().call(tf.zeros([4, 16]))
        q.sample(5, seed=0)    # (5, 4, 8)

    Source: Kingma & Welling 2014, equation 9. See also: `FullCovariance`, with correlations; `InverseAutoregressive`,
    which is not Gaussian.
    """

    def parameters_for(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def call(self, params: tf.Tensor) -> Distribution:
        latent_dim = self._latent_dim(params)
        return _diagonal(params, latent_dim)


@keras.saving.register_keras_serializable("keras_ae")
class FullCovariance(Posterior):
    """Gaussian with a full covariance matrix.

        q(z|x) = N(z; m, L L^T),    [m | r] = params,    L = lower triangle of r, its diagonal softplus(r_jj) + 1e-6

    Params width: D + D (D + 1) / 2, the triangle in the order of `tfp.math.fill_triangular`. The exact posterior of a
    linear decoder with Gaussian noise has this form, so its bound can be tight.

    Example:

        posterior = FullCovariance()
        q = posterior.call(tf.zeros([4, posterior.parameters_for(8)]))    # 44 params a row
        q.sample(5, seed=0)                                               # (5, 4, 8)

    Source: Kingma & Welling 2019, section 2.5.1. See also: `DiagonalGaussian`, without correlations.
    """

    vectors_only = True

    def parameters_for(self, latent_dim: int) -> int:
        return latent_dim * (latent_dim + 3) // 2

    def latent_dim_for(self, width: int) -> int:
        latent_dim = (math.isqrt(9 + 8 * width) - 3) // 2  # solves D (D + 3) / 2 = width without a search
        return latent_dim if self.parameters_for(latent_dim) == width > 0 else super().latent_dim_for(width)

    def call(self, params: tf.Tensor) -> Distribution:
        latent_dim = self._latent_dim(params)
        triangle = tfp.math.fill_triangular(params[:, latent_dim:])
        # Not tfb.FillScaleTriL: XLA cannot compile the gradient of the op it uses to set the diagonal.
        below = triangle * np.tril(np.ones((latent_dim, latent_dim), "float32"), -1)
        scale = below + tf.linalg.diag(positive(tf.linalg.diag_part(triangle)))
        return tfd.MultivariateNormalTriL(params[:, :latent_dim], scale)


@keras.saving.register_keras_serializable("keras_ae")
class InverseAutoregressive(Posterior):
    """A diagonal Gaussian transformed by an inverse autoregressive flow.

        z_0 ~ N(m, diag(s)^2),    [m | r | h] = params,    s = softplus(r) + 1e-6
        z_t = sigma_t z_t-1 + (1 - sigma_t) m_t,    sigma_t = sigmoid(s_t),    [m_t, s_t] = MADE_t(z_t-1, h)
        log q(z_T|x) = log N(z_0; m, diag(s)^2) - sum_t sum_i log sigma_t,i

    for t = 1, ..., T, alternating the order of the dimensions: first to last, last to first. s_t is initialised to 2,
    so a step changes z little at first. A sample and its density take one pass through the networks, because TFP caches
    the origin of z_T for the lifetime of that tensor. The density of any other z takes latent_dim passes; `IWAE`'s
    doubly reparameterised gradient needs it, so gradient="reparameterised" is faster with this posterior.

    `mean()` is the base mean m mapped through the flow, a deterministic code near the bulk of q. It is not the
    expectation of z, which has no closed form. The KL to a prior is a Monte Carlo estimate.

    Args:
        latent_dim: int, D.
        context: int, size of h; 0 for none, then the flow is the same for every x.
        steps: int, T.
        hidden: ints, units of the hidden layers of each step's `MADE`.
        activation: Keras activation of the hidden layers.

    Params width: 2 D + context.

    Raises:
        ValueError: if a size is not an integer in its range, or the params have another width.

    Example:

        posterior = InverseAutoregressive(8, context=32)
        encoder = ka.networks.mlp_encoder((784,), latent_dim=1, parameters=posterior.parameters_for(8))    # (B, 48)
        q = posterior.call(encoder(x))
        z = q.sample(5, seed=[0, 1])    # (5, B, 8)
        q.log_prob(z)                   # (5, B)

    Source: Kingma 2016, equations 10 to 14. See also: `flows.Flow`, the inverse map, whose density is fast for any z.
    """

    knows_own_samples_only = True
    vectors_only = True

    def __init__(
        self,
        latent_dim: int,
        context: int = 32,
        steps: int = 2,
        hidden: Sequence[int] = (64, 64),
        activation: Activation = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        steps = validation.positive_int("steps", steps)
        self.latent_dim, self.context, self.hidden, self.activation = latent_dim, context, tuple(hidden), activation
        self.steps = [
            MADE(latent_dim, hidden, context=context, bias=(0.0, 2.0), reverse=i % 2 == 1, activation=activation)
            for i in range(steps)
        ]

    def parameters_for(self, latent_dim: int) -> int:
        if latent_dim != self.latent_dim:
            raise ValueError(
                f"latent_dim: this posterior expects codes of size {self.latent_dim}, received {latent_dim}."
            )
        return 2 * latent_dim + self.context

    def latent_dim_for(self, width: int) -> int:
        expected = self.parameters_for(self.latent_dim)
        if width != expected:
            raise ValueError(f"encoder: the posterior {self.name} expects {expected} params per row, received {width}.")
        return self.latent_dim

    def call(self, params: tf.Tensor) -> Distribution:
        latent_dim = self._latent_dim(params)
        h = params[:, 2 * latent_dim :] if self.context else None
        steps = [
            tfb.Invert(tfb.MaskedAutoregressiveFlow(bijector_fn=lambda z, step=step: _ungated(step, z, h)))
            for step in self.steps
        ]
        return _Bent(_diagonal(params[:, : 2 * latent_dim], latent_dim), tfb.Chain(steps[::-1]), name="iaf")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "latent_dim": self.latent_dim,
            "context": self.context,
            "steps": len(self.steps),
            "hidden": self.hidden,
            "activation": self.activation,
        }


class _Bent(tfp.distributions.TransformedDistribution):
    # TFP only implements the mean for affine bijectors.
    def _mean(self):
        return self.bijector.forward(self.distribution.mean())


def _ungated(step, z, h):
    """The inverse of z -> sigma z + (1 - sigma) m, with sigma and m evaluated at z."""
    # Not `step.call`: in a mixed-precision model it would read its weights as float16.
    m, s = tf.unstack(step(z, h), axis=-1)
    gate = tfb.Chain([tfb.Shift(tf.sigmoid(-s) * m), tfb.Scale(log_scale=tf.math.log_sigmoid(s))])
    return tfb.Invert(gate)


def _diagonal(params, latent_dim):
    mean, raw_scale = tf.split(params, [latent_dim, latent_dim], axis=-1)
    rank = params.shape.rank - 1
    if rank == 1:
        return tfd.MultivariateNormalDiag(mean, positive(raw_scale))
    return tfd.Independent(tfd.Normal(mean, positive(raw_scale)), rank)


NAMES = {
    "deterministic": Deterministic,
    "universal": Universal,
    "bernoulli": IndependentBernoulli,
    "diagonal": DiagonalGaussian,
    "full_covariance": FullCovariance,
    "inverse_autoregressive": InverseAutoregressive,
}


def check_has_density(posterior: Posterior, default: str) -> None:
    """Checks that q(z|x) is of the same kind as the model's default prior: bits or continuous.

    A point has no density, and the probability of bits is not comparable to a density over real codes, so importance
    weights would not estimate p(x).

    Raises:
        ValueError: if it is not.

    Example: `check_has_density(DiagonalGaussian(), "diagonal")`

    See also: `check_is_diagonal`, stricter.
    """
    if not posterior.has_density or isinstance(posterior, IndependentBernoulli) != (default == "bernoulli"):
        expected = "bits" if default == "bernoulli" else "a density over continuous codes, such as 'diagonal'"
        raise ValueError(f"posterior: expected {expected}; received {posterior.name}.")


def check_is_diagonal(posterior: Posterior, option: str) -> None:
    """Checks that q(z|x) is a diagonal Gaussian, as the model's `option` requires.

    Raises:
        ValueError: if it is not.

    Example: `check_is_diagonal(DiagonalGaussian(), "free_bits")`

    See also: `check_has_density`; `sampling.is_diagonal`, for distributions.
    """
    if not isinstance(posterior, DiagonalGaussian):
        raise ValueError(f"{option}: expected a diagonal Gaussian posterior; received {posterior.name}.")


def get(posterior: PosteriorLike, code_shape: Size | None) -> Posterior:
    """The `Posterior` layer for a name or a layer; `code_shape` is None if not yet known.

    Raises:
        ValueError: for an unknown name, an object that is neither, a layer for codes of another size, or
            "inverse_autoregressive" without a code size.

    Example: `get("inverse_autoregressive", (8,))    # an InverseAutoregressive layer`

    See also: `NAMES`; `priors.get`, p(z); `likelihoods.get`, p(x|z).
    """
    code_shape = (code_shape,) if isinstance(code_shape, int) else code_shape
    if isinstance(posterior, str) and posterior in NAMES:
        if posterior != "inverse_autoregressive":
            return NAMES[posterior]()
        if code_shape is None:
            raise ValueError(f"posterior={posterior!r} needs the code size: start the decoder with a keras.Input.")
        return InverseAutoregressive(code_shape[-1])
    if isinstance(posterior, Posterior):
        if code_shape is not None:
            posterior.params_shape_for(code_shape)  # raises if the layer is for codes of another size
        return posterior
    raise ValueError(
        f"Unknown posterior {posterior!r}: expected one of {', '.join(NAMES)}, or a keras_ae.posteriors layer."
    )
