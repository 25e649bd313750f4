import types

import numpy as np
import pytest

from keras_ae.datasets.shapes import Shapes
from keras_ae.evaluation.disentanglement import beta_vae_score, dci, factor_vae_score, mutual_information_gap, sap

_SIZES = (3, 6, 10, 8, 8)
_CHANCE = np.mean([1 / size for size in _SIZES])
_FACTORS = np.random.default_rng(0).integers(0, _SIZES, (4000, 5))
_ARRAY_SCORES = [mutual_information_gap, dci, sap]
_DRAWING_SCORES = [factor_vae_score, beta_vae_score]


class _Rows:
    """Data that are their own factors."""

    factor_sizes = _SIZES

    def images(self, factors):
        return factors


def _standardised(factors):
    sizes = np.array(_SIZES)
    return (factors - (sizes - 1) / 2) / np.sqrt((sizes**2 - 1) / 12)


def _rotation(seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]


def _random_codes(factors):
    return np.random.default_rng(len(factors)).normal(size=(len(factors), 6))


def _all(z, factors):
    return {"mig": mutual_information_gap(z, factors), "sap": sap(z, factors)} | dci(z, factors)


# Codes whose scores are known


def test_codes_that_are_the_factors():
    scores = _all(_standardised(_FACTORS), _FACTORS)
    for name in ("disentanglement", "completeness", "informativeness"):
        assert scores[name] == pytest.approx(1.0, abs=1e-6), name
    # The second best is independent; 4,000 draws show at most (20 - 1)(10 - 1) / 8000 nats by chance.
    assert 0.98 < scores["mig"] <= 1.0
    # 1 - 1/levels; on 800 rows, the second best of several latents at chance is slightly above.
    assert 1 - _CHANCE - 0.06 < scores["sap"] < 1 - _CHANCE
    for score in _DRAWING_SCORES:
        assert score(_standardised, _Rows(), batch=32) == 1.0


def test_full_tables_of_the_factors_have_no_accidents(rng):
    # Every combination once: mutual informations of different factors are exactly 0.
    factors = np.stack(np.unravel_index(np.arange(3 * 4 * 5), (3, 4, 5)), axis=1)
    assert mutual_information_gap(factors * 2.0 - 7, factors) == pytest.approx(1.0, abs=1e-12)
    # Order, sign, scale and the names of levels do not matter.
    z = -np.exp(factors[:, [2, 0, 1]] / 3)
    assert mutual_information_gap(z, 10 * factors + 3) == pytest.approx(1.0, abs=1e-12)


def test_random_codes():
    scores = _all(_random_codes(_FACTORS), _FACTORS)
    # The bias of mutual information is 19 (levels - 1) / 8000 nats for each latent, under 0.01 of the entropy; gaps
    # between latents are smaller.
    assert scores["mig"] < 0.01
    # One accuracy has a standard error of at most sqrt(2/9 / 800) = 0.017.
    assert scores["sap"] < 0.03
    assert scores["disentanglement"] < 0.05 and scores["completeness"] < 0.05
    assert scores["informativeness"] == pytest.approx(_CHANCE, abs=4 * np.sqrt(0.2 / 800))
    for score in _DRAWING_SCORES:  # 4 standard errors of a share of 500 tests or more
        assert score(_random_codes, _Rows(), batch=16) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 500))


def test_mixed_codes_score_low_where_latents_have_to_stand_alone():
    rotation = _rotation()
    z = _standardised(_FACTORS) @ rotation
    scores = _all(z, _FACTORS)
    assert scores["mig"] < 0.25 and scores["sap"] < 0.2
    assert scores["disentanglement"] < 0.5 and scores["completeness"] < 0.5
    mixed = factor_vae_score(lambda factors: _standardised(factors) @ rotation, _Rows())
    assert 0.2 < mixed < 0.95
    # A linear classifier of mean differences undoes the rotation.
    assert beta_vae_score(lambda factors: _standardised(factors) @ rotation, _Rows()) > mixed


