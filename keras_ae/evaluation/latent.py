"""Measures of the latent space."""

import typing

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from keras_ae.distributions import sampling
from keras_ae.evaluation.samples import frechet_of_moments
from keras_ae.typing import Distribution, Rows
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches

# Number of codes whose distances to all others are in memory at once.
_ROWS = 1 << 10


def active_units(model: keras.Model, x: Rows, threshold: float = 1e-2) -> int:
    """Counts the latent dimensions that carry information about x.

        A_j = Var_x(E_q[z_j | x]),    active units = #{j: A_j > threshold}

    A dimension whose posterior mean is the same for every x has collapsed to the prior. The variance is the population
    variance (divided by N) over the rows of x. If `encode` does not return a mean, as with an autoregressive posterior
    or the upper layers of a hierarchical model, the variance is that of the codes it returns instead.

    Args:
        model: a model with `encode`, whose codes are posterior means `(N, latent_dim)`.
        x: at least two rows, or a source of batches, as in `encode`; preprocessed like the training data.
        threshold: float, in squared units of z; the paper's 1e-2 assumes a prior with unit variance.

    Returns:
        int, 0 to latent_dim.

    Raises:
        ValueError: if x has fewer than two rows.

    Example: `active_units(vae, x_test)`

    Source: Burda 2016, table 1. See also: `aggregate_posterior_distance`, which covers all dimensions jointly.
    """
    means = np.asarray(model.encode(x), dtype="float64")  # (N, latent_dim)
    if len(means) < 2:
        raise ValueError(f"active_units: expected at least two rows, to measure how codes vary; received {len(means)}.")
    return int(np.sum(means.var(axis=0) > threshold))


def sample_codes(model: keras.Model, x: Rows, *, seed: int = 0) -> np.ndarray:
    """Draws a code of each row from its posterior, which is what a prior should match: `(N, *code_shape)` float32.

        z_i ~ q(z|x_i)

    A point posterior gives the codes of `encode`.

    Args:
        model: a model with `posterior` that takes x alone.
        x: array or `tf.data.Dataset`, preprocessed like the training data.
        seed: int.

    Raises:
        ValueError: if x is invalid for the model.

    Example: `sample_codes(vae, x_test).shape    # (120, 4)`

    See also: `aggregate_posterior_distance` and `two_sample`, which compare them with the prior.
    """
    return _draws(model, x, seed=seed)


@in_batches
def _draws(self, x, *, seed=0):
    return sampling.draw(self.posterior(x), 1, tf.bitcast(seed, tf.int32))[0]


def aggregate_posterior_distance(
    z: ArrayLike, prior: ArrayLike | Distribution | None = None, *, seed: int = 0
) -> dict[str, float]:
    """Distance between the aggregate posterior and the prior, by two measures that need only samples.

        mmd     = mean_{i != j} k(z_i, z_j) + mean_{i != j} k(p_i, p_j) - 2 mean_{i, j} k(z_i, p_j)
        k(a, b) = C / (C + |a - b|^2),    C = 2 sum_d Var(p_d)
        frechet = |m_z - m_p|^2 + tr(S_z + S_p - 2 (S_z^1/2 S_p S_z^1/2)^1/2)

    p are samples of the prior; m and S are means and covariances. `mmd` is an unbiased estimate of the squared maximum
    mean discrepancy. It detects any difference between distributions; if they are equal it averages 0, so it can be
    negative. `frechet` is the squared 2-Wasserstein distance between Gaussians with these moments, and depends on
    nothing else. It is biased upward: codes that follow a standard normal prior get D (D + 5) / 4N on average.

    Use samples from the posterior, which should match the prior; the posterior means of a VAE do not. The cost grows
    as N (N + M); 10,000 codes take seconds.

    Args:
        z: `(N, D)` numbers, codes; N is at least 2.
        prior: samples `(M, D)`, M at least 2; or a `tfd` distribution with event shape `(D,)`, such as `vae.prior`,
            from which N samples are drawn; or None for the standard normal, whose exact moments are used.
        seed: int, for sampling the prior.

    Returns:
        `{"mmd": float, "frechet": float}`; `mmd` is at most 2, `frechet` in squared units of z.

    Raises:
        ValueError: if z or the samples are not finite, have fewer than two rows, or differ in D, or if all samples
            are equal.

    Example: `aggregate_posterior_distance(vae.posterior(x).sample(), vae.prior)`

    Source: Gretton 2012, equation 3; Tolstikhin 2018, section 4, for the kernel; Dowson and Landau 1982. See also:
    `irregularity`, without a prior; `samples.frechet_distance`, for samples of x.
    """
    z = _check_points("z", z)
    n, d = z.shape
    if prior is None:
        p = np.random.default_rng(seed).normal(size=(n, d))
        m_p, s_p = np.zeros(d), np.eye(d)
    else:
        if hasattr(prior, "sample"):
            # A pair of ints is a stateless seed; a single int would make the draw depend on earlier ones.
            prior = prior.sample(n, seed=np.array([0, seed], "int32"))
        p = _check_points("prior", prior)
        if p.shape[1] != d:
            raise ValueError(f"prior: expected samples (M, {d}), as z has {d} latents; received {p.shape}.")
        m_p, s_p = p.mean(axis=0), _covariance(p)
    c = 2 * np.trace(s_p)
    if c == 0:
        raise ValueError("prior: expected samples that differ; all are equal.")
    m = len(p)
    # Remove k(a, a) = 1 from the sums over pairs within one sample.
    mmd = (
        (_kernel_sum(z, z, c) - n) / (n * (n - 1))
        + (_kernel_sum(p, p, c) - m) / (m * (m - 1))
        - 2 * _kernel_sum(z, p, c) / (n * m)
    )
    return {"mmd": float(mmd), "frechet": frechet_of_moments((z.mean(axis=0), _covariance(z)), (m_p, s_p))}


