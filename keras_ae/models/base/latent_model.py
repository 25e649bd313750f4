"""Base class for models with an encoder, decoder, posterior and prior, independent of their objective."""

import itertools
import math
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_ae.distributions import hierarchical, importance, likelihoods, posteriors, priors, sampling
from keras_ae.models.base.parts import needs
from keras_ae.models.base.walks import between
from keras_ae.training import ObjectiveModel, roles
from keras_ae.training.model import by_averages
from keras_ae.typing import Distribution, Networks, Rows, Shape
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches

# Enough to rank rows well while keeping a served request cheap; use `log_prob` for published results.
SCORE_SAMPLES = 64


class LatentModel(ObjectiveModel):
    """Networks between data x and codes z, with the methods that the available parts allow.

    | part | methods |
    |---|---|
    | encoder | `posterior`, `encode` |
    | decoder | `likelihood`, `decode` |
    | encoder and decoder | `reconstruct`, `interpolate`, `analogy`, `traverse` |
    | encoder, and a decoder whose outputs have x's shape | `score`, `squared_error` |
    | prior and decoder | `sample` |
    | as for `score`, with a prior and a posterior with a density | `log_prob` |
    | decoder, and labels as the condition | `sweep_labels` |
    | classifier, the method `log_label_posterior(x)` | `predict_proba` |

    The exported endpoints and the contract tests follow the same table. The input x, the output x and the code can have
    different shapes, which are inferred from the networks.

    If y is a condition (`y_role`), the methods take it in addition to x or z, and the model is called on a pair
    `(x, y)`. A network with two inputs receives `[x, condition]` or `[z, condition]`; a network with one input does not
    see the condition.

    Subclasses set the default posterior and prior, and define the objectives.

    Args:
        encoder: Keras model from x to the posterior's params; None for a model that does not encode data.
        decoder: Keras model from codes to the likelihood's params; None for an encoder-only model.
        likelihood: name in `likelihoods.NAMES`, or callable from the decoder's output to a tfd.
        posterior: None (the class's default), a name in `posteriors.NAMES`, or a `Posterior` layer.
        prior: None (the class's default), a name in `priors.NAMES`, a tfd, or a layer that returns one.
        y_role: `roles.Role` of this model; None for the class's default.
        seed: int or None, seed for all randomness in training.

    Raises:
        ValueError: if the networks, posterior, likelihood and prior are incompatible.

    Example:

        class LeastSquares(ka.LatentModel):
            terms = ("error",)

            def objectives(self):
                return {"autoencoder": ka.Objective(self.loss_terms, self.networks)}

            def loss_terms(self, x, y, training):
                z = self.posterior(x, training=training).mean()
                made = self.likelihood(z, training=training).mean()
                return {"error": tf.reduce_sum((x - made) ** 2, axis=(1, 2, 3))}

        model = LeastSquares(ka.networks.mlp_encoder((28, 28, 1), 32), ka.networks.mlp_decoder(32, (28, 28, 1)))
        model.compile("adam")
        model.fit(x_train, epochs=5)
        z = model.encode(x_test)    # (B, 32)

    Source: Kingma & Welling 2014, section 2, for the names of the distributions. See also: `ObjectiveModel`, without
    networks of its own; `Autoencoder` and `VAE`, which have objectives.
    """

    default_posterior = "deterministic"
    default_prior: str | None = None
    y_role: roles.Role = roles.Target()
    encoder: Any  # a network, or None
    decoder: Any

    def __init__(
        self,
        encoder: Networks | None = None,
        decoder: Networks | None = None,
        likelihood: likelihoods.LikelihoodLike = "gaussian",
        posterior: posteriors.PosteriorLike | None = None,
        prior: priors.PriorLike | None = None,
        *,
        y_role: roles.Role | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        layers = any(isinstance(each, list | tuple) for each in (encoder, decoder))
        if layers:
            if prior is not None or posterior is not None:
                raise ValueError("prior and posterior: lists of encoders and decoders have their own. Leave both out.")
            encoder, decoder, posterior, prior = hierarchical.compose(encoder, decoder)
        super().__init__(seed=seed, **kwargs)
        if y_role is not None:
            self.y_role = y_role
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            if network is not None:
                validation.check_network(name, network)
        self.encoder, self.decoder = encoder, decoder
        self._likelihood = likelihoods.get(likelihood)
        self._posterior = posteriors.get(posterior or self.default_posterior, self._decoder_shape())
        self._built_shapes: dict[str, Shape] = {}  # of networks without a keras.Input, recorded when they are called
        self._check_networks()
        self._prior = prior if prior is not None else self.default_prior
        if hasattr(self._prior, "bind"):
            self._bind_prior()
        # A default prior is created on first use, because the code's size may not be known yet.
        if prior is not None:
            self._prior = priors.get(prior, self.code_shape)

    def _bind_prior(self):
        if self._posterior.knows_own_samples_only:
            raise ValueError(
                f"prior: {type(self._prior).__name__} needs the posteriors' density at codes of other rows, which "
                f"{self._posterior.name} cannot compute. Expected a Gaussian posterior."
            )
        self._prior.bind(self.posterior, self._likelihood, self.event_shape)

    @property
    def parts(self) -> set[str]:
        """The parts that the model has, and the capabilities that follow from them, as a set of names."""
        there = {"encoder": self.encoder, "decoder": self.decoder, "prior": self._prior}
        parts = {name for name, part in there.items() if part is not None}
        if {"encoder", "decoder"} <= parts and self._maps_to_own_shape():
            parts.add("reconstruction")
            if "prior" in parts and self._posterior.has_density:
                parts.add("density")
        if self.y_role.conditional and self.y_role.num_classes:
            parts.add("labels")
        if hasattr(self, "log_label_posterior"):
            parts.add("classifier")
        return parts

    @property
    def networks(self) -> list[keras.layers.Layer]:
        """All trainable parts: the networks, and the posterior, likelihood and prior where they are layers."""
        parts = (self.encoder, self._posterior, self.decoder, self._likelihood, self._prior)
        return [part for part in parts if isinstance(part, keras.layers.Layer)]

    @property
    def conditional(self) -> bool:
        """Whether the methods take a condition y in addition to x or z."""
        return self.y_role.conditional

    @property
    def num_classes(self) -> int | Any:
        """int if y holds labels, else None."""
        return self.y_role.num_classes

    # Distributions

    @needs("encoder")
    @by_averages
    def posterior(self, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns q(z|x), or q(z|x, y): a tfd with batch shape `(B,)` and event shape `code_shape`."""

        def encode(x, noise=None):
            return self.encoder_params(x, y, noise=noise, training=training)

        return self._posterior.given(x, encode, self.encoder)

    def encoder_params(
        self, x: tf.Tensor, y: tf.Tensor | None = None, *, noise: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Returns the encoder's output, float32 `(B, ...)`; noise is the second input if the posterior takes it."""
        given = self._likelihood.preprocess(x)
        given = self._given("encoder", given, y) if noise is None else [given, noise]
        params = self.encoder(given, training=training)
        self._built_shapes["posterior"] = tuple(params.shape[1:])
        return tf.cast(params, tf.float32)

    @needs("decoder")
    @by_averages
    def likelihood(self, z: tf.Tensor, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns p(x|z), or p(x|z, y), for codes `(..., B, *code_shape)`.

        The result is a tfd with batch shape `(..., B)` and the shape of x as event shape.

        Raises:
            ValueError: if the code's shape is not known, as no network has a static shape or has been called.
        """
        z = tf.convert_to_tensor(z)
        if self.code_shape is None:
            raise self._never_built()
        rank = len(self.code_shape)
        leading, code = z.shape[:-rank], z.shape[-rank:]
        params = self.decoder(self._given("decoder", tf.reshape(z, [-1, *code]), y), training=training)
        event_rank = params.shape.rank - 1 - (1 if self._likelihood.levels else 0)
        shape = tf.concat([tf.shape(z)[:-rank], params.shape[1:]], axis=0)
        params = tf.ensure_shape(tf.reshape(tf.cast(params, tf.float32), shape), [*leading, *params.shape[1:]])
        p = self._likelihood.call(params, event_rank=event_rank)
        if p.event_shape.rank is not None:
            self._built_shapes["target"] = tuple(p.event_shape)
            self._check_event(self._built_shapes["target"])
        return p

    def _check_event(self, shape):
        """Raises if a callable likelihood's event shape differs from x's: densities would broadcast silently."""
        custom = isinstance(self._likelihood, likelihoods.Custom)
        if custom and self.event_shape and not validation.fits(shape, self.event_shape):
            raise ValueError(
                f"likelihood: expected a distribution of x, event shape {self.event_shape}; received {shape}."
            )

    @property
    def prior(self) -> Distribution:
        """p(z), a tfd with event shape `code_shape`."""
        if self._prior is None:
            raise AttributeError(f"{type(self).__name__} has no prior over codes.")
        with self.averaged():
            return priors.distribution(priors.get(self._prior, self.code_shape))

    def conditional_prior(self, y: tf.Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns p(z|y), or the prior itself if codes do not depend on a condition."""
        return self.prior

    def draw(self, q: Distribution, num_samples: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws samples of q, `(num_samples, B, *code_shape)`, with gradients to its params."""
        return sampling.draw(q, num_samples, seed)

    def condition(self, y: tf.Tensor | None) -> tf.Tensor:
        """Converts the condition y to the networks' input: float32 `(B, ...)`."""
        if y is None:
            raise ValueError(f"y: {type(self).__name__} is conditional. Pass one condition per row.")
        return self.y_role.for_networks(y)

    def _given(self, name, values, y):
        """Returns a network's input for `values` and the condition y."""
        if not self.conditional or not self._sees_condition(name):
            return values
        condition = self.condition(y)
        # With several samples of z, the values are ordered by sample first, then by row.
        repeats = tf.shape(values)[0] // tf.shape(condition)[0]
        ones = tf.ones(condition.shape.rank - 1, tf.int32)
        tiled = tf.tile(condition, tf.concat([[repeats], ones], axis=0))
        return [values, tf.ensure_shape(tiled, [None, *condition.shape[1:]])]

    def _sees_condition(self, name):
        """Whether a network takes the condition; assumed true while its inputs are unknown."""
        shapes = validation.input_shapes(getattr(self, name))
        return shapes is None or len(shapes) == 2

    # Methods for users

    @needs("encoder")
    @in_batches
    def encode(self, x: Rows, y: Rows | None = None) -> np.ndarray:
        """Encodes x as posterior means: `(B, *code_shape)` float32.

        A posterior without a closed-form mean (autoregressive, or with several layers) propagates the means of its
        parts instead.
        """
        return self.posterior(x, y).mean()

    @needs("decoder")
    @in_batches
    def decode(self, z: Rows, y: Rows | None = None) -> np.ndarray:
        """Decodes z to means of p(x|z): `(B, ...)` float32."""
        return self.likelihood(z, y).mean()

    @needs("encoder", "decoder")
    @in_batches
    def reconstruct(self, x: Rows, y: Rows | None = None) -> np.ndarray:
        """Reconstructs x as `decode(encode(x))`: `(B, ...)` float32."""
        return self.call(x) if y is None else self.call((x, y))

    def call(self, x: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        x, y = x if isinstance(x, tuple | list) else (x, None)
        with self.averaged():
            return self.likelihood(self.posterior(x, y).mean(), y).mean()

    @needs("prior", "decoder")
    def sample(self, n: int, y: Rows | None = None, seed: int = 0) -> np.ndarray:
        """Draws n samples: means of p(x|z) for z from the prior, `(n, ...)`.

        Row i depends only on `seed + i`, y and the weights.

        Args:
            n: int.
            y: conditions of a conditional model, `(n, ...)`, or a single label for all rows.
            seed: int.

        Raises:
            ValueError: if n is not a positive integer, the seed is not an integer, or y is invalid for the model.
        """
        n = validation.positive_int("n", n)
        self.require_built()
        seeds = validation.seed(seed) + tf.range(n, dtype=tf.int64)
        return self.sample_from_seeds(seeds) if y is None else self.sample_from_seeds(seeds, y)

    @needs("prior", "decoder")
    @in_batches
    def sample_from_seeds(self, seeds: Rows, y: Rows | None = None) -> np.ndarray:
        """Draws one mean of p(x|z), with z from the prior, for each int64 seed `(B,)`."""
        return self.likelihood(sampling.draw_rows(self.conditional_prior(y), seeds), y).mean()

    @needs("density")
    @in_batches(as_target=True)
    def log_prob(self, x: Rows, y: Rows | None = None, *, num_samples: int = 500, seed: int = 0) -> np.ndarray:
        """Estimates log p(x) by importance weighting, `(B,)` nats; its mean increases to log p(x) with `num_samples`.

            log p(x) ~ log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

        Samples are processed in chunks, so memory does not grow with `num_samples`. For values strictly between 0 and
        1, a Bernoulli likelihood gives neither a probability nor a density. The value is still returned here;
        `evaluation.likelihood.negative_log_likelihood` rejects it.

        Raises:
            ValueError: if x or y is invalid for the model, or `num_samples` is not a positive integer.

        Example: `vae.log_prob(x_test, num_samples=5000).mean()`

        Source: Burda 2016, equation 8.
        """
        return importance.log_marginal(self, x, y, num_samples, seed)

    @needs("reconstruction")
    @in_batches(as_target=True)
    def score(self, x: Rows, y: Rows | None = None, *, seed: int = 0) -> np.ndarray:
        """Scores how well the model fits each x, `(B,)`; higher is better.

        If the model has a density, the score is `log_prob(x)` with 64 samples, and row i's samples depend only on
        `seed + i`. Otherwise it is the negative squared reconstruction error.
        """
        return self.score_from_seeds(x, tf.cast(seed, tf.int64) + tf.range(tf.shape(x)[0], dtype=tf.int64), y)

    @needs("reconstruction")
    @in_batches(as_target=True)
    def score_from_seeds(self, x: Rows, seeds: Rows, y: Rows | None = None) -> np.ndarray:
        """Like `score`, with an int64 seed for each row, `(B,)`."""
        if "density" in self.parts:
            return importance.log_marginal_rows(self, x, y, SCORE_SAMPLES, seeds)
        return -self.squared_error(x, y)

    @needs("reconstruction")
    @in_batches(as_target=True)
    def squared_error(self, x: Rows, y: Rows | None = None) -> np.ndarray:
        """Squared error of the reconstruction of each x, summed over the event: `(B,)` float32."""
        error = self._likelihood.preprocess(x) - self.reconstruct(x, y)
        return tf.reduce_sum(error**2, axis=tf.range(1, tf.rank(error)))

    @needs("encoder", "decoder")
    def interpolate(
        self, x1: Rows, x2: Rows, steps: int = 9, y: Rows | None = None, *, spherical: bool = False
    ) -> np.ndarray:
        """Decodes codes interpolated from x1 to x2, both ends included: `(B, steps, ...)` float32.

        Args:
            x1, x2: rows `(B, ...)`.
            steps: int, 2 or more.
            y: conditions of a conditional model, `(B, ...)`.
            spherical: bool; True interpolates along the arc between the codes, which preserves their length, False
                along the straight line.

        Raises:
            ValueError: if x1 and x2 have different numbers of rows, or `steps` is below 2.

        Example: `vae.interpolate(x[:4], x[4:8], steps=9, spherical=True)    # (4, 9, 28, 28, 1)`

        Source: White 2016, section 2.1, for the arc.
        """
        ends = [self.encode(x) if y is None else self.encode(x, y) for x in (x1, x2)]
        steps = validation.positive_int("steps", steps)
        if len(ends[0]) != len(ends[1]) or steps < 2:
            raise ValueError(
                f"x1, x2 and steps: expected equally many rows, and at least 2 steps; received {len(ends[0])} and "
                f"{len(ends[1])} rows, and {steps} steps."
            )
        return self._decoded(between(ends[0], ends[1], steps, spherical), y)

    @needs("encoder", "decoder")
    def analogy(self, x1: Rows, x2: Rows, x3: Rows, y: Rows | None = None) -> np.ndarray:
        """Decodes what is to x3 as x1 is to x2, by arithmetic of codes: `(B, ...)` float32.

            z = encode(x1) - encode(x2) + encode(x3)

        Args:
            x1, x2, x3: rows `(B, ...)`.
            y: conditions of a conditional model, `(B, ...)`.

        Raises:
            ValueError: if x1, x2 and x3 have different numbers of rows.

        Example: `vae.analogy(x[:4], x[4:8], x[8:12])    # (4, 28, 28, 1)`

        Source: Ha & Eck 2017, section 4.2, for drawings. See also: `interpolate`.
        """
        z1, z2, z3 = (self.encode(x) if y is None else self.encode(x, y) for x in (x1, x2, x3))
        if not len(z1) == len(z2) == len(z3):
            raise ValueError(f"x1, x2 and x3: expected equally many rows; received {len(z1)}, {len(z2)} and {len(z3)}.")
        z = z1 - z2 + z3
        return self.decode(z) if y is None else self.decode(z, y)

    @needs("encoder", "decoder")
    def traverse(self, x: Rows, dimension: int, span: float = 3.0, steps: int = 9, y: Rows | None = None) -> np.ndarray:
        """Decodes the codes of x while one dimension varies: `(B, steps, ...)` float32.

        Args:
            x: rows `(B, ...)`.
            dimension: int, index of the code's dimension.
            span: float; the dimension takes values from -span to span.
            steps: int, 2 or more.
            y: conditions of a conditional model.

        Raises:
            ValueError: if the code is not a vector, `dimension` is out of range, or `steps` is below 2.

        Example: `vae.traverse(x[:4], dimension=2)    # (4, 9, 28, 28, 1)`
        """
        steps = validation.positive_int("steps", steps, at_least=2)
        if self.latent_dim is None:
            raise ValueError(f"dimension: expected a dimension of a vector code; codes have shape {self.code_shape}.")
        dimension = validation.positive_int("dimension", dimension, at_least=0, at_most=self.latent_dim - 1)
        z = np.repeat((self.encode(x) if y is None else self.encode(x, y))[:, None], steps, axis=1)
        z[..., dimension] = np.linspace(-span, span, steps)
        return self._decoded(z, y)

    @needs("decoder", "labels")
    def sweep_labels(self, z: Rows, labels: ArrayLike | None = None) -> np.ndarray:
        """Decodes each code under each label, which keeps its style: `(B, K, ...)` float32.

        Args:
            z: codes `(B, *code_shape)`.
            labels: K labels, or a single one; None for all.

        `cvae.sweep_labels(cvae.encode(x[:4], y[:4]))` has shape `(4, 10, 28, 28, 1)` for ten classes of images.
        """
        given: Any = np.arange(self.num_classes) if labels is None else labels
        y = self.y_role.standard(_array("labels", [given] if rows_of.is_single(given) else given))
        many = np.repeat(_array("z", z)[:, None], len(y), axis=1)
        flat = self.decode(many.reshape(-1, *many.shape[2:]), np.tile(y, len(many)))
        return flat.reshape(*many.shape[:2], *flat.shape[1:])

    def _decoded(self, z, y):
        """Decodes several codes per row, `(B, steps, *code_shape)`, each under its row's condition."""
        flat = z.reshape(-1, *z.shape[2:])
        if y is not None and not rows_of.is_single(y):
            y = np.repeat(_array("y", y), z.shape[1], axis=0)
        x = self.decode(flat) if y is None else self.decode(flat, y)
        return x.reshape(*z.shape[:2], *x.shape[1:])

    # In Keras's method, batch_size comes second; here it follows y, as in the other methods that take x and y.
    def predict(self, x: Rows, y: Rows | None = None, *args: Any, **kwargs: Any) -> np.ndarray:  # type: ignore[override]
        """Computes `self(x)` in batches, or `self((x, y))` for a conditional model.

        A model with a classifier returns its class probabilities `(B, K)` instead, unless an array y is given.

        x and y are arrays, or x is a pair `(x, y)` or a source of such pairs; y may be a single label for all rows. The
        remaining arguments are those of
        `keras.Model.predict`. Rows with an invalid condition y become NaN.
        """
        if "classifier" in self.parts and y is None and not isinstance(x, tuple):
            batch_size, _, steps, callbacks = _predict_arguments(*args, **kwargs)
            steps = validation.int_or_none("steps", steps)
            if callbacks:
                raise ValueError("callbacks: class probabilities are computed without any. Leave them out.")
            if rows_of.is_source(x):  # labels that it yields are left out
                x = itertools.islice(rows_of.batches_of(x), steps)
            elif steps is not None:
                batch_size = validation.positive_int("batch_size", 32 if batch_size is None else batch_size)
                x = rows_of.to_rows("x", x)[: steps * batch_size]
            return self.predict_proba(x, **({} if batch_size is None else {"batch_size": batch_size}))
        if not self.conditional:
            return super().predict(x, *(() if y is None else (y,)), *args, **kwargs)
        if rows_of.is_source(x):
            if isinstance(x, tf.data.Dataset) and keras.tree.is_nested(_only(x.element_spec)):
                x = x.map(lambda pair: pair)
            return self._predict_source(x, *_predict_arguments(*(() if y is None else (y,)), *args, **kwargs)[1:])
        if isinstance(x, tuple):
            if len(x) != 2:
                raise ValueError(f"x: expected a pair (x, y), received {len(x)} arrays.")
            args = args if y is None else (y, *args)
            x, y = x
        x = rows_of.to_rows("x", x)
        if self.num_classes and rows_of.is_single(y):
            y = rows_of.for_each_row(y, "x", x)
        y = self.y_role.standard(rows_of.to_rows("y", y))
        self.check_x(x)
        self.y_role.check_given(self, x.shape[0], y)
        return self._predict((x, y), *_predict_arguments(*args, **kwargs))

    @needs("classifier")
    @in_batches
    def predict_proba(self, x: Rows) -> np.ndarray:
        """Class probabilities q(y|x): `(B, K)`.

        Raises:
            ValueError: if x is invalid for the model.
        """
        return tf.exp(self.log_label_posterior(x))

    def predict_step(self, data: Any) -> tf.Tensor:
        if not self.conditional:
            return super().predict_step(data)
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        x, y = x if isinstance(x, tuple | list) else (x, y)
        means = super().predict_step(((x, y),))
        valid = tf.reshape(self.y_role.valid(y), [-1] + [1] * (means.shape.rank - 1))
        return tf.where(valid, means, math.nan)

    # Shapes. `| Any` rather than `| None`, since they are known in every model that has been built.

    @property
    def code_shape(self) -> tuple[int, ...] | Any:
        """Shape of one code; None until a network has a static shape or has been called."""
        params = self._encoder_output() or self._built_shapes.get("posterior")
        return self._decoder_shape() or (None if params is None else self._posterior.code_shape_for(params))

    @property
    def latent_dim(self) -> int | Any:
        """int, size of a vector code; None for other codes, or while unknown."""
        return self.code_shape[0] if self.code_shape and len(self.code_shape) == 1 else None

    @property
    def event_shape(self) -> Shape | Any:
        """Shape of one input x, with None for axes of variable size; None while unknown."""
        shapes = None if self.encoder is None else validation.input_shapes(self.encoder)
        return (shapes[0] if shapes else None) or self._built_shapes.get("x")

    @property
    def target_shape(self) -> Shape | Any:
        """Shape of one output x; None while unknown."""
        if self.decoder is None:
            return None
        params = validation.static_shape(self.decoder, "output_shape")
        shape = None if params is None else self._likelihood.event_shape_for(params)
        return shape or self._built_shapes.get("target")

    @property
    def condition_shape(self) -> Shape | Any:
        """Shape of one y of a conditional model, `()` for labels; None while unknown."""
        if self.num_classes:
            return ()
        shapes = [validation.input_shapes(network) for network in (self.encoder, self.decoder) if network is not None]
        return next((each[1] for each in shapes if each and len(each) == 2), self._built_shapes.get("y"))

    @property
    def condition_dtype(self) -> str:
        """Dtype of a condition, "int64" for labels or "float32"."""
        return "int64" if self.num_classes else "float32"

    @property
    def params_size(self) -> int:
        """int, number of decoder outputs for one x, used to estimate the memory of a sample of p(x|z)."""
        return math.prod(validation.static_shape(self.decoder, "output_shape") or self.target_shape)

    def _decoder_shape(self):
        shapes = None if self.decoder is None else validation.input_shapes(self.decoder)
        return shapes[0] if shapes else None

    def _encoder_output(self):
        return None if self.encoder is None else validation.static_shape(self.encoder, "output_shape")

    def _maps_to_own_shape(self):
        known = self.event_shape is not None and self.target_shape is not None
        return not known or validation.fits(self.event_shape, self.target_shape)

    def build(self, input_shape: Any = None) -> None:
        if input_shape is not None and self.conditional:
            if not all(isinstance(shape, tuple | list) for shape in input_shape):
                raise ValueError(f"y: {type(self).__name__} is conditional. Pass one condition per row.")
            x, y = (tuple(shape) for shape in input_shape)
            if not self._networks_built():
                self.call((tf.zeros([1, *x[1:]]), tf.zeros([1, *y[1:]], self.condition_dtype)))
            self._built_shapes["y"] = y[1:]
            input_shape = x
        if input_shape is not None:
            self._built_shapes["x"] = tuple(input_shape[1:])
        super().build(input_shape)
        self._check_networks()
        # For the shapes in `summary`.
        of_posterior = self._encoder_output()
        if self.encoder is None and self.code_shape:
            of_posterior = self._posterior.params_shape_for(self.code_shape)
        of_likelihood = None if self.decoder is None else validation.static_shape(self.decoder, "output_shape")
        for layer, params in ((self._posterior, of_posterior), (self._likelihood, of_likelihood)):
            if params is not None and isinstance(layer, keras.layers.Layer):
                layer.build((None, *params))
        if isinstance(self._prior, priors.Prior) and self.code_shape:
            self._prior.build((None, *self.code_shape))

    def call_on(self, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        if self.conditional or self._shares_pass:
            shared = (self.shared_pass(x, y, False),) if self._shares_pass else ()
            for player in self.objectives().values():
                player.terms(x, y, False, *shared)  # `call` does not reach a prior network, a classifier or a critic
        return self((x, y)) if self.conditional else super().call_on(x, y)

    # Checks

    def _check_networks(self):
        """Raises if networks and posterior do not fit; networks without a static shape are checked once built."""
        params, code = self._encoder_output(), self._decoder_shape()
        if params and code and self._posterior.code_shape_for(params) != code:
            raise ValueError(
                f"encoder: with a decoder of {_shape(code)}-dimensional codes, {type(self).__name__} expects "
                f"{_shape(self._posterior.params_shape_for(code))} parameters per row (posterior "
                f"{self._posterior.name}); received {_shape(params)}."
            )
        if self.target_shape and self.event_shape:
            self._check_own_shape()
        if self.conditional:
            if self._posterior.takes_noise:
                raise ValueError("posterior: the encoder of a conditional model cannot take noise, too.")
            self._check_conditions()

    def _check_own_shape(self):
        x, made = self.event_shape, self.target_shape
        # A user's target may have any shape. But twice the values of x, or half, are those of another likelihood.
        doubled = x[:-1] == made[:-1] and None not in (x[-1], made[-1]) and 2 in (x[-1] / made[-1], made[-1] / x[-1])
        if not self._maps_to_own_shape() and (doubled or not isinstance(self.y_role, roles.Target)):
            raise ValueError(
                f"decoder: for x of shape {self.event_shape} the likelihood {self._likelihood.name} expects outputs of "
                f"shape {self._likelihood.params_shape(self.event_shape)}; received "
                f"{validation.static_shape(self.decoder, 'output_shape')}."
            )

    def _check_conditions(self, **others):
        """Raises if no network of known shape takes the condition, or if networks take conditions of different shapes.

        `others` maps the names of further networks to the condition shapes they take; None if unknown.
        """
        found = {name: shape for name, shape in others.items() if shape is not None}
        found |= {"num_classes": (self.num_classes,)} if self.num_classes else {}
        networks = {name: getattr(self, name) for name in ("encoder", "decoder") if getattr(self, name) is not None}
        shapes = {name: validation.input_shapes(network) for name, network in networks.items()}
        if shapes and all(each is not None and len(each) == 1 for each in shapes.values()):
            raise ValueError(
                f"{' and '.join(shapes)}: expected a network with two inputs, the second for the condition. Pass "
                "condition_shape to the functions of keras_ae.networks."
            )
        found |= {name: each[1] for name, each in shapes.items() if each and len(each) == 2}
        if len(set(found.values())) > 1:
            raise ValueError(f"networks: expected conditions of the same shape; received {found}.")

    def check_x(self, x: Rows, name: str = "x") -> None:
        validation.check_array(name, x, self.event_shape, self._likelihood, slack=True)

    def check_target(self, x: Rows, name: str = "x") -> None:
        """Raises a `ValueError` if targets x are outside the likelihood's range."""
        validation.check_array(name, x, None, self._likelihood)
        if doubt := self._likelihood.doubt(x):
            warnings.warn(doubt, stacklevel=2)

    def in_range(self, x: tf.Tensor, slack: bool = False) -> tf.Tensor:
        return validation.in_range(x, *validation.bounds(self._likelihood, slack))

    def check_inputs(self, as_target: bool = False, **rows: Rows) -> None:
        """Raises a `ValueError` if rows passed to a public method, by parameter name, are invalid for the model."""
        if "x" in rows:
            self.check_x(rows["x"])
            if as_target:
                self.check_target(rows["x"])
        if "z" in rows:
            validation.check_array("z", rows["z"], self.code_shape, None)
        if "y" in rows:
            self.y_role.check_given(self, next(iter(rows.values())).shape[0], rows["y"])

    # For metrics and the export

    def prediction(self, x: tf.Tensor, y: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        if "classifier" not in self.parts and not {"encoder", "decoder"} <= self.parts:
            return super().prediction(x, y)  # raises
        with self.averaged():
            if "classifier" in self.parts:
                labels = tf.convert_to_tensor(y)
                return tf.maximum(labels, 0), tf.exp(self.log_label_posterior(x)), tf.cast(labels >= 0, tf.float32)
            made = self.call((x, y)) if self.conditional else self.call(x)
        return self._likelihood.preprocess(x if y is None or self.conditional else y), made, None

    @property
    def input_dtype(self) -> str:
        """Dtype of x, "float32" or "uint8"."""
        return self._likelihood.dtype_of_x

    def valid(self, x: tf.Tensor) -> tf.Tensor:
        """Row mask of x that a served model returns answers for: bool `(B,)`."""
        return self._likelihood.valid(x) if self._maps_to_own_shape() else roles.finite(x)

    def valid_target(self, y: tf.Tensor) -> tf.Tensor:
        """Row mask of targets in the likelihood's range: bool `(B,)`."""
        return self._likelihood.valid(y)

    def card(self) -> dict[str, Any]:
        """Returns facts for the model card, in addition to those common to all models."""
        facts = {"code_shape": self.code_shape, "likelihood": self._likelihood.name}
        facts |= {"latent_dim": self.latent_dim} if self.latent_dim else {}
        facts |= {"score_samples": SCORE_SAMPLES} if "density" in self.parts else {}
        names = getattr(self.y_role, "classes", None)
        return facts | ({"classes": names} if names else {})

    def _facts(self) -> tuple[dict[str, Any], list[keras.layers.Layer]]:
        prior = getattr(self._prior, "name", self._prior)
        return {"likelihood": self._likelihood.name, "prior": prior, "code": self.code_shape}, self.networks


def _only(structure):
    """Returns the element of a tuple of one, such as `((x, y),)`; None for any other structure."""
    return structure[0] if isinstance(structure, tuple) and len(structure) == 1 else None


def _array(name, rows):
    return np.asarray(rows_of.dense(rows_of.to_rows(name, rows)))


def _predict_arguments(batch_size=None, verbose="auto", steps=None, callbacks=None):
    return batch_size, verbose, steps, callbacks


def _shape(shape):
    return shape[0] if len(shape) == 1 else shape
