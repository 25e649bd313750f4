"""The beta-VAE: a VAE whose KL weighs more, or is held at a capacity."""

import keras
import tensorflow as tf

from keras_ae.models.variational.vae import VAE
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class BetaVAE(VAE):
    """A VAE with a narrow code, so that its dimensions take up the data's factors one by one.

        loss = reconstruction + beta kl                               without a capacity
        loss = reconstruction + beta |mean_b kl_b - capacity|         with one, in nats

    With `capacity` the batch's mean KL is held near C, which `ka.callbacks.Annealing(steps, 0, C, weight="capacity")`
    raises from 0: the most telling factor comes first, the next as the capacity allows. The terms `reconstruction` and
    `kl` stay those of the ELBO, so a beta-VAE's log compares with a VAE's.

    Args:
        encoder, decoder, likelihood, prior, posterior, num_samples, seed: as in `VAE`.
        beta: float, weight of the KL, or of its distance from the capacity; assign `model.beta` at any time.
        capacity: float in nats, or None; assign `model.capacity` at any time.

    Raises:
        ValueError: if the networks do not fit, or an argument is unknown or out of range.

    Example:

        model = ka.BetaVAE(encoder, decoder, beta=4.0)
        narrow = ka.BetaVAE(encoder, decoder, beta=100.0, capacity=0.0)
        narrow.compile("adam")
        narrow.fit(x, epochs=30, callbacks=[ka.callbacks.Annealing(10_000, 0.0, 25.0, weight="capacity")])

    Source: Higgins 2017, equation 4; Burgess 2018, equation 8. See also: `BetaTCVAE`, which weighs only that part of
    the KL that makes dimensions depend on each other.
    """

    def __init__(
        self,
        encoder,
        decoder,
        likelihood="bernoulli",
        prior=None,
        beta=4.0,
        capacity=None,
        num_samples=1,
        posterior=None,
        *,
        seed=None,
        **kwargs,
    ):
        validation.refuse(kwargs, {"free_bits"}, "BetaVAE", "its KL has a weight, or a capacity, already")
        options = {"num_samples": num_samples, "posterior": posterior}
        super().__init__(encoder, decoder, likelihood, prior, beta, **options, seed=seed, **kwargs)
        self._capacity = None
        if capacity is not None:
            capacity = validation.non_negative("capacity", capacity)
            self.terms = (*self.terms, "off_capacity")
            self._capacity = self.add_weight(
                shape=(), initializer=keras.initializers.Constant(capacity), trainable=False, name="capacity"
            )

    def term_weights(self):
        if self._capacity is None:
            return super().term_weights()
        return {"kl": 0.0, "off_capacity": self._beta}

    def elbo_terms(self, q, x, y=None, *, training):
        terms = super().elbo_terms(q, x, y, training=training)
        if self._capacity is not None:
            terms["off_capacity"] = tf.abs(tf.reduce_mean(terms["kl"]) - self._capacity)
        return terms

    @property
    def capacity(self):
        """Nats at which the KL is held, or None; assigning acts at once, also during `fit`."""
        return None if self._capacity is None else float(self._capacity.numpy())

    @capacity.setter
    def capacity(self, value):
        if self._capacity is None:
            raise ValueError("capacity: this model has none. Give one to the constructor, such as capacity=0.0.")
        self._capacity.assign(validation.non_negative("capacity", value))
