"""p(z): Keras layers that return a `tfp.distributions` object over codes, event `(latent_dim,)`, when called."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from keras_ae.distributions import layers, sampling
from keras_ae.distributions.likelihoods import Likelihood, parts, positive
from keras_ae.typing import Distribution, Shape, Size
from keras_ae.utils import validation

tfd = tfp.distributions


class Prior(keras.layers.Layer):
    """Base class of priors; `prior.call()` returns the distribution. (Keras cannot call a layer without inputs.)

        p = prior.call(),    z ~ p(z)

    Args:
        latent_dim: int, D, or ints, the shape of a code.

    Attributes:
        code_shape: shape of a code.
        latent_dim: int if codes are vectors, else `code_shape`.
        vectors_only: bool, whether codes must be vectors.

    Raises:
        ValueError: if a size is not a positive integer, or codes are not vectors but have to be.

    Example: `get("normal", 8).call().sample(16)    # (16, 8)`

    Source: Kingma & Welling 2014, section 2. See also: `posteriors.Posterior`, q(z|x); `likelihoods.Likelihood`,
    p(x|z).
    """

    vectors_only = True

    def __init__(self, latent_dim: Size, **kwargs: Any) -> None:
        super().__init__(**layers.options(self, kwargs))
        shape = tuple(latent_dim) if isinstance(latent_dim, list | tuple) else (latent_dim,)
        self.code_shape = tuple(validation.positive_int("latent_dim", size) for size in shape)
        if len(shape) > 1 and self.vectors_only:
            raise ValueError(f"latent_dim: {type(self).__name__} expects codes that are vectors; received {shape}.")
        self.latent_dim = self.code_shape[0] if len(shape) == 1 else self.code_shape
        self.built = True

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Shape of codes, with the batch axis."""
        return (None, *self.code_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"latent_dim": self.latent_dim}


PriorSource: TypeAlias = keras.layers.Layer | Callable[[], Distribution]
"""A layer or a function that returns the current distribution over codes."""

PriorLike: TypeAlias = str | Distribution | PriorSource
"""What `get` takes: one of `NAMES`, a distribution, or a layer or function that returns one."""


@keras.saving.register_keras_serializable("keras_ae")
class Normal(Prior):
    """The standard normal.

        p(z) = N(z; 0, I)

    Args:
        latent_dim: int, D, or ints, the shape of a code.

    Example: `Normal(8).call().log_prob(tf.zeros([4, 8]))    # (4,), -4 log(2 pi)`

    Source: Kingma & Welling 2014, section 3. See also: `LearnedMixture` and `VampPrior`, which training fits to the
    codes.
    """

    vectors_only = False

    def call(self) -> Distribution:
        zeros, ones = tf.zeros(self.code_shape), tf.ones(self.code_shape)
        if len(self.code_shape) == 1:
            return tfd.MultivariateNormalDiag(zeros, ones)
        return tfd.Independent(tfd.Normal(zeros, ones), len(self.code_shape))


@keras.saving.register_keras_serializable("keras_ae")
class UniformBernoulli(Prior):
    """Independent bits, each 1 with probability 1/2.

        p(z) = 2^-D,    z in {0, 1}^D

    Args:
        latent_dim: int, D, or ints, the shape of a code.

    Example: `UniformBernoulli(8).call().log_prob(tf.ones([4, 8]))    # (4,), -8 log 2`

    Source: Shen 2018 (NASH). See also: `BernoulliMixture`, whose probabilities training fits to the codes.
    """

    vectors_only = False

    def call(self) -> Distribution:
        return tfd.Independent(tfd.Bernoulli(logits=tf.zeros(self.code_shape), dtype=tf.float32), len(self.code_shape))


