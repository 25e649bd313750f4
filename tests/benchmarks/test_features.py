import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from benchmarks import dimension_reduction, features, one_class


@pytest.fixture(autouse=True)
def parsed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])


def test_jacobian_norms_are_compared_at_the_error_that_all_models_reach():
    curves = {
        "ae": [[50.0, 7.0], [30.0, 6.0], [10.0, 5.0], [2.0, 4.0]],
        "dae": [[50.0, 7.0], [26.0, 3.0], [20.0, 2.0]],  # the least error of the worst model: 20
        "cae": [[50.0, 7.0], [20.0, 1.0], [5.0, 3.0]],
    }
    error, norms = features.norms_at_equal_error(curves)
    assert error == 20.0
    assert norms == {"ae": pytest.approx(5.5), "dae": pytest.approx(2.0), "cae": pytest.approx(1.0)}
    # A model that starts below the error is compared as it starts.
    assert features.norms_at_equal_error({"a": [[5.0, 1.0]], "b": [[9.0, 4.0], [7.0, 2.0]]})[1] == {"a": 1.0, "b": 2.0}


def test_every_digit_is_rotated_by_its_own_angle():
    class Angles:
        def uniform(self, low, high, size):
            assert (low, high) == (0, 360)
            return np.array([0.0, 90.0, 180.0])[:size]

    x = np.random.default_rng(0).random((3, 6, 6, 1), dtype=np.float32)
    turned = features.rotated(x, Angles())
    assert turned.shape == x.shape
    for i in range(3):
        np.testing.assert_allclose(turned[i, ..., 0], np.rot90(x[i, ..., 0], i), atol=1e-5)


def test_the_score_of_the_mixture_is_that_of_its_definition():
    p, x = features.mixture(), np.float32([[1.5, 0.0], [0.3, -0.4]])
    means, deviations = p.components_distribution.mean().numpy(), p.components_distribution.stddev().numpy()
    with tf.GradientTape() as tape:
        points = tf.Variable(x)
        log_p = p.log_prob(points)
    gradient = tape.gradient(log_p, points).numpy()
    shares = np.exp(-0.5 * (((x[:, None] - means) / deviations) ** 2).sum(-1)) / deviations.prod(-1)
    shares /= shares.sum(1, keepdims=True)
    expected = np.sum(shares[..., None] * (means - x[:, None]) / deviations**2, axis=1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_k_falls_in_the_first_half_of_the_epochs():
    class Model:
        k = None

    callback, seen = features.FallingK(100, 20), []
    model = Model()
    callback._model, callback.params = model, {"epochs": 8}
    for epoch in range(8):
        callback.on_epoch_begin(epoch)
        seen.append(model.k)
    assert seen == [100, 80, 60, 40, 20, 20, 20, 20]


def test_settings_name_every_run():
    assert len(features.all_runs()) == 2 * 3 * 3 + 3 + 4
    assert {name for name in dimension_reduction.settings() if name.startswith("tied")} == {
        "tied_2",
        "tied_10",
        "tied_32",
    }
    assert one_class.name_of("one normal digit", 3) == "one_normal_digit_3"