class Irregularity(typing.NamedTuple):
    """Result of `irregularity`: `off_centre`, 0 or more; `uneven_areas`, 1 or more; `gaps`, a fraction.

    Example: `off_centre, uneven_areas, gaps = Irregularity(0.1, 1.5, 0.02)`

    See also: `irregularity`, which computes it.
    """

    off_centre: float
    uneven_areas: float
    gaps: float


def irregularity(z: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> Irregularity:
    """Three numbers that show how poorly a latent space is suited to sampling.

        off_centre = |m| / s
        uneven_areas = max_k a_k / min_k a_k,    a_k = sqrt(det C_k)
        gaps = P(min_i |u - z_i| > d),    u ~ N(m, C)

    m and C are the mean and covariance of all codes, s^2 is the mean of their variances, and C_k is the covariance of
    the codes of class k. d is the 99th percentile of the distance from a code to its nearest neighbour. Training with
    a prior reduces all three: standard normal codes whose classes have equal covariance score 0, 1 and slightly above
    0. This is our own measure, not a standard one.

    Args:
        z: `(N, D)` codes; `plots.latent_spaces` draws them for D = 2.
        labels: `(N,)`.
        seed: int, for the 10,000 draws of u.

    Returns:
        `Irregularity`.

    Raises:
        ValueError: if z is not finite `(N, D)`, all codes are equal, labels are not `(N,)`, or a class has D or fewer
            codes.

    Example: `irregularity(autoencoder.encode(x), y)`

    See also: `plots.latent_spaces`, which shows these numbers; `aggregate_posterior_distance`, the distance to a prior.
    """
    from scipy.spatial import KDTree

    z, labels = _check_points("z", z), np.asarray(labels)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels: expected shape {z.shape[:1]}, one for each code; received {labels.shape}.")
    if not np.ptp(z, axis=0).any():
        raise ValueError("z: expected codes that differ; all are equal.")
    mean, spread = z.mean(axis=0), np.sqrt(z.var(axis=0).mean())
    areas = []
    for label in np.unique(labels):
        own = z[labels == label]
        if len(own) <= z.shape[1]:
            raise ValueError(f"labels: {label!r} has {len(own)} codes; expected more than {z.shape[1]}.")
        areas.append(np.sqrt(max(np.linalg.det(_covariance(own)), np.finfo(float).tiny)))
    tree = KDTree(z)
    near = np.quantile(tree.query(z, 2)[0][:, 1], 0.99)
    draws = np.random.default_rng(seed).multivariate_normal(mean, _covariance(z), 10_000)
    gaps = np.mean(tree.query(draws)[0] > near)
    return Irregularity(float(np.linalg.norm(mean) / spread), float(max(areas) / min(areas)), float(gaps))


def _kernel_sum(a, b, c):
    blocks = (cdist(a[start : start + _ROWS], b, "sqeuclidean") for start in range(0, len(a), _ROWS))
    return sum(np.sum(c / (c + distances)) for distances in blocks)


def _covariance(points):
    return np.atleast_2d(np.cov(points, rowvar=False))


def _check_points(name: str, points: ArrayLike) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or len(points) < 2 or points.shape[1] == 0:
        raise ValueError(f"{name}: expected at least two rows of codes, (N, D); received {points.shape}.")
    validation.check_array(name, points, (None,), None)
    return points.astype("float64")