@keras.saving.register_keras_serializable("keras_ae")
class BernoulliMixture(Prior):
    """A mixture of independent Bernoulli bits whose weights and probabilities are trained with the model.

        p(z) = sum_k w_k prod_j Bernoulli(z_j; p_kj),    w = softmax(logits),    p_kj = sigmoid(bit_logits_kj)

    Codes cluster around the components, as documents do around subjects. The KL is a Monte Carlo estimate.

    Args:
        latent_dim: int, D.
        components: int, K.

    Raises:
        ValueError: if a size is not a positive integer.

    Example: `BernoulliMixture(8, components=4).call().sample(16)    # (16, 8) bits`

    Source: Dong 2019 (BMSH). See also: `UniformBernoulli`, without weights; `LearnedMixture`, for Gaussian codes.
    """

    def __init__(self, latent_dim: int, components: int = 20, **kwargs: Any) -> None:
        super().__init__(latent_dim, **kwargs)
        self.components = validation.positive_int("components", components)
        self.logits = self.add_weight(shape=(self.components,), initializer="zeros", name="logits")
        # Large enough to make the components differ initially, small enough to keep probabilities near 1/2.
        spread = keras.initializers.RandomNormal(stddev=0.5)
        self.bit_logits = self.add_weight(shape=(self.components, latent_dim), initializer=spread, name="bit_logits")

    def call(self) -> Distribution:
        bits = tfd.Bernoulli(logits=tf.convert_to_tensor(self.bit_logits), dtype=tf.float32)
        weights = tfd.Categorical(logits=tf.convert_to_tensor(self.logits))
        return tfd.MixtureSameFamily(weights, tfd.Independent(bits, 1))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components}


@keras.saving.register_keras_serializable("keras_ae")
class Uniform(Prior):
    """Uniform on the cube [-1, 1]^D, for models that match samples; a Gaussian posterior has infinite KL to it.

        p(z) = 2^-D,    z in [-1, 1]^D

    Args:
        latent_dim: int, D, or ints, the shape of a code.

    Example: `Uniform(8).call().sample(16)    # (16, 8) in [-1, 1]`

    Source: Radford 2016 (DCGAN), whose codes are uniform. See also: `Normal`, with a density everywhere.
    """

    vectors_only = False

    def call(self) -> Distribution:
        edge = tf.ones(self.code_shape)
        return tfd.Independent(tfd.Uniform(-edge, edge), len(self.code_shape))


