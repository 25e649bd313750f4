"""The contractive autoencoder: its code changes little with its input."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods
from keras_ae.losses import jacobian
from keras_ae.models.deterministic.autoencoder import Autoencoder
from keras_ae.networks.chains import last_activation, layers_of
from keras_ae.training import Objective
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation

PENALTIES = ("exact", "projection", "stochastic")


@keras.saving.register_keras_serializable("keras_ae")
class ContractiveAutoencoder(Autoencoder):
    """An autoencoder with a penalty on the Jacobian of its encoder h(x).

        z = h(x),    reconstruction = -log p(x | z)
        loss = reconstruction + weight contraction + hessian curvature
        "exact":       contraction = |J(x)|^2 = sum_ji (dh_j / dx_i)^2
        "projection":  contraction = mean_s |v_s^T J(x)|^2,    v_s random signs
        "stochastic":  contraction = mean_s |h(x) - h(x + e_s)|^2,    e_s ~ N(0, noise^2 I)
        curvature = mean_s |J(x) - J(x + e_s)|^2

    The penalties are not in nats: they have the units of (code / x)^2, and `stochastic` those of the code, squared.
    `projection` is an unbiased estimate of |J|^2, and `stochastic` approximates noise^2 |J|^2 for small noise. `exact`
    has a closed form for one Dense layer with a sigmoid, tanh, ReLU or no activation; for other encoders it takes one
    pass through the encoder for each unit of the code, where `projection` takes `num_samples` passes. With the
    curvature term this is the CAE+H. A model with small encoder and large decoder weights can evade the penalty: tie
    the decoder (`ka.networks.tied_decoder`).

    A row has no Jacobian of its own where BatchNormalization mixes the rows of a batch in training. Use
    LayerNormalization, or the penalty "stochastic".

    Args:
        encoder: Keras model from x to codes `(B, latent_dim)`, usually with sigmoids.
        decoder: Keras model from codes to the likelihood's params.
        likelihood: name in `keras_ae.likelihoods.NAMES`, or a callable from params to a tfd.
        penalty: "exact", "projection" or "stochastic".
        weight: float, weight of the contraction in the loss (not in the logs); assign `model.weight` to change it at
            any time.
        hessian: float, weight of the curvature; 0 drops the term. It needs the penalty "exact" or "projection".
        noise: float from 0 to 1, standard deviation of e, in the units of the encoder's input.
        num_samples: int, S, samples of v and e per row.
        seed: int or None, seeds v and the order of the rows; e has a Keras seed of its own.

    In `fit(x, y)`, y is the clean target, of the same shape as x; without y, the target is x.

    Raises:
        ValueError: if the network shapes do not match, an argument is unknown or out of range, or the encoder mixes
            rows.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=100, hidden=(), code_activation="sigmoid")
        model = ka.ContractiveAutoencoder(encoder, ka.networks.tied_decoder(encoder), "bernoulli", weight=0.1)
        model.compile("adam")
        model.fit(x_train, epochs=5)
        ka.losses.jacobian.squared_norm(encoder, x_test)    # (B,)

    Source: Rifai 2011 (CAE), equation 4; Rifai 2011 (CAE+H), for the curvature. See also: `DenoisingAutoencoder`, which
    makes the reconstruction robust, not the code; `losses.jacobian`, the penalties.
    """

    terms: tuple[str, ...] = ("reconstruction", "contraction")

    weight = TermWeight()
    """float, the argument `weight`; assigning it takes effect immediately, also during `fit`."""

    hessian = TermWeight()
    """float, the argument `hessian`, None without the term; assigning it takes effect immediately."""

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        likelihood: likelihoods.LikelihoodLike = "gaussian",
        penalty: str = "exact",
        weight: float = 0.1,
        hessian: float = 0.0,
        noise: float = 0.1,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, seed=seed, **kwargs)
        if penalty not in PENALTIES:
            raise ValueError(f"penalty: expected one of {', '.join(PENALTIES)}; received {penalty!r}.")
        if hessian and penalty == "stochastic":
            raise ValueError("hessian: the penalty 'stochastic' has no Jacobian. Use 'exact' or 'projection'.")
        if penalty != "stochastic" and _mixes_rows(encoder):
            raise ValueError(
                f"encoder: with the penalty {penalty!r}, expected no BatchNormalization, which mixes the rows of a "
                "batch in training. Use LayerNormalization, or the penalty 'stochastic'."
            )
        noisy = penalty == "stochastic" or hessian
        if noisy and not validation.fraction("noise", noise):
            raise ValueError("noise: expected a number above 0, up to 1; received 0.")
        self.penalty, self.num_samples = penalty, validation.positive_int("num_samples", num_samples)
        self.noise = keras.layers.GaussianNoise(noise) if noisy else None
        self._weight = ContractiveAutoencoder.weight.variable(self, weight)
        self._hessian = ContractiveAutoencoder.hessian.variable(self, hessian) if hessian else None
        if hessian:
            self.terms = (*self.terms, "curvature")

    def objectives(self) -> dict[str, Objective]:
        weights = {"contraction": self._weight} | ({} if self._hessian is None else {"curvature": self._hessian})
        return {"autoencoder": Objective(self.loss_terms, self.networks, weights)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, q: Distribution | None = None) -> Terms:
        q = self.posterior(x, training=training) if q is None else q
        terms = super().loss_terms(x, y, training, q)
        x, h = self._likelihood.preprocess(x), tf.reshape(q.mean(), [tf.shape(x)[0], -1])

        def encode(x):
            return tf.reshape(tf.cast(self.encoder(x, training=training), tf.float32), [tf.shape(x)[0], -1])

        # Noise is needed in evaluation too.
        copies = self.num_samples if self.noise is not None else 1
        near = None if self.noise is None else self.noise(tf.repeat(x, copies, axis=0), training=True)
        if self.penalty == "stochastic":
            change = jacobian.squares(encode(near) - tf.repeat(h, copies, axis=0))
            return terms | {"contraction": tf.reduce_mean(tf.reshape(change, [-1, copies]), axis=1)}
        v = self._vectors(h)
        j = self._jacobian(encode, x, h, v)
        terms["contraction"] = jacobian.squares(j)
        if near is not None:
            v = None if v is None else tf.repeat(v, copies, axis=0)
            there = self._jacobian(encode, near, encode(near) if v is None else None, v)
            change = jacobian.squares(there - tf.repeat(j, copies, axis=0))
            terms["curvature"] = tf.reduce_mean(tf.reshape(change, [-1, copies]), axis=1)
        return terms

    def _vectors(self, h):
        """The vectors that the Jacobian is multiplied by, `(B, S, k)`; None if the exact one has a closed form."""
        rows, size = tf.shape(h)[0], math.prod(self.code_shape)
        if self.penalty == "exact":
            return None if jacobian.one_layer(self.encoder) else jacobian.units(rows, size)
        return jacobian.projections(rows, self.num_samples, size, self.next_seed())

    def _jacobian(self, encode, x, h, v):
        """Numbers of each row whose squares add up to |J|^2, or to its estimate."""
        if v is None:
            activation = last_activation(layers_of(self.encoder))
            return jacobian.slopes(h, jacobian.one_layer(self.encoder).kernel, activation)
        return jacobian.vector_products(encode, x, v)


def _mixes_rows(encoder):
    parts = encoder._flatten_layers() if isinstance(encoder, keras.layers.Layer) else ()
    return any(isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in parts)
