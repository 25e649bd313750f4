"""Each likelihood compared with scipy's density and mean, also where naive formulas fail."""

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import likelihoods
from keras_ae.training import loop
from keras_ae.utils.xla import for_xla, softplus

# Of other shapes, and tested below.
OTHERS = ("categorical", "multinomial", "discretized_logistic_mixture")

RAW = np.linspace(-3, 3, 12, dtype="float32").reshape(2, 3, 2)


def numpy_softplus(x):
    return np.logaddexp(0, x.astype("float64")) + 1e-6


def scipy_log_density(name, x, raw):
    raw, x = raw.astype("float64"), x.astype("float64")
    if name == "bernoulli":
        return scipy.stats.bernoulli.logpmf(x, scipy.special.expit(raw))
    if name == "gaussian":
        return scipy.stats.norm.logpdf(x, raw, 1)
    if name == "gaussian_learned_scale":
        return scipy.stats.norm.logpdf(x, raw, numpy_softplus(np.zeros(())))
    if name == "gaussian_per_dimension":
        mean, scale = np.split(raw, 2, -1)
        return scipy.stats.norm.logpdf(x, mean, numpy_softplus(scale))
    if name == "laplace":
        return scipy.stats.laplace.logpdf(x, raw, 1)
    # Loaiza-Ganem & Cunningham: C(p) = 2 artanh(1 - 2p) / (1 - 2p)
    p = scipy.special.expit(raw)
    return np.log(2 * np.arctanh(1 - 2 * p) / (1 - 2 * p)) + x * np.log(p) + (1 - x) * np.log1p(-p)


