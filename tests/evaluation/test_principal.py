"""Principal axes in several passes, compared with the singular value decomposition."""

import numpy as np
import pytest

from keras_ae.evaluation.principal import principal_axes


@pytest.fixture
def x(rng):
    return (rng.normal(size=(300, 6)) * [5, 4, 3, 2, 1, 0.5]).astype("float32") @ rng.normal(size=(6, 40)) + 3


def test_axes_and_what_they_leave_are_those_of_the_svd(x):
    found = principal_axes(x, 4)
    values, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[1:]
    np.testing.assert_allclose(np.abs(found.axes @ axes[:4].T), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(found.variances, values[:4] ** 2 / len(x), rtol=1e-4)
    assert found.left == pytest.approx(np.sum(values[4:] ** 2) / len(x), rel=1e-3)
    error = np.square(found.reconstruct(x) - x).sum(axis=1).mean()
    assert error == pytest.approx(found.left, rel=1e-3)
    np.testing.assert_allclose(found.encode(x).var(axis=0), found.variances, rtol=1e-3)


def test_batches_of_images_give_what_the_rows_give(x):
    rows = principal_axes(x, 3)
    images = x.reshape(300, 5, 8, 1)
    batches = principal_axes(lambda: (images[i : i + 70] for i in range(0, 300, 70)), 3)
    np.testing.assert_allclose(np.abs(np.sum(batches.axes * rows.axes, axis=1)), 1, atol=1e-4)
    assert batches.reconstruct(images).shape == images.shape


def test_more_axes_than_rows_or_columns_raise(x):
    with pytest.raises(ValueError, match="k: expected at most 40 axes, and less than the 5 rows of x; received 7"):
        principal_axes(x[:5], 7)
