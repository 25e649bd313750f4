"""Likelihood estimates for data under trained models, with diagnostics of their accuracy."""

import dataclasses
import math
import typing
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from keras_ae.distributions import importance, likelihoods, sampling
from keras_ae.training import feeding
from keras_ae.typing import Rows
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches

tfd = tfp.distributions

# Acceptance rate at which HMC explores fastest (Neal 2011, section 5.4.4), and the adaptation rate of the step size:
# a factor of exp(-0.13) to exp(0.07) per temperature, so 50 temperatures can shrink it 600-fold or grow it 30-fold.
_ACCEPTANCE, _ADAPTATION = 0.65, 0.2
_FAULTS = {
    1: "x: a Bernoulli likelihood is a probability of 0 and 1 only; received other values, over which it does not "
    "sum to 1. Binarise x, or train with likelihood='continuous_bernoulli'.",
    2: "x: this likelihood is a probability of whole numbers only; received other values. Pass levels or counts, "
    "such as word counts, or compare models by model.log_prob on the same data.",
}
_WHOLE = (
    *(tfd.Categorical, tfd.Multinomial, tfd.DirichletMultinomial, tfd.Binomial, tfd.BetaBinomial),
    *(tfd.Poisson, tfd.NegativeBinomial, tfd.Geometric, tfd.Zipf),
)
_WHOLE_OF_ANY_SIGN = (tfd.Skellam, tfd.QuantizedDistribution)
# Maximum number of distances per block of the Parzen estimate: 32 MB of float64.
_DISTANCES = 1 << 22


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """Per-row estimates of log p(x) from weights w with mean p(x), and diagnostics of their error.

        log_prob = log 1/S sum_s w_s,    effective_samples = (sum_s w_s)^2 / sum_s w_s^2

    Attributes:
        log_prob: `(N,)` float64, nats.
        effective_samples: `(N,)` float64, from 1 (one weight dominates) to S (all weights are equal); 0 if every weight
            is 0.
        num_samples: int S, weights per row.
        acceptance: `(N,)` float64, acceptance rate of the HMC moves; None without HMC.

    Example:

        found = LogLikelihood(np.array([-85.0, -95.0]), effective_samples=np.array([40.0, 2.0]), num_samples=100)
        found.nll, found.standard_error, found.share_below(10)    # (90.0, 5.0, 0.5)

    Source: Kong 1992, for the effective sample size. See also: `negative_log_likelihood` and
    `annealed_importance_sampling`, which return it.
    """

    log_prob: np.ndarray
    effective_samples: np.ndarray
    num_samples: int
    acceptance: np.ndarray | None = None

    @property
    def nll(self) -> float:
        """float, mean of -log_prob over the rows, nats."""
        return float(-np.mean(self.log_prob))

    @property
    def standard_error(self) -> float:
        """float, standard error of `nll` over randomly drawn rows: `std(log_prob) / sqrt(N)`; NaN for a single row."""
        n = len(self.log_prob)
        return float(np.std(self.log_prob, ddof=1) / math.sqrt(n)) if n > 1 else math.nan

    @property
    def monte_carlo_error(self) -> np.ndarray:
        """`(N,)`, Monte Carlo standard error of each `log_prob`, from its weights, nats; NaN for a single weight.

            e = sqrt((S / effective_samples - 1) / (S - 1))

        This is a first-order expansion of the logarithm (delta method). By the second-order term, `log_prob` is too low
        by about e^2 / 2. Both depend only on the sampled weights: if q(z|x) is narrower than the posterior, it can miss
        a mode. The estimate is then off by many standard errors and still shows hundreds of effective samples.
        """
        s = self.num_samples
        if s == 1:
            return np.full_like(self.log_prob, np.nan)
        with np.errstate(divide="ignore"):
            return np.sqrt(np.maximum(s / self.effective_samples - 1, 0) / (s - 1))

    def share_below(self, effective_samples: float = 10) -> float:
        """float, fraction of rows with fewer than `effective_samples` effective samples: the unreliable estimates."""
        return float(np.mean(self.effective_samples < effective_samples))