@pytest.mark.parametrize("name", [name for name in likelihoods.NAMES if name not in OTHERS])
def test_log_prob_is_the_sum_of_scipy_log_densities(name, rng):
    layer = likelihoods.get(name)
    x = rng.random((2, 3, 2 // layer.parameters)).astype("float32")
    x = x.round() if name == "bernoulli" else x
    expected = scipy_log_density(name, x, RAW).sum((1, 2))
    np.testing.assert_allclose(layer(RAW).log_prob(x), expected, rtol=2e-5)
    assert layer(RAW).event_shape == x.shape[1:]


@pytest.mark.parametrize("name", ["continuous_bernoulli", "gaussian", "gaussian_learned_scale", "laplace"])
def test_density_integrates_to_one_and_mean_is_its_first_moment(name):
    layer = likelihoods.get(name)
    low, high = (0, 1) if layer.low is not None else (-30, 30)
    grid = np.linspace(low, high, 20_001, dtype="float32")
    raw = np.full((len(grid), 1), 0.7, "float32")
    density = np.exp(layer(raw).log_prob(grid[:, None]))
    assert scipy.integrate.trapezoid(density, grid) == pytest.approx(1, abs=1e-4)
    mean = scipy.integrate.trapezoid(density * grid, grid)
    assert float(layer(raw[:1]).mean()[0, 0]) == pytest.approx(mean, abs=1e-4)


def test_bernoulli_on_grey_pixels_is_minus_the_cross_entropy(rng):
    x = rng.random((4, 5)).astype("float32")
    raw = rng.normal(size=(4, 5)).astype("float32")
    expected = -keras.ops.binary_crossentropy(x, raw, from_logits=True).numpy().sum(1)
    np.testing.assert_allclose(likelihoods.get("bernoulli")(raw).log_prob(x), expected, rtol=1e-5)


def test_gaussian_is_half_the_squared_error_and_a_constant(rng):
    x, raw = rng.normal(size=(2, 4, 5)).astype("float32")
    expected = -0.5 * ((x - raw) ** 2).sum(1) - 5 / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(likelihoods.get("gaussian")(raw).log_prob(x), expected, rtol=1e-5)


def test_categorical_sums_to_one_over_levels_and_its_mean_is_in_the_unit_interval(rng):
    raw = rng.normal(size=(1, 1, 256)).astype("float32")
    layer = likelihoods.get("categorical")
    levels = np.arange(256, dtype="uint8")
    probabilities = np.exp(layer(np.repeat(raw, 256, 0)).log_prob(levels[:, None]))
    np.testing.assert_allclose(probabilities, scipy.special.softmax(raw.ravel()), rtol=1e-4)
    mean = scipy.special.softmax(raw.ravel().astype("float64")) @ (np.arange(256) / 255)
    np.testing.assert_allclose(layer(raw).mean().numpy().ravel(), mean, rtol=1e-4)
    np.testing.assert_allclose(layer.preprocess(levels), np.arange(256) / 255, rtol=1e-6)


@pytest.mark.parametrize("shapes", [((4, 3), (4, 3)), ((4, 3), (5, 4, 3)), ((5, 4, 3), (1, 3))])
def test_the_gradient_of_the_bernoulli_is_that_of_its_formula(shapes):
    rng = np.random.default_rng(0)
    x, logits = (tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, logits])
        found = tf.cos(likelihoods.get("bernoulli").call(logits, event_rank=0).log_prob(x))
        expected = tf.cos(x * logits - tf.nn.softplus(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for variable in (x, logits):
        np.testing.assert_allclose(tape.gradient(found, variable), tape.gradient(expected, variable), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in likelihoods.NAMES if name not in OTHERS])
@pytest.mark.parametrize("hard", [-50.0, 0.0, 50.0])
def test_gradients_are_finite_at_hard_points(name, hard):
    layer = likelihoods.get(name)
    raw = tf.fill((1, 2), hard)
    x = np.zeros((1, 2 // layer.parameters), "float32")
    with tf.GradientTape() as tape:
        tape.watch(raw)
        value = layer(raw).log_prob(x)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, raw)).all()


def test_several_leading_axes_stay_apart(rng):
    raw = rng.normal(size=(7, 2, 3, 4)).astype("float32")
    x = rng.random((2, 3, 4)).astype("float32")
    for name in ("bernoulli", "gaussian", "laplace"):
        layer = likelihoods.get(name)
        together = layer(raw, event_rank=2).log_prob(x)
        assert together.shape == (7, 2)
        np.testing.assert_allclose(together[3], layer(raw[3]).log_prob(x), rtol=1e-5)


def test_learned_scale_recovers_the_scale_of_the_data(rng):
    layer = likelihoods.get("gaussian_learned_scale")
    x = rng.normal(scale=0.3, size=(2000, 1)).astype("float32")
    optimizer = keras.optimizers.Adam(0.05)
    for _ in range(150):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(layer(tf.zeros_like(x)).log_prob(x))
        optimizer.apply(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables)
    assert float(layer(tf.zeros((1, 1))).stddev()[0, 0]) == pytest.approx(x.std(), rel=0.02)


def test_a_callable_is_a_likelihood_and_an_unknown_name_is_not(rng):
    def student(raw):
        return tfp.distributions.Independent(tfp.distributions.StudentT(4.0, raw, 1.0), 1)

    raw, x = rng.normal(size=(2, 3, 4)).astype("float32")
    expected = scipy.stats.t.logpdf(x, 4, raw).sum(1)
    np.testing.assert_allclose(likelihoods.get(student)(raw).log_prob(x), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"'poisson'.*bernoulli"):
        likelihoods.get("poisson")


def test_valid_marks_rows_out_of_range_or_not_finite():
    x = np.array([[0.0, 1.0], [0.5, np.nan], [0.0, 1.5], [-0.1, 0.0], [np.inf, 0.0]], "float32")
    np.testing.assert_array_equal(likelihoods.get("bernoulli").valid(x), [True, False, False, False, False])
    np.testing.assert_array_equal(likelihoods.get("gaussian").valid(x), [True, False, True, True, False])


def test_multinomial_is_scipy_s_without_the_number_of_orders(rng):
    layer, x = likelihoods.get("multinomial"), rng.poisson(2.0, (5, 4)).astype("float32")
    raw = rng.normal(size=(5, 4)).astype("float32")
    p = scipy.special.softmax(raw.astype("float64"), axis=1)
    orders = scipy.special.gammaln(x.sum(1) + 1) - scipy.special.gammaln(x + 1).sum(1)
    expected = scipy.stats.multinomial.logpmf(x, x.sum(1), p) - orders
    np.testing.assert_allclose(layer(raw).log_prob(x), expected, rtol=2e-5)
    # The first axis is samples of z, all for the same words.
    several = layer(raw[None].repeat(3, 0), event_rank=1)
    np.testing.assert_allclose(several.log_prob(x), np.tile(expected, (3, 1)), rtol=2e-5)
    np.testing.assert_allclose(layer(raw).mean(), p, rtol=1e-5)
    np.testing.assert_allclose(layer(raw).log_prob(0.5 * x), expected / 2, rtol=2e-5)


def test_multinomial_is_for_rows_of_words():
    with pytest.raises(ValueError, match=r"shape \(V,\)"):
        likelihoods.get("multinomial").params_shape((28, 28, 1))


@pytest.mark.parametrize("xla", [True, False])
def test_softplus_in_a_training_loop_is_that_of_float64(xla):
    logits = np.concatenate([np.linspace(-80, 80, 20_001), [-1e30, 1e30, np.inf, -np.inf]]).astype("float32")
    seen = []

    def train(batch):
        seen.append(for_xla())
        return softplus(batch)

    # The loop sums over two batches; the softplus of the second is 0.
    batches = tf.data.Dataset.from_tensor_slices([logits, np.full_like(logits, -1e30)])
    many_steps = loop.make_loop(train, lambda summary: summary, logits.shape, steps=4, jit_compile=xla)
    found, done = many_steps(iter(batches), None, tf.constant(4))
    assert int(done) == 2
    np.testing.assert_allclose(found, np.logaddexp(0, logits.astype("float64")), rtol=5e-7, atol=1e-38)
    assert xla in seen and False in seen and not for_xla()


LEVELS = (np.arange(256) / 255).astype("float32")


@pytest.mark.parametrize("shift", [0.0, -6.0, 4.0])  # of the raw scales: medium, narrower than a level, wide
def test_logistic_mixture_sums_to_one_over_levels_and_its_mean_is_their_mean(shift, rng):
    layer = likelihoods.DiscretizedLogisticMixture(components=3)
    raw = rng.normal(size=(1, 1, 3, 3)).astype("float32") * 0.3
    raw += np.array([0.0, 0.5, shift], "float32")[:, None]
    probability = np.exp(layer(np.repeat(raw.reshape(1, 1, 9), 256, 0)).log_prob(LEVELS[:, None, None]))
    assert probability.sum() == pytest.approx(1, abs=1e-4)
    mean = float(layer(raw.reshape(1, 1, 9)).mean()[0, 0, 0])
    assert mean == pytest.approx(float(probability @ LEVELS), abs=2e-3 if shift < 0 else 1e-4)


def test_logistic_mixture_is_the_difference_of_distribution_functions(rng):
    layer = likelihoods.DiscretizedLogisticMixture(components=2)
    # Two channels: blocks of logits, means and scales, each of component by channel.
    raw = rng.normal(size=(5, 3, 2, 2)).astype("float32")
    x = np.array([[0.0, 1.0], [0.2, 0.4], [0.6, 1.0], [0.0, 0.8], [1.0, 0.0]], "float32")
    weights = scipy.special.softmax(raw[:, 0], axis=1)
    mean = raw[:, 1] + np.array([-1 / 8, 1 / 8])[:, None]
    scale = numpy_softplus(raw[:, 2] - 3)
    high = np.where(x == 1, np.inf, x + 1 / 510)[:, None]
    low = np.where(x == 0, -np.inf, x - 1 / 510)[:, None]
    parts = scipy.stats.logistic.cdf(high, mean, scale) - scipy.stats.logistic.cdf(low, mean, scale)
    expected = np.log((weights * parts).sum(axis=1)).sum(axis=1)
    np.testing.assert_allclose(layer(raw.reshape(5, 12)).log_prob(x), expected, rtol=1e-4)
    assert layer.params_shape((4, 4, 2)) == (4, 4, 12) and layer.event_shape_for((4, 4, 12)) == (4, 4, 2)


def test_logistic_mixture_has_finite_gradients_far_from_the_data_and_draws_levels():
    layer = likelihoods.DiscretizedLogisticMixture(components=1)
    raw = tf.constant([[0.0, mean, scale] for mean in (-30.0, 0.5, 30.0) for scale in (-20.0, 0.0, 30.0)])
    for x in (0.0, 0.5, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(raw)
            value = layer(raw).log_prob(tf.fill([9, 1], x))
        assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, raw)).all()
    drawn = np.asarray(layer(raw).sample(20, seed=1)) * 255
    np.testing.assert_allclose(drawn, drawn.round(), atol=1e-3)
    assert drawn.min() >= 0 and drawn.max() <= 255


def test_learned_scale_starts_where_told_and_is_calibrated_to_the_most_likely_value(rng):
    layer = likelihoods.GaussianLearnedScale(0.05)
    assert float(layer.scale) == pytest.approx(0.05, rel=1e-5)
    assert float(likelihoods.GaussianLearnedScale.from_config(layer.get_config()).scale) == pytest.approx(0.05)
    x = rng.normal(scale=0.3, size=(50, 20)).astype("float32")
    layer.calibrate(float(np.mean(np.sum(x**2, axis=1))), 20)
    assert float(layer.scale) == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-4)
    best = np.mean(layer(np.zeros_like(x)).log_prob(x))
    for other in (0.95, 1.05):
        scaled = likelihoods.GaussianLearnedScale(float(layer.scale) * other)
        assert np.mean(scaled(np.zeros_like(x)).log_prob(x)) < best
    with pytest.raises(ValueError, match="scale: expected a number above"):
        likelihoods.GaussianLearnedScale(0.0)


def test_colour_photographs_under_bernoulli_are_doubted_and_others_are_not(rng):
    bernoulli, photographs = likelihoods.get("bernoulli"), rng.random((4, 8, 8, 3)).astype("float32")
    assert "'gaussian_learned_scale'" in bernoulli.doubt(photographs)
    assert bernoulli.doubt(photographs.round()) is None  # drawings of eight colours
    assert bernoulli.doubt(photographs[..., :1]) is None and bernoulli.doubt(photographs[0]) is None
    assert likelihoods.get("gaussian").doubt(photographs) is None
