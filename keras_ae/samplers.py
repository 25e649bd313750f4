"""Sampling from a trained model with a density over its codes: the prior, or a density fitted to codes of data.

A model that has no prior, or whose codes do not follow it, can still generate good images if a density is fitted to its
codes after training. Samplers have `fit(x)`, `sample_codes(n)` and `sample(n)`, and work with any model that has
`encode` and `decode`.
"""

import contextlib
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from keras_ae.distributions import sampling
from keras_ae.distributions.flows import Density, Flow
from keras_ae.typing import Distribution, Rows
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches

tfb = tfp.bijectors
tfd = tfp.distributions


class Sampler:
    """Base class for samplers, which decode codes drawn from `distribution()`.

    Args:
        model: a trained model with `decode`, and with `encode` if the sampler is fitted. For a conditional model, one
            density covers the codes under all conditions, and `sample` and `fit` also take y. A model whose prior
            depends on y has no such density.

    Raises:
        ValueError: if the model lacks a required method, or its prior depends on y.

    Example:

        class Wide(Sampler):
            def distribution(self):
                return tfd.MultivariateNormalDiag(tf.zeros(2), 3 * tf.ones(2))    # for codes of size 2

        Wide(autoencoder).sample(16, seed=0)    # (16, 28, 28, 1)

    See also: `PriorSampler`, `MixtureSampler` and `FlowSampler`.
    """

    needs = ("encode", "decode")

    def __init__(self, model: keras.Model) -> None:
        if getattr(model, "prior_network", None) is not None:
            raise ValueError(
                f"model: the prior of this {type(model).__name__} depends on y, but a sampler has one density for "
                "all codes. Use model.sample(n, y)."
            )
        missing = [name for name in self.needs if not hasattr(model, name)]
        if missing:
            raise ValueError(
                f"model: {type(self).__name__} needs a model with {', '.join(missing)}; received {model!r}."
            )
        self.model = model

    def distribution(self) -> Distribution:
        """Returns the density of codes, a tfd with event shape `(latent_dim,)`.

        Raises:
            ValueError: if the sampler is not fitted.
        """
        raise NotImplementedError

    def sample(self, n: int, y: ArrayLike | None = None, seed: int = 0) -> np.ndarray:
        """Draws n means of p(x|z), or p(x|z, y), with z from `sample_codes`: `(n, ...)` float32.

        Row i depends only on `seed + i`, y and the fit.

        Raises:
            ValueError: if n is not a positive integer, the seed is not an integer, the sampler is not fitted, or y is
                invalid for the model.
        """
        if y is not None and not getattr(self.model, "conditional", False):
            raise ValueError(
                f"y: {type(self.model).__name__} is not conditional. Leave y out, and pass a seed by name: seed=..."
            )
        return self.model.decode(self.sample_codes(n, seed), *(() if y is None else (y,)))

    def sample_codes(self, n: int, seed: int = 0) -> np.ndarray:
        """Draws n codes, `(n, latent_dim)` float32; row i depends only on `seed + i` and the fit.

        Raises:
            ValueError: as in `sample`.
        """
        n = validation.positive_int("n", n)
        return self._codes_from_seeds(validation.seed(seed) + tf.range(n, dtype=tf.int64))

    @in_batches
    def _codes_from_seeds(self, seeds):
        return sampling.draw_rows(self.distribution(), seeds)

    def check_inputs(self, seeds: tf.Tensor) -> None:
        self.distribution()  # raises if not fitted


