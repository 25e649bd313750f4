"""Measures of groups of codes: parts of a prior, and clusters as classifiers under each rule."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.distributions import priors
from keras_ae.evaluation import clusters


@pytest.mark.parametrize("name", ["ring", "swiss_roll"])
def test_codes_of_their_own_class_are_in_their_wing(name):
    prior, labels = priors.get(name, 2), np.arange(2000) % 10
    z = prior.draw_labelled(tf.constant(labels), 10, tf.constant([0, 1])).numpy()
    share = clusters.wing_share(z, labels, name)
    # The ring's components overlap little; those of the roll do at the ends of each stretch.
    assert share > (0.97 if name == "ring" else 0.9)
    assert clusters.wing_share(z, (labels + 1) % 10, name) < 1 - share + 1e-9
    found = clusters.mode_coverage(z, name)
    assert found.covered == 1.0
    np.testing.assert_allclose(found.shares, 0.1, atol=0.02)
    assert clusters.mode_coverage(z[labels < 5], prior).covered == pytest.approx(0.5, abs=0.1)


def test_cluster_errors_by_rule():
    # Three clusters of four rows; the surest row of cluster 1 has a rare label.
    p = np.array([[0.9, 0.1, 0]] * 4 + [[0.2, 0.8, 0]] * 3 + [[0, 1.0, 0]] + [[0, 0, 1.0]] * 4)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    confident = clusters.cluster_error(p, labels)
    assert confident.labels.tolist() == [0, 2, 2] and confident.error == 4 / 12
    majority = clusters.cluster_error(p, labels, "majority")
    assert majority.labels.tolist() == [0, 1, 2] and majority.error == 2 / 12
    assert clusters.cluster_error(p, labels, "one_to_one") == (2 / 12, pytest.approx([0, 1, 2]))
    # Under one to one, two clusters of the same label cannot both have it.
    labels = np.array([0] * 8 + [1] * 3 + [2])
    assert clusters.cluster_error(p, labels, "one_to_one").error > clusters.cluster_error(p, labels, "majority").error


def test_a_cluster_without_rows_has_no_label():
    for rule in ("confident", "majority"):
        assert clusters.cluster_error(np.eye(4)[[0, 1, 1]], [2, 0, 0], rule).labels.tolist() == [2, 0, -1, -1]


def test_refusals():
    with pytest.raises(ValueError, match="'best': expected one of confident, majority, one_to_one"):
        clusters.cluster_error(np.eye(2), [0, 1], "best")
    with pytest.raises(ValueError, match=r"expected shape \(N, K\)"):
        clusters.cluster_error(np.eye(2), [0])
    with pytest.raises(ValueError, match="as many clusters as classes"):
        clusters.cluster_error(np.eye(3)[:2], [0, 1], "one_to_one")
    with pytest.raises(ValueError, match="'swiss_roll' or one of these layers"):
        clusters.wing_share(np.zeros((2, 2)), [0, 1], "normal")
    with pytest.raises(ValueError, match="labels 0 to 9"):
        clusters.wing_share(np.zeros((2, 2)), [0, 10])
    with pytest.raises(ValueError, match="10 components, one for each class"):
        clusters.wing_share(np.zeros((2, 2)), [0, 1], num_classes=7)
    with pytest.raises(ValueError, match="threshold"):
        clusters.mode_coverage(np.zeros((2, 2)), threshold=0.0)
