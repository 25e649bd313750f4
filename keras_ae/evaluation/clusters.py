"""Measures of codes that form groups: do classes have their own part of the prior, and do clusters match classes?"""

import typing
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_ae.distributions import priors
from keras_ae.utils import validation


def wing_share(z: ArrayLike, labels: ArrayLike, prior: Any = "ring", num_classes: int = 10) -> float:
    """Share of labelled codes that lie in their own class's part of a prior, such as their wing of the ring.

        share = mean_i [k(z_i) = labels_i],    k(z) = class of the component of the prior that is likeliest at z

    Args:
        z: `(N, 2)` codes.
        labels: `(N,)` integers, 0 to num_classes - 1.
        prior: "ring", "swiss_roll", or one of these layers.
        num_classes: int.

    Returns:
        float in [0, 1]; chance is 1 / num_classes.

    Raises:
        ValueError: if the shapes do not match, a value is out of range, or the prior has no classes.

    Example: `wing_share(np.array([[4.0, 0.0], [-4.0, 0.0]]), [0, 5])    # 1.0`

    Source: Makhzani 2015, figure 4, for the picture that this measures. See also: `mode_coverage`, without labels.
    """
    z, prior = _in_the_plane(z), _with_classes(prior)
    labels = np.asarray(labels)
    validation.check_labels("labels", labels, num_classes)
    if len(labels) != len(z):
        raise ValueError(f"labels: expected one for each of the {len(z)} codes; received {len(labels)}.")
    return float(np.mean(prior.labels_of(z, num_classes) == labels))


class ModeCoverage(typing.NamedTuple):
    """Result of `mode_coverage`: `covered`, the share of modes that codes cover; and the share of codes in each mode.

    Example: `ModeCoverage(0.5, np.array([1.0, 0.0])).covered`

    See also: `mode_coverage`, which computes it.
    """

    covered: float
    shares: np.ndarray


def mode_coverage(z: ArrayLike, prior: Any = "ring", num_classes: int = 10, *, threshold: float = 0.2) -> ModeCoverage:
    """Share of a prior's modes that have codes, where each should have as many as the others.

        shares_k = mean_i [k(z_i) = k],    covered = mean_k [shares_k >= threshold / num_classes]

    Each code counts for the class of its likeliest component, as in `wing_share`. This is our own measure.

    Args:
        z, prior, num_classes: as in `wing_share`; the prior is divided into `num_classes` parts.
        threshold: float above 0, fraction of the expected share at which a mode counts as covered.

    Returns:
        `ModeCoverage`, with shares `(num_classes,)`.

    Raises:
        ValueError: as in `wing_share`, and if the threshold is not positive.

    Example: `mode_coverage(ka.priors.Ring().call().sample(1000, seed=0)).covered    # 1.0`

    See also: `samples.precision_recall`, for samples of data.
    """
    if not threshold > 0:
        raise ValueError(f"threshold: expected a number above 0; received {threshold!r}.")
    z, prior = _in_the_plane(z), _with_classes(prior)
    shares = np.bincount(prior.labels_of(z, num_classes), minlength=num_classes) / len(z)
    return ModeCoverage(float(np.mean(shares >= threshold / num_classes)), shares)


class ClusterError(typing.NamedTuple):
    """Result of `cluster_error`: the error, a fraction, and the label of each cluster, -1 for one without rows.

    Example: `ClusterError(0.1, np.array([0, 1, 1])).error`

    See also: `cluster_error`, which computes it.
    """

    error: float
    labels: np.ndarray


def cluster_error(probabilities: ArrayLike, labels: ArrayLike, rule: str = "confident") -> ClusterError:
    """Error of a clustering as a classifier, after each cluster has got a label by a rule.

        error = mean_i [label(c_i) != labels_i],    c_i = argmax_k probabilities_ik

    | rule | label of a cluster k |
    |---|---|
    | `"confident"` | the label of its row with the highest probability of k, as in the paper |
    | `"majority"` | the most frequent label of its rows; the lowest error that any rule can give |
    | `"one_to_one"` | different for different clusters, so that the error is lowest; as many clusters as classes |

    The rules use the labels of the same rows that are then counted. More clusters than classes lower the error of the
    first two rules: say both numbers with it.

    Args:
        probabilities: `(N, K)` numbers, such as `model.predict_proba(x)`, or the clusters of rows, one-hot.
        labels: `(N,)` integers, 0 or more.
        rule: str.

    Returns:
        `ClusterError`.

    Raises:
        ValueError: if the shapes do not match, a value is not finite, or the rule is unknown or does not fit.

    Example: `cluster_error(np.eye(3)[[0, 0, 1, 2]], [1, 1, 0, 0]).error    # 0.0`

    Source: Makhzani 2015, section 6, for "confident"; Yang 2010, equation 18, for "one_to_one". See also:
    `SemiSupervisedAAE`, which clusters without labels.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities: expected shape (N, K), and labels (N,); received {probabilities.shape} and {labels.shape}."
        )
    validation.check_array("probabilities", probabilities, (None,), None)
    validation.check_labels("labels", labels, np.inf)
    if rule not in _RULES:
        raise ValueError(f"Unknown rule {rule!r}: expected one of {', '.join(_RULES)}.")
    clusters = probabilities.argmax(axis=1)
    of_cluster = _RULES[rule](probabilities, clusters, labels)
    return ClusterError(float(np.mean(of_cluster[clusters] != labels)), of_cluster)


def _confident(probabilities, clusters, labels):
    own = np.where(np.arange(probabilities.shape[1]) == clusters[:, None], probabilities, -np.inf)
    surest = own.argmax(axis=0)
    return np.where(np.isfinite(own.max(axis=0)), labels[surest], -1)


def _majority(probabilities, clusters, labels):
    counts = _counts(probabilities, clusters, labels)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def _one_to_one(probabilities, clusters, labels):
    from scipy.optimize import linear_sum_assignment  # late: slow to import

    counts = _counts(probabilities, clusters, labels)
    if counts.shape[0] != counts.shape[1]:
        raise ValueError(
            f"rule: 'one_to_one' needs as many clusters as classes; received {counts.shape[0]} and {counts.shape[1]}."
        )
    return linear_sum_assignment(counts, maximize=True)[1]


def _counts(probabilities, clusters, labels):
    counts = np.zeros((probabilities.shape[1], labels.max() + 1), int)
    np.add.at(counts, (clusters, labels), 1)
    return counts


_RULES = {"confident": _confident, "majority": _majority, "one_to_one": _one_to_one}


def _with_classes(prior: Any) -> Any:
    prior = priors.get(prior, 2)
    if not hasattr(prior, "labels_of"):
        raise ValueError("prior: expected 'ring', 'swiss_roll' or one of these layers, which are divided into classes.")
    return prior


def _in_the_plane(z: ArrayLike) -> np.ndarray:
    z = np.asarray(z)
    validation.check_array("z", z, (2,), None)
    return z
