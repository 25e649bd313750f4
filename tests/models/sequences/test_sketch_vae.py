"""The VAE of drawings: its terms, its likelihood, what it draws, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.distributions import strokes

D, LONGEST = 3, 8


def drawings(rows=6, length=7, seed=0):
    x = np.zeros((rows, length, 5), "float32")
    x[..., :2] = 3 * np.random.default_rng(seed).normal(size=(rows, length, 2))
    x[..., 2] = 1.0
    x[:, 1, 2:4] = (0, 1)
    x[np.arange(length) >= 2 + np.arange(rows)[:, None] % 4] = strokes.END
    return x


def made(cell="lstm", latent_dim=D, **options):
    keras.utils.set_random_seed(0)
    encoder = ka.networks.StrokeEncoder(D, 4, cell=cell) if latent_dim else None
    decoder = ka.networks.StrokeDecoder(latent_dim, 6, 3, cell, max_length=LONGEST)
    model = ka.SketchVAE(encoder, decoder, **{"scale": 3.0} | options, seed=0)
    for weight in model.trainable_variables:  # far from the symmetric start, so that drawings differ
        weight.assign_add(0.5 * np.random.default_rng(1).normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return made(beta=0.5, kl_floor=100.0)


@pytest.fixture(scope="module")
def alone():
    """The decoder-only model."""
    return made(latent_dim=0)


def test_likelihood_is_that_of_the_rows_one_by_one(model):
    x, z = drawings(), np.random.default_rng(2).normal(size=(6, D)).astype("float32")
    scaled = strokes.scaled(tf.constant(x), 1 / 3.0)
    state, last, total = model.decoder.begin(tf.constant(z)), tf.tile([strokes.START], [6, 1]), 0.0
    alive = np.ones(6)
    for t in range(7):
        params, state = model.decoder.one(last, state)
        p, last = strokes.split(params), scaled[:, t]
        ends = x[:, t, 4]
        total += alive * ((1 - ends) * strokes.log_density(last[:, :2], p) + strokes.log_pen(last[:, 2:], p))
        alive *= 1 - ends
    np.testing.assert_allclose(model.likelihood(z).log_prob(x), total, rtol=1e-4)


def test_terms_are_those_of_the_bound_with_a_floor(model):
    x = tf.constant(drawings())
    q = model.posterior(x)
    terms = model.loss_terms(x, None, False)
    m, s = q.mean().numpy(), q.stddev().numpy()
    np.testing.assert_allclose(terms["kl"], 0.5 * (m**2 + s**2 - 2 * np.log(s) - 1).sum(axis=1), rtol=1e-4)
    assert float(terms["floor"]) == pytest.approx(100.0 - terms["kl"].numpy().mean(), rel=1e-5)
    assert terms["reconstruction"].shape == (6,) and model.term_weights() == {"kl": model._beta, "floor": model._beta}
    # Below the floor, the KL has no gradient.
    with tf.GradientTape() as tape:
        terms = model.loss_terms(x, None, False)
        pressed = tf.reduce_mean(terms["kl"]) + terms["floor"]
    assert max(np.abs(g).max() for g in tape.gradient(pressed, model.encoder.trainable_variables)) < 1e-4


@pytest.mark.parametrize("cell", ["lstm", "hyper"])
def test_padding_has_no_effect(cell):
    model, x = made(cell), tf.constant(drawings())
    longer = tf.concat([x, tf.tile([[strokes.END]], [6, 4, 1])], axis=1)
    z = model.codes_of(x)
    np.testing.assert_allclose(model.codes_of(longer), z, atol=1e-6)
    np.testing.assert_allclose(model.likelihood(z).log_prob(longer), model.likelihood(z).log_prob(x), rtol=1e-5)


def test_a_drawing_of_one_seed_does_not_depend_on_the_batch(model):
    z = np.random.default_rng(2).normal(size=(20, D)).astype("float32")
    every = model.decode(z, temperature=0.7, seed=5)
    np.testing.assert_allclose(model.decode(z[4:6], temperature=0.7, seed=9), every[4:6], atol=1e-5)
    np.testing.assert_allclose(model.decode(z, temperature=0.7, seed=5, batch_size=3), every, atol=1e-5)
    assert np.abs(model.decode(z, temperature=0.7, seed=6) - every).max() > 0.1
    assert model._likelihood.valid(every[strokes.lengths(every).numpy() > 0]).numpy().all()


def test_temperature_zero_needs_no_seed_and_a_negative_one_is_refused(model):
    z = np.zeros((2, D), "float32")
    np.testing.assert_array_equal(model.decode(z), model.decode(z, seed=3))
    np.testing.assert_allclose(model.decode(z, temperature=1e-9, seed=3), model.decode(z), atol=1e-3)
    for call in (lambda t: model.decode(z, temperature=t), lambda t: model.sample(2, temperature=t)):
        for wrong in (-0.1, np.nan):
            with pytest.raises(ValueError, match="temperature: expected a finite number, 0 or more"):
                call(wrong)


def test_what_is_added_to_a_beginning(model, alone):
    x = drawings()
    x[..., 2:4] = (1, 0)
    x[np.arange(7) >= np.array([2, 3, 4, 5, 6, 7])[:, None]] = strokes.END
    x[..., 2:4] *= 1 - x[..., 4:]
    for each in (model, alone):
        added = each.complete(x, temperature=0.5, seed=1)
        assert added.shape == (6, LONGEST, 5)
        points = strokes.lengths(added).numpy()
        assert np.all(points <= LONGEST - strokes.lengths(x).numpy())
        # The first row comes from the state after the beginning.
        z = each.codes_of(tf.constant(x))
        state, last = each.decoder.begin(z[:1]), tf.constant([strokes.START])
        for row in [*strokes.scaled(tf.constant(x[:1, :2]), 1 / 3.0)[0]]:
            _, state = each.decoder.one(last, state)
            last = row[None]
        params, _ = each.decoder.one(last, state)
        row = strokes.pick(params, strokes.row_noise([1], LONGEST)[2], tf.constant([0.5]))
        expected = strokes.END if row[0, 4] else strokes.scaled(row, 3.0)[0]
        np.testing.assert_allclose(added[0, 0], expected, atol=1e-4)


def test_the_decoder_alone_learns_and_draws(alone):
    assert alone.terms == ("reconstruction",) and not hasattr(alone, "encode") and alone.latent_dim == 0
    x = drawings()
    alone.compile("adam", run_eagerly=True)
    logs = alone.fit(x, epochs=1, verbose=0).history
    assert set(logs) == {"loss", "reconstruction"}
    every = alone.sample(5, seed=2, temperature=0.8)
    np.testing.assert_allclose(alone.sample(2, seed=4, temperature=0.8), every[2:4], atol=1e-5)
    assert alone(x).shape == (6, LONGEST, 5)


def test_density_is_that_of_scaled_offsets():
    x = drawings()
    one, two = made(scale=1.0), made(scale=4.0)
    four = np.concatenate([4 * x[..., :2], x[..., 2:]], axis=-1)
    z = np.zeros((6, D), "float32")
    np.testing.assert_allclose(one.likelihood(z).log_prob(x), two.likelihood(z).log_prob(four), rtol=1e-5)
    np.testing.assert_allclose(4 * one.decode(z)[..., :2], two.decode(z)[..., :2], rtol=1e-4, atol=1e-5)


def test_a_model_that_learns_to_draw_one_drawing():
    keras.utils.set_random_seed(0)
    square = [[4, 0], [0, 4], [-4, 0], [0, -4]]
    x = np.tile(np.array(strokes.END, "float32"), (400 * 8, 5, 1))
    x[:, :4, :2], x[:, :4, 2:] = square, (1, 0, 0)
    model = ka.SketchVAE(None, ka.networks.StrokeDecoder(0, 16, 2, dropout=0.0, max_length=8), scale=4.0, seed=0)
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(x, batch_size=8, verbose=0)  # 400 steps
    found, points = model.generate(tf.zeros([1, 0]), tf.constant([0]), tf.constant([0.0]))
    assert int(points[0]) == 4
    np.testing.assert_allclose(found[0, :4, :2], square, atol=0.4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[..., :3], r"expected rows of shape \(None, 5\), received \(7, 3\)"),
        (lambda x: x * [1, 1, 1, 1, np.nan], "NaN or infinity"),
        (lambda x: x * [1, 1, 0.5, 1, 1], r"drawing 0 has rows whose last three numbers .*to_strokes5"),
        (lambda x: x * 0 + strokes.END, "drawing 0 is empty"),
        (lambda x: x * [1e5, 1, 1, 1, 1], r"drawing 0 has an offset of .* 1,000 times the model's scale, 3"),
        (lambda x: np.concatenate([x, x], axis=1), r"drawing 0 goes on after its end"),
        (lambda x: np.tile(x[:, :1], (1, 9, 1)), r"drawing 0 has 9 points, and the model's longest drawing 8.* split"),
    ],
)
def test_refuses_drawings_that_do_not_suit(model, change, message):
    x = change(drawings()).astype("float32")
    for use in (model.encode, model.complete, lambda x: model._accept((x, None, None), True)):
        with pytest.raises(ValueError, match=message):
            use(x)


def test_training_stops_at_a_later_batch_that_does_not_suit():
    model, x = made(), drawings()
    model.compile("adam", run_eagerly=True)
    wrong = x.copy()
    wrong[1, 0, 2:] = (1, 1, 0)
    batches = tf.data.Dataset.from_tensor_slices(np.stack([x, wrong]))
    with pytest.raises(FloatingPointError, match="step 2"):
        model.fit(batches, verbose=0)


def test_refuses_arguments_that_do_not_suit():
    encoder, decoder = ka.networks.StrokeEncoder(D, 4), ka.networks.StrokeDecoder(D, 6, 2)
    with pytest.raises(ValueError, match="decoder: without an encoder, expected codes of size 0; received 3"):
        ka.SketchVAE(None, decoder)
    with pytest.raises(ValueError, match=r"decoder: expected a .*StrokeDecoder"):
        ka.SketchVAE(encoder, ka.networks.mlp_decoder(D, (4, 5)))
    with pytest.raises(ValueError, match="no code size needs 3 params"):
        ka.SketchVAE(ka.networks.StrokeEncoder(D, 4, parameters=1), decoder)
    with pytest.raises(ValueError, match="scale: expected a number above 0"):
        ka.SketchVAE(encoder, decoder, scale=0.0)
    with pytest.raises(ValueError, match=r"cell: expected one of lstm, layer_norm, hyper; received 'gru'"):
        ka.networks.StrokeEncoder(D, cell="gru")
    with pytest.raises(ValueError, match="squared_error: "):
        made().squared_error(drawings())


def test_beta_is_annealed_exponentially(model):
    annealing = ka.callbacks.ExponentialAnnealing(0.9, start=0.1, end=0.6)
    assert annealing.value(0) == pytest.approx(0.1)
    assert annealing.value(5) == pytest.approx(0.6 * (1 - (1 - 0.1 / 0.6) * 0.9**5))  # equation 11
    with pytest.raises(ValueError, match="rate: expected a number between 0 and 1"):
        ka.callbacks.ExponentialAnnealing(1.0)
    model.compile("adam", run_eagerly=True)
    model.fit(drawings(), batch_size=3, epochs=1, callbacks=[annealing], verbose=0)
    assert model.beta == pytest.approx(0.6)  # in the end, as validation saw it
    model.beta = 0.5