def test_dead_latents_change_nothing():
    z = _standardised(_FACTORS)
    dead = np.concatenate([z[:, :2], np.full((len(z), 2), 3.0), z[:, 2:]], axis=1)
    without, with_dead = _all(z, _FACTORS), _all(dead, _FACTORS)
    assert with_dead["mig"] == pytest.approx(without["mig"], abs=1e-12)
    for name in ("disentanglement", "completeness", "informativeness"):
        assert with_dead[name] == pytest.approx(1.0, abs=1e-6)
    assert with_dead["sap"] == pytest.approx(without["sap"], abs=0.02)

    def encode(factors):
        return np.insert(_standardised(factors), 0, 7.0, axis=1)

    for score in _DRAWING_SCORES:
        assert score(encode, _Rows(), batch=32) == 1.0


def test_a_nearly_dead_latent_takes_no_vote_below_the_threshold():
    # Latent 0 copies factor 0 only, at a variance of 1e-4; the other latents are noisy copies.
    def encode(factors):
        z = _standardised(factors)
        noise = np.random.default_rng(0).normal(size=z.shape)
        return np.concatenate([1e-2 * z[:, :1], z[:, 1:] + 0.1 * noise[:, 1:]], axis=1)

    assert factor_vae_score(encode, _Rows(), batch=32, threshold=1e-5) == 1.0
    # Without that latent, a vote for factor 0 goes to the other latent that happens to vary least.
    assert factor_vae_score(encode, _Rows(), batch=32) == pytest.approx(0.8, abs=0.06)


def test_a_collapsed_code_scores_nothing():
    z = np.ones((200, 3))
    assert mutual_information_gap(z, _FACTORS[:200]) == 0.0
    assert sap(z, _FACTORS[:200]) == 0.0
    scores = dci(z, _FACTORS[:200])
    assert scores["disentanglement"] == scores["completeness"] == 0.0 and scores["informativeness"] < 0.4
    assert factor_vae_score(lambda factors: np.ones((len(factors), 3)), _Rows()) == 0.0
    assert beta_vae_score(lambda factors: np.ones((len(factors), 3)), _Rows(), batch=4) < 0.3


# Each definition


def test_mutual_information_gap_of_a_table_computed_by_hand():
    # Latent 0 and the factor: counts [[3, 1], [1, 3]] of 8. Latent 1: [[2, 2], [2, 2]]. Two bins.
    v = np.array([0, 0, 0, 0, 1, 1, 1, 1])[:, None]
    z = np.array([[0, 0, 0, 1, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]]).T
    # I = 2 (3/8 log(3/8 / 1/4) + 1/8 log(1/8 / 1/4)) = (3/4) log 3 - log 2; H = log 2.
    by_hand = 0.75 * np.log(3) / np.log(2) - 1
    assert mutual_information_gap(z, v, bins=2) == pytest.approx(by_hand, rel=1e-12)
    # With a third latent that equals the factor, the gap is between 1 and the value above.
    assert mutual_information_gap(np.hstack([z, v]), v, bins=2) == pytest.approx(1 - by_hand, rel=1e-12)
    # The mean over two factors; the second is latent 1 itself, with the same counts for latent 0, [[3, 1], [1, 3]].
    both = np.hstack([v, z[:, 1:]])
    assert mutual_information_gap(z, both, bins=2) == pytest.approx((by_hand + 1 - by_hand) / 2, rel=1e-12)


def test_bins_have_equal_width_between_the_extremes():
    # In 20 bins over [0, 20], 0.9 and 0.1 share one and 1.1 does not; the largest code belongs to the last bin.
    v = np.array([0, 1, 1, 0, 0, 1])[:, None]
    a = np.array([0.0, 0.1, 0.9, 1.1, 19.5, 20.0])
    table = np.array([[1, 2], [1, 0], [1, 1]]) / 6
    information = np.sum(table * np.log(np.where(table > 0, table / np.outer(table.sum(1), [0.5, 0.5]), 1)))
    z = np.stack([a, np.zeros(6)], axis=1)
    assert mutual_information_gap(z, v) == pytest.approx(information / np.log(2), rel=1e-12)


