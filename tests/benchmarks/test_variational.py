"""The data and the table rows of the benchmarks of variational models, without training."""

import functools
import itertools
import json
import os
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from sklearn.datasets import make_moons

import keras_ae as ka
from apps.quickstart import train as quickstart_train
from benchmarks import (
    conditional,
    disentanglement,
    importance_weighted,
    latent_spaces,
    likelihoods,
    runs,
    samples,
    semi_supervised,
)
from benchmarks.mnist import parts as mnist_parts
from keras_ae.training import ObjectiveModel

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
    model = importance_weighted.build(50, *importance_weighted.networks())
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
    def draws(*errors):
        return [{"error": error, "train_seconds": 1.0} | VERSIONED for error in errors]

    several, one, svm, alone = semi_supervised.rows(
        {
            ("M2", 100): draws(7, 8, 9, 8, 8),
            ("M1, SVM", 600): draws(5),
            ("M1, SVM", 100): draws(9, 9),
            (semi_supervised.ALONE, 100): draws(9, 9),
        }
    )
    assert svm["required"] == 12.0 and (alone["required"], alone["paper"]) == (None, None)
    assert several["ours"] == 8.0 and several["standard_error"] == pytest.approx(np.sqrt(0.5 / 5))
    assert (several["required"], several["paper"], several["seeds"]) == (8.0, 11.97, [0, 1, 2, 3, 4])
    assert several["seconds"] == 5.0 and several["date"] == VERSIONED["date"]
    assert (one["standard_error"], one["required"], one["paper"]) == (None, None, 5.72)
    assert "1 draw of labels" in one["data"]


def test_what_a_trial_of_settings_sees_is_not_in_the_table():
    assert all(semi_supervised.TRIAL_DRAW not in draws for draws in semi_supervised.DRAWS.values())


def test_a_beta_vae_is_measured_against_the_vae_of_its_seed():
    report = dict.fromkeys(disentanglement.METRICS, 0.25) | {"reconstruction": 50.0, "train_seconds": 1.0} | VERSIONED
    names = [f"{name} {seed}" for name in disentanglement.MODELS for seed in disentanglement.SEEDS]
    reports = {name: dict(report) for name in names}
    for seed in disentanglement.SEEDS:
        reports[f"vae {seed}"]["mig"], reports[f"beta4 {seed}"]["mig"] = 0.1 * seed, 0.1 * seed + 0.3
    rows = {(row["claim"], row["metric"]): row for row in disentanglement.rows(reports)}
    assert rows["beta-VAE, beta 4", "mutual information gap"]["ours"] == pytest.approx(0.4)
    gain = rows["beta-VAE, beta 4, minus the VAE with the same seed", "mutual information gap"]
    assert gain["ours"] == pytest.approx(0.3) and gain["standard_error"] == pytest.approx(0.0, abs=1e-9)
    marked = [key for key, row in rows.items() if row["required"] is not None]
    assert marked == [("beta-VAE, beta 4, minus the VAE with the same seed", "mutual information gap")]
    assert gain["required"] == disentanglement.ABOVE  # because the gains do not vary
    reports["beta4 0"]["mig"] += 0.3
    gain = {(row["claim"], row["metric"]): row for row in disentanglement.rows(reports)}[marked[0]]
    assert gain["required"] == pytest.approx(2 * gain["standard_error"]) and gain["standard_error"] > 0


