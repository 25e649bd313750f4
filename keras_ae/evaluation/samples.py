"""Measures of sample quality in a feature space: how realistic samples are and how much of the data they cover.

Features can be any vectors that are close for images that look alike: the pixels of small images, the codes of a model,
or the features of a classifier trained on the same images (`train_features`, which needs no pretrained network). Scores
computed in different feature spaces are not comparable.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from keras_ae import networks

# Number of rows whose distances to all others are in memory at once.
_ROWS = 512


def precision_recall(real_features: ArrayLike, fake_features: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Precision, the fraction of samples that look real, and recall, the fraction of the data that samples cover.

        r_k(a, A) = distance from a to its k-th nearest other row of A
        precision = mean over f of [|f - r| <= r_k(r, R) for some r in R]
        recall    = mean over r of [|r - f| <= r_k(f, F) for some f in F]

    R and F are the rows of real and fake features; distances are Euclidean. Both scores depend on the number of rows;
    the paper uses 50,000 of each. Copies of one perfect image have precision 1 and recall near 0; noise has precision
    0.

    Args:
        real_features: `(N, D)` numbers.
        fake_features: `(M, D)` numbers.
        k: int, from 1 to min(N, M) - 1.

    Returns:
        precision and recall, floats from 0 to 1.

    Raises:
        ValueError: if shapes do not match, a value is not finite, or there are k rows or fewer.

    Example: `precision_recall(features(x_test), features(vae.sample(len(x_test))))`

    Source: Kynkaanniemi 2019, equations 1 and 2. See also: `frechet_distance`, a single score for both;
    `retrieval.precision_recall`, for ranked documents.
    """
    real, fake = _features(real_features, fake_features)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k < min(len(real), len(fake)):
        raise ValueError(
            f"k: expected a whole number from 1 to below the number of rows, {len(real)} real and {len(fake)} fake; "
            f"received {k!r}."
        )
    return _covered(fake, real, k), _covered(real, fake, k)


def frechet_distance(real_features: ArrayLike, fake_features: ArrayLike) -> float:
    """Squared Frechet distance between Gaussians with the means and covariances of the features.

        d = |m_r - m_f|^2 + tr(C_r + C_f - 2 (C_r C_f)^(1/2))

    Computed in float64, with covariances divided by N - 1; 0 for equal moments. The distance is inflated unless there
    are several rows per feature. With features of the Inception network it is known as FID.

    Args:
        real_features: `(N, D)` numbers, N >= 2.
        fake_features: `(M, D)` numbers, M >= 2.

    Returns:
        float, 0 or more, in squared units of the features.

    Raises:
        ValueError: if shapes do not match, a value is not finite, or there are fewer than two rows.

    Example: `frechet_distance(features(x_test), features(vae.sample(len(x_test))))`

    Source: Dowson & Landau 1982; Heusel 2017, equation 6. See also: `precision_recall`, which separates poor quality
    from poor coverage.
    """
    real, fake = _features(real_features, fake_features)
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"Expected two rows or more, for a covariance; received {len(real)} real, {len(fake)} fake.")
    moments = [(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))) for rows in (real, fake)]
    return frechet_of_moments(*moments)


def frechet_of_moments(real: tuple[np.ndarray, np.ndarray], fake: tuple[np.ndarray, np.ndarray]) -> float:
    """Like `frechet_distance`, from two pairs of a mean `(D,)` and a covariance `(D, D)`.

        d = |m_r - m_f|^2 + tr(C_r + C_f - 2 (C_r C_f)^(1/2))

    Example: `frechet_of_moments((np.zeros(2), np.eye(2)), (np.ones(2), np.eye(2)))    # 2.0`

    Source: Dowson & Landau 1982. See also: `frechet_distance`, from rows.
    """
    (m_r, c_r), (m_f, c_f) = real, fake
    # tr (C_r C_f)^(1/2) is the sum of the singular values of C_r^(1/2) C_f^(1/2), even if a covariance is singular.
    together = np.linalg.svd(_root(c_r) @ _root(c_f), compute_uv=False).sum()
    return float(max(np.sum((m_r - m_f) ** 2) + np.trace(c_r) + np.trace(c_f) - 2 * together, 0.0))


