"""What every model of an encoder and a decoder can do, whatever its objective: shapes, checks, public methods."""

import math

import numpy as np
import tensorflow as tf

from keras_ae import checks, likelihoods
from keras_ae.batching import in_batches
from keras_ae.training import ObjectiveModel


class EncoderDecoder(ObjectiveModel):
    """Networks to codes and back, with the methods that follow from them.

    Subclasses say what a posterior is, `_posterior(raw)` with `posterior_parameters` raw values a dimension, and what
    is minimised.
    """

    posterior_parameters = 1

    def __init__(self, encoder, decoder, likelihood, *, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self._likelihood = likelihoods.get(likelihood)
        self._built_shape = None
        self._check_networks()

    # Distributions

    def posterior(self, x, training=False):
        """q(z|x): a tfd, batch `(B,)`, event `(latent_dim,)`."""
        raw = self.encoder(self._likelihood.scaled(x), training=training)
        return self._posterior(tf.cast(raw, tf.float32))

    def likelihood(self, z, training=False):
        """p(x|z) for codes `(..., latent_dim)`: a tfd, batch `(...)`, event the shape of x."""
        z = tf.convert_to_tensor(z)
        raw = self.decoder(tf.reshape(z, [-1, z.shape[-1]]), training=training)
        event_rank = raw.shape.rank - 1 - (1 if self._likelihood.levels else 0)
        shape = tf.concat([tf.shape(z)[:-1], raw.shape[1:]], axis=0)
        raw = tf.ensure_shape(tf.reshape(tf.cast(raw, tf.float32), shape), [*z.shape[:-1], *raw.shape[1:]])
        return self._likelihood.call(raw, event_rank=event_rank)

    # Methods for users

    @in_batches
    def encode(self, x):
        """Codes of x, the posterior means: `(B, latent_dim)` float32."""
        return self.posterior(x).mean()

    @in_batches
    def decode(self, z):
        """Means of p(x|z): `(B, ...)` float32."""
        return self.likelihood(z).mean()

    @in_batches
    def reconstruct(self, x):
        """`decode(encode(x))`: `(B, ...)` float32."""
        return self.call(x)

    def call(self, x):
        return self.likelihood(self.posterior(x).mean()).mean()

    @in_batches
    def score(self, x, *, seed=0):
        """How well the model knows each x, `(B,)`, higher is better; row i depends on `seed + i` besides."""
        return self.score_at(x, tf.cast(seed, tf.int64) + tf.range(tf.shape(x)[0], dtype=tf.int64))

    @in_batches
    def score_at(self, x, seeds):
        """Minus the squared error of each reconstruction: `(B,)`; a point code needs none of the seeds."""
        error = self._likelihood.scaled(x) - self.reconstruct(x)
        return -tf.reduce_sum(error**2, axis=tf.range(1, tf.rank(error)))

    # Shapes

    @property
    def latent_dim(self):
        """int, size of a code; None while neither network has a static shape."""
        width, code = _static_shape(self.encoder, "output_shape"), _static_shape(self.decoder, "input_shape")
        return code[-1] if code else width and width[-1] // self.posterior_parameters

    @property
    def event_shape(self):
        """Shape of one x, None along axes of any size; None while the encoder was never built."""
        return _static_shape(self.encoder, "input_shape") or self._built_shape

    @property
    def raw_size(self):
        """int, the decoder's raw outputs for one x: what a sample of p(x|z) takes in memory."""
        return math.prod(_static_shape(self.decoder, "output_shape") or self.event_shape)

    def build(self, input_shape=None):
        if input_shape is not None:
            self._built_shape = tuple(input_shape[1:])
        super().build(input_shape)
        self._check_networks()

    # Checks

    def _check_networks(self):
        """Raises unless encoder, decoder and likelihood fit; those without a static shape are checked once built."""
        width, code = _static_shape(self.encoder, "output_shape"), _static_shape(self.decoder, "input_shape")
        if width and code and width[-1] != self.posterior_parameters * code[-1]:
            raise ValueError(
                f"encoder: {type(self).__name__} with a decoder of {code[-1]}-dimensional codes expects "
                f"{self.posterior_parameters * code[-1]} raw parameters from its encoder "
                f"({self.posterior_parameters} for each dimension), received {width[-1]}."
            )
        raw = _static_shape(self.decoder, "output_shape")
        expected = self._likelihood.raw_shape(self.event_shape) if self.event_shape else None
        if expected and raw and not checks.fits(raw, expected):
            raise ValueError(
                f"decoder: for x of shape {self.event_shape} the likelihood {self._likelihood.name} expects raw "
                f"outputs of shape {expected}, received {raw}."
            )

    def check_data(self, x, y):
        checks.check_array("x", x, self.event_shape, self._likelihood)
        if y is None:
            return
        y = y if hasattr(y, "shape") else np.asarray(y)
        if tuple(y.shape) != tuple(x.shape):
            raise ValueError(
                f"y: {type(self).__name__} takes no labels. Expected the clean target, of x's shape {tuple(x.shape)}; "
                f"received shape {tuple(y.shape)}. Leave y out to reconstruct x itself."
            )
        checks.check_array("y", y, self.event_shape, self._likelihood)

    def check_inputs(self, x=None, z=None, seeds=None):
        """Raises unless the arrays given to a public method, by parameter name, suit it."""
        if x is not None:
            checks.check_array("x", x, self.event_shape, self._likelihood)
        if z is not None:
            checks.check_array("z", z, (self.latent_dim,), None)

    # For the export

    @property
    def input_dtype(self):
        """Dtype of x at the door, "float32" or "uint8"."""
        return self._likelihood.dtype_of_x

    def valid(self, x):
        """Which rows of x a served model answers for: bool `(B,)`."""
        return self._likelihood.valid(x)

    def card(self):
        """Facts for the model card, beside those every model has."""
        return {"latent_dim": self.latent_dim, "likelihood": self._likelihood.name}


def _static_shape(network, attribute):
    """A network's input or output shape without the batch axis, or None before it has one."""
    try:
        shape = getattr(network, attribute, None)
    except (AttributeError, ValueError):  # what Keras raises differs between kinds of models
        return None
    return None if shape is None else tuple(shape[1:])
