"""Drawings: conversions there and back, simplification, augmentation, batches, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.datasets import sketches
from keras_ae.distributions import strokes


def drawing(rng, points=12, lines=3):
    x = np.zeros((points, 3), "float32")
    x[1:, :2] = rng.integers(-9, 9, size=(points - 1, 2))
    x[np.append(rng.choice(points - 1, lines - 1, replace=False), points - 1), 2] = 1
    return x


def test_formats_convert_there_and_back(rng):
    given = [drawing(rng, n) for n in (5, 12, 8)]
    five = sketches.to_strokes5(given)
    assert five.shape == (3, 13, 5) and five.dtype == np.float32
    assert strokes.lengths(five).numpy().tolist() == [5, 12, 8]
    assert strokes.StrokeMixture(1.0, 12).valid(tf.constant(five)).numpy().all()
    for x, again in zip(given, sketches.to_strokes3(five), strict=True):
        np.testing.assert_array_equal(again, x)
        np.testing.assert_array_equal(sketches.from_lines(sketches.to_lines(x)), x)
    assert [len(each) for each in sketches.to_strokes3(np.tile(strokes.END, (2, 3, 1)))] == [0, 0]


def test_lines_are_where_the_pen_is_down():
    x = [[1, 1, 0], [2, 0, 1], [0, 5, 0], [1, 0, 1]]
    lines = [line.tolist() for line in sketches.to_lines(x)]
    assert lines == [[[1, 1], [3, 1]], [[3, 6], [4, 6]]]
    # A dot is a line of one point.
    assert [len(line) for line in sketches.to_lines([[0, 0, 1], [3, 3, 1]])] == [1, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((0, 3)), "it is empty"),
        ([[0, 0, 0], [np.nan, 1, 1]], "NaN or infinity"),
        ([[0, 0, 0], [np.inf, 1, 1]], "NaN or infinity"),
        ([[0, 0, 0], [3e6, 1, 1]], r"an offset of 3e\+06 exceeds 1,000,000"),
        ([[0, 0, 2]], "0 or 1 in the third column"),
        (np.zeros((4, 5)), r"expected stroke-3, numbers of shape \(n, 3\)"),
        (np.array([["a", "b", "c"]]), "expected stroke-3"),
    ],
)
def test_drawings_that_cannot_be_used_are_refused(wrong, message):
    with pytest.raises(ValueError, match=f"drawing 1: .*{message}|drawing 1: {message}"):
        sketches.to_strokes5([[[0, 0, 1]], wrong])


def test_arguments_that_do_not_suit_are_refused():
    with pytest.raises(ValueError, match="length: a drawing has 3 points, and needs a row more"):
        sketches.to_strokes5([np.zeros((3, 3))], length=3)
    for use in (sketches.to_strokes5, sketches.scale, sketches.batches):
        with pytest.raises(ValueError, match="expected one or more; received none"):
            use([])
    with pytest.raises(ValueError, match="all offsets are equal"):
        sketches.scale([np.zeros((3, 3))])
    with pytest.raises(ValueError, match="stroke-5"):
        sketches.to_strokes3(np.zeros((2, 4, 3)))
    for use in (sketches.from_lines, sketches.in_box):
        with pytest.raises(ValueError, match="the drawing is empty"):
            use([np.zeros((0, 2))])
    with pytest.raises(ValueError, match="labels: expected one for each of the 1 drawings"):
        sketches.batches([np.zeros((3, 3))], [0, 1])


def test_simplified_lines_stay_within_epsilon(rng):
    t = np.linspace(0, 6, 400)
    line = np.stack([40 * t, 50 * np.sin(t)], axis=1)
    short = sketches.simplify(line, 1.5)
    assert len(short) < 20 and np.all(short[[0, -1]] == line[[0, -1]])
    a, b = short[:-1, None], short[1:, None]
    along = np.clip(((line - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1), 0, 1)[..., None]
    assert np.linalg.norm(a + along * (b - a) - line, axis=-1).min(axis=0).max() <= 1.5 + 1e-9
    assert len(sketches.simplify(line[:1], 1.0)) == 1
    np.testing.assert_array_equal(sketches.simplify([[0, 0], [5, 5], [0, 0]], 1.0), [[0, 0], [5, 5], [0, 0]])


def test_a_drawing_is_scaled_to_its_box():
    x = sketches.in_box([[[100, 100], [110, 100]], [[100, 104], [100, 120]]])
    assert sketches.extent(x) == 255.0 and x[:, 2].tolist() == [0, 1, 0, 1] and np.all(x[0, :2] == 0)
    assert sketches.extent(sketches.in_box([[[0, 0], [7, 1]]], size=None)) == 7.0
    np.testing.assert_array_equal(sketches.in_box([[[3, 3]]]), [[0, 0, 1]])  # a dot
    assert sketches.extent(sketches.resized(x, 20.0)) == pytest.approx(20.0)


def test_long_drawings_split_between_lines_where_possible(rng):
    x = np.zeros((10, 3))
    x[[3, 5, 9], 2] = 1
    assert [len(part) for part in sketches.split(x, 7)] == [6, 4]
    assert [len(part) for part in sketches.split(x, 3)] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(sketches.split(x, 3)), x)


def test_augmentation_keeps_the_ends_of_lines_and_the_places(rng):
    x = drawing(rng, 200, 5)
    made = sketches.augmented(x, np.random.default_rng(1), stretch=0.0, drop=0.3)
    assert 100 < len(made) < 180
    lines, again = sketches.to_lines(x), sketches.to_lines(made)
    assert len(lines) == len(again)
    for one, two in zip(lines, again, strict=True):
        np.testing.assert_allclose(two[[0, -1]], one[[0, -1]], atol=1e-3)
        assert {tuple(p) for p in np.rint(two)} <= {tuple(p) for p in np.rint(one)}
    stretched = sketches.augmented(x, np.random.default_rng(1), drop=0.0)
    ratios = stretched[1:, :2].sum(axis=0) / x[1:, :2].sum(axis=0)
    assert np.all(np.abs(ratios - 1) <= 0.15) and ratios[0] != ratios[1]
    np.testing.assert_array_equal(stretched[:, 2], x[:, 2])


def test_batches_hold_every_drawing_once_and_little_padding(rng):
    sizes = rng.integers(2, 120, 600)
    given = [np.concatenate([np.full((n, 2), i), np.ones((n, 1))], axis=1) for i, n in enumerate(sizes)]
    data = sketches.batches(given, np.arange(600), batch_size=32, augment=False, seed=3)
    assert int(data.cardinality()) == 19
    first = [(x.numpy(), y.numpy()) for x, y in data]
    assert sorted(np.concatenate([y for _, y in first]).tolist()) == list(range(600))
    for x, y in first:
        assert x.shape[1] % 8 == 0 and np.all(x[:, 0, 0] == y)
        assert strokes.lengths(x).numpy().tolist() == sizes[y].tolist()
    assert sketches.padding(first) < 0.15
    one = tf.concat([tf.reshape(x, [-1]) for x, _ in data], 0)
    again = sketches.batches(given, np.arange(600), batch_size=32, augment=False, seed=3, first_epoch=1)
    np.testing.assert_array_equal(tf.concat([tf.reshape(x, [-1]) for x, _ in again], 0), one)  # the second epoch
