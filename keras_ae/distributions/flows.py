"""Densities by change of variables: masked autoregressive flows, and a model that trains a density."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import priors
from keras_ae.layers.made import MADE
from keras_ae.training import Objective, ObjectiveModel
from keras_ae.typing import Activation, Distribution, Rows, Terms
from keras_ae.utils import validation

tfb = tfp.bijectors
tfd = tfp.distributions

# Each step of `Flow` scales by at most e^3, so densities stay finite far from the data, where the network extrapolates.
LOG_SCALE_BOUND = 3.0


@keras.saving.register_keras_serializable("keras_ae")
class Flow(priors.Prior):
    """A masked autoregressive flow: a learned density of codes with exact `log_prob` and samples.

        u_i = (z_i - m_i(z_<i)) exp(-s_i(z_<i)),    log p(z) = log N(u; 0, I) - sum_i s_i,    s = 3 tanh(raw / 3)

    The flow chains `steps` such maps, alternating the order of the dimensions: first to last, last to first. It is
    initialised to the standard normal. `log_prob` takes one pass through the networks, sampling takes latent_dim
    passes.

    Use it as a prior trained with the model, `VAE(prior=Flow(latent_dim))`. `samplers.FlowSampler` uses it as a
    density.

    Args:
        latent_dim: int, D.
        steps: int, number of maps.
        hidden: ints, units of the hidden layers of each map's `MADE`.
        activation: Keras activation of the hidden layers.

    Raises:
        ValueError: if a size is not a positive integer.

    Example:

        flow = Flow(2)
        flow.call().log_prob(z)        # (B,) nats for z (B, 2)
        flow.call().sample(16)         # (16, 2)

    Source: Papamakarios 2017, equations 2 to 5. See also: `posteriors.InverseAutoregressive`, the inverse map, which
    samples fast; `priors.LearnedMixture`, a density without networks.
    """

    def __init__(
        self,
        latent_dim: int,
        steps: int = 4,
        hidden: Sequence[int] = (64, 64),
        activation: Activation = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        steps = validation.positive_int("steps", steps)
        self.hidden, self.activation = tuple(hidden), activation
        self.steps = [MADE(latent_dim, hidden, reverse=i % 2 == 1, activation=activation) for i in range(steps)]

    def call(self) -> Distribution:
        maps = [tfb.MaskedAutoregressiveFlow(lambda z, step=step: _shift_and_log_scale(step, z)) for step in self.steps]
        base = tfd.MultivariateNormalDiag(tf.zeros(self.latent_dim), tf.ones(self.latent_dim))
        return tfd.TransformedDistribution(base, tfb.Chain(maps), name="flow")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"steps": len(self.steps), "hidden": self.hidden, "activation": self.activation}


def _shift_and_log_scale(step, z):
    shift, raw = tf.unstack(step(z), axis=-1)
    return shift, LOG_SCALE_BOUND * tf.tanh(raw / LOG_SCALE_BOUND)


@keras.saving.register_keras_serializable("keras_ae")
class Density(ObjectiveModel):
    """A standalone density, trained by maximum likelihood.

        nll = -log p(z)

    Args:
        density: Keras layer whose `call` takes no inputs and returns a tfd, such as `Flow` or `priors.LearnedMixture`.
        seed: int or None, seeds all randomness in training.

    Raises:
        ValueError: if `density` is not a Keras layer, or the data are not finite rows of its event shape.

    Example:

        model = Density(Flow(2))
        model.compile("adam")
        model.fit(z, epochs=50)    # z (N, 2)
        model.predict(z)           # (N,) nats: log p(z)

    Source: Papamakarios 2017, who train flows in this way. See also: `samplers.FlowSampler`, which fits one to a
    model's codes; `priors`, trained together with a model.
    """

    terms: tuple[str, ...] = ("nll",)

    def __init__(self, density: keras.layers.Layer, *, seed: int | None = None, **kwargs: Any) -> None:
        if not isinstance(density, keras.layers.Layer):
            raise ValueError(
                f"density: expected a Keras layer that returns a tfd, such as Flow(2); received {density!r}."
            )
        super().__init__(seed=seed, **kwargs)
        self.density = density

    def objectives(self) -> dict[str, Objective]:
        return {"density": Objective(self.fit_density, [self.density])}

    def fit_density(self, z: tf.Tensor, y: Any, training: bool) -> Terms:
        """The loss term of one batch of codes z `(B, D)`: `{"nll": (B,)}` nats."""
        return {"nll": -self.call(z)}

    def call(self, z: tf.Tensor) -> tf.Tensor:
        return self.density.call().log_prob(tf.cast(z, tf.float32))

    def check_x(self, x: Rows, name: str = "x") -> None:
        validation.check_array(name, x, tuple(self.density.call().event_shape), None)
