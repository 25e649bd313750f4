"""Two-sample tests: against double sums, calibrated, with an error that agrees with repetitions."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from keras_ae.evaluation import two_sample
from keras_ae.losses import mmd


def test_statistics_are_double_sums(rng, monkeypatch):
    x, y = rng.normal(size=(12, 2)), rng.normal(0.5, 1.5, size=(17, 2))
    xx, yy, xy = (cdist(*pair) for pair in ((x, x), (y, y), (x, y)))
    energy = 2 * xy.mean() - xx.sum() / (12 * 11) - yy.sum() / (17 * 16)
    assert two_sample.energy_test(x, y, permutations=5).statistic == pytest.approx(energy, rel=1e-10)
    expected = float(mmd.mmd(x.astype("float32"), y.astype("float32"), "rbf", bandwidth=2.0))
    found = two_sample.mmd_test(x, y, kernel="rbf", bandwidth=2.0, permutations=20)
    assert found.statistic == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(two_sample, "_ROWS", 5)  # several blocks
    np.testing.assert_allclose(two_sample.mmd_test(x, y, kernel="rbf", bandwidth=2.0, permutations=20), found)


@pytest.mark.parametrize("test", [two_sample.mmd_test, two_sample.energy_test])
def test_p_values_are_uniform_under_equal_distributions_and_smallest_under_others(test):
    rng = np.random.default_rng(1)
    p = [test(*rng.normal(size=(2, 20, 2)), permutations=39, seed=i).p_value for i in range(120)]
    # 120 draws of a uniform: the share below 0.25 has a standard error of 0.04.
    assert np.mean(np.array(p) <= 0.25) == pytest.approx(0.25, abs=0.13)
    assert min(p) >= 1 / 40
    far = test(rng.normal(size=(40, 2)), rng.normal(1.5, 1.0, size=(40, 2)), permutations=39)
    assert far.p_value == 1 / 40 and far.statistic > 10 * far.null_deviation


def test_the_standard_error_is_that_of_repetitions():
    rng = np.random.default_rng(2)

    def repeat():
        return two_sample.energy_test(rng.normal(size=(60, 2)), rng.normal(1.0, 1.0, size=(50, 2)), permutations=1)

    found = [repeat() for _ in range(200)]
    assert np.mean([each.standard_error for each in found]) == pytest.approx(
        np.std([each.statistic for each in found]), rel=0.25
    )


def test_refusals(rng):
    x = rng.normal(size=(10, 2))
    for bad, message in ((x[:1], "two rows or more"), (x[:, 0], "two rows or more"), (x * np.nan, "NaN")):
        with pytest.raises(ValueError, match=message):
            two_sample.mmd_test(bad, x)
    with pytest.raises(ValueError, match="y: expected rows of 2 numbers"):
        two_sample.energy_test(x, x[:, :1])
    with pytest.raises(ValueError, match="rows that differ"):
        two_sample.mmd_test(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(ValueError, match="bandwidth"):
        two_sample.mmd_test(x, x, bandwidth=0.0)
    with pytest.raises(ValueError, match="permutations"):
        two_sample.mmd_test(x, x, permutations=0)
