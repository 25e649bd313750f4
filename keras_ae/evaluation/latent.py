"""Measures of the latent space."""

import typing

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from keras_ae.evaluation.samples import frechet_of_moments
from keras_ae.utils import validation

if typing.TYPE_CHECKING:  # it takes seconds to import
    import tensorflow_probability as tfp

# Codes whose distances to all others are held at once.
_ROWS = 1 << 10


def active_units(model: keras.Model, x: ArrayLike | tf.data.Dataset, threshold: float = 1e-2) -> int:
    """How many latent dimensions carry information about x.

        A_j = Var_x(E_q[z_j | x]),    active units = #{j: A_j > threshold}

    A dimension whose posterior mean is the same for every x has collapsed to the prior. The variance is the
    population's (divided by N), over the rows of x. Where `encode` gives no mean, as for an autoregressive posterior or
    the upper of several layers, it is that of the codes which it gives instead.

    Args:
        model: a model with `encode`, whose codes are posterior means `(N, latent_dim)`.
        x: array or `tf.data.Dataset` of at least two rows; give it in the form that the model was trained on.
        threshold: float, in squared units of z; the paper's 1e-2 supposes a prior of unit variance.

    Returns:
        int, 0 to latent_dim.

    Raises:
        ValueError: if x has fewer than two rows.

    Example: `active_units(vae, x_test)`

    Source: Burda 2016, table 1. See also: `aggregate_posterior_distance`, of all dimensions together.
    """
    means = np.asarray(model.encode(x), dtype="float64")  # (N, latent_dim)
    if len(means) < 2:
        raise ValueError(f"active_units: expected at least two rows, to see the codes vary; received {len(means)}.")
    return int(np.sum(means.var(axis=0) > threshold))


def aggregate_posterior_distance(
    z: ArrayLike, prior: "ArrayLike | tfp.distributions.Distribution | None" = None, *, seed: int = 0
) -> dict[str, float]:
    """How far the distribution of all codes is from the prior, by two measures that need no density.

        mmd     = mean_{i != j} k(z_i, z_j) + mean_{i != j} k(p_i, p_j) - 2 mean_{i, j} k(z_i, p_j)
        k(a, b) = C / (C + |a - b|^2),    C = 2 sum_d Var(p_d)
        frechet = |m_z - m_p|^2 + tr(S_z + S_p - 2 (S_z^1/2 S_p S_z^1/2)^1/2)

    p are samples of the prior; m and S are means and covariances. `mmd` estimates the squared maximum mean discrepancy
    without bias: 0 on average if the distributions are equal, then as often negative; it sees any difference
    between distributions. `frechet` is the squared 2-Wasserstein distance between Gaussians of these moments, blind to
    all else. It is biased upward: codes that follow a standard normal prior get D (D + 5) / 4N on average.

    Compare like with like: codes drawn from the posterior should fill the prior, posterior means of a VAE
    do not. The work grows as N (N + M); 10,000 codes take seconds.

    Args:
        z: `(N, D)` numbers, codes; N is at least 2.
        prior: samples `(M, D)`, M at least 2; or a tfd with event `(D,)`, of which N samples are drawn, such as
            `vae.prior`; or None for the standard normal, whose moments are then exact.
        seed: int, for samples of the prior.

    Returns:
        `{"mmd": float, "frechet": float}`; `mmd` is at most 2, `frechet` in squared units of z.

    Raises:
        ValueError: if z or the samples are not finite, fewer than two, or differ in D, or the samples do not vary.

    Example: `aggregate_posterior_distance(vae.posterior(x).sample(), vae.prior)`

    Source: Gretton 2012, equation 3; Tolstikhin 2018, section 4, for the kernel; Dowson and Landau 1982.
    """
    z = _check_points("z", z)
    n, d = z.shape
    if prior is None:
        p = np.random.default_rng(seed).normal(size=(n, d))
        m_p, s_p = np.zeros(d), np.eye(d)
    else:
        if hasattr(prior, "sample"):
            # Two numbers make a stateless seed; a plain one would depend on what was drawn before.
            prior = prior.sample(n, seed=np.array([0, seed], "int32"))
        p = _check_points("prior", prior)
        if p.shape[1] != d:
            raise ValueError(f"prior: expected samples (M, {d}), as z has {d} latents; received {p.shape}.")
        m_p, s_p = p.mean(axis=0), _covariance(p)
    c = 2 * np.trace(s_p)
    if c == 0:
        raise ValueError("prior: all samples are the same point, expected samples of a distribution that varies.")
    m = len(p)
    # k(a, a) = 1 is taken out of the sums over pairs of the same sample.
    mmd = (
        (_kernel_sum(z, z, c) - n) / (n * (n - 1))
        + (_kernel_sum(p, p, c) - m) / (m * (m - 1))
        - 2 * _kernel_sum(z, p, c) / (n * m)
    )
    return {"mmd": float(mmd), "frechet": frechet_of_moments((z.mean(axis=0), _covariance(z)), (m_p, s_p))}


class Irregularity(typing.NamedTuple):
    """What `irregularity` returns: `off_centre` and `uneven_areas`, 0 or more and 1 or more; `gaps`, a share."""

    off_centre: float
    uneven_areas: float
    gaps: float


def irregularity(z: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> Irregularity:
    """Three reasons why a latent space is bad to sample from, which a prior removes.

        off_centre = |m| / s
        uneven_areas = max_k a_k / min_k a_k,    a_k = sqrt(det C_k)
        gaps = P(min_i |u - z_i| > d),    u ~ N(m, C)

    m and C are mean and covariance of all codes, s^2 the mean of their variances, C_k the covariance of the codes of
    class k; d is the distance that 99 % of the codes have at most to their nearest other one. A standard normal cloud
    in which classes lie alike has 0, 1 and little more than 0.

    Args:
        z: `(N, D)` codes; for a picture D is 2, see `plots.latent_spaces`.
        labels: `(N,)`.
        seed: int, of the 10,000 draws of u.

    Returns:
        `Irregularity`.

    Raises:
        ValueError: if z is no finite `(N, D)`, all codes are one, labels are not `(N,)`, or a class has no more than D.

    Example: `irregularity(autoencoder.encode(x), y)`
    """
    from scipy.spatial import KDTree

    z, labels = _check_points("z", z), np.asarray(labels)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels: expected shape {z.shape[:1]}, one for each code; received {labels.shape}.")
    if not np.ptp(z, axis=0).any():
        raise ValueError("z: all codes are one point, which has no spread to compare with.")
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