def negative_log_likelihood(
    model: keras.Model,
    x: Rows,
    num_samples: int = 5000,
    seed: int = 0,
    *,
    y: ArrayLike | None = None,
    batch_size: int = 128,
) -> LogLikelihood:
    """Negative log-likelihood by importance sampling from the model's own posterior.

        -log p(x) ~ -log 1/S sum_s w_s,    w_s = p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

    The result equals `-model.log_prob(x)`, and also reports effective sample sizes. On average, the estimate is above
    the true value, and it decreases towards that value as `num_samples` grows. Memory use does not depend on
    `num_samples`.

    Args:
        model: a model with a prior and a posterior, such as `keras_ae.VAE` or `keras_ae.SemanticHashing`.
        x: `(N, ...)` rows or a source of batches, as in `encode`, of values for which the likelihood is a probability
            or a density: 0 or 1 for a Bernoulli, integer counts for a multinomial. A generator's batches are kept in
            memory.
        num_samples: int S, 1 or more.
        seed: int, for the samples.
        y: `(N, ...)`, the condition of each x, for log p(x|y); None for unconditional models.
        batch_size: int, rows processed at once.

    Returns:
        `LogLikelihood`: `nll` and its `standard_error` over rows, and per-row `log_prob` and `effective_samples`.

    Raises:
        ValueError: if the model has no prior, `num_samples` is below 1, or x has values other than those above, is not
            finite, or does not have the model's shape.

    Example:

        result = negative_log_likelihood(vae, x_test)
        print(f"{result.nll:.2f} +- {result.standard_error:.2f} nats, {result.share_below(10):.0%} in doubt")

    Source: Burda 2016, equation 8; Kong 1992 for the effective sample size. See also: `annealed_importance_sampling`,
    for rows whose effective sample size is small.
    """
    _check_model(model)
    num_samples = validation.positive_int("num_samples", num_samples)
    x = feeding.repeatable("x", x)
    _check_probability(model, x, y)
    total, squares = _importance(model, x, y, num_samples=num_samples, seed=seed, batch_size=batch_size)
    return _estimate(total, squares, num_samples)