class _Planar(Prior):
    """An equally weighted mixture of K planar Gaussians, divided among classes.

    Subclasses define `_shape()`: the angles `(K,)` of the components' axes, their means `(K, 2)` and their scales
    `(K, 2)` along these axes.
    """

    components: int

    def __init__(self, latent_dim: int = 2, **kwargs: Any) -> None:
        if latent_dim != 2:
            raise ValueError(f"{type(self).__name__} is two-dimensional: expected latent_dim=2, received {latent_dim}.")
        super().__init__(latent_dim, **kwargs)

    def _shape(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _parts(self):
        """Means `(K, 2)`, and Cholesky factors of the covariances, `(K, 2, 2)`."""
        angles, means, scales = self._shape()
        cos, sin = np.cos(angles), np.sin(angles)
        rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)  # (K, 2, 2)
        covariance = rotation * scales[:, None, :] ** 2 @ np.swapaxes(rotation, -1, -2)
        return means.astype("float32"), np.linalg.cholesky(covariance).astype("float32")

    def call(self) -> Distribution:
        means, triangles = self._parts()
        components = tfd.MultivariateNormalTriL(means, triangles)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(len(means))), components)

    def check_classes(self, num_classes: int) -> None:
        """Raises a `ValueError` unless the prior can be divided among `num_classes` classes."""
        if not 1 <= num_classes <= self.components:
            raise ValueError(
                f"prior: {self.name} has {self.components} components, so it can be divided among as many classes at "
                f"most; received {num_classes}."
            )

    def draw(self, rows: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws `(rows, 2)` codes; unlike samples of the mixture, without one of every component for each row."""
        where, noise = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        return self._at(sampling.integers([rows], where, self.components), noise)

    def draw_labelled(self, labels: tf.Tensor, num_classes: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws a code of each label's class, `(B, 2)`, or of the whole prior where the label is -1.

        Class k has the k-th of `num_classes` equally long stretches of the components.
        """
        where, noise = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        first, length = self._stretches(num_classes)
        row = tf.where(labels < 0, num_classes, tf.cast(labels, tf.int32))
        steps = sampling.integers(tf.shape(row), where, tf.gather(np.append(length, self.components), row))
        return self._at(tf.gather(np.append(first, 0).astype("int32"), row) + steps, noise)

    def labels_of(self, z: ArrayLike, num_classes: int) -> np.ndarray:
        """The class whose stretch of components is likeliest at each code z `(N, 2)`: `(N,)` int64.

        Raises:
            ValueError: if the prior cannot be divided among so many classes.
        """
        self.check_classes(num_classes)
        means, triangles = self._parts()
        densities = tfd.MultivariateNormalTriL(means, triangles).log_prob(np.asarray(z, "float32")[:, None])
        last = np.cumsum(self._stretches(num_classes)[1])
        return np.searchsorted(last, np.argmax(densities, axis=1), side="right")

    def _stretches(self, num_classes):
        """The first component of each class, and their number: `(K,)` each."""
        edges = np.arange(num_classes + 1) * self.components // num_classes
        return edges[:-1], np.diff(edges)

    def _at(self, component, seed):
        means, triangles = self._parts()
        e = sampling.normal([tf.shape(component)[0], 2], seed)
        z = tf.gather(means, component) + tf.linalg.matvec(tf.gather(triangles, component), e)
        return tf.ensure_shape(z, [None, 2])


@keras.saving.register_keras_serializable("keras_ae")
class Ring(_Planar):
    """Gaussians on a circle of radius 4, elongated along the radius. Two-dimensional codes only.

        p(z) = 1/K sum_k N(z; 4 u_k, diag(1, 0.25)^2 in the axes of u_k),    u_k at angle 2 pi k / K

    With labels, class k has component k.

    Args:
        latent_dim: int, 2.
        components: int, K; ten in the paper.

    Raises:
        ValueError: if `latent_dim` is not 2, or `components` is not a positive integer.

    Example: `vae = ka.VAE(encoder, decoder, prior="ring")`

    Source: Makhzani 2015, figure 4, read off the plot. See also: `SwissRoll`, a single spiral; `AAE`, whose critic may
    see labels.
    """

    radius = 4.0
    scales = (1.0, 0.25)

    def __init__(self, latent_dim: int = 2, components: int = 10, **kwargs: Any) -> None:
        super().__init__(latent_dim, **kwargs)
        self.components = validation.positive_int("components", components)

    def check_classes(self, num_classes: int) -> None:
        if num_classes != self.components:
            raise ValueError(
                f"prior: {self.name} has {self.components} components, one for each class; received {num_classes} "
                f"classes. Pass prior=ka.priors.Ring(components={num_classes})."
            )

    def _shape(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        angles = 2 * np.pi * np.arange(self.components) / self.components
        means = self.radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        return angles, means, np.tile(self.scales, (self.components, 1))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components}


@keras.saving.register_keras_serializable("keras_ae")
class SwissRoll(_Planar):
    """A spiral of nearly two turns, uniform along its length, with normal noise across it. Two-dimensional codes only.

        p(z) = 1/200 sum_k N(z; z(t_k), C_k),    z(t) = 5 t (cos 4 pi t, sin 4 pi t),    t from 0.1 to 1

    The t_k are evenly spaced along the spiral. The scales of C_k are half that spacing along it and 0.1 across it. With
    labels, each class has an equally long stretch of the spiral; the first is the innermost.

    Raises:
        ValueError: if `latent_dim` is not 2.

    Example: `vae = ka.VAE(encoder, decoder, prior="swiss_roll")`

    Source: Makhzani 2015, figure 4. See also: `Ring`, ten separate clusters; `AAE`, whose critic may see labels.
    """

    components = 200
    radius = 5.0
    turns = 2
    width = 0.1

    def _shape(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        fine = np.linspace(0.1, 1.0, 20_000)
        phase = 2 * np.pi * self.turns * fine
        curve = self.radius * fine[:, None] * np.stack([np.cos(phase), np.sin(phase)], -1)
        steps = np.diff(curve, axis=0)
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=-1))])
        spacing = length[-1] / self.components
        at = np.searchsorted(length[:-1], (np.arange(self.components) + 0.5) * spacing)
        at = np.minimum(at, len(steps) - 1)
        angles = np.arctan2(steps[at, 1], steps[at, 0])
        return angles, curve[at], np.tile([spacing / 2, self.width], (self.components, 1))