class PriorSampler(Sampler):
    """Samples codes from the model's own prior, as `model.sample` of a VAE does.

        z ~ p(z),    image = E[x|z]

    Args:
        model: a model with `decode` and with `prior`, a tfd with event shape `(latent_dim,)`.

    Raises:
        ValueError: if the model has no prior.

    Example: `PriorSampler(vae).sample(16, seed=0)    # (16, 28, 28, 1)`

    Source: Kingma & Welling 2014. See also: `MixtureSampler` and `FlowSampler`, for codes that do not follow the prior.
    """

    needs = ("prior", "decode")

    @property
    def averaging(self) -> tuple[Any, ...]:
        """As of the model: where the prior has weights, graphs of it depend on their averages."""
        return getattr(self.model, "averaging", ())

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Context in which the prior uses averaged weights."""
        return self.model.averaged()

    def fit(self, x: Any = None, y: Any = None) -> Self:
        """Does nothing, since the prior needs no fit; returns the sampler."""
        return self

    def distribution(self) -> Distribution:
        return self.model.prior


class FittedSampler(Sampler):
    """Base class for samplers fitted to codes; subclasses implement `_fitted(codes)`, which returns a tfd.

    Raises:
        ValueError: if the model has no `encode` or `decode`, or its prior depends on y.

    Example:

        class Diagonal(FittedSampler):
            def _fitted(self, codes):
                return tfd.MultivariateNormalDiag(codes.mean(axis=0), codes.std(axis=0))

        Diagonal(autoencoder).fit(x_train).sample(16, seed=0)    # (16, 28, 28, 1)

    Source: Ghosh 2020, section 4. See also: `MixtureSampler` and `FlowSampler`, which define the density;
    `PriorSampler`, which needs no fit.
    """

    _density = None

    def fit(self, x: Rows, y: ArrayLike | None = None, **kwargs: Any) -> Self:
        """Fits the density to the codes of x; returns the sampler.

        Args:
            x: rows `(N, ...)` or a source of batches, as in `encode`, like the model's training data.
            y: the conditions of x if the model is conditional.
            **kwargs: as in `fit_codes`.

        Raises:
            ValueError: as in `fit_codes`, and if x is invalid for the model.
        """
        return self.fit_codes(self.model.encode(x, *(() if y is None else (y,))), **kwargs)

    def fit_codes(self, codes: ArrayLike, **kwargs: Any) -> Self:
        """Like `fit`, for codes `(N, latent_dim)`.

        Raises:
            ValueError: if codes have the wrong shape, are not finite, or are too few.
        """
        codes = np.asarray(rows_of.dense(rows_of.to_rows("codes", codes)))
        if codes.ndim != 2:
            raise ValueError(f"codes: expected shape (N, latent_dim), received {codes.shape}.")
        latent_dim = getattr(self.model, "latent_dim", None)
        validation.check_array("codes", codes, (latent_dim,), None)
        if len(codes) < self._least_rows():
            raise ValueError(
                f"codes: {type(self).__name__} expects {self._least_rows()} rows or more, received {len(codes)}."
            )
        self._density = self._fitted(codes.astype("float32"), **kwargs)
        vars(self).pop("_compiled_methods", None)  # the compiled graphs contain the previous fit
        return self

    def distribution(self) -> Distribution:
        if self._density is None:
            raise ValueError(f"{type(self).__name__} is not fitted yet: call fit(x) first.")
        return self._density

    def _least_rows(self):
        return 2

    def _fitted(self, codes, **kwargs):
        raise NotImplementedError


class MixtureSampler(FittedSampler):
    """Samples codes from a mixture of full-covariance Gaussians fitted to the codes of data.

        z ~ sum_k w_k N(z; m_k, C_k),    fitted by expectation maximisation with scikit-learn's `GaussianMixture`

    Args:
        model: a trained model with `encode` and `decode`.
        components: int, number of Gaussians.
        seed: int, seed for the initialisation of the fit.

    Raises:
        ValueError: if the model has no `encode` or `decode`, or `components` is not a positive integer.

    Example: `MixtureSampler(autoencoder).fit(x_train).sample(16, seed=0)    # (16, 28, 28, 1)`

    Source: Ghosh 2020, section 4, with ten components.

    See also: `FlowSampler`, for codes that a few Gaussians cannot fit.
    """

    def __init__(self, model: keras.Model, components: int = 10, *, seed: int = 0) -> None:
        super().__init__(model)
        self.components, self.seed = validation.positive_int("components", components), seed

    def _least_rows(self):
        return max(2, self.components)

    def _fitted(self, codes):
        from sklearn.mixture import GaussianMixture

        mixture = GaussianMixture(self.components, random_state=self.seed).fit(codes.astype("float64"))
        scale = np.linalg.cholesky(mixture.covariances_).astype("float32")
        gaussians = tfd.MultivariateNormalTriL(mixture.means_.astype("float32"), scale)
        return tfd.MixtureSameFamily(tfd.Categorical(probs=mixture.weights_.astype("float32")), gaussians)


class FlowSampler(FittedSampler):
    """Samples codes from a masked autoregressive flow fitted to the codes of data by maximum likelihood.

        z = m + s u,    u ~ Flow,    m and s = mean and standard deviation of the codes in each dimension

    The signature of `fit` is `fit(x, y=None, *, epochs=50, batch_size=100, optimizer=None, verbose=0)`. The optimizer
    None is Adam with learning rate 1e-3. After `fit`, `density` is the trained `flows.Density` of the standardised
    codes.

    Args:
        model: a trained model with `encode` and `decode`.
        seed: int or None, seed for training.
        **kwargs: arguments of `flows.Flow`: `steps`, `hidden`, `activation`.

    Raises:
        ValueError: if the model has no `encode` or `decode`.

    Example: `FlowSampler(autoencoder).fit(x_train, epochs=50).sample(16, seed=0)    # (16, 28, 28, 1)`

    Source: Ghosh 2020, section 4, for a density fitted after training; Papamakarios 2017, for the flow. See also:
    `MixtureSampler`, which needs no training loop.
    """

    def __init__(self, model: keras.Model, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(model)
        self.seed, self.arguments = seed, kwargs
        self.density = None

    def _fitted(self, codes, epochs=50, batch_size=100, optimizer=None, verbose=0):
        mean, deviation = codes.mean(axis=0), codes.std(axis=0)
        deviation[deviation == 0] = 1.0  # avoid dividing by zero for a constant dimension
        self.density = Density(Flow(codes.shape[1], **self.arguments), seed=self.seed)
        self.density.compile(keras.optimizers.Adam(1e-3) if optimizer is None else optimizer)
        self.density.fit((codes - mean) / deviation, epochs=epochs, batch_size=batch_size, verbose=verbose)
        units = tfb.Chain([tfb.Shift(mean), tfb.Scale(deviation)])
        return tfd.TransformedDistribution(self.density.density.call(), units, name="codes")
