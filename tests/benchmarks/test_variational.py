"""The benchmarks of the variational family: what they train on and what their tables are made from, untrained."""

import numpy as np
import pytest

from benchmarks import conditional, disentanglement, importance_weighted, likelihoods, samples, semi_supervised

VERSIONED = {"date": "2026-01-02", "versions": {"python": "3.11"}}


def test_quadrants_that_are_seen_and_the_rest_make_the_image(rng):
    low, high = slice(14, 28), slice(0, 14)
    masks = [conditional.seen(n) for n in (1, 2, 3)]
    assert [mask.sum() for mask in masks] == [196, 392, 588]
    assert masks[0][low, high].all() and masks[1][:, high].all() and not masks[2][low, low].any()
    x = rng.random((2, 28, 28, 1)).astype("float32")
    rest, given = (np.asarray(part) for part in conditional.parts(x, 1))
    np.testing.assert_array_equal(given, x[:, low, high].reshape(2, -1))
    again = np.empty((2, 784), "float32")
    again[:, masks[0].ravel()], again[:, ~masks[0].ravel()] = given, rest
    np.testing.assert_array_equal(again, x.reshape(2, -1))


def test_the_networks_have_the_sizes_of_the_papers():
    model = importance_weighted.build(50)
    assert model.importance_samples == 50
    assert model.encoder.count_params() == 784 * 200 + 200 * 200 + 200 * 100 + 500
    assert conditional.build(2).event_shape == (392,)
    m1 = semi_supervised.build_m1()
    m2 = semi_supervised.build_m2(semi_supervised.SETTINGS["m1m2"], (7,), "gaussian_per_dimension", 0)
    assert m1.latent_dim == 50 and m2.event_shape == (7,) and m2.num_classes == 10
    for name in disentanglement.MODELS:
        assert disentanglement.build(name, 0).latent_dim == disentanglement.LATENT
    assert not hasattr(samples.build("autoencoder"), "prior") and samples.build("VAE").prior is not None


def test_errors_of_draws_are_averaged_with_their_standard_error():
    errors = {("M2", 100): [7.0, 8.0, 9.0, 8.0, 8.0], ("M1, SVM", 600): [5.0]}
    several, one = semi_supervised.rows(errors, dict.fromkeys(errors, 1.0))
    assert several["ours"] == 8.0 and several["standard_error"] == pytest.approx(np.sqrt(0.5 / 5))
    assert (several["least"], several["paper"], several["seeds"]) == (8.0, 11.97, [0, 1, 2, 3, 4])
    assert (one["standard_error"], one["least"], one["paper"]) == (None, None, 5.72)
    assert "1 draw of labels" in one["data"]


def test_what_a_trial_of_settings_sees_is_not_in_the_table():
    assert all(semi_supervised.TRIAL_DRAW not in draws for draws in semi_supervised.DRAWS.values())


def test_a_beta_vae_is_measured_against_the_vaes_mean():
    report = dict.fromkeys(disentanglement.METRICS, 0.25) | {"reconstruction": 50.0, "train_seconds": 1.0} | VERSIONED
    names = [f"{name} {seed}" for name in disentanglement.MODELS for seed in disentanglement.SEEDS]
    reports = {
        name: report | ({"mig": 0.5 + 0.1 * i} if name.startswith("beta4") else {}) for i, name in enumerate(names)
    }
    rows = {(row["claim"], row["metric"]): row for row in disentanglement.rows(reports)}
    mine = rows["beta-VAE, beta 4", "mutual information gap"]
    assert mine["least"] == 0.25 and mine["ours"] == pytest.approx(0.9)
    assert rows["VAE", "mutual information gap"]["least"] is None
    assert rows["beta-VAE, beta 4", "reconstruction, nats"]["least"] is None


def test_a_sum_over_all_codes_is_the_likelihood(rng):
    model, x, exact = likelihoods.linear(0)
    assert x.shape == (likelihoods.ROWS, 8) and np.isfinite(exact).all()
    found = model.log_prob(x[:20], num_samples=5000)
    np.testing.assert_allclose(found, exact[:20], atol=0.1)

    class Decoder:
        def predict(self, z, **_):
            return 3 * z  # logits of two pixels

    codes = np.array([[0.0, 0.0], [1.0, -1.0]])
    found = likelihoods.log_sum(
        type("Model", (), {"decoder": Decoder()}), codes, np.log([0.25, 0.75]), np.array([[1, 0]])
    )
    p = 1 / (1 + np.exp(-3))
    np.testing.assert_allclose(found, np.log(0.25 * 0.25 + 0.75 * p * p))