@pytest.fixture
def mnist(tmp_path, rng, monkeypatch):
    """A file like that of MNIST, with few images, and labels of every class in order."""
    path, arrays = tmp_path / "mnist.npz", {}
    for split, rows in (("train", 400), ("test", 100)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        arrays[f"y_{split}"] = (np.arange(rows) % 10).astype("uint8")
    np.savez(path, **arrays)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    # Each reading of the clock takes a second, so training ends after the same few batches on every machine.
    monkeypatch.setattr(runs.ProcessorTime, "clock", staticmethod(itertools.count().__next__))
    with flagsaver.flagsaver(data=str(path), minutes=1e-3):
        yield path


@pytest.fixture
def eager(monkeypatch):
    """Models train without graphs, because tracing takes longer than a few batches; conditional models have graphs."""
    eagerly = functools.partialmethod(ObjectiveModel.compile, run_eagerly=True)
    monkeypatch.setattr(ObjectiveModel, "compile", eagerly)
    fit = keras.Model.fit

    def fit_classifier(self, *args, **kwargs):
        self.run_eagerly = True
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", fit_classifier)


def test_importance_weighted_runs_go_on_where_they_were_killed(mnist, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(importance_weighted, "SAMPLES", 2)
    first = importance_weighted.measure("iwae50", tmp_path / "run")
    assert set(first["passes"]) == {1, 50} and 100 < first["nll"] < 1000

    def train(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs.common, "fit", train)
    assert importance_weighted.measure("iwae50", tmp_path / "run") == first
    assert importance_weighted.measure("vae", tmp_path / "vae")["passes"] == {1: first["passes"][1]}  # its first stage


def test_stages_share_networks_which_begin_with_the_seed(mnist, tmp_path, monkeypatch):
    begun = []

    def train(model, *_):
        begun.append((model, model.encoder.get_weights()))
        return {"passes": 1.0, "train_seconds": 1.0}

    monkeypatch.setattr(importance_weighted, "SAMPLES", 2)
    monkeypatch.setattr(runs, "train", train)
    for name in ("iwae5", "vae"):
        importance_weighted.measure(name, tmp_path / name)
    (first, weights), (second, _), (_, again) = begun
    assert first.encoder is second.encoder and first.decoder is second.decoder
    for mine, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_batches_hold_each_row_once_in_new_orders(rng):
    x = rng.normal(size=(10, 3)).astype("float32")
    batches = runs.batches(x, 4, 0)
    assert int(batches.cardinality()) == 3
    first, second = (np.concatenate(list(batches.as_numpy_iterator())) for _ in range(2))
    for found in (first, second):
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(x, axis=0))
    assert (first != second).any() and (first != x).any()


def test_a_table_is_written_once_all_of_its_runs_are_there(tmp_path, monkeypatch):
    written, made = [], []
    monkeypatch.setattr(runs.results, "write", lambda name, rows: written.append((name, rows)))
    monkeypatch.setattr(runs.options, "runs", tmp_path.joinpath)

    def publish(*only):
        monkeypatch.setattr(runs.options, "only", lambda names: [name for name in names if name in only])
        runs.publish_table(
            "table",
            {"a": {"rate": 1}, "b": {"rate": 2}},
            lambda name, folder: made.append(folder) or {"of": name},
            lambda reports: [report["of"] for report in reports.values()],
        )

    publish("b")
    assert not written
    publish("a", "b")
    assert written == [("table", ["a", "b"])]
    assert made == [tmp_path / "table" / "b", tmp_path / "table" / "a"]
    assert json.loads((tmp_path / "table" / "b.json").read_text())["settings"] == {"rate": 2}


def test_time_in_which_others_work_is_not_trained_away(monkeypatch):
    monkeypatch.setattr(time, "process_time", lambda: 60.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 3, 5}, raising=False)
    assert runs.ProcessorTime.clock() == 15.0


def test_spreading_uses_the_images_without_labels():
    x, y = make_moons(1_000, noise=0.05, random_state=0)  # with few labels, the nearest one is often of the other class
    m1 = types.SimpleNamespace(units=lambda x: None, features=lambda x, units: x)
    errors = semi_supervised.classify({"train": (x, y), "test": (x, y)}, m1, 10, 0)
    assert errors["M1, labels spread over 10 neighbours"] < 1 < errors["M1, nearest neighbours"]


def test_every_importance_weighted_model_begins_at_the_mean_image(mnist):
    mean = np.load(mnist)["x_train"].mean() / 255
    for k in (1, 50):
        model = importance_weighted.build(k, *importance_weighted.networks())
        quickstart_train.start_at_mean(model, ka.datasets.arrays(importance_weighted.data("train", shuffle=False)))
        assert model.decode(np.zeros((1, 50), "float32")).mean() == pytest.approx(mean, abs=0.02)


