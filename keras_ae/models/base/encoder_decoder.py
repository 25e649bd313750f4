"""What every model of an encoder and a decoder can do, whatever its objective: shapes, checks, public methods."""

import math

import numpy as np
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors
from keras_ae.training import ObjectiveModel
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


class EncoderDecoder(ObjectiveModel):
    """Networks to codes and back, with the methods that follow from them.

    Subclasses say what a posterior is by default, a name in `keras_ae.posteriors.NAMES`, and what is minimised.
    """

    default_posterior = "deterministic"
    conditional = False  # whether the methods take a condition y beside x and z

    def __init__(self, encoder, decoder, likelihood, posterior=None, *, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self._likelihood = likelihoods.get(likelihood)
        code = validation.static_shape(decoder, "input_shape")
        self._posterior = posteriors.get(posterior or self.default_posterior, code and code[-1])
        self._built_shape, self._built_width = None, None
        self._check_networks()

    @property
    def networks(self):
        """All that training moves: the networks, and what is learned of the posterior and the likelihood."""
        return [self.encoder, self._posterior, self.decoder, self._likelihood]

    # Distributions

    def posterior(self, x, y=None, *, training=False):
        """q(z|x), or q(z|x, y): a tfd, batch `(B,)`, event `(latent_dim,)`."""
        params = self.encoder(self._given(self._likelihood.preprocess(x), y), training=training)
        self._built_width = params.shape[-1]
        return self._posterior.call(tf.cast(params, tf.float32))

    def likelihood(self, z, y=None, *, training=False):
        """p(x|z), or p(x|z, y), for codes `(..., B, latent_dim)`: a tfd, batch `(..., B)`, event the shape of x."""
        z = tf.convert_to_tensor(z)
        params = self.decoder(self._given(tf.reshape(z, [-1, z.shape[-1]]), y), training=training)
        event_rank = params.shape.rank - 1 - (1 if self._likelihood.levels else 0)
        shape = tf.concat([tf.shape(z)[:-1], params.shape[1:]], axis=0)
        params = tf.ensure_shape(tf.reshape(tf.cast(params, tf.float32), shape), [*z.shape[:-1], *params.shape[1:]])
        p = self._likelihood.call(params, event_rank=event_rank)
        known = self.event_shape and p.event_shape.rank is not None
        if known and not validation.fits(tuple(p.event_shape), self.event_shape):
            raise ValueError(
                f"likelihood: expected a distribution of x, event shape {self.event_shape}; received {p.event_shape}."
            )
        return p

    def _given(self, values, y):
        """What a network receives for `values` under the condition y."""
        return values

    # Methods for users

    @in_batches
    def encode(self, x, y=None):
        """Codes of x, the posterior means: `(B, latent_dim)` float32.

        Of a posterior that has none in closed form, an autoregressive one or that of several layers, what the means of
        its parts are mapped to.
        """
        return self.posterior(x, y).mean()

    @in_batches
    def decode(self, z, y=None):
        """Means of p(x|z): `(B, ...)` float32."""
        return self.likelihood(z, y).mean()

    @in_batches
    def reconstruct(self, x, y=None):
        """`decode(encode(x))`: `(B, ...)` float32."""
        return self.call(x) if y is None else self.call((x, y))

    def call(self, x):
        x, y = x if isinstance(x, tuple | list) else (x, None)
        return self.likelihood(self.posterior(x, y).mean(), y).mean()

    @in_batches
    def score(self, x, y=None, *, seed=0):
        """How well the model knows each x, `(B,)`, higher is better; row i depends on `seed + i` besides."""
        return self.score_from_seeds(x, tf.cast(seed, tf.int64) + tf.range(tf.shape(x)[0], dtype=tf.int64), y)

    @in_batches
    def score_from_seeds(self, x, seeds, y=None):
        """Minus the squared error of each reconstruction: `(B,)`; a point code needs none of the seeds."""
        error = self._likelihood.preprocess(x) - self.reconstruct(x, y)
        return -tf.reduce_sum(error**2, axis=tf.range(1, tf.rank(error)))

    # Shapes

    @property
    def latent_dim(self):
        """int, size of a code; None while neither network has a static shape, nor was ever called."""
        code, params = (
            validation.static_shape(self.decoder, "input_shape"),
            validation.static_shape(self.encoder, "output_shape"),
        )
        width = params[-1] if params else self._built_width
        return code[-1] if code else width and self._posterior.latent_dim_for(width)

    @property
    def event_shape(self):
        """Shape of one x, None along axes of any size; None while the encoder was never built."""
        return validation.static_shape(self.encoder, "input_shape") or self._built_shape

    @property
    def params_size(self):
        """int, the decoder's raw outputs for one x: what a sample of p(x|z) takes in memory."""
        return math.prod(validation.static_shape(self.decoder, "output_shape") or self.event_shape)

    def build(self, input_shape=None):
        if input_shape is not None:
            self._built_shape = tuple(input_shape[1:])
        super().build(input_shape)
        self._check_networks()

    # Checks

    def _check_networks(self):
        """Raises unless encoder, decoder and likelihood fit; those without a static shape are checked once built."""
        width, code = (
            validation.static_shape(self.encoder, "output_shape"),
            validation.static_shape(self.decoder, "input_shape"),
        )
        expected = self._posterior.parameters_for(code[-1]) if code else None
        if width and code and width[-1] != expected:
            raise ValueError(
                f"encoder: {type(self).__name__} with a decoder of {code[-1]}-dimensional codes expects {expected} raw "
                f"parameters from its encoder (posterior {self._posterior.name}), received {width[-1]}."
            )
        params = validation.static_shape(self.decoder, "output_shape")
        expected = self._likelihood.params_shape(self.event_shape) if self.event_shape else None
        if expected and params and not validation.fits(params, expected):
            raise ValueError(
                f"decoder: for x of shape {self.event_shape} the likelihood {self._likelihood.name} expects raw "
                f"outputs of shape {expected}, received {params}."
            )

    def check_data(self, x, y):
        validation.check_array("x", x, self.event_shape, self._likelihood)
        if y is None:
            return
        y = y if hasattr(y, "shape") else np.asarray(y)
        if tuple(y.shape) != tuple(x.shape):
            raise ValueError(
                f"y: {type(self).__name__} takes no labels. Expected the clean target, of x's shape {tuple(x.shape)}; "
                f"received shape {tuple(y.shape)}. Leave y out to reconstruct x itself."
            )
        validation.check_array("y", y, self.event_shape, self._likelihood)

    def row_mask(self, x, y):
        if y is None:  # NaN in x shows in the terms, whose target it is, without another pass over it
            return tf.constant(True)
        return likelihoods.finite_rows(x) & self._likelihood.valid(y)

    def check_inputs(self, x=None, z=None, seeds=None, y=None):
        """Raises unless the arrays given to a public method, by parameter name, suit it."""
        if y is not None:
            raise ValueError(f"y: {type(self).__name__} is not conditional. Leave y out.")
        if x is not None:
            validation.check_array("x", x, self.event_shape, self._likelihood)
        if z is not None:
            validation.check_array("z", z, (self.latent_dim,), None)

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