def train_features(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    size: int = 64,
    filters: Sequence[int] = (32, 64),
    hidden: Sequence[int] = (128,),
    epochs: int = 10,
    batch_size: int = 128,
    verbose: int | str = 0,
) -> Callable[[ArrayLike], np.ndarray]:
    """Trains a small image classifier, and returns its last hidden layer as a function.

        class logits = W features(image) + b

    The classifier is convolutional for images `(N, H, W, C)` and dense otherwise. The features may ignore differences
    that do not matter for classification. For reproducible results, call `keras.utils.set_random_seed` first.

    Args:
        images: `(N, H, W, C)` or `(N, V)` numbers; uint8 pixels are divided by 255.
        labels: `(N,)` integers, 0 or more, with at least two classes.
        size: int, number of features.
        filters: ints, channels of the stride-2 convolutions.
        hidden: ints, units of the dense layers before the features.
        epochs, batch_size, verbose: as in `keras.Model.fit`.

    Returns:
        A function from images `(M, ...)` to features `(M, size)` float32, 0 or more. Its attribute `classifier` is the
        Keras model that returns logits, for measuring the accuracy on other images.

    Raises:
        ValueError: if shapes do not match, a value is not finite, or labels have fewer than two classes. The returned
            function raises it for images of another shape.

    Example:

        features = train_features(x_train, y_train)
        frechet_distance(features(x_test), features(vae.sample(10_000)))

    See also: `features_of`, for a classifier that is trained already; `frechet_distance` and `precision_recall`, which
    take features.
    """
    images, labels = _images(images), np.asarray(labels)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0 or np.ptp(labels) == 0:
        raise ValueError(
            f"labels: expected {len(images)} whole numbers, 0 or more, of two classes or more; received shape "
            f"{labels.shape}, dtype {labels.dtype}."
        )
    shape = images.shape[1:]
    if len(shape) == 3:
        body = networks.conv_encoder(shape, size, filters, hidden)
    else:
        body = networks.mlp_encoder(shape, size, hidden)
    last = keras.layers.Activation("relu")(body.output)
    logits = keras.layers.Dense(int(labels.max()) + 1)(last)
    classifier = keras.Model(body.input, logits, name="classifier")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile("adam", loss, metrics=["accuracy"])
    classifier.fit(images, labels, batch_size=batch_size, epochs=epochs, verbose=verbose)
    return features_of(classifier)


def features_of(classifier: keras.Model) -> Callable[[ArrayLike], np.ndarray]:
    """The input of a classifier's last layer, as a function of images.

        class logits = W features(image) + b

    Distances are comparable only within the features of one training run, so save the classifier and reload it.

    Args:
        classifier: Keras model with one input and one output, such as the `classifier` of `train_features`, possibly
            loaded from a file.

    Returns:
        A function, as in `train_features`.

    Raises:
        ValueError: by the returned function, for images of another shape or with non-finite values.

    Example:

        train_features(x_train, y_train).classifier.save("classifier.keras")
        features = features_of(keras.saving.load_model("classifier.keras"))

    See also: `train_features`, which trains the classifier too.
    """
    network = keras.Model(classifier.input, classifier.layers[-1].input, name="features")

    def features(images):
        return network.predict(_images(images, classifier.input_shape[1:]), verbose=0)

    features.classifier = classifier  # type: ignore[attr-defined]
    return features


def _covered(points, rows, k):
    """Fraction of the points that are within the k-th neighbour's distance of at least one row."""
    radii = np.concatenate([np.partition(part, k, axis=1)[:, k] for part in _distances(rows, rows)])
    return float(np.mean(np.concatenate([(part <= radii).any(axis=1) for part in _distances(points, rows)])))


def _distances(points, rows):
    for start in range(0, len(points), _ROWS):
        yield cdist(points[start : start + _ROWS], rows)


def _root(covariance):
    """Symmetric square root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _features(real, fake):
    real, fake = np.asarray(real), np.asarray(fake)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or 0 in (real.size, fake.size):
        raise ValueError(
            f"Expected real features (N, D) and fake features (M, D), nonempty; received {real.shape} and {fake.shape}."
        )
    for name, rows in (("real_features", real), ("fake_features", fake)):
        if rows.dtype.kind not in "fiub" or not np.isfinite(rows).all():
            raise ValueError(f"{name}: expected finite numbers; received dtype {rows.dtype}, or NaN or infinity.")
    return real.astype("float64"), fake.astype("float64")


def _images(images: ArrayLike, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim not in (2, 4) or 0 in images.shape or (shape is not None and images.shape[1:] != shape):
        expected = "(N, H, W, C) or (N, V)" if shape is None else f"(N, {', '.join(map(str, shape))})"
        raise ValueError(f"images: expected shape {expected}, received {images.shape}.")
    if images.dtype.kind not in "fiub" or not np.isfinite(images).all():
        raise ValueError(f"images: expected finite numbers; received dtype {images.dtype}, or NaN or infinity.")
    return images.astype("float32") / (255 if images.dtype == np.uint8 else 1)