@keras.saving.register_keras_serializable("keras_ae")
class LearnedMixture(Prior):
    """A mixture of Gaussians whose weights, means and scales are trained with the model.

        p(z) = sum_k w_k N(z; m_k, diag(s_k)^2)

    Initialised to Gaussians of scale 1 around draws from the standard normal. The KL is a Monte Carlo estimate.

    Args:
        latent_dim: int, D.
        components: int, K.

    Raises:
        ValueError: if a size is not a positive integer.

    Example: `vae = ka.VAE(encoder, decoder, prior=ka.priors.LearnedMixture(32, components=20))`

    Source: Dilokthanakul 2016, section 3, without the network for the labels. See also: `VampPrior`, whose components
    are the model's own posteriors.
    """

    def __init__(self, latent_dim: int, components: int = 10, **kwargs: Any) -> None:
        super().__init__(latent_dim, **kwargs)
        self.components = validation.positive_int("components", components)
        shape = (self.components, latent_dim)
        self.logits = self.add_weight(shape=(self.components,), initializer="zeros", name="logits")
        self.means = self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0), name="means")
        # softplus(0.5413) = 1, the scale of the standard normal.
        self.raw_scales = self.add_weight(
            shape=shape, initializer=keras.initializers.Constant(0.5413), name="raw_scales"
        )

    def call(self) -> Distribution:
        components = tfd.MultivariateNormalDiag(tf.convert_to_tensor(self.means), positive(self.raw_scales))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.convert_to_tensor(self.logits)), components)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"components": self.components}


@keras.saving.register_keras_serializable("keras_ae")
class VampPrior(Prior):
    """A mixture of the model's own posteriors at learned pseudo-inputs.

        p(z) = 1/K sum_k q(z | u_k),    u_k = low + (high - low) v_k

    v_k are the weights `pseudo_inputs`, constrained to [0, 1]; low and high are the likelihood's range of x. If the
    range has no upper bound, u_k = v_k. The prior uses the model's own encoder: the model binds the prior to it, and
    saves the encoder once. Each training step runs K more rows through the encoder in inference mode: no dropout, and
    batch normalisation uses its moving averages. The KL is a Monte Carlo estimate.

    Args:
        latent_dim: int, D.
        input_shape: shape of one x.
        components: int, K.
        initial: `(K, *input_shape)` initial pseudo-inputs in x's own range, such as rows of the training set; None for
            uniform noise. Not saved: a loaded model has the learned pseudo-inputs.

    Raises:
        ValueError: if a size is not a positive integer, or `initial` is not finite or has another shape. When a model
            binds the prior: if x has another shape, `initial` is out of x's range, or the prior already belongs to
            another model. When the prior is called: if it is not bound to a model.

    Example:

        prior = ka.priors.VampPrior(32, (28, 28, 1), components=500, initial=x_train[:500])
        vae = ka.VAE(encoder, decoder, prior=prior)

    Source: Tomczak & Welling 2018, section 3. See also: `LearnedMixture`, with free components.
    """

    def __init__(
        self,
        latent_dim: int,
        input_shape: Sequence[int],
        components: int = 50,
        initial: ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        self.components = validation.positive_int("components", components)
        self.event_shape = tuple(validation.positive_int("input_shape", size) for size in input_shape)
        shape = (self.components, *self.event_shape)
        if initial is not None:
            initial = np.asarray(initial)
            if initial.shape != shape:
                raise ValueError(f"initial: expected shape {shape}, received {initial.shape}.")
            validation.check_array("initial", initial, self.event_shape, None)
        self._initial = initial
        self._low: Any = None  # the range of x once a model binds the prior; None where unbounded
        self._high: Any = None
        self._posterior_of: Callable[..., Distribution] | None = None
        self.pseudo_inputs = self.add_weight(
            shape=shape,
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            constraint=self._into_range,
            name="pseudo_inputs",
        )
        if initial is not None:
            self.pseudo_inputs.assign(initial)

    def bind(
        self,
        posterior: Callable[..., Distribution],
        likelihood: Likelihood,
        event_shape: Shape | None,
    ) -> None:
        """Binds the model's function from x to q(z|x), its likelihood, for the range of x, and x's shape or None."""
        if self._posterior_of == posterior:
            return
        if self._posterior_of is not None:
            raise ValueError("prior: this VampPrior already belongs to another model. Make one for each model.")
        if event_shape and not validation.fits(self.event_shape, event_shape):
            raise ValueError(
                f"prior: expected input_shape={event_shape}, as in the encoder; received {self.event_shape}."
            )
        self._posterior_of, self._low, self._high = posterior, likelihood.low, likelihood.high
        if self._initial is not None:
            validation.check_array("initial", self._initial, self.event_shape, likelihood)
            if self._high is not None:
                self.pseudo_inputs.assign((self._initial - self._low) / (self._high - self._low))

    def call(self) -> Distribution:
        if self._posterior_of is None:
            raise ValueError(
                "prior: a VampPrior is a mixture of a model's posteriors. Pass it to a model first: VAE(prior=prior)."
            )
        u = tf.convert_to_tensor(self.pseudo_inputs)
        if self._high is not None:
            u = self._low + (self._high - self._low) * u
        q = self._posterior_of(u)
        if q.event_shape[-1] != self.latent_dim:
            raise ValueError(
                f"prior: expected latent_dim={q.event_shape[-1]}, as in the encoder; received {self.latent_dim}."
            )
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(self.components)), q)

    def _into_range(self, values):
        # Projects after each step: with the paper's hard tanh, values that leave the range get no gradient.
        if self._low is None:
            return values
        return tf.maximum(values, self._low) if self._high is None else tf.clip_by_value(values, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"input_shape": self.event_shape, "components": self.components}