def test_dci_of_latents_that_serve_two_factors_and_factors_served_by_two_latents():
    # Latent 0 holds factors 0 and 1 at once, latents 1 and 2 are copies that share factor 2, factor 3 has latent 3.
    factors = np.random.default_rng(0).integers(0, 4, (4000, 4))
    z = np.stack([4 * factors[:, 0] + factors[:, 1], factors[:, 2], factors[:, 2], factors[:, 3]], axis=1)
    scores = dci(z, factors, trees=100)
    # Weights of latents: 2, 1 in two halves, 1, of 4; latent 0 is split evenly between 2 of K = 4 factors: H_4 = 1/2.
    assert scores["disentanglement"] == pytest.approx(0.5 * 0.5 + 0.25 + 0.25, abs=0.02)
    # Factor 2 has two of D = 4 latents; which copy a tree uses is random.
    assert scores["completeness"] == pytest.approx(0.75 + 0.25 * 0.5, abs=0.02)
    assert scores["informativeness"] == 1.0


def test_dci_and_sap_are_measured_on_rows_not_learned_from():
    z = np.random.default_rng(0).normal(size=(300, 8))
    factors = np.random.default_rng(1).integers(0, 2, (300, 2))
    assert dci(z, factors)["informativeness"] == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(120))
    # A latent cut into 20 leaves fits some noise; chance is 1/20, its standard error on 60 rows 0.03.
    assert sap(z[:, :2], np.random.default_rng(2).integers(0, 20, (300, 1))) < 0.12


def test_sap_is_the_gap_between_thresholds_on_single_latents():
    rng = np.random.default_rng(0)
    v = rng.integers(0, 2, (20000, 1))
    # Gaussians of means -s and s: the threshold at 0 is right with probability Phi(s).
    z = (2 * v - 1) * [0.5, 1.0, 0.0] + rng.normal(size=(20000, 3))
    gap = 0.841345 - 0.691462  # Phi(1) - Phi(0.5)
    assert sap(z, v) == pytest.approx(gap, abs=4 * np.sqrt(0.135 / 4000 + 0.214 / 4000))


def test_sap_weights_levels_alike():
    rng = np.random.default_rng(0)
    v = (rng.random((20000, 1)) < 0.1).astype(int)
    z = (2 * v - 1) * [1.0, 0.0] + rng.normal(size=(20000, 2))
    # Guessing the frequent level would be right in 9 of 10 rows, but only 1/2 on average over levels.
    assert sap(z, v) == pytest.approx(0.841345 - 0.5, abs=4 * np.sqrt(0.135 / 400 + 0.25 / 400) / 2 + 0.01)


def test_votes_are_scored_on_others_than_those_learned_from():
    # 30 votes among 6 latents and 5 factors can be memorised to 0.4 and more.
    score = factor_vae_score(_random_codes, _Rows(), votes=30, test_votes=2000, batch=4)
    assert score == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2000))


def test_a_factor_held_fixed_is_the_same_in_each_group_and_all_else_varies():
    seen = []

    def encode(factors):
        seen.append(factors)
        return _standardised(factors)

    factor_vae_score(encode, _Rows(), votes=30, test_votes=20, batch=16)
    votes = np.concatenate(seen)[-50 * 16 :].reshape(50, 16, 5)  # after the draws for the overall variance
    constant = np.all(votes == votes[:, :1], axis=1)
    np.testing.assert_array_equal(constant.sum(axis=1), 1)
    assert np.all(constant.any(axis=0))
    seen.clear()
    beta_vae_score(encode, _Rows(), points=40, test_points=10, batch=16)
    pairs = np.concatenate(seen).reshape(50, 16, 2, 5)
    shared = np.all(pairs[:, :, 0] == pairs[:, :, 1], axis=1)
    np.testing.assert_array_equal(shared.sum(axis=1), 1)
    levels = pairs[:, :, 0][np.broadcast_to(shared[:, None], (50, 16, 5))].reshape(50, 16)
    assert np.all(levels.min(axis=1) < levels.max(axis=1))  # which level is shared differs from pair to pair


def test_two_latents_of_one_factor_both_vote_for_it():
    def encode(factors):
        z = _standardised(factors)
        return np.concatenate([z, -3 * z[:, 2:3]], axis=1)

    assert factor_vae_score(encode, _Rows(), batch=32) == 1.0


def test_a_factor_that_no_latent_holds_costs_its_votes():
    # Votes for factor 4 go to a random latent, whose majority is another factor.
    score = factor_vae_score(lambda factors: _standardised(factors)[:, :4], _Rows(), batch=32)
    assert score == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 800))