def test_conditional_runs_end_in_a_row(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(conditional, "SAMPLES", 2)
    (row,) = conditional.rows({"3": conditional.measure("3", tmp_path / "run") | VERSIONED})
    assert 20 < row["ours"] < 300 and row["required"] == 23.0


def test_semi_supervised_runs_stand_on_the_trained_m1(mnist, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(semi_supervised, "TRAIN", 300)
    parts = mnist_parts(semi_supervised.TRAIN)
    assert {name: len(x) for name, (x, _) in parts.items()} == {"train": 300, "valid": 100, "test": 100}
    m1, report = semi_supervised.train_m1(parts, tmp_path / "m1")
    again, same = semi_supervised.train_m1(parts, tmp_path / "m1")
    assert report == same
    np.testing.assert_array_equal(again.encode(parts["test"][0]), m1.encode(parts["test"][0]))
    monkeypatch.setitem(semi_supervised.SETTINGS["m1"], "batch", 50)
    assert semi_supervised.train_m1(parts, tmp_path / "m1")[1] != report  # not the result of other settings
    monkeypatch.setattr(type(m1), "units", lambda *_: [0, 1, 2])  # untrained, it has none
    monkeypatch.setitem(semi_supervised.SETTINGS["alone"], "steps", 1)
    monkeypatch.setitem(semi_supervised.DRAWS, 50, (0, 1))  # both include M1's time
    claims, seconds = set(), {}
    for name in semi_supervised.SETTINGS:
        found = semi_supervised.measure(parts, name, (m1, {"train_seconds": 100.0}), 50, 0, tmp_path / name)
        claims |= set(found["errors"])
        seconds[name] = found["train_seconds"]
    assert claims == {"M2", "M1+M2", semi_supervised.ALONE} | {f"M1, {each}" for each in semi_supervised.CLASSIFIERS}
    assert semi_supervised.percent(np.array([3, 1, 2, 0]), np.array([3, 1, 0, 0])) == 25.0
    assert seconds["m1"] == 50.0 and seconds["m1m2"] == 50.0 + seconds["m2"]


def test_pixels_are_drawn_anew_and_labels_stay():
    x, y = np.full((1, 400, 10), 0.25, "float32"), np.array([3])
    batches = semi_supervised.binarized(tf.data.Dataset.from_tensors((x, y)), 0)
    (first, label), (second, _) = (next(batches.as_numpy_iterator()) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 1.0} and np.mean(first) == pytest.approx(0.25, abs=0.03)
    assert (first != second).any() and label == y
    (alone,) = semi_supervised.binarized(tf.data.Dataset.from_tensors(x), 0)
    assert alone.shape == x.shape


def test_disentanglement_is_scored_on_pictures_that_no_training_saw(mnist, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(disentanglement, "PICTURES", 256)
    monkeypatch.setattr(disentanglement, "SCORED", 300)
    seen, rows = [], ka.datasets.Shapes.rows
    monkeypatch.setattr(ka.datasets.Shapes, "rows", lambda self, each: seen.append(set(each)) or rows(self, each))
    for name in ("beta_vae_score", "factor_vae_score"):
        monkeypatch.setattr(disentanglement.disentanglement, name, lambda *_: 0.5)
    models, train = [], disentanglement.runs.train
    monkeypatch.setattr(disentanglement.runs, "train", lambda model, *args: models.append(model) or train(model, *args))
    found = disentanglement.measure("tc6 1", tmp_path / "run")
    assert [len(each) for each in seen] == [256, 300] and not seen[0] & seen[1]
    monkeypatch.undo()
    shapes = ka.datasets.Shapes()
    factors = shapes.rows(np.random.default_rng(1).permutation(len(shapes))[-300:])
    x = shapes.images(factors) / np.float32(255)
    gap = disentanglement.disentanglement.mutual_information_gap(models[0].encode(x), factors)
    assert found["mig"] == pytest.approx(gap, abs=1e-6) and found["beta_vae"] == found["factor_vae"] == 0.5
    terms = models[0].evaluate(x, batch_size=500, verbose=0, return_dict=True)
    assert found["reconstruction"] == pytest.approx(terms["reconstruction"], rel=0.05)  # with different noise


def test_traversals_of_shapes_are_drawn_from_kept_runs(mnist, eager, tmp_path, monkeypatch):
    for name, value in (("PICTURES", 128), ("SCORED", 100), ("DOCS", tmp_path)):
        monkeypatch.setattr(disentanglement, name, value)
    for run in ("vae 0", "beta4 0"):
        disentanglement.trained(run, tmp_path / run)
    monkeypatch.delattr(runs.common, "fit")
    disentanglement.draw(tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"shapes_vae.png", "shapes_beta4.png"}


def test_samples_are_compared_with_held_out_images(mnist, eager, tmp_path, monkeypatch):
    for name, value in (("TRAIN", 300), ("VALID", 50), ("SAMPLES", 100), ("COVERED", 100)):
        monkeypatch.setattr(samples, name, value)
    prior = {"prior": samples.SAMPLERS["prior"]}
    monkeypatch.setattr(samples, "SAMPLERS", prior)
    report = samples.measure("VAE", tmp_path / "run") | VERSIONED
    monkeypatch.delattr(samples.samples, "train_features")  # the second call returns the saved ones
    again = samples.trained_features(*[each[:300] for each in samples.digits("train")], tmp_path)
    real, held_out = again(samples.digits("test")[0]), again(samples.digits("train")[0][300:])
    assert samples.compared(real, held_out, 100) == pytest.approx(report["scores"][samples.HELD_OUT], rel=1e-4)
    claims = {row["claim"] for row in samples.rows({"VAE": report})}
    assert claims == {samples.HELD_OUT, "VAE, codes of the prior", "VAE, samples of its prior", "training images"}


def test_pictures_of_latent_spaces_are_drawn_from_kept_runs(mnist, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(latent_spaces, "DOCS", tmp_path)
    reports = {name: latent_spaces.measure(name, tmp_path / name) | VERSIONED for name in latent_spaces.LATENT}
    latent_spaces.draw(tmp_path)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {"bound.png", "latent_spaces.png", "latent_grid.png", "traversals.png", "styles.png"}
    assert len(latent_spaces.rows(reports)) == 6


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