@keras.saving.register_keras_serializable("keras_ae")
class NormalWeights(keras.regularizers.Regularizer):
    """A normal prior over a network's weights, for maximum a posteriori instead of maximum likelihood weights.

        log p(w, X) >= N/M sum_b ELBO_b + sum_w log N(w; 0, scale^2) + constant,    b the rows of a batch of M
        regularizer(w) = sum_w w^2 / (2 scale^2 N)

    A model's loss is the mean over the batch, so -N times the loss with this regularizer is the estimate above, up to
    the constant. Its mean over batches is the bound for all N rows, with the data and the prior correctly weighted.

    Args:
        rows: int, number of training rows (N).
        scale: float, the prior's standard deviation.

    Raises:
        ValueError: if `rows` is not a positive integer, or `scale` not a positive number.

    Example: `ka.networks.mlp_encoder((28, 28, 1), 32, parameters=2, kernel_regularizer=NormalWeights(60_000))`

    Source: Kingma & Welling 2014, equation 8, and appendix F for a prior over weights. See also:
    `keras.regularizers.L2`, the same function, whose factor is not a prior's scale.
    """

    def __init__(self, rows: int, scale: float = 1.0) -> None:
        self.rows, self.scale = validation.positive_int("rows", rows), validation.non_negative("scale", scale)
        if not self.scale:
            raise ValueError("scale: expected a number above 0, received 0.")

    def __call__(self, w):
        return keras.ops.sum(w**2) / (2 * self.scale**2 * self.rows)

    def get_config(self) -> dict[str, Any]:
        return {"rows": self.rows, "scale": self.scale}


class StyleAndLabel:
    """A style and a one-hot label side by side, as a function without arguments that returns the distribution.

        p([z | y]) = p(z) / K,    z ~ p(z),    y one of K unit vectors

    Args:
        style: prior of z, as returned by `get`, event `(D,)`.
        num_classes: int, K.

    Example: `StyleAndLabel(get("normal", 2), 10)().sample(16)    # (16, 12)`

    Source: Makhzani 2015, section 5. See also: `posteriors.StyleAndLabel`, codes of the same form.
    """

    name = "style_and_label"

    def __init__(self, style: PriorSource, num_classes: int) -> None:
        self.style, self.num_classes = style, num_classes

    def __call__(self) -> Distribution:
        label = tfd.OneHotCategorical(logits=tf.zeros(self.num_classes), dtype=tf.float32)
        return tfd.Blockwise([distribution(self.style), label])


