"""The density of drawings: against NumPy, against integrals, at the edges of float32; and its samples."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf

from keras_ae.distributions import strokes

M = 4


def random_params(rng, *shape, mixtures=M):
    return rng.normal(size=(*shape, strokes.params_size(mixtures))).astype("float32")


def by_numpy(offset, params, mixtures=M):
    """The mixture's density in float64, by the covariance matrices."""
    logits, mx, my, rx, ry, b, _ = np.split(params.astype("float64"), np.arange(1, 7) * mixtures)
    weights = np.exp(logits) / np.exp(logits).sum()
    sx, sy = (np.log1p(np.exp(r)) + strokes.MIN_SCALE for r in (rx, ry))
    rho = np.tanh(6 * np.tanh(b / 6))
    total = 0.0
    for k in range(mixtures):
        covariance = [[sx[k] ** 2, rho[k] * sx[k] * sy[k]], [rho[k] * sx[k] * sy[k], sy[k] ** 2]]
        total += weights[k] * scipy.stats.multivariate_normal([mx[k], my[k]], covariance).pdf(offset)
    return np.log(total)


def test_density_of_offsets_is_that_of_the_covariance_matrices(rng):
    params, offsets = random_params(rng, 50), rng.normal(size=(50, 2)).astype("float32")
    found = strokes.log_density(offsets, strokes.split(params))
    expected = [by_numpy(x, p) for x, p in zip(offsets, params, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slant", [0.0, 2.0, -3.0])
def test_density_integrates_to_one(rng, slant):
    params = random_params(rng, 1)
    params[:, 3 * M : 5 * M] = 0.0  # scales of 0.7
    params[:, 5 * M : 6 * M] = slant
    axis = np.linspace(-12, 12, 1201)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    grid = np.stack([x, y], axis=-1).reshape(-1, 2).astype("float32")
    density = np.exp(strokes.log_density(grid, strokes.split(params))).reshape(x.shape)
    total = scipy.integrate.trapezoid(scipy.integrate.trapezoid(density, axis), axis)
    assert total == pytest.approx(1.0, abs=1e-4)


def test_probabilities_of_the_pen_sum_to_one(rng):
    params = strokes.split(np.repeat(random_params(rng, 1), 3, axis=0))
    assert np.exp(strokes.log_pen(np.eye(3, dtype="float32"), params)).sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("raw", [-1e3, -30.0, 30.0, 1e3])
@pytest.mark.parametrize("offset", [0.0, 1e-3, 50.0])
@pytest.mark.parametrize("slant", [-1e3, 0.0, 1e3])
def test_values_and_gradients_are_finite_at_hard_points(raw, offset, slant):
    params = np.zeros((1, strokes.params_size(M)), "float32")
    params[:, :M] = np.linspace(-200, 200, M)
    params[:, 3 * M : 5 * M], params[:, 5 * M : 6 * M], params[:, 6 * M :] = raw, slant, [-500, 0, 500]
    params, x = tf.constant(params), tf.constant([[[offset, -offset, 1, 0, 0]]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([params, x])
        value = tf.add_n(strokes.row_terms(x, params[None]))
    assert np.isfinite(value).all()
    for gradient in tape.gradient(value, [params, x]):
        assert np.isfinite(gradient).all()


def test_gradients_agree_with_differences(rng):
    params, x = random_params(rng, 2), rng.normal(size=(2, 2)).astype("float32")
    theoretical, numerical = tf.test.compute_gradient(
        lambda p: strokes.log_density(x, strokes.split(p)), [params], delta=1e-2
    )
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=2e-2)


def drawing(points, length):
    rows = np.tile(np.array(strokes.END, "float32"), (length, 1))
    rows[: len(points)] = points
    return rows


def test_what_counts_in_a_drawing(rng):
    points = [[1, 2, 1, 0, 0], [0.5, -1, 0, 1, 0]]
    params = random_params(rng, 6, 1)
    parts = strokes.split(params)
    short, long, begun = (drawing(points, t)[:, None] for t in (3, 6, 2))
    offsets, pens, end = strokes.row_terms(long, params)
    np.testing.assert_allclose(offsets[:2, 0], strokes.log_density(long[:2, 0, :2], strokes.split(params[:2, 0])), 1e-6)
    assert not np.any(offsets[2:]) and not np.any(pens[2:])
    assert np.flatnonzero(end[:, 0]).tolist() == [2]
    np.testing.assert_allclose(end[2, 0], tf.math.log_softmax(parts.pen[2, 0])[2], 1e-6)
    # Padding has no effect, and a drawing without an end lacks only the end.
    totals = [sum(float(tf.reduce_sum(term)) for term in strokes.row_terms(x, params[: len(x)])) for x in (short, long)]
    assert totals[0] == totals[1]
    assert float(tf.reduce_sum(strokes.row_terms(begun, params[:2])[2])) == 0.0
    assert strokes.lengths(np.stack([long[:, 0], drawing(points[:1], 6)])).numpy().tolist() == [2, 1]
    np.testing.assert_array_equal(strokes.shifted(short)[:, 0], [strokes.START, *points])


def test_a_distribution_scores_several_members_at_once(rng):
    params = random_params(rng, 3, 4)  # (T, N, .)
    x = np.stack([drawing([[1, 2, 1, 0, 0]], 3), drawing([[0, 1, 0, 1, 0]] * 2, 3)])
    p = strokes.Strokes(lambda given: tf.constant(params), [2, 2])
    assert p.batch_shape == (2, 2) and p.event_shape.as_list() == [None, 5]
    found = p.log_prob(x)
    for i, (j, k) in enumerate(np.ndindex(2, 2)):
        alone = sum(tf.reduce_sum(term) for term in strokes.row_terms(x[k][:, None], params[:, i : i + 1]))
        assert float(found[j, k]) == pytest.approx(float(alone), rel=1e-5)


def test_params_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"expected 6 M \+ 3 numbers .* received 10"):
        strokes.split(tf.zeros([2, 10]))


def test_picked_rows_have_the_moments_of_the_mixture(rng):
    n = 40_000
    params = random_params(rng, 1)
    parts = strokes.split(np.repeat(params, n, axis=0))
    noise = rng.normal(size=(n, 4)).astype("float32")
    rows = strokes.pick(np.repeat(params, n, axis=0), noise, np.ones(n, "float32"))
    weights = tf.nn.softmax(parts.logits[0]).numpy()
    mean, scale = parts.mean[0].numpy(), parts.scale[0].numpy()
    expected = weights @ mean
    variance = weights @ (scale**2 + mean**2) - expected**2
    error = np.sqrt(variance / n)
    assert np.all(np.abs(rows.numpy()[:, :2].mean(axis=0) - expected) < 4 * error)
    products = weights @ (np.tanh(parts.slant[0]) * scale.prod(axis=1) + mean.prod(axis=1)) - expected.prod()
    assert np.cov(rows.numpy()[:, :2].T)[0, 1] == pytest.approx(products, abs=float(0.05 * np.sqrt(variance.prod())))
    pens, p = rows.numpy()[:, 2:].mean(axis=0), tf.nn.softmax(parts.pen[0]).numpy()
    assert np.all(np.abs(pens - p) < 4 * np.sqrt(p * (1 - p) / n))


def test_temperature_narrows_until_one_row_is_left(rng):
    params, n = random_params(rng, 1), 500
    spread = []
    for temperature in (1.0, 0.3, 0.0):
        noise = rng.normal(size=(n, 4)).astype("float32")
        spread.append(np.ptp(strokes.pick(np.repeat(params, n, 0), noise, np.full(n, temperature, "float32")), axis=0))
    assert np.all(spread[0][:2] > spread[1][:2]) and np.all(spread[2] == 0)
    parts = strokes.split(params)
    coldest = strokes.pick(params, np.zeros((1, 4), "float32"), np.zeros(1, "float32"))[0]
    np.testing.assert_array_equal(coldest[:2], parts.mean[0, np.argmax(parts.logits)])
    assert np.argmax(coldest[2:]) == np.argmax(parts.pen)


def test_noise_is_standard_normal_and_of_its_seed_alone():
    noise = tf.function(strokes.row_noise, autograph=False)(tf.range(200, dtype=tf.int64), tf.constant(25)).numpy()
    assert noise.shape == (25, 200, 4)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size) and noise.std() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(strokes.row_noise(tf.constant([7]), 25)[:, 0], noise[:, 7])


def constant(params):
    return lambda last, state: (tf.repeat(params, tf.shape(last)[0], axis=0), state + 1)


def test_drawings_end_and_the_loop_with_them():
    params = np.zeros((1, strokes.params_size(M)), "float32")
    params[:, -1] = 50.0  # ends at once
    made, points = strokes.generate(constant(params), tf.constant(0), tf.range(3), tf.ones(3), 7)
    assert made.shape == (3, 7, 5) and points.numpy().tolist() == [0, 0, 0]
    np.testing.assert_array_equal(made, np.tile(strokes.END, (3, 7, 1)))
    params[:, -1] = -50.0  # never ends
    made, points = strokes.generate(constant(params), tf.constant(0), tf.range(3), tf.ones(3), 7)
    assert points.numpy().tolist() == [7, 7, 7] and not np.any(made[..., 4])


def test_a_drawing_depends_on_its_own_seed_only(rng):
    params = random_params(rng, 1)
    every, points = strokes.generate(constant(params), tf.constant(0), tf.range(10, 16), tf.ones(6), 9)
    alone, count = strokes.generate(constant(params), tf.constant(0), tf.constant([12]), tf.ones(1), 9)
    np.testing.assert_array_equal(every[2:3], alone)
    assert points[2] == count[0] and len(np.unique(points)) > 1


def test_a_begun_drawing_goes_on(rng):
    params = random_params(rng, 1)
    params[:, -1] = -50.0
    begun = np.stack([drawing([[1, 2, 1, 0, 0]] * 3, 5), drawing([[3, 4, 0, 1, 0]], 5)])
    made, points = strokes.generate(constant(params), tf.constant(0), tf.range(2), tf.ones(2), 7, begun)
    np.testing.assert_array_equal(made[0, :3], begun[0, :3])
    np.testing.assert_array_equal(made[1, :1], begun[1, :1])
    assert points.numpy().tolist() == [7, 7] and np.abs(made[1, 1:, :2]).min() > 0
