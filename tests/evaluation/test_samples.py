"""Measures of samples: closed forms, known sets, and the defects that each measure must detect."""

import keras
import numpy as np
import pytest
import scipy.linalg
from sklearn.datasets import load_digits

from keras_ae.evaluation import samples


def test_precision_and_recall_by_enumeration():
    # Radii for k = 1: real 1, 1, 2; fake 0.5, 0.5, 4.5. All in one dimension, so that they can be read off.
    real = np.array([[0.0], [1.0], [3.0]])
    fake = np.array([[5.0], [5.5], [10.0]])
    # 5 is within 2 of 3; 3 is further than 0.5 from 5 and 5.5, and further than 4.5 from 10.
    assert samples.precision_recall(real, fake, k=1) == (1 / 3, 0.0)
    assert samples.precision_recall(fake, real, k=1) == (0.0, 1 / 3)


def test_precision_and_recall_by_the_definition(rng):
    real, fake = rng.normal(size=(600, 3)), rng.normal(0.7, 1.3, size=(530, 3))  # more rows than one block

    def share(points, rows, k=4):
        distance = np.linalg.norm(points[:, None] - rows[None], axis=-1)
        radius = np.sort(np.linalg.norm(rows[:, None] - rows[None], axis=-1), axis=1)[:, k]
        return np.mean((distance <= radius).any(axis=1))

    assert samples.precision_recall(real, fake, k=4) == (share(fake, real), share(real, fake))


def test_equal_sets_and_disjoint_sets(rng):
    a = rng.normal(size=(200, 5)).astype("float32")
    assert samples.precision_recall(a, a[rng.permutation(200)]) == (1.0, 1.0)
    assert samples.frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert samples.precision_recall(a, a + 100) == (0.0, 0.0)


def test_a_dropped_mode_lowers_recall_and_noise_lowers_precision(rng):
    modes = rng.normal(size=(600, 2)) + np.repeat([[0, 0], [20, 0], [0, 20]], 200, axis=0)
    again = rng.normal(size=(600, 2)) + np.repeat([[0, 0], [20, 0], [0, 20]], 200, axis=0)
    precision, recall = samples.precision_recall(modes, again)
    assert precision > 0.9 and recall > 0.9
    without = again[:400]
    precision_without, recall_without = samples.precision_recall(modes, without)
    assert precision_without > 0.9
    # The third mode, a third of the data, is out of reach.
    assert recall_without == pytest.approx(2 / 3, abs=0.05)
    noisy = again + 5 * rng.normal(size=again.shape)
    precision_noisy, recall_noisy = samples.precision_recall(modes, noisy)
    assert precision_noisy < 0.5 < recall_noisy


def with_moments(rng, mean, covariance, rows=100):
    """Rows whose sample mean and covariance are the given ones, exactly."""
    z = rng.normal(size=(rows, len(mean)))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(z, rowvar=False)))).T
    return mean + z @ np.linalg.cholesky(covariance).T


def test_frechet_distance_of_a_shift_is_its_square(rng):
    a = rng.normal(size=(50, 4))
    shift = np.array([1.0, -2.0, 0.5, 0.0])
    assert samples.frechet_distance(a, a + shift) == pytest.approx(shift @ shift, rel=1e-9)


def test_frechet_distance_of_one_dimension(rng):
    a, b = with_moments(rng, [1.0], [[4.0]]), with_moments(rng, [3.0], [[0.25]])
    assert samples.frechet_distance(a, b) == pytest.approx((1 - 3) ** 2 + (2 - 0.5) ** 2, rel=1e-9)


def test_frechet_distance_is_its_formula(rng):
    roots = rng.normal(size=(2, 5, 5))
    c = [root @ root.T + 0.1 * np.eye(5) for root in roots]
    means = rng.normal(size=(2, 5))
    a, b = (with_moments(rng, mean, covariance) for mean, covariance in zip(means, c, strict=True))
    product = np.trace(scipy.linalg.sqrtm(c[0] @ c[1]).real)
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(c[0]) + np.trace(c[1]) - 2 * product
    assert samples.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert samples.frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_singular_covariances(rng):
    # Fewer rows than features; one lies on an axis, the other is a point.
    line = np.zeros((6, 20))
    line[:, 3] = rng.normal(size=6)
    point = np.ones((2, 20))
    expected = ((line.mean(0) - 1) ** 2).sum() + line[:, 3].var(ddof=1)
    assert samples.frechet_distance(line, point) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("flat", [False, True])
def test_features_of_a_classifier_tell_classes_apart(flat, tmp_path):
    data = load_digits()
    images = (data.images / 16).astype("float32")[..., None]
    images = images.reshape(-1, 64) if flat else images
    features = samples.train_features(
        images[:1200], data.target[:1200], size=16, filters=(16,), hidden=(32,), epochs=8, batch_size=50
    )
    out = features(images[1200:])
    assert out.shape == (597, 16) and out.dtype == np.float32
    assert features.classifier.evaluate(images[1200:], data.target[1200:], verbose=0)[1] > 0.8
    # The features contain the classes: the logits follow from them.
    kernel, bias = features.classifier.layers[-1].get_weights()
    np.testing.assert_allclose(
        out @ kernel + bias, features.classifier.predict(images[1200:], verbose=0), rtol=1e-3, atol=1e-3
    )
    features.classifier.save(tmp_path / "classifier.keras")
    again = samples.features_of(keras.saving.load_model(tmp_path / "classifier.keras"))
    np.testing.assert_array_equal(again(images[1200:]), out)
    # A dropped class also shows in this space.
    train = features(images[:1200])
    full = samples.frechet_distance(out, train)
    assert samples.frechet_distance(out, train[data.target[:1200] != 0]) > 2 * full


def test_uint8_pixels_are_scaled():
    keras.utils.set_random_seed(1)
    images = np.random.default_rng(0).integers(0, 256, size=(20, 6), dtype="uint8")
    features = samples.train_features(images, np.arange(20) % 2, size=4, hidden=(), epochs=1)
    np.testing.assert_allclose(features(images), features(images.astype("float32") / 255), rtol=1e-6)


def test_refusals():
    a = np.zeros((5, 2))
    for wrong in (np.zeros((5, 3)), np.zeros(5), np.zeros((0, 2))):
        with pytest.raises(ValueError, match=r"\(N, D\)"):
            samples.precision_recall(a, wrong)
        with pytest.raises(ValueError, match=r"\(N, D\)"):
            samples.frechet_distance(wrong, a)
    with pytest.raises(ValueError, match=r"fake_features.*finite"):
        samples.frechet_distance(a, np.full((5, 2), np.nan))
    for k in (0, 5, 2.5):
        with pytest.raises(ValueError, match="k: expected"):
            samples.precision_recall(a, a, k=k)
    with pytest.raises(ValueError, match="two rows"):
        samples.frechet_distance(a, a[:1])
    for labels in (np.zeros(5, int), np.arange(4), np.arange(5.0), np.arange(5) - 1):
        with pytest.raises(ValueError, match="labels"):
            samples.train_features(a, labels)
    with pytest.raises(ValueError, match=r"images.*\(5, 2, 2\)"):
        samples.train_features(np.zeros((5, 2, 2)), np.arange(5))
    with pytest.raises(ValueError, match=r"images.*finite"):
        samples.train_features(np.full((5, 2), np.inf), np.arange(5))
    features = samples.train_features(a, np.arange(5), epochs=1, hidden=())
    with pytest.raises(ValueError, match=r"expected shape \(N, 2\)"):
        features(np.zeros((5, 3)))