class AroundHeads:
    """Standard normals around the heads of clusters, as a function without arguments that returns the distribution.

        p(z) = 1/K sum_k N(z; W_k, I)

    Args:
        heads: Keras variable W, `(K, D)`; the distribution follows its current value.

    Example: `AroundHeads(keras.Variable(tf.eye(2)))().sample(16)    # (16, 2)`

    Source: Makhzani 2015, section 7. See also: `posteriors.ClusterHeads`, which has the heads; `LearnedMixture`.
    """

    name = "around_heads"

    def __init__(self, heads: keras.Variable) -> None:
        self.heads = heads

    def __call__(self) -> Distribution:
        components = tfd.MultivariateNormalDiag(tf.convert_to_tensor(self.heads))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(self.heads.shape[0])), components)


NAMES = {
    "normal": Normal,
    "bernoulli": UniformBernoulli,
    "uniform": Uniform,
    "ring": Ring,
    "swiss_roll": SwissRoll,
    "mixture": LearnedMixture,
}


def get(prior: PriorLike | None, code_shape: Size | None) -> PriorSource:
    """The prior as `distribution` takes it, a layer or a function, for None (the standard normal), a name or a tfd.

    `code_shape` is a tuple, an int for vectors, or None if the networks are not built yet; names then raise an error.

    Raises:
        ValueError: for an unknown name, an object that is none of these, or an event shape other than the codes'.

    Example: `distribution(get("mixture", 8)).sample(16)    # (16, 8)`

    See also: `NAMES`; `distribution`; `posteriors.get`, q(z|x).
    """
    code_shape = (code_shape,) if isinstance(code_shape, int) else code_shape
    if prior is None:
        prior = "normal"
    if isinstance(prior, str) and prior in NAMES:
        if code_shape is None:
            raise ValueError(f"prior={prior!r} needs the code size: start the encoder or decoder with a keras.Input.")
        return NAMES[prior](code_shape[0] if len(code_shape) == 1 else code_shape)
    if isinstance(prior, tfd.Distribution):
        if prior.trainable_variables:
            warnings.warn(
                f"prior: training does not update the variables of {prior.name}, only those of Keras layers, such as "
                "keras_ae.priors.LearnedMixture.",
                stacklevel=2,
            )
        _check_event(prior, code_shape)
        return lambda: prior
    if callable(prior):
        if isinstance(prior, keras.layers.Layer) and not prior.built:
            prior.build((None, *(code_shape or ())))
        _check_event(distribution(prior), code_shape)
        return prior
    raise ValueError(
        f"Unknown prior {prior!r}: expected None, one of {', '.join(NAMES)}, a tfp.distributions object, or a callable "
        "without arguments that returns one."
    )


def distribution(prior: PriorSource) -> Distribution:
    """The current distribution of a prior, as returned by `get`.

    Example: `distribution(get(None, 8))    # the standard normal of 8 dimensions`
    """
    return prior.call() if isinstance(prior, keras.layers.Layer) else prior()


