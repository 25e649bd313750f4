"""What the benchmarks of critics on codes measure: walks along a prior, exact likelihoods, choices, and marks."""

import numpy as np
import pytest
from absl import flags

import keras_ae as ka
from benchmarks import adversarial_codes, adversarial_labels, semi_supervised

VERSIONED = {"date": "2026-01-02", "versions": {"python": "3.11"}}


@pytest.fixture(autouse=True)
def parsed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])


@pytest.mark.parametrize("name", adversarial_codes.PRIORS)
def test_walks_stay_in_the_part_of_their_class_and_lead_outwards(name):
    prior = ka.priors.get(name, 2)
    walks = adversarial_codes.wings(prior)
    assert walks.shape == (10, 12, 2)
    right = np.repeat(np.arange(10), 12)
    np.testing.assert_array_equal(prior.labels_of(walks.reshape(-1, 2), 10), right)
    assert (np.diff(np.linalg.norm(walks, axis=-1)) > 0).all()


def test_integration_over_the_plane_is_the_likelihood(rng):
    decoder = ka.networks.mlp_decoder(2, (4,), (8,))
    for variable in decoder.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    model = ka.VAE(ka.networks.mlp_encoder((4,), 2, (8,), 2), decoder, seed=0)
    x = np.eye(4, dtype="float32")
    z = rng.normal(size=(100_000, 2)).astype("float32")
    p = np.stack([np.exp(model.likelihood(z).log_prob(each)) for each in x], axis=1)
    error = p.std(axis=0) / p.mean(axis=0) / np.sqrt(len(z))
    found = adversarial_codes.integrated(model, x)
    assert (np.abs(found - np.log(p.mean(axis=0))) < 5 * error).all()


def test_gains_must_be_two_standard_errors():
    test = {"statistic": 0.2, "standard_error": 0.03}
    report = {"train_seconds": 1.0, "mmd": test, "energy": test, "squared_error": 30.0, "share": 96.0, "covered": 1.0}
    report |= {"frechet": 9.0, "precision": 0.5, "recall": 0.5, "log_prob": [-1.0, -2.0]} | VERSIONED
    window = {"log_prob": 341.0, "standard_error": 2.0, "sigma": 0.2}
    names = dict.fromkeys(adversarial_codes.settings(), report)
    names |= {each: report | {"log_prob": -1.4} for each in names if each.startswith("points")}
    names |= {"parzen 0": report | {"samples": window, "training images": window}}
    near = {"statistic": 0.1, "standard_error": 0.04}
    names |= {"near_aae 0": report | {"mmd": near}, "wae_vae 0": report | {"mixture": report}}
    made = {(row["claim"], row["data"], row["metric"]): row for row in adversarial_codes.rows(names)}
    (gain,) = (row for key, row in made.items() if "prior a ring: nearer" in key[0] and "MMD" in key[2])
    assert gain["ours"] == pytest.approx(0.1) and gain["standard_error"] == pytest.approx(0.05)
    assert gain["required"] == pytest.approx(0.1) and gain["better"] == "higher"
    shares = [row for key, row in made.items() if "part of their digit" in key[2]]
    assert [(row["ours"], row["required"], row["seeds"]) for row in shares] == [(96.0, 95.0, [0, 1, 2])] * 2


def test_rows_of_other_models_stand_beside_without_their_marks():
    report = {"error": 3.0, "majority": 2.0, "train_seconds": 60.0} | VERSIONED
    made = adversarial_labels.rows(dict.fromkeys(adversarial_labels.settings(adversarial_labels.SEEDS), report))
    rows = {row["claim"]: row for row in made}
    assert len(rows) == len(made)
    assert rows["semi-supervised AAE, 100 labels"]["required"] == 4.0
    assert rows["AAE, 16 clusters, most frequent labels"]["ours"] == 2.0
    assert {"M2, 100 labels", "M1+M2, 1,000 labels"} <= set(rows) and "M2, 600 labels" not in rows
    assert all(row["required"] is None for claim, row in rows.items() if claim.startswith("M"))


def test_validation_images_choose_the_weight_and_finished_runs_are_kept(tmp_path, monkeypatch):
    asked = []

    def train(parts, name, m1, count, draw, folder, part, weight):
        asked.append((count, draw, part, weight))
        return {"M1+M2": abs(weight - 120.0)}, {"train_seconds": 1.0}

    monkeypatch.setattr(semi_supervised, "train_m2", train)
    for _ in range(2):
        assert semi_supervised.choose_weight({}, (None, None), 600, tmp_path) == 150.0
    assert asked == [(600, semi_supervised.TRIAL_DRAW, "valid", weight) for weight in semi_supervised.WEIGHTS]
