"""Densities by change of variables: masked autoregressive networks, and the flows that are made of them."""

import itertools

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae import checks, priors
from keras_ae.training import Objective, ObjectiveModel

tfb = tfp.bijectors
tfd = tfp.distributions

# A step of `Flow` scales by at most e^3: densities stay finite far outside of the data, where a network extrapolates.
LOG_SCALE_BOUND = 3.0


@keras.saving.register_keras_serializable("keras_ae")
class MADE(keras.layers.Layer):
    """A dense network whose outputs for dimension i see only the dimensions before i, and a context where there is one.

        out_i = f_i(z_1, ..., z_i-1, h),    i = 1, ..., D; with `reverse`: f_i(z_i+1, ..., z_D, h)

    Every unit has a degree, spread evenly over a layer; weights to lower degrees are masked. The output kernel starts
    at zero, so that all outputs are the constants `bias` at first.

    Args:
        latent_dim: int, D.
        hidden: ints, units of the hidden layers.
        parameters: int, outputs for each dimension.
        context: int, size of h; 0 for none.
        bias: floats `(parameters,)`, the outputs' biases at the start; None for zeros.
        reverse: bool, the order of the dimensions: last to first.
        activation: of the hidden layers, as Keras names it.

    `call(z, h)` takes z `(..., D)` and h `(..., context)`, whose leading axes broadcast, and returns
    `(..., D, parameters)`.

    Raises:
        ValueError: if a size is not a whole number in its range.

    Example: `MADE(8, context=32)(z, h)    # (..., 8, 2)`

    Source: Germain 2015, equations 8 to 13; fixed orders instead of random ones.
    """

    def __init__(
        self,
        latent_dim,
        hidden=(64, 64),
        parameters=2,
        context=0,
        bias=None,
        reverse=False,
        activation="relu",
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32"} | kwargs)
        latent_dim = checks.positive_int("latent_dim", latent_dim)
        parameters = checks.positive_int("parameters", parameters)
        hidden = [checks.positive_int("hidden", units) for units in hidden]
        if context:
            context = checks.positive_int("context", context)
        bias = [0.0] * parameters if bias is None else [float(value) for value in bias]
        if len(bias) != parameters:
            raise ValueError(f"bias: expected {parameters} numbers, one for each parameter; received {bias}.")
        self.latent_dim, self.hidden, self.parameters, self.context = latent_dim, tuple(hidden), parameters, context
        self.bias, self.reverse = bias, reverse
        self.activation = keras.activations.get(activation)
        order = np.arange(latent_dim, 0, -1) if reverse else np.arange(1, latent_dim + 1)
        # Units of degree 0 see the context alone; without one they would be constants.
        lowest = 0 if context else min(1, latent_dim - 1)
        degrees = [order] + [np.round(np.linspace(lowest, latent_dim - 1, units)) for units in self.hidden]
        self.masks = [(ins[:, None] <= outs).astype("float32") for ins, outs in itertools.pairwise(degrees)]
        last = (degrees[-1][:, None] < order).astype("float32")
        self.masks.append(np.repeat(last, parameters, axis=1))
        self.kernels, self.biases = [], []
        for i, mask in enumerate(self.masks):
            start = "zeros" if i == len(self.hidden) else "glorot_uniform"
            self.kernels.append(self.add_weight(shape=mask.shape, initializer=start, name=f"kernel_{i}"))
            self.biases.append(self.add_weight(shape=mask.shape[1:], initializer="zeros", name=f"bias_{i}"))
        self.biases[-1].assign(np.tile(bias, latent_dim))
        if context:
            start = "glorot_uniform" if self.hidden else "zeros"
            shape = (context, self.masks[0].shape[1])
            self.context_kernel = self.add_weight(shape=shape, initializer=start, name="context_kernel")
        self.built = True

    def call(self, z, h=None):
        if (h is None) != (self.context == 0):
            raise ValueError(f"context: expected {self.context or 'no'} values a row; received {h}.")
        out = z
        for i, (mask, kernel, bias) in enumerate(zip(self.masks, self.kernels, self.biases, strict=True)):
            out = tf.tensordot(out, kernel * mask, axes=1) + bias
            if i == 0 and self.context:
                out += tf.tensordot(h, tf.convert_to_tensor(self.context_kernel), axes=1)
            if i < len(self.hidden):
                out = self.activation(out)
        shape = tf.concat([tf.shape(out)[:-1], [self.latent_dim, self.parameters]], axis=0)
        return tf.ensure_shape(tf.reshape(out, shape), [*out.shape[:-1], self.latent_dim, self.parameters])

    def get_config(self):
        return super().get_config() | {
            "latent_dim": self.latent_dim,
            "hidden": self.hidden,
            "parameters": self.parameters,
            "context": self.context,
            "bias": self.bias,
            "reverse": self.reverse,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable("keras_ae")
class Flow(priors.Prior):
    """A masked autoregressive flow: a learned density of codes with exact `log_prob` and samples.

        u_i = (z_i - m_i(z_<i)) exp(-s_i(z_<i)),    log p(z) = log N(u; 0, I) - sum_i s_i,    s = 3 tanh(raw / 3)

    and so on for `steps` such maps, in turn from first to last and from last to first dimension. Starts as the standard
    normal. `log_prob` takes one pass through the networks, a sample latent_dim passes.

    A prior for `VAE(prior=Flow(latent_dim))`, learned with the model, and the density of `samplers.FlowSampler`.

    Args:
        latent_dim: int, D.
        steps: int, number of maps.
        hidden: ints, units of the hidden layers of each map's `MADE`.
        activation: of the hidden layers, as Keras names it.

    Raises:
        ValueError: if a size is not a whole number, 1 or more.

    Example:

        flow = Flow(2)
        flow.call().log_prob(z)        # (B,) nats for z (B, 2)
        flow.call().sample(16)         # (16, 2)

    Source: Papamakarios 2017, equations 2 to 5. See also: `posteriors.InverseAutoregressive`, the same map the other
    way, whose samples are fast; `priors.LearnedMixture`, a density without networks.
    """

    def __init__(self, latent_dim, steps=4, hidden=(64, 64), activation="relu", **kwargs):
        super().__init__(latent_dim, **kwargs)
        steps = checks.positive_int("steps", steps)
        self.hidden, self.activation = tuple(hidden), activation
        self.steps = [MADE(latent_dim, hidden, reverse=i % 2 == 1, activation=activation) for i in range(steps)]

    def call(self):
        maps = [tfb.MaskedAutoregressiveFlow(lambda z, step=step: _shift_and_log_scale(step, z)) for step in self.steps]
        base = tfd.MultivariateNormalDiag(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))
        return tfd.TransformedDistribution(base, tfb.Chain(maps), name="flow")

    def get_config(self):
        return super().get_config() | {"steps": len(self.steps), "hidden": self.hidden, "activation": self.activation}


def _shift_and_log_scale(step, z):
    shift, raw = tf.unstack(step(z), axis=-1)
    return shift, LOG_SCALE_BOUND * tf.tanh(raw / LOG_SCALE_BOUND)


@keras.saving.register_keras_serializable("keras_ae")
class Density(ObjectiveModel):
    """A density trained on its own, by maximum likelihood.

        nll = -log p(z)

    Args:
        density: Keras layer whose `call` has no inputs and returns a tfd, such as `Flow` or `priors.LearnedMixture`.
        seed: int or None, of all randomness in training.

    Raises:
        ValueError: if `density` is no such layer, or the data are not finite rows of its event's shape.

    Example:

        model = Density(Flow(2))
        model.compile("adam")
        model.fit(z, epochs=50)    # z (N, 2)
        model.predict(z)           # (N,) nats: log p(z)

    See also: `samplers.FlowSampler`, which fits one to the codes of a model; `priors`, learned together with a model.
    """

    terms = ("nll",)

    def __init__(self, density, *, seed=None, **kwargs):
        if not isinstance(density, keras.layers.Layer):
            raise ValueError(
                f"density: expected a Keras layer that returns a tfd, such as Flow(2); received {density!r}."
            )
        super().__init__(seed=seed, **kwargs)
        self.density = density

    def objectives(self):
        return {"density": Objective(self.fit_density, [self.density])}

    def fit_density(self, z, y, training):
        """The term of one batch of codes z `(B, D)`: `{"nll": (B,)}` nats."""
        return {"nll": -self.call(z)}

    def call(self, z):
        return self.density.call().log_prob(tf.cast(z, tf.float32))

    def check_data(self, x, y):
        if y is not None:
            raise ValueError("y: a density takes no targets. Leave y out.")
        checks.check_array("x", x, tuple(self.density.call().event_shape), None)