def draw(prior: PriorSource, rows: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws codes `(rows, *code_shape)` of a prior, as returned by `get`, determined by the int32 seed `(2,)`.

    Example: `draw(get("ring", 2), 16, tf.constant([0, 1]))    # (16, 2)`

    See also: `distribution`, for samples of another shape.
    """
    own = getattr(prior, "draw", None)
    return sampling.draw(distribution(prior), rows, seed) if own is None else own(rows, seed)


def check_can_be_sampled(prior: PriorSource) -> None:
    """Checks that codes can be drawn from a prior, as returned by `get`, and that training does not change it.

    Raises:
        ValueError: if its distribution has no samples, or samples with NaN, or if it has weights to train.

    Example: `check_can_be_sampled(get("uniform", 8))`

    See also: `check_covers_gaussians`, for models that need its density.
    """
    if getattr(prior, "trainable_variables", None):
        raise ValueError(
            f"prior: {prior.name} has weights, which no player trains: a critic pulls the codes to the prior, not the "  # type: ignore[union-attr]
            "prior to the codes. Expected a fixed distribution, such as 'normal' or 'ring'."
        )
    try:
        fine = np.isfinite(draw(prior, 2, tf.constant([0, 1]))).all()
    except NotImplementedError as error:
        raise ValueError(
            f"prior: {distribution(prior).name} cannot be sampled, but a critic compares codes with its samples. "
            "Expected a distribution whose `sample` works."
        ) from error
    if not fine:
        raise ValueError(f"prior: the samples of {distribution(prior).name} contain NaN or infinity.")


def check_classes(prior: PriorSource, num_classes: int) -> None:
    """Checks that a prior, as returned by `get`, has a part for each of `num_classes` classes.

    Raises:
        ValueError: if it has no classes, or another number of them.

    Example: `check_classes(get("ring", 2), 10)`

    See also: `Ring` and `SwissRoll`, which have.
    """
    check = getattr(prior, "check_classes", None)
    if check is None:
        raise ValueError(
            f"prior: {getattr(prior, 'name', prior)} has no part for each class. Expected 'ring', 'swiss_roll', or a "
            "layer with their methods check_classes and draw_labelled."
        )
    check(num_classes)


def _check_event(prior, code_shape):
    if code_shape is not None and prior.event_shape != tf.TensorShape(code_shape):
        raise ValueError(
            f"prior: expected a distribution over the codes that encoder and decoder share, event shape "
            f"{tuple(code_shape)}; received {prior}."
        )
    if prior.dtype != tf.float32 or prior.batch_shape.rank:
        raise ValueError(f"prior: expected one float32 distribution, without a batch axis; received {prior}.")


def check_covers_bits(prior: Distribution) -> None:
    """Checks that `prior` is a distribution over bits: samples are 0 or 1, and both can occur.

    Raises:
        ValueError: if it is not.

    Example: `check_covers_bits(UniformBernoulli(8).call())`

    See also: `check_covers_gaussians`, for codes of real numbers.
    """
    ends = [prior.log_prob(tf.fill(prior.event_shape, tf.cast(bit, prior.dtype))) for bit in (0, 1)]
    bits = np.isin(prior.sample(8, seed=0), (0.0, 1.0)).all()
    if prior.dtype != tf.float32 or not bits or not np.isfinite(ends).all():
        raise ValueError(
            f"prior: expected a distribution over float32 bits, such as keras_ae.priors.BernoulliMixture; received "
            f"{prior}."
        )


def _gives_whole_numbers(prior):
    try:
        z = np.asarray(prior.sample(64, seed=0))
    except NotImplementedError:  # training only needs the density
        return False
    return np.all(z == np.round(z)) and np.abs(z).max() < 1 << 23  # beyond 2^23, every float32 is an integer


# Densities over spaces other than R^D whose log_prob may still be finite far from the origin.
_ELSEWHERE = (tfd.VonMises, tfd.VonMisesFisher, tfd.SphericalUniform, tfd.PowerSpherical, tfd.Dirichlet)


def check_covers_gaussians(prior: Distribution) -> None:
    """Checks that `prior` has a density on R^D; otherwise a Gaussian posterior's KL is undefined or infinite.

    Raises:
        ValueError: if it has none.

    Example: `check_covers_gaussians(Normal(8).call())`

    See also: `check_covers_bits`, for codes of bits.
    """
    if any(isinstance(each, _ELSEWHERE) for each in parts(prior)) or _gives_whole_numbers(prior):
        raise ValueError(f"prior: expected a density over all real codes; received {prior}.")
    far = [prior.log_prob(tf.fill(prior.event_shape, edge)) for edge in (-100.0, 100.0)]
    if not np.isfinite(far).all():
        raise ValueError(
            f"prior: {prior.name} has no mass outside its support, so a Gaussian posterior's KL to it is infinite. "
            "Expected a prior with a density everywhere; match a bounded one with samples (MMD or a critic) instead."
        )
