import numpy as np
import pytest

from keras_ae.datasets.shapes import Shapes

# Areas of the three kinds divided by their squared radii, by elementary geometry.
_HEART = (4 + np.pi) / (2 * (1 + (np.pi / 2 + 2 / 3) / (4 + np.pi)) ** 2)
_CORNER = 4 / (0.75**2 + 1.75**2)
_HALF_DISC = np.pi / 2 / (1 + (4 / (3 * np.pi)) ** 2)


@pytest.fixture(scope="module")
def shapes():
    return Shapes()


def test_the_table_of_factors(shapes):
    assert shapes.factors == {"kind": 3, "size": 6, "angle": 40, "x": 16, "y": 16}
    assert shapes.factor_sizes == (3, 6, 40, 16, 16)
    assert len(shapes) == 3 * 6 * 40 * 16 * 16
    np.testing.assert_allclose(shapes.radii, [4.0, 4.8, 5.6, 6.4, 7.2, 8.0])
    np.testing.assert_allclose(shapes.degrees[[1, -1]], [9.0, 351.0])
    np.testing.assert_allclose(shapes.centres, np.arange(16) + 8.5)


def test_rows_enumerate_every_combination_once():
    shapes = Shapes(sizes=2, angles=3, positions=4)
    rows = shapes.rows(range(len(shapes)))
    assert len(np.unique(rows, axis=0)) == len(rows) == 3 * 2 * 3 * 4 * 4
    np.testing.assert_array_equal(rows[:2], [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(rows[-1], [2, 1, 2, 3, 3])


def test_areas_are_those_of_the_outlines(shapes):
    factors = shapes.rows(np.arange(0, len(shapes), 97))
    areas = shapes.images(factors).sum(axis=(1, 2, 3)) / 255  # pixels
    expected = np.array([_HEART, _CORNER, _HALF_DISC])[factors[:, 0]] * shapes.radii[factors[:, 1]] ** 2
    # An upright straight edge, at most 8 sqrt(2) pixels long, may err by half a sample, 1/16 of a pixel; half discs
    # and corners have several, with either sign.
    np.testing.assert_allclose(areas, expected, atol=1.2)
    assert np.mean(np.abs(areas - expected)) < 0.2


def test_x_and_y_are_the_centre_of_mass_at_every_size_and_angle(shapes):
    factors = shapes.rows(np.arange(0, len(shapes), 97))
    x = shapes.images(factors)[..., 0] / 255
    middles = np.arange(32) + 0.5
    mass = x.sum(axis=(1, 2))
    for column, sums in ((3, x.sum(axis=1)), (4, x.sum(axis=2))):
        np.testing.assert_allclose(sums @ middles / mass, shapes.centres[factors[:, column]], atol=0.08)


def test_positions_move_the_shape_and_change_nothing_else(shapes):
    # Here one level is one whole pixel.
    for here, there, axis in (([0, 3, 7, 4, 5], [0, 3, 7, 6, 5], 1), ([1, 3, 7, 4, 5], [1, 3, 7, 4, 7], 0)):
        a, b = shapes.images([here, there])[..., 0]
        np.testing.assert_array_equal(np.roll(a, 2, axis=axis), b)


def test_angles_turn_counterclockwise_about_the_centre():
    # The middle of three positions in a frame of even size: the centre is a corner of pixels, so a quarter turn is
    # exact except for samples on an outline.
    shapes = Shapes(angles=8, positions=3)
    assert shapes.centres[1] == 16.0
    for kind in range(3):
        for angle in range(8):
            a, b = shapes.images([[kind, 5, angle, 1, 1], [kind, 5, (angle + 2) % 8, 1, 1]])[..., 0].astype(int)
            assert np.abs(np.rot90(a) - b).max() <= 8 * 4, (kind, angle)  # one line of samples, 4 grey levels each


def test_figures_at_angle_0_stand_as_described(shapes):
    heart, corner, half_disc = shapes.images([[kind, 5, 0, 8, 8] for kind in range(3)])[..., 0] / 255
    middle = shapes.centres[8]
    widths = heart.sum(axis=1)[heart.sum(axis=1) > 0]
    assert widths[-1] < 2 < widths[0]  # pointed below
    np.testing.assert_allclose(heart.sum(axis=0) @ (np.arange(32) + 0.5 - middle), 0, atol=1)  # upright
    assert corner.sum(axis=0).argmax() < middle < 24 and corner.sum(axis=1).argmax() > middle  # a bar left and below
    assert half_disc.sum(axis=1).argmax() > middle  # widest at the bottom


@pytest.mark.parametrize("size, sizes, angles", [(32, 6, 40), (16, 3, 16)])
def test_every_picture_at_one_position_differs_from_all_others(size, sizes, angles):
    shapes = Shapes(size, sizes=sizes, angles=angles)
    kinds = np.stack(np.meshgrid(range(3), range(sizes), range(angles), indexing="ij"), axis=-1).reshape(-1, 3)
    x = shapes.images(np.concatenate([kinds, np.full((len(kinds), 2), 7)], axis=1)).reshape(len(kinds), -1) / 255.0
    squares = np.sum(x**2, axis=1)
    distances = squares[:, None] + squares - 2 * x @ x.T + 1e9 * np.eye(len(x))
    # Squared distance to the most similar picture: at least a tenth of a white pixel.
    assert distances.min() > 0.1


def test_all_pictures_of_a_small_set_differ():
    shapes = Shapes(16, sizes=2, angles=5, positions=65)  # the most positions, an eighth of a pixel apart
    rows = shapes.rows(np.arange(0, len(shapes)))
    rows = rows[(rows[:, 4] % 16 == 0) & (rows[:, 2] % 2 == 0)]
    x = shapes.images(rows)
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) == len(rows) == 3 * 2 * 3 * 65 * 5


def test_the_whole_figure_is_inside_the_frame_and_touches_it_at_most():
    for size, positions in ((32, 16), (32, 2), (16, 65), (33, 5), (18, 7)):
        shapes = Shapes(size, sizes=2, angles=24, positions=positions)
        last = positions - 1
        inner = np.array([positions // 2] * 2)
        masses = []
        for place in ([0, 0], [last, last], [0, last], inner):
            x = shapes.images([[kind, 1, angle, *place] for kind in range(3) for angle in range(24)])
            masses.append(x.sum(axis=(1, 2, 3)) / 255)
        # A shape that the frame cuts off would lose mass; only rounding to 255 levels may change it.
        np.testing.assert_allclose(masses[:3], np.tile(masses[3], (3, 1)), atol=0.35)
        assert shapes.centres[0] >= size / 4 and shapes.centres[-1] <= size - size / 4
        np.testing.assert_allclose(np.diff(shapes.centres), np.diff(shapes.centres)[0])


def test_pictures_are_grey_only_at_the_outline(shapes):
    x, _ = shapes.sample(500, seed=1)
    assert x.shape == (500, 32, 32, 1) and x.dtype == np.uint8 and x.max() == 255 and x.min() == 0
    grey = np.sum((x > 0) & (x < 255), axis=(1, 2, 3))
    assert np.all(grey < 8 * 8) and grey.mean() > 5


def test_samples_are_uniform_independent_and_repeatable(shapes):
    n = 20000
    x, factors = shapes.sample(n, seed=3)
    again, same = shapes.sample(n, seed=np.random.default_rng(3))
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(factors, same)
    np.testing.assert_array_equal(x[:50], shapes.images(factors[:50]))
    for column, levels in zip(factors.T, shapes.factor_sizes, strict=True):
        share = np.bincount(column, minlength=levels) / n
        np.testing.assert_allclose(share, 1 / levels, atol=4 * np.sqrt(1 / levels / n))
    correlations = np.corrcoef(factors.T)[~np.eye(5, dtype=bool)]
    assert np.abs(correlations).max() < 4 / np.sqrt(n)


def test_no_pictures_and_single_levels():
    shapes = Shapes(sizes=1, angles=1, positions=1)
    assert len(shapes) == 3 and shapes.radii == 8.0 and shapes.centres == 16.0
    assert shapes.images(np.zeros((0, 5), int)).shape == (0, 32, 32, 1)


@pytest.mark.parametrize(
    "arguments", [{"size": 15}, {"size": 32.5}, {"sizes": 0}, {"angles": -1}, {"positions": 130}, {"positions": 2.5}]
)
def test_levels_that_cannot_be_drawn_are_refused(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected a whole number, "):
        Shapes(**arguments)


@pytest.mark.parametrize(
    "factors, message",
    [
        (np.zeros((2, 4), int), "kind, size, angle, x, y"),
        (np.zeros((2, 5)), "whole numbers"),
        (np.zeros(5, int), "whole numbers"),
        ([[3, 0, 0, 0, 0]], "below"),
        ([[0, 0, 0, 0, -1]], "below"),
    ],
)
def test_levels_that_do_not_exist_are_refused(shapes, factors, message):
    with pytest.raises(ValueError, match=message):
        shapes.images(factors)
