"""The conditional adversarial autoencoder: the label goes into the decoder, so the code holds the style."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.models.adversarial.aae import AAE
from keras_ae.training import roles
from keras_ae.typing import Network
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class ConditionalAAE(AAE):
    """An `AAE` of p(x|y): the decoder is given a label or another condition y.

        reconstruction = -log p(x|z, y),    z ~ q(z|x)

    The critic keeps the codes of all conditions at the same prior, so that the code holds what y does not tell: the
    style. `sweep_labels` decodes each style under all labels.

    Args:
        encoder, critic: as in `AAE`; an encoder with two inputs gets `[x, condition]`.
        decoder: Keras model from `[z, condition]` to the likelihood's params.
        num_classes, classes: as in `CVAE`.
        likelihood, prior, posterior, adversary, smoothing, instance_noise, critic_steps, seed: as in `AAE`.

    Raises:
        ValueError: as in `AAE`, and if a condition is missing, out of range or of another shape.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=15)
        decoder = ka.networks.mlp_decoder(latent_dim=15, output_shape=(28, 28, 1), condition_shape=(10,))
        model = ka.ConditionalAAE(encoder, decoder, ka.networks.code_critic(15, hidden=(64,)), num_classes=10)
        model.compile("adam")
        model.fit(x_train, y_train, epochs=1)
        model.sweep_labels(model.encode(x[:4], y[:4]))    # (4, 10, 28, 28, 1)

    Source: Makhzani 2015, section 4 (supervised adversarial autoencoders). See also: `CVAE`, with a KL instead of the
    critic; `SemiSupervisedAAE`, where y is known only for some rows.
    """

    y_role = roles.Condition()

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        critic: Network,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        posterior: posteriors.PosteriorLike | None = None,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validation.refuse(kwargs, {"label_critic"}, "ConditionalAAE", "its critic must not see what the decoder knows")
        kwargs["y_role"] = roles.Condition(num_classes, classes)
        super().__init__(encoder, decoder, critic, likelihood, prior, posterior, seed=seed, **kwargs)
