"""What models with a critic of codes share: its options and losses, samples of the prior, and checks of the critic."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import priors, sampling
from keras_ae.losses import adversarial
from keras_ae.losses.adversarial import per_row
from keras_ae.losses.mmd import median, mmd, squared_distances
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Network, Shape
from keras_ae.utils import validation

# Draws of the prior whose distances give the bandwidth of a kernel.
_DRAWS = 512


class CriticModel(LatentModel):
    """Base class of models whose codes a critic compares with samples of the prior.

        critic:     discrimination(real, fake) = the adversary's loss of both scores, which the critic lowers
        generator:  deception(fake) = the adversary's loss of the scores of codes, which the encoder lowers
        both see codes with instance noise, z + s e,    e ~ N(0, I)

    Args:
        *args: as in `LatentModel`.
        adversary: str, a name in `losses.adversarial.NAMES`.
        smoothing: float, one-sided label smoothing of the critic's targets, see `losses.adversarial`.
        instance_noise: float, s; 0 adds none, and cannot be changed.
        critic_steps: int, updates of the critic per step.
        **kwargs: as in `LatentModel`.

    Raises:
        ValueError: if an option is unknown or out of range, or the prior cannot be sampled or has weights.

    Source: Goodfellow 2014, algorithm 1; Sonderby 2017, section 3.2, for noise on both sides. See also: `AAE`, `WAE`
    and `SemiSupervisedAAE`, which are such models; `AVB` and `FactorVAE`, whose critics estimate a ratio of densities
    and so have no options.
    """

    instance_noise = TermWeight()
    """float, the argument `instance_noise`; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        *args: Any,
        adversary: str = "cross_entropy",
        smoothing: float = 0.0,
        instance_noise: float = 0.0,
        critic_steps: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.critic_steps = validation.positive_int("critic_steps", critic_steps)
        self._adversary = adversarial.get(adversary, smoothing)
        self._instance_noise = CriticModel.instance_noise.variable(self, instance_noise) if instance_noise else None
        check_prior(self)

    def discrimination(
        self, critic: Network, real: tf.Tensor, fake: tf.Tensor, given: Sequence[tf.Tensor] = (), *, training: bool
    ) -> tf.Tensor:
        """The critic's loss of real and fake codes: `(B,)`. What is given goes with either."""
        pair = scores(critic, self._noisy(real), self._noisy(fake), given, training=training)
        return per_row(self._adversary.critic(*pair))

    def deception(
        self, critic: Network, fake: tf.Tensor, given: Sequence[tf.Tensor] = (), *, training: bool
    ) -> tf.Tensor:
        """The loss of the network that made fake codes: `(B,)`."""
        return per_row(self._adversary.generator(score(critic, self._noisy(fake), given, training=training)))

    def _noisy(self, z):
        if self._instance_noise is None:
            return z
        return z + tf.convert_to_tensor(self._instance_noise) * sampling.normal(tf.shape(z), self.next_seed())


def prior_of(model: keras.Model) -> priors.PriorSource:
    """The model's prior as a layer or a function, see `priors.get`.

    Example: `priors.distribution(prior_of(vae)).event_shape    # (4,)`
    """
    return priors.get(model._prior, model.code_shape)


def check_prior(model: keras.Model) -> None:
    """Raises a `ValueError` unless the prior can be sampled and is fixed; checked once the code's size is known.

    Example: `check_prior(vae)`

    See also: `priors.check_can_be_sampled`.
    """
    if model.code_shape is not None:
        priors.check_can_be_sampled(prior_of(model))


def check_critic(name: str, critic: Network, z: Shape | None, given: Shape | None = None) -> None:
    """Raises a `ValueError` unless a critic takes codes of shape z, and what is given with them, if anything.

    A shape that is None, and networks without a `keras.Input`, are not checked.

    Example: `check_critic("critic", ka.networks.code_critic(4, (16,)), (4,))`
    """
    validation.check_network(name, critic)
    shapes = validation.input_shapes(critic)
    if shapes is None or z is None:
        return
    expected = [tuple(shape) for shape in (z, given) if shape is not None]
    if len(shapes) != len(expected) or not all(map(validation.fits, shapes, expected)):
        raise ValueError(
            f"{name}: expected a network with inputs of shape {', '.join(map(str, expected))}, one for codes"
            f"{' and one for what is given with them' if given is not None else ''}; received "
            f"{', '.join(map(str, shapes))}."
        )