def annealed_importance_sampling(
    model: keras.Model,
    x: Rows,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog_steps: int = 10,
    initial: typing.Literal["prior", "posterior"] = "prior",
    step_size: float = 0.1,
    seed: int = 0,
    *,
    y: ArrayLike | None = None,
) -> LogLikelihood:
    """Estimates log p(x) by annealing, in many small steps, from a tractable distribution to the posterior.

        log w = sum_t (b_t - b_t-1) r(z_t-1),    z_0 ~ f_0,    z_t ~ a move that leaves f_t = f_0 exp(b_t r) as it is
        r(z) = log p(x|z) + log p(z) - log f_0(z),    b_t = (s_t - s_0) / (s_T - s_0),    s_t = sigmoid(8 t / T - 4)

    E[w] = p(x) for any decoder and any encoder, however poor; with f_0 = p(z) the encoder is not used. The moves are
    Hamiltonian Monte Carlo, with one step size per row that adapts to an acceptance rate of 0.65. The chains of a row
    share this adaptation, so the mean of w equals p(x) only up to a term that decreases with the number of chains. On
    average, the log estimate is below the true value; check that a longer temperature ladder no longer increases it.

    The decoder is evaluated about N K T (L + 2) times (K chains, T temperatures, L leapfrog steps), so use a few
    hundred rows. `tfp.mcmc.sample_annealed_importance_chain` is not suitable: its ladder is linear, and it accepts
    moves with the density at the previous temperature, which causes an error of several standard errors on a short
    ladder.

    Args:
        model: a model with a `likelihood`, and a `prior` that has a density over continuous codes, such as
            `keras_ae.VAE`, or `keras_ae.AVB`, whose posterior has no density.
        x: `(N, ...)` rows or a source of batches, as in `negative_log_likelihood`.
        num_chains: int K, chains per row, 1 or more.
        num_temperatures: int T, 1 or more; 1 is plain importance sampling from f_0.
        num_leapfrog_steps: int L, steps per move, 1 or more.
        initial: "prior" or "posterior", f_0 = p(z) or q(z|x). The posterior needs a much shorter ladder, unless it
            misses a mode.
        step_size: float above 0, initial HMC step size, in units of z.
        seed: int, for all samples and moves.
        y: as in `negative_log_likelihood`.

    Returns:
        `LogLikelihood` with `num_samples` = K: per-row `log_prob` and `monte_carlo_error` over chains,
        `effective_samples` out of K, and `acceptance`.

    Raises:
        ValueError: as in `negative_log_likelihood`, and if codes are discrete or an argument is out of range.

    Example: `annealed_importance_sampling(vae, x_test[:100], num_chains=16, num_temperatures=2000).nll`

    Source: Neal 2001, section 2; Wu 2017 for decoders and the ladder. See also: `negative_log_likelihood`, which is
    faster and suffices if its effective sample sizes are large.
    """
    if initial not in ("prior", "posterior"):
        raise ValueError(f"Unknown initial {initial!r}: expected 'prior' or 'posterior'.")
    _check_model(model, needs_posterior=initial == "posterior")
    counts = {
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "num_leapfrog_steps": num_leapfrog_steps,
    }
    counts = {name: validation.positive_int(name, count) for name, count in counts.items()}
    if not 0 < step_size < math.inf:
        raise ValueError(f"step_size: expected a finite number above 0, received {step_size}.")
    x = feeding.repeatable("x", x)
    _check_probability(model, x, y)
    if _have_whole_codes(model, x, y).all():
        raise ValueError(
            f"{type(model).__name__} has discrete codes, which annealing cannot move in small steps: expected a prior "
            "with a density. Use negative_log_likelihood."
        )
    total, squares, acceptance = _anneal(
        model,
        x,
        y,
        **counts,
        initial=initial,
        step_size=float(step_size),
        seed=seed,
        batch_size=max(1, importance.CHUNK_VALUES // (counts["num_chains"] * model.params_size)),
    )
    return _estimate(total, squares, counts["num_chains"], acceptance)


class Parzen(typing.NamedTuple):
    """Result of `parzen`: mean log density of the test rows and its standard error, in nats, and sigma.

    Example: `Parzen(log_prob=-85.2, standard_error=0.7, sigma=0.2).log_prob`

    See also: `parzen`, which computes it; `LogLikelihood`, for models with a density.
    """

    log_prob: float
    standard_error: float
    sigma: float


def parzen(samples: ArrayLike, x_valid: ArrayLike, x_test: ArrayLike, sigmas: ArrayLike | None = None) -> Parzen:
    """Parzen window estimate of the mean log density of test rows: a historical score, for comparison only.

        log p(x) = log 1/n sum_i exp(-|x - s_i|^2 / (2 sigma^2)) - D log(sigma sqrt(2 pi))

    sigma is the element of `sigmas` with the highest mean over `x_valid`. The score says little about density: in many
    dimensions no feasible number of samples fills the space between images, so it measures how close a few blurred
    samples come to the test rows. Compare it with the score of the same number of real training rows. A model with a
    higher score, as k-means centres have, is not better than the data; the excess is an artefact (Theis 2016). Memory
    use is that of the samples in float64 plus a few blocks of 32 MB.

    Args:
        samples: `(n, ...)` numbers, drawn from the model; usually 10,000.
        x_valid: `(V, ...)` rows for choosing sigma, disjoint from the model's training rows and the test rows.
        x_test: `(N, ...)` rows, 2 or more.
        sigmas: numbers above 0, in units of x; None is `np.logspace(-1, 0, 10)`, meant for pixels in [0, 1].

    Returns:
        `Parzen`: `log_prob`, `standard_error` = std / sqrt(N), and `sigma`. If sigma is at an end of the grid, widen
        the grid.

    Raises:
        ValueError: if rows differ in shape or are not finite, or `sigmas` is empty or has a value that is not positive.

    Example: `parzen(vae.sample(10_000), x_train[-1000:], x_test).log_prob`

    Source: Breuleux 2011; Goodfellow 2014, section 5, for the protocol. See also: `negative_log_likelihood`, for models
    with a density.
    """
    sigmas = np.logspace(-1, 0, 10) if sigmas is None else np.asarray(sigmas, "float64")
    if sigmas.ndim != 1 or len(sigmas) == 0 or not np.all((sigmas > 0) & np.isfinite(sigmas)):
        raise ValueError(f"sigmas: expected one or more finite numbers above 0, received {sigmas}.")
    samples, x_valid, x_test = (np.asarray(rows) for rows in (samples, x_valid, x_test))
    for name, rows in (("samples", samples), ("x_valid", x_valid), ("x_test", x_test)):
        if rows.ndim < 2:
            raise ValueError(f"{name}: expected rows (N, ...), received shape {rows.shape}.")
        validation.check_array(name, rows, samples.shape[1:], None)
    if len(x_test) < 2:
        raise ValueError("x_test: expected two rows or more, for a standard error; received 1.")
    samples = tf.constant(samples.reshape(len(samples), -1), tf.float64)
    sigma = sigmas[np.argmax(_kernel_densities(samples, x_valid, sigmas).mean(axis=1))]
    densities = _kernel_densities(samples, x_test, np.array([sigma]))[0]
    return Parzen(float(densities.mean()), float(densities.std(ddof=1) / math.sqrt(len(densities))), float(sigma))


def bits_per_dimension(nats: ArrayLike, x_shape: Sequence[int], levels: int = 256) -> float | np.ndarray:
    """Bits per dimension, from log p(x).

        bits = (-log p(x) / D + log levels) / log 2

    This formula is for a density on [0, 1]^D, such as that of dequantised pixels, where each level is a cell of volume
    levels^-D. By Jensen's inequality, the mean over the noise is an upper bound on the bits per dimension of the
    discrete distribution with the mass of each cell. Use `levels=1` for a likelihood that is already a probability,
    such as `categorical`: -log p(x) / (D log 2).

    Args:
        nats: log p(x), such as `model.log_prob(x)`; a number or an array of any shape. Do not pass the negative
            log-likelihood.
        x_shape: shape of one x, without the batch axis; D is its product.
        levels: int, 1 or more.

    Returns:
        float64, same shape as `nats`.

    Raises:
        ValueError: if `levels` or a size in `x_shape` is below 1.

    Example:

        vae = ka.VAE(encoder, decoder, likelihood="continuous_bernoulli")    # a density; fitted to dequantise(x, epoch)
        found = negative_log_likelihood(vae, dequantise(x, seed=0))          # raises if x has no density
        bits_per_dimension(found.log_prob, x.shape[1:]).mean()

    Source: Theis 2016, section 3.1. See also: `dequantise`, which turns levels into values with a density.
    """
    levels = validation.positive_int("levels", levels)
    x_shape = tuple(x_shape)
    if not all(size is not None and size >= 1 for size in x_shape):
        raise ValueError(f"x_shape: expected sizes of 1 or more, without the batch axis; received {x_shape}.")
    return (-np.asarray(nats, "float64") / math.prod(x_shape) + math.log(levels)) / math.log(2)


def dequantise(x: ArrayLike, seed: int, levels: int = 256) -> np.ndarray:
    """Dequantises integer levels with uniform noise, so that a density can be fitted to them.

        y = (x + u) / levels,    u ~ U[0, 1)

    `floor(levels * y)` recovers x. u uses the remaining bits of float32 precision: 16 with 256 levels.

    Args:
        x: `(N, ...)` array of an integer dtype, 0 to levels - 1.
        seed: int; use a different one for each epoch.
        levels: int, 1 to 65,536.

    Returns:
        float32 with x's shape, in [0, 1).

    Raises:
        ValueError: if x is not an integer array, or x or `levels` is out of range.

    Example: `dequantise(np.array([[0, 255]], "uint8"), seed=0)`

    Source: Uria 2013; Theis 2016, section 3.1. See also: `bits_per_dimension`.
    """
    levels = validation.positive_int("levels", levels)
    if levels > 1 << 16:
        raise ValueError(f"levels: expected at most 65,536, which leaves float32 8 bits of noise; received {levels}.")
    x = np.asarray(x)
    if x.dtype.kind not in "iu" or x.size == 0 or x.min() < 0 or x.max() >= levels:
        found = f" in [{x.min()}, {x.max()}]" if x.size and x.dtype.kind in "iuf" else ""
        raise ValueError(f"x: expected whole numbers 0..{levels - 1}, such as uint8 pixels; received {x.dtype}{found}.")
    # Integer noise keeps (x + u) exact in 24 bits; otherwise rounding could carry it into the next level.
    steps = 1 << (24 - (levels - 1).bit_length())
    noise = np.random.default_rng(seed).integers(steps, size=x.shape, dtype="uint32")
    noise += x.astype("uint32") * np.uint32(steps)
    return noise.astype("float32") / np.float32(levels * steps)


# These functions name their first parameter `self` because `in_batches` decorates methods of a model.


@in_batches(as_target=True)
def _importance(self, x, y=None, *, num_samples, seed):
    return importance.log_sums(self, x, y, num_samples, seed)


@in_batches
def _anneal(self, x, y=None, *, num_chains, num_temperatures, num_leapfrog_steps, initial, step_size, seed):
    """Log-sums of the weights and of their squares, and the acceptance rate: `(B,)` each."""
    seed, prior = tf.bitcast(seed, tf.int32), self.conditional_prior(y)
    first = tf.random.experimental.stateless_fold_in(seed, num_temperatures)
    rows, width = tf.shape(x)[0], prior.event_shape[0]

    def log_likelihood(z):
        return self.likelihood(z, y).log_prob(tf.cast(x, tf.float32))

    if initial == "prior":
        known, ratio = prior, log_likelihood
        # An unconditional prior has no batch axis; a prior given y has one.
        z = sampling.draw(prior, num_chains if prior.batch_shape.rank else num_chains * rows, first)
        z = tf.reshape(z, [num_chains, rows, width])
    else:
        known = self.posterior(x, y)
        z = sampling.draw(known, num_chains, first)

        def ratio(z):
            return log_likelihood(z) + prior.log_prob(z) - known.log_prob(z)

    ladder = 1 / (1 + np.exp(-4 * np.linspace(-1, 1, num_temperatures + 1)))
    ladder = (ladder - ladder[0]) / (ladder[-1] - ladder[0])
    increments, ladder = tf.constant(np.diff(ladder)), tf.constant(ladder[1:], tf.float32)

    def move(t, z, log_weights, step, accepted):
        log_weights += increments[t] * tf.cast(ratio(z), tf.float64)
        kernel = tfp.mcmc.HamiltonianMonteCarlo(
            lambda z: known.log_prob(z) + ladder[t] * ratio(z), step[:, None], num_leapfrog_steps
        )
        # Bootstrap again: cached kernel results hold the density at the previous temperature.
        start = kernel.bootstrap_results(z)
        z, results = kernel.one_step(z, start, seed=tf.random.experimental.stateless_fold_in(seed, t))
        share = tf.reduce_mean(tf.exp(tf.minimum(results.log_accept_ratio, 0.0)), axis=0)  # (B,)
        return t + 1, z, log_weights, step * tf.exp(_ADAPTATION * (share - _ACCEPTANCE)), accepted + share

    state = (
        0,
        tf.ensure_shape(z, [num_chains, None, width]),
        tf.zeros([num_chains, rows], tf.float64),
        tf.fill([rows], step_size),
        tf.zeros([rows]),
    )
    _, _, log_weights, _, accepted = tf.while_loop(lambda t, *_: t < num_temperatures, move, state)
    sums = [tf.reduce_logsumexp(power * log_weights, axis=0) for power in (1, 2)]
    return [*sums, accepted / num_temperatures]


@in_batches
def _faults(self, x, y=None):
    """The key of `_FAULTS` that says why a row has no probability, or 0 if it has one: `(B,)` int."""
    p = self.likelihood(tf.zeros([tf.shape(x)[0], *self.code_shape]), y)
    kinds = [each for each in likelihoods.parts(p) if not isinstance(each, likelihoods.POINTS)]
    x = tf.cast(x, tf.float32)
    if all(isinstance(each, tfd.Bernoulli) for each in kinds):
        fault, good = 1, (x == 0) | (x == 1)
    elif all(isinstance(each, (tfd.Bernoulli, *_WHOLE)) for each in kinds):
        fault, good = 2, (x >= 0) & (x == tf.round(x))
    elif all(isinstance(each, (tfd.Bernoulli, *_WHOLE, *_WHOLE_OF_ANY_SIGN)) for each in kinds):
        fault, good = 2, x == tf.round(x)
    else:
        fault, good = 0, tf.ones_like(x, bool)
    return tf.where(tf.reduce_all(good, axis=tf.range(1, tf.rank(x))), 0, fault)


@in_batches
def _have_whole_codes(self, x, y=None):
    """Whether a few draws of each row's code are all integers, `(B,)` bool."""
    z = self.conditional_prior(y).sample(8, seed=0)
    whole = tf.reduce_all(z == tf.round(z), axis=(0, -1))  # one per row, or a scalar for an unconditional prior
    return tf.broadcast_to(whole, tf.shape(x)[:1])


@tf.function(reduce_retracing=True)
def _block(samples, x, sigmas):
    """Log densities `(sigmas, rows)` of a block of rows, all float64."""
    distances = tf.reduce_sum(x**2, 1)[:, None] - 2 * tf.matmul(x, samples, transpose_b=True)
    distances = tf.maximum(distances + tf.reduce_sum(samples**2, 1), 0)  # rounding errors can be negative

    def density(sigma):
        n, d = (tf.cast(size, tf.float64) for size in tf.unstack(tf.shape(samples)))
        kernels = tf.reduce_logsumexp(-distances / (2 * sigma**2), axis=1)
        return kernels - tf.math.log(n) - d * tf.math.log(sigma * math.sqrt(2 * math.pi))

    return tf.map_fn(density, sigmas, parallel_iterations=1)


def _kernel_densities(samples, x, sigmas):
    rows = max(1, _DISTANCES // samples.shape[0])
    x = x.reshape(len(x), -1)
    blocks = (tf.constant(x[start : start + rows], tf.float64) for start in range(0, len(x), rows))
    return np.concatenate([_block(samples, block, sigmas) for block in blocks], axis=1)  # (sigmas, N)


def _estimate(total, squares, num_samples, acceptance=None):
    total, squares = np.asarray(total, "float64"), np.asarray(squares, "float64")
    if np.isnan(total).any():
        raise ValueError(
            f"x: the log-likelihood of {np.isnan(total).sum()} of {len(total)} rows is NaN. Check the model's weights, "
            "and that the values of x are possible under its likelihood."
        )
    with np.errstate(invalid="ignore"):  # -inf - -inf, where every weight was 0
        effective = np.nan_to_num(np.exp(2 * total - squares), nan=0.0)
    acceptance = None if acceptance is None else np.asarray(acceptance, "float64")
    return LogLikelihood(total - math.log(num_samples), effective, num_samples, acceptance)


def _check_model(model, needs_posterior=True):
    has_prior = not needs_posterior and {"prior", "decoder"} <= getattr(model, "parts", set())
    if not ((hasattr(model, "log_prob") and hasattr(model, "conditional_prior")) or has_prior):
        raise ValueError(
            f"{type(model).__name__} has no p(z), so it defines no p(x): expected a model with a prior and a "
            "posterior that is a distribution, such as keras_ae.VAE."
        )


def _check_probability(model, x, y):
    """Raises an error if the likelihood of x is neither a probability nor a density."""
    fault = int(np.max(_faults(model, x, y)))
    if fault:
        raise ValueError(_FAULTS[fault])
