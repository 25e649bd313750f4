"""M1+M2: a semi-supervised model trained on the codes of a VAE."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_ae.distributions import sampling
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.models.variational.m2 import M2
from keras_ae.models.variational.vae import VAE
from keras_ae.training import Objective, roles
from keras_ae.training.model import by_averages
from keras_ae.typing import Distribution, Rows, Terms
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class M1M2(LatentModel):
    """An `M2` trained on codes that are sampled at every step from the posterior of a trained, frozen `M1`.

        p(x, y, z_2, z_1) = p(y) p(z_2) p(z_1|y, z_2) p(x|z_1)
        z_1 ~ q(z_1|x) of M1;    the loss terms are those of M2 on z_1 and y

    After training, codes are M2's posterior means, given M1's posterior means. There is no `log_prob`: a bound on
    log p(x|y) needs z_1 drawn given y, but M1's posterior does not depend on y.

    Args:
        m1: trained `M1` or `VAE` of x.
        m2: `M2` of M1's codes, with a Gaussian likelihood.
        units: ints, the dimensions of M1's code that M2 receives, such as `m1.units(x)`; None for all. In decoding, the
            others are set to 0, the mean of a standard normal prior.

    `m2`'s seed seeds all randomness in training. In `fit(x, y)`, y are integer labels `(B,)`, -1 where unknown.

    Raises:
        ValueError: if `m1` or `m2` has the wrong type, the width of M2's input is not the number of units, M2's
            likelihood does not cover all real codes, a unit does not exist, labels are out of range, or no row is
            labelled.

    Example:

        units = m1.units(x)
        encoder = ka.networks.mlp_encoder((len(units),), 50, (500,), parameters=2, condition_shape=(10,))
        decoder = ka.networks.mlp_decoder(50, (len(units),), (500,), parameters=2, condition_shape=(10,))
        classifier = ka.networks.mlp_encoder((len(units),), 10, (500,))
        m2 = ka.M2(encoder, decoder, classifier, num_classes=10, likelihood="gaussian_per_dimension")
        model = ka.M1M2(m1, m2, units)
        model.compile("adam")
        model.fit(ka.datasets.semi_supervised(x, y, batch_size=200, labelled=100, num_classes=10), epochs=100)
        model.predict_proba(x_test)    # (B, 10)

    Source: Kingma 2014, section 2.3. See also: `M2`, on x itself.
    """

    def __init__(self, m1: VAE, m2: M2, units: ArrayLike | None = None, **kwargs: Any) -> None:
        if not isinstance(m1, VAE) or m1.conditional:
            raise ValueError(f"m1: expected an M1 or an unconditional VAE; received {type(m1).__name__}.")
        if not isinstance(m2, M2):
            raise ValueError(f"m2: expected an M2, which sums over labels; received {type(m2).__name__}.")
        validation.refuse(kwargs, {"seed"}, "M1M2", "it uses M2's seed")
        role = roles.PartialLabel(m2.num_classes, m2.y_role.classes)
        super().__init__(m1.encoder, m1.decoder, m1._likelihood, m1._posterior, y_role=role, **kwargs)
        self.m1, self.m2, self._prior = m1, m2, m2._prior
        self.units = list(range(m1.latent_dim)) if units is None else np.asarray(units).tolist()
        if len(set(self.units)) < len(self.units) or any(not _is_unit(unit, m1.latent_dim) for unit in self.units):
            raise ValueError(
                f"units: expected distinct dimensions of M1's code, from 0 to {m1.latent_dim - 1}; received "
                f"{self.units}."
            )
        if m2.event_shape != (len(self.units),):
            raise ValueError(
                f"m2: expected a model for {len(self.units)} units of M1's code; received one for rows of shape "
                f"{m2.event_shape}."
            )
        if m2._likelihood.low is not None or m2._likelihood.levels:
            raise ValueError(
                f"m2: expected a likelihood of real numbers, such as 'gaussian_per_dimension', for M1's codes; "
                f"received {m2._likelihood.name}."
            )
        self.terms = m2.terms

    def objectives(self) -> dict[str, Objective]:
        return {"autoencoder": Objective(self.loss_terms, self.m2.networks, self.m2.term_weights())}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        # Both draws use one seed stream: two streams with equal seeds would give both codes the same noise.
        z = sampling.draw(self.m1.posterior(x), 1, self.m2.next_seed())[0]
        return self.m2.loss_terms(self._seen(z), y, training)

    @by_averages
    def posterior(self, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        return self.m2.posterior(self._seen(self.m1.posterior(x).mean()), y, training=training)

    @by_averages
    def likelihood(self, z: tf.Tensor, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        return self.m1.likelihood(self._whole(self.m2.likelihood(z, y, training=training).mean()))

    @by_averages
    def conditional_prior(self, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        return self.m2.conditional_prior(y, training=training)

    @property
    def networks(self) -> list[keras.layers.Layer]:
        """M2's networks, which training moves; those of M1 stay as they are."""
        return self.m2.networks

    @property
    def code_shape(self) -> tuple[int, ...] | Any:
        return self.m2.code_shape

    @property
    def parts(self) -> set[str]:
        return super().parts - {"density"}

    def _check_networks(self):
        pass  # M1 and M2 have already checked theirs

    def log_label_posterior(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """log q(y|z_1) at the mean z_1 of q(z_1|x): `(B, K)`."""
        return self.m2.log_label_posterior(self._seen(self.m1.posterior(x).mean()), training)

    @in_batches
    def sample_from_seeds(self, seeds: Rows, y: Rows | None = None) -> np.ndarray:
        """One mean of p(x|z_1), as in `sample`, for each of the int64 seeds `(B,)`."""
        return self.m1.likelihood(self._whole(self.m2.sample_from_seeds(seeds, y))).mean()

    def _seen(self, z):
        return tf.gather(z, self.units, axis=-1)

    def _whole(self, features):
        return tf.matmul(features, tf.one_hot(self.units, self.m1.latent_dim))


def _is_unit(unit, latent_dim):
    return isinstance(unit, int) and not isinstance(unit, bool) and 0 <= unit < latent_dim