def classes_seen(critic: Network) -> int:
    """The number of classes K that a critic of codes and labels sees; a label has K + 1 entries, the last for none.

    Raises:
        ValueError: if the critic has no second input of known size.

    Example: `classes_seen(ka.networks.code_critic(2, (16,), condition_shape=(11,)))    # 10`
    """
    shapes = validation.input_shapes(critic)
    entries = shapes[1][-1] if shapes is not None and len(shapes) == 2 else None
    if entries is None or entries < 2:
        raise ValueError(
            "critic: with label_critic, expected a network of codes and of a label with one entry for each class and "
            "one for no label, each a keras.Input: ka.networks.code_critic(latent_dim, condition_shape=(num_classes + "
            f"1,)); received inputs of shape {shapes}."
        )
    return entries - 1


def width_of(name: str, network: Network) -> int:
    """The size of a network's output.

    Raises:
        ValueError: if it is not known before the network is called.

    Example: `width_of("encoder", ka.networks.mlp_encoder((784,), 12, (16,)))    # 12`
    """
    shape = validation.static_shape(network, "output_shape")
    if shape is None or shape[-1] is None:
        raise ValueError(f"{name}: expected a network with a keras.Input, so that the size of its output is known.")
    return shape[-1]


def draw_prior(model: keras.Model, rows: int | tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
    """Draws codes from the model's prior with its next seed: `(rows, *code_shape)`.

    With labels `(rows,)`, each code is of its label's class, or of any class if the label is -1.

    Example: `draw_prior(vae, 16)    # (16, 4)`
    """
    prior: Any = prior_of(model)
    if labels is not None:
        return prior.draw_labelled(labels, model.num_classes, model.next_seed())
    return priors.draw(prior, rows, model.next_seed())


def scores(
    critic: Network, real: tf.Tensor, fake: tf.Tensor, given: Sequence[tf.Tensor] = (), *, training: bool
) -> list[tf.Tensor]:
    """Scores of real and of fake codes, `(B, ...)` float32 each, in one pass over both.

    Args:
        critic: network of codes, or of a list of codes and what is given.
        real, fake: `(B, ...)`; the gradient does not reach the network that made them.
        given: tensors `(B, ...)` that go with either.
        training: bool.

    Example: `real, fake = scores(ka.networks.code_critic(2, (16,)), tf.ones([4, 2]), tf.zeros([4, 2]), training=True)`
    """
    both = tf.stop_gradient(tf.concat([real, fake], axis=0))
    given = [tf.concat([each, each], axis=0) for each in given]
    return tf.split(score(critic, both, given, training=training), 2)


def score(critic: Network, z: tf.Tensor, given: Sequence[tf.Tensor] = (), *, training: bool) -> tf.Tensor:
    """Scores of codes z, float32 `(B, ...)`; other arguments as in `scores`.

    Example: `score(ka.networks.code_critic(2, (16,)), tf.zeros([4, 2]), training=False)    # (4, 1)`
    """
    return tf.cast(critic([z, *given] if given else z, training=training), tf.float32)


def bandwidth(model: keras.Model, value: float | None) -> float:
    """The bandwidth of a kernel for the model's codes: the value, or the median |p - p'|^2 over draws of the prior.

    Raises:
        ValueError: if the value is not a positive number.

    Example: `bandwidth(vae, None)    # about 6.7, the median of 2 chi^2 with four degrees of freedom`

    Source: Gretton 2012, section 8, for the median.
    """
    if value is None:
        p = tf.reshape(priors.draw(prior_of(model), _DRAWS, tf.constant([0, 1])), [_DRAWS, -1])
        return float(median(tf.boolean_mask(squared_distances(p, p), ~tf.eye(_DRAWS, dtype=tf.bool))))
    value = validation.non_negative("bandwidth", value)
    if not value:
        raise ValueError("bandwidth: expected a number above 0, received 0.")
    return value


def mmd_to_prior(model: keras.Model, z: tf.Tensor) -> tf.Tensor:
    """The squared maximum mean discrepancy between codes z `(B, ...)` and as many samples of the model's prior.

    The kernel and its bandwidth are the model's. See also: `losses.mmd.mmd`.
    """
    p = draw_prior(model, tf.shape(z)[0])
    z, p = (tf.reshape(each, [tf.shape(z)[0], math.prod(model.code_shape)]) for each in (z, p))
    return mmd(z, p, kernel=model.kernel, bandwidth=model.bandwidth)
