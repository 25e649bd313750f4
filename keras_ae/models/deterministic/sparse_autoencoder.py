"""The sparse autoencoder: few units of the code are active for each row."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods
from keras_ae.losses import sparsity as penalties
from keras_ae.models.base.parts import needs
from keras_ae.models.deterministic.autoencoder import Autoencoder
from keras_ae.networks.chains import last_activation, layers_of
from keras_ae.training import Objective
from keras_ae.training.model import by_averages
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation

KINDS = ("l1", "kl", "k")
_BOUNDED = (keras.activations.sigmoid, keras.activations.hard_sigmoid, keras.activations.softmax)


@keras.saving.register_keras_serializable("keras_ae")
class SparseAutoencoder(Autoencoder):
    """An autoencoder whose codes have few active units, by a penalty or by a limit.

        z = encoder(x),    reconstruction = -log p(x | z),    loss = reconstruction + weight sparsity
        "l1":  sparsity = sum_j |z_j|
        "kl":  sparsity = sum_j KL(rho || r_j),    r_j = mean_b z_bj,    rho = target_activity
        "k":   z = top_k(encoder(x), k), no penalty; after training, z = top_k(encoder(x), alpha k)

    KL(rho || r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r)), in nats; it compares means over the batch, so
    it ignores `sample_weight`. "l1" has the units of the code; a model with small codes and large decoder weights can
    evade it: tie the decoder (`ka.networks.tied_decoder`), or regularise its kernels.

    Args:
        encoder: Keras model from x to codes `(B, latent_dim)`, for "kl" with values from 0 to 1, as of
            `mlp_encoder(..., code_activation="sigmoid")`.
        decoder: Keras model from codes to the likelihood's params.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or a callable from params to a tfd.
        sparsity: "l1", "kl" or "k".
        weight: float, weight of the penalty in the loss (not in the logs); assign `model.weight` to change it at any
            time.
        target_activity: float between 0 and 1, rho of "kl".
        k: int, 1 to latent_dim, units that stay active with "k"; None with the others. Assign `model.k` to change it at
            any time, for example from many units to few in the first epochs, so that none stays unused.
        alpha: float, 1 or more; `encode` and the other methods keep round(alpha k) units.
        seed: int or None, seeds all randomness in training.

    In `fit(x, y)`, y is the clean target, of the same shape as x; without y, the target is x.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown, out of range or missing.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=100, hidden=())
        model = ka.SparseAutoencoder(encoder, ka.networks.tied_decoder(encoder), sparsity="k", k=10)
        model.compile("adam")
        model.fit(x_train, epochs=5)
        z = model.encode(x_test)    # (B, 100), 10 of them not 0

    Source: Olshausen & Field 1996, for "l1"; Ng 2011, CS294A lecture notes, for "kl"; Makhzani & Frey 2014 for "k".
    See also: `losses.sparsity`, the penalties; `Autoencoder`, without any.
    """

    weight = TermWeight()
    """float, the argument `weight`, None with "k"; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        likelihood: likelihoods.LikelihoodLike = "gaussian",
        sparsity: str = "l1",
        weight: float = 1.0,
        target_activity: float = 0.05,
        k: int | None = None,
        alpha: float = 1.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, seed=seed, **kwargs)
        if sparsity not in KINDS:
            raise ValueError(f"sparsity: expected one of {', '.join(KINDS)}; received {sparsity!r}.")
        if (k is None) == (sparsity == "k"):
            raise ValueError(f"k: expected a number of units with sparsity='k', and None otherwise; received {k!r}.")
        self.sparsity, self.alpha = sparsity, validation.non_negative("alpha", alpha)
        if self.alpha < 1:
            raise ValueError(f"alpha: expected 1 or more; received {alpha}.")
        self.target_activity = validation.fraction("target_activity", target_activity, ends=False)
        self._weight = None if sparsity == "k" else SparseAutoencoder.weight.variable(self, weight)
        if sparsity == "kl":
            _check_bounded(encoder)
        if sparsity != "k":
            self.terms = (*self.terms, "sparsity")
            return
        self._k = self.add_weight(shape=(), dtype="int32", initializer="ones", trainable=False, name="k")
        self._assign_k(k)

    @property
    def k(self) -> int | Any:
        """int, the argument `k`, which can be assigned at any time, also during `fit`; None without a limit."""
        return int(self._k.numpy()) if self.sparsity == "k" else None

    @k.setter
    def k(self, value: float) -> None:
        if self.sparsity != "k":
            raise ValueError("k: only a model with sparsity='k' has it.")
        self._assign_k(round(validation.non_negative("k", value)))  # a schedule passes through fractions

    def _assign_k(self, k):
        self._k.assign(validation.positive_int("k", k, at_most=self.latent_dim))

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        if self.sparsity == "k":
            self._assign_k(self.k)  # raises if it exceeds the code, whose size may not have been known before

    def objectives(self) -> dict[str, Objective]:
        weights = {} if self._weight is None else {"sparsity": self._weight}
        return {"autoencoder": Objective(self.loss_terms, self.networks, weights)}

    @needs("encoder")
    @by_averages
    def posterior(self, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns q(z|x), the point of the sparse code: a tfd with batch shape `(B,)` and event shape `code_shape`."""
        q = super().posterior(x, y, training=training)
        if self.sparsity != "k":
            return q
        z, k = q.mean(), tf.convert_to_tensor(self._k)
        if not training:
            k = tf.minimum(tf.cast(tf.round(self.alpha * tf.cast(k, tf.float32)), tf.int32), z.shape[-1])
        return self._posterior.call(penalties.top_k(z, k))

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        q = self.posterior(x, training=training) if q is None else q
        terms = super().loss_terms(x, y, training, q)
        if self.sparsity == "l1":
            terms["sparsity"] = penalties.l1(q.mean())
        if self.sparsity == "kl":
            terms["sparsity"] = penalties.kl(q.mean(), self.target_activity)
        return terms


def _check_bounded(encoder):
    """Raises if activities of the code may be negative or above 1; encoders that are no chain are not checked."""
    try:
        activation = last_activation(layers_of(encoder))
    except ValueError:
        return
    if activation not in _BOUNDED:
        raise ValueError(
            "encoder: with sparsity='kl', codes are activities from 0 to 1; received codes of the activation "
            f"{getattr(activation, '__name__', activation)!r}. Pass code_activation='sigmoid' to "
            "keras_ae.networks.mlp_encoder."
        )