def test_scores_repeat_and_depend_on_the_seed():
    rotation = _rotation()

    def encode(factors):
        return _standardised(factors) @ rotation

    for score in _DRAWING_SCORES:
        scores = [score(encode, _Rows(), seed, batch=4) for seed in (0, 0, 1)]
        assert scores[0] == scores[1] != scores[2] and type(scores[0]) is float
    z = _standardised(_FACTORS[:500]) @ rotation
    assert dci(z, _FACTORS[:500], seed=3) == dci(z, _FACTORS[:500], seed=3)
    assert all(type(score) is float for score in _all(z, _FACTORS[:500]).values())


def test_pictures_go_to_the_encoder_as_they_are_drawn():
    shapes = Shapes(16, sizes=3, angles=4, positions=9)
    middles = np.arange(16) + 0.5

    def encode(x):  # the mass and the centre of mass, which are factors by construction
        assert x.dtype == np.uint8 and x.shape[1:] == (16, 16, 1)
        x = x[..., 0] / 255
        mass = x.sum(axis=(1, 2))
        return np.stack([x.sum(axis=1) @ middles / mass, x.sum(axis=2) @ middles / mass], axis=1)

    # x and y are exact, and the other three factors are guesses: 2/5 at least, 2/5 + 3/5 * 1/2 at most.
    score = factor_vae_score(encode, shapes, votes=200, test_votes=200, batch=16)
    assert 0.35 < score < 0.7


# Invalid input


@pytest.mark.parametrize("score", _ARRAY_SCORES)
@pytest.mark.parametrize(
    "z, factors, message",
    [
        (np.ones((9, 3)), _FACTORS[:10], "N = 10 rows"),
        (np.ones(10), _FACTORS[:10], "N = 10 rows"),
        (np.full((10, 3), np.nan), _FACTORS[:10], "NaN or infinity"),
        (np.full((10, 3), np.inf), _FACTORS[:10], "NaN or infinity"),
        (np.ones((10, 1)), _FACTORS[:10], "at least two latents"),
        (np.ones((10, 3)), np.array([[0, 4]] * 9 + [[1, 4]]), "Factor 1 has one level"),
        (np.ones((10, 3)), _FACTORS[:10] / 2, "whole numbers"),
        (np.ones((10, 3)), _FACTORS[:10, 0], "whole numbers"),
        (np.ones((0, 3)), _FACTORS[:0], "empty"),
    ],
)
def test_codes_and_factors_that_do_not_suit_are_refused(score, z, factors, message):
    with pytest.raises(ValueError, match=message):
        score(z, factors)


def test_what_a_single_factor_cannot_show_is_refused():
    z, v = np.random.default_rng(0).normal(size=(50, 2)), _FACTORS[:50, :1]
    assert mutual_information_gap(np.hstack([z, v]), v, bins=3) > 0.5  # the code that equals it has the most
    with pytest.raises(ValueError, match="at least two"):
        dci(z, v)
    with pytest.raises(ValueError, match="2 or more"):
        mutual_information_gap(z, v, bins=1)


@pytest.mark.parametrize("score", _DRAWING_SCORES)
@pytest.mark.parametrize(
    "encode, sizes, arguments, message",
    [
        (_standardised, (3, 1, 4), {}, "Factor 1 has one level"),
        (_standardised, (3,), {}, "at least two"),
        (_standardised, _SIZES, {"batch": 1}, "a batch of 2"),
        (lambda x: np.full((len(x), 2), np.nan), _SIZES, {}, "NaN or infinity"),
        (lambda x: np.ones((len(x), 1)), _SIZES, {}, "at least two latents"),
        (lambda x: np.ones((3, 2)), _SIZES, {}, "one code for each"),
    ],
)
def test_encoders_and_data_that_do_not_suit_are_refused(score, encode, sizes, arguments, message):
    data = types.SimpleNamespace(factor_sizes=sizes, images=lambda factors: factors)
    with pytest.raises(ValueError, match=message):
        score(encode, data, **arguments)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="points: expected enough to fix each of the"):
        beta_vae_score(_standardised, _Rows(), points=3, batch=2)
