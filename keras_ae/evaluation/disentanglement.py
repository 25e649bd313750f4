"""Disentanglement scores: how well single latents represent single factors of the data, given the true factors.

Three scores take codes and factors as arrays. Two sample data with one factor held fixed, so they take an encoder and a
data set such as `keras_ae.datasets.shapes.Shapes`. All scores are in [0, 1]; higher is better. Interpret a score only
relative to that of another model or of random codes; each docstring gives the score of a perfect code.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, rel_entr

from keras_ae.utils import validation

# Number of images generated and encoded at once.
_ROWS = 1 << 13
# Fraction of rows held out, and the minimum leaf size of a forest as a fraction of the training rows.
_HELD_OUT, _LEAF = 0.2, 0.005


def mutual_information_gap(z: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    """Mutual information gap: how much more information the best latent has about a factor than the second best.

        MIG = mean_k (I(z_(1); v_k) - I(z_(2); v_k)) / H(v_k)

    z_(1) and z_(2) are the latents with the largest mutual information. Each latent is split into bins of equal width
    between its minimum and maximum; I and H are computed from the counts. A code that copies the factors scores 1 if no
    factor has more levels than there are bins. For independent pairs the estimate of I is not 0 but about
    (bins - 1)(levels - 1) / 2N nats; the gap cancels most of this bias.

    Args:
        z: `(N, D)` numbers, codes; D is at least 2.
        factors: `(N, K)` integers, the true factor levels of each row.
        bins: int, 2 or more.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: if shapes do not match, z is not finite, D < 2, or a factor has a single level.

    Example: `mutual_information_gap(vae.encode(x), factors)`

    Source: Chen 2018, equation 6, which integrates over q(z|x); binned codes as in Locatello 2019. See also: `sap`,
    which compares accuracies instead; `dci`, which also shows mixed latents.
    """
    z, factors = _check_codes(z, factors)
    if bins < 2:
        raise ValueError(f"bins: expected 2 or more, received {bins}.")
    binned = [np.digitize(z_j, np.histogram_bin_edges(z_j, bins)[1:-1]) for z_j in z.T]
    gaps = []
    for v in factors.T:
        joint = [_joint(b, v, bins) for b in binned]  # D of (bins, levels)
        information = np.sort([rel_entr(p, p.sum(1, keepdims=True) * p.sum(0)).sum() for p in joint])
        gaps.append((information[-1] - information[-2]) / entr(joint[0].sum(0)).sum())
    return _unit(np.mean(gaps))


def dci(z: ArrayLike, factors: ArrayLike, *, trees: int = 20, seed: int = 0) -> dict[str, float]:
    """Disentanglement, completeness and informativeness (DCI) of the codes.

        disentanglement = sum_j w_j (1 - H_K(R_j. / sum_k R_jk)),    w_j = sum_k R_jk / sum R
        completeness    = sum_k w_k (1 - H_D(R_.k / sum_j R_jk)),    w_k = sum_j R_jk / sum R
        informativeness = mean_k accuracy_k

    Disentanglement is high if each latent encodes only one factor, completeness if each factor is encoded by only one
    latent, and informativeness if the codes predict the factors. R_jk is the importance (mean decrease in impurity) of
    latent j for factor k in a scikit-learn random forest; H_n is the entropy with base n; accuracy is measured on a
    held-out fifth of the rows. Every split considers all latents, and a leaf holds at least 0.5 % of the rows;
    otherwise trees split on uninformative latents, which then count as important. A code that copies the factors scores
    1 on all three. Independent codes score about 0, about 0, and chance level, the mean of 1 / levels.

    Args:
        z: `(N, D)` numbers, codes; D is at least 2.
        factors: `(N, K)` integers, the true factor levels of each row; K is at least 2.
        trees: int, trees in each forest.
        seed: int, for the train-test split and the forests.

    Returns:
        `{"disentanglement": float, "completeness": float, "informativeness": float}`.

    Raises:
        ValueError: if shapes do not match, z is not finite, D < 2, K < 2, or a factor has a single level.

    Example: `dci(vae.encode(x), factors)["disentanglement"]`

    Source: Eastwood and Williams 2018, section 2, who report the prediction error instead of the accuracy. See also:
    `mutual_information_gap` and `sap`, a single number.
    """
    from sklearn.ensemble import RandomForestClassifier  # late: slow to import

    z, factors = _check_codes(z, factors)
    if factors.shape[1] < 2:
        raise ValueError("factors: expected at least two columns, to see whether a latent mixes factors; received one.")
    z, z_test, factors, factors_test = _split(z, factors, seed)
    importances, accuracy = [], []
    for v, v_test in zip(factors.T, factors_test.T, strict=True):
        forest = RandomForestClassifier(trees, max_features=None, min_samples_leaf=_LEAF, random_state=seed)
        importances.append(forest.fit(z, v).feature_importances_)
        accuracy.append(forest.score(z_test, v_test))
    importance = np.stack(importances, axis=1)  # (D, K)
    return {
        "disentanglement": _unit(_concentration(importance)),
        "completeness": _unit(_concentration(importance.T)),
        "informativeness": _unit(np.mean(accuracy)),
    }


def sap(z: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> float:
    """Separated attribute predictability: how much better the best latent predicts a factor than the second best.

        SAP = mean_k (S_(1)k - S_(2)k),    S_jk = accuracy of v_k from z_j alone

    The classifier thresholds the latent: it is a scikit-learn decision tree with as many leaves as the factor has
    levels, and all levels have equal weight. S is its balanced accuracy on a held-out fifth of the rows. A code that
    copies independent factors scores about mean_k (1 - 1 / levels_k), since the second-best latent is at chance.
    Implementations with a linear SVM report lower scores: a one-vs-rest linear classifier cannot separate the inner
    levels of an ordered latent.

    Args:
        z: `(N, D)` numbers, codes; D is at least 2.
        factors: `(N, K)` integers, the true factor levels of each row.
        seed: int, for the train-test split.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: if shapes do not match, z is not finite, D < 2, or a factor has a single level.

    Example: `sap(vae.encode(x), factors)`

    Source: Kumar 2018, section 3, for discrete factors. See also: `mutual_information_gap`, which compares information
    instead.
    """
    from sklearn.metrics import recall_score  # late: slow to import
    from sklearn.tree import DecisionTreeClassifier

    z, factors = _check_codes(z, factors)
    z, z_test, factors, factors_test = _split(z, factors, seed)
    gaps = []
    for v, v_test in zip(factors.T, factors_test.T, strict=True):
        tree = DecisionTreeClassifier(max_leaf_nodes=v.max() + 1, class_weight="balanced", random_state=seed)
        levels = np.unique(v_test)
        accuracy = [
            recall_score(v_test, tree.fit(z[:, [j]], v).predict(z_test[:, [j]]), labels=levels, average="macro")
            for j in range(z.shape[1])
        ]
        second, best = np.sort(accuracy)[-2:]
        gaps.append(best - second)
    return _unit(np.mean(gaps))


def factor_vae_score(
    encode: Callable[[Any], ArrayLike],
    data: Any,
    seed: int = 0,
    *,
    votes: int = 800,
    test_votes: int = 800,
    batch: int = 64,
    threshold: float = 1e-2,
) -> float:
    """FactorVAE score: how well the latent with the least variance identifies the factor held fixed.

        d = argmin_j Var(z_j | v_k = c) / Var(z_j),    score = share of votes where k = majority(d)

    A vote draws a factor k and a level c, then `batch` rows with v_k = c and random values of all other factors. The
    first `votes` votes assign a factor to each latent; the other `test_votes` are scored. Latents with
    Var(z_j) <= threshold are excluded, because a constant latent would win every vote; if none is left, the score is 0.
    A code that copies the factors scores 1; chance level is 1 / K.

    Args:
        encode: function from data to codes `(B, D)`, such as `lambda x: vae.encode(x / 255)`.
        data: object with `factor_sizes`, the number of levels of each of the K factors, and `images`, a function from
            factors `(B, K)`, integers from 0, to data (uint8 for `Shapes`).
        seed: int.
        votes, test_votes: ints.
        batch: int, rows per vote; 2 or more.
        threshold: float, in squared units of z, as in `active_units`.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: if codes are not finite `(B, D)`, D < 2, K < 2, a factor has a single level, or a count is too
            small.

    Example: `factor_vae_score(lambda x: vae.encode(x / 255), ka.datasets.Shapes())`

    Source: Kim and Mnih 2018, section 4. The paper scores the same votes that it assigns factors from. See also:
    `beta_vae_score`, which codes that mix factors can also pass.
    """
    sizes = _check_sizes(data, votes, test_votes, batch)
    rng = np.random.default_rng(seed)
    variance = _encode(encode, data, rng.integers(0, sizes, (_ROWS, len(sizes)))).var(axis=0)
    active = variance > threshold
    if not active.any():
        return 0.0
    fixed, z = _held_fixed(encode, data, rng, votes + test_votes, 1, batch)  # z (votes, 1, batch, D)
    least = np.argmin(z[:, 0][..., active].var(axis=1) / variance[active], axis=1)
    counts = np.zeros((active.sum(), len(sizes)), int)
    np.add.at(counts, (least[:votes], fixed[:votes]), 1)
    return _unit(np.mean(counts.argmax(axis=1)[least[votes:]] == fixed[votes:]))


def beta_vae_score(
    encode: Callable[[Any], ArrayLike],
    data: Any,
    seed: int = 0,
    *,
    points: int = 1000,
    test_points: int = 500,
    batch: int = 64,
) -> float:
    """BetaVAE score: how well a linear classifier identifies the factor that pairs of rows share from their codes.

        f = mean_b |z1_b - z2_b|,    score = accuracy of k from f

    Each point f draws a factor k, then `batch` pairs. The two rows of a pair have the same v_k, which differs between
    pairs, and random values of all other factors. A scikit-learn logistic regression is fitted to `points` standardised
    points and scored on `test_points` others. A code that copies the factors scores 1; chance level is 1 / K. Codes
    that mix factors can also score 1, because the classifier unmixes them; `factor_vae_score` avoids this.

    Args:
        encode: function from data to codes `(B, D)`, such as `lambda x: vae.encode(x / 255)`.
        data: object with `factor_sizes`, the number of levels of each of the K factors, and `images`, a function from
            factors `(B, K)`, integers from 0, to data (uint8 for `Shapes`).
        seed: int.
        points, test_points: ints.
        batch: int, pairs per point; 2 or more.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: if codes are not finite `(B, D)`, D < 2, K < 2, a factor has a single level, or a count is too
            small.

    Example: `beta_vae_score(lambda x: vae.encode(x / 255), ka.datasets.Shapes())`

    Source: Higgins 2017, section 3. See also: `factor_vae_score`, which takes the latent of least variance instead of a
    linear classifier.
    """
    from sklearn.linear_model import LogisticRegression  # late: slow to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sizes = _check_sizes(data, points, test_points, batch)
    rng = np.random.default_rng(seed)
    fixed, z = _held_fixed(encode, data, rng, points + test_points, batch, 2)  # z (points, batch, 2, D)
    f = np.abs(z[:, :, 0] - z[:, :, 1]).mean(axis=1)
    if len(np.unique(fixed[:points])) < len(sizes):
        raise ValueError(f"points: expected enough to fix each of the {len(sizes)} factors once; received {points}.")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(f[:points], fixed[:points])
    return _unit(classifier.score(f[points:], fixed[points:]))


def _held_fixed(encode, data, rng, points, groups, members):
    """Draws points, each with one factor whose level is shared by all members of a group.

    Returns:
        the fixed factor of each point `(points,)`, and codes `(points, groups, members, D)`.
    """
    sizes = data.factor_sizes
    fixed = rng.integers(len(sizes), size=points)
    factors = rng.integers(0, sizes, (points, groups, members, len(sizes)))
    held = np.arange(len(sizes)) == fixed[:, None, None, None]
    factors = np.where(held, factors[:, :, :1], factors)
    z = _encode(encode, data, factors.reshape(-1, len(sizes)))
    return fixed, z.reshape(points, groups, members, -1)


def _encode(encode, data, factors):
    """Codes of the data with these factors, `(N, D)`; the data are generated in chunks to bound memory."""
    codes = []
    for start in range(0, len(factors), _ROWS):
        rows = factors[start : start + _ROWS]
        z = np.asarray(encode(data.images(rows)))
        if len(z) != len(rows):
            raise ValueError(f"encode: expected one code for each of {len(rows)} rows, received shape {z.shape}.")
        codes.append(_check_z("encode(x)", z))
    return np.concatenate(codes)


def _joint(b, v, bins):
    """Joint distribution of two integer columns, `(bins, levels)`."""
    levels = v.max() + 1
    return np.bincount(b * levels + v, minlength=bins * levels).reshape(bins, levels) / len(v)


def _concentration(importance):
    """Mean over rows, weighted by row sums, of one minus the row's entropy, with the row's length as base."""
    total = importance.sum(axis=1, keepdims=True)
    p = np.divide(importance, total, out=np.zeros_like(importance), where=total > 0)
    order = 1 - entr(p).sum(axis=1) / np.log(importance.shape[1])
    return order @ total[:, 0] / max(total.sum(), np.finfo(float).tiny)


def _split(z: np.ndarray, factors: np.ndarray, seed: int) -> list[np.ndarray]:
    from sklearn.model_selection import train_test_split  # late: slow to import

    return train_test_split(z, factors, test_size=_HELD_OUT, random_state=seed)


def _unit(score):
    """The score as a float, clipped to [0, 1] to remove rounding errors."""
    return float(np.clip(score, 0, 1))


def _check_codes(z: Any, factors: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes `(N, D)` float64, and factors `(N, K)` relabelled to levels 0, 1, ...; raises if their shapes mismatch."""
    z, factors = np.asarray(z), np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] == 0 or factors.dtype.kind not in "iub":
        raise ValueError(
            f"factors: expected whole numbers (N, K), a column for each factor; received {factors.shape} "
            f"{factors.dtype}. Convert continuous factors to levels."
        )
    if z.ndim != 2 or len(z) != len(factors):
        raise ValueError(f"z: expected codes (N, D) for the N = {len(factors)} rows of factors; received {z.shape}.")
    z = _check_z("z", z)
    factors = np.stack([np.unique(v, return_inverse=True)[1] for v in factors.T], axis=1)
    _check_levels(factors.max(axis=0) + 1)
    return z, factors


def _check_z(name: str, z: np.ndarray) -> np.ndarray:
    if z.ndim != 2 or z.shape[1] < 2:
        raise ValueError(f"{name}: expected codes (N, D) with at least two latents to compare; received {z.shape}.")
    validation.check_array(name, z, (None,), None)
    return z.astype("float64")


def _check_sizes(data, train, test, batch):
    """Levels per factor; raises if there are fewer than two factors, or too few draws."""
    sizes = tuple(data.factor_sizes)
    _check_levels(sizes)
    if len(sizes) < 2:
        raise ValueError("data: expected at least two factors, to tell which one is fixed; received one.")
    if min(train, test) < 1 or batch < 2:
        raise ValueError(
            f"Expected at least one draw for training, one for testing, and a batch of 2; received {train}, {test} and "
            f"{batch}."
        )
    return sizes


def _check_levels(sizes):
    if min(sizes) < 2:
        raise ValueError(
            f"Factor {int(np.argmin(sizes))} has one level, so it carries no information: expected at least two "
            f"levels for each, received {tuple(int(size) for size in sizes)}. Leave such factors out."
        )
