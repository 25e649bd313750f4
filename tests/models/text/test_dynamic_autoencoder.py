"""The dynamic autoencoder: the dynamics term, inference by energy, stages, and recovering a drift."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

import keras_ae as ka
from keras_ae.evaluation import topics

V, D = 12, 2


def linear(weight=1.0, latent_dim=D, **kwargs):
    encoder = ka.networks.mlp_encoder((V,), latent_dim, hidden=())
    decoder = ka.networks.mlp_decoder(latent_dim, (V,), hidden=())
    return ka.DynamicAutoencoder(encoder, decoder, dynamics_weight=weight, seed=0, **kwargs)


def counts(rng, rows):
    return rng.poisson(1.0, (rows, V)).astype("float32")


def log_p(model, x, z):
    kernel, bias = model.decoder.get_weights()
    return np.sum(x * log_softmax(z @ kernel + bias, axis=1), axis=1)


def test_the_terms_are_those_of_the_walk(rng):
    model, x, before = linear(3.0), counts(rng, 8), counts(rng, 8)
    before[2] = x[2]  # the first of its sequence
    model.compile("adam", jit_compile=False)
    logs = model.evaluate(x, before, batch_size=8, return_dict=True, verbose=0)
    steps = 0.5 * np.sum((model.encode(x) - model.encode(before)) ** 2, axis=1)
    assert steps[2] == 0
    assert logs["dynamics"] == pytest.approx(steps.mean(), rel=1e-5)
    assert logs["reconstruction"] == pytest.approx(-log_p(model, x, model.encode(x)).mean(), rel=1e-5)
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + 3 * logs["dynamics"], rel=1e-5)


def test_without_weight_or_past_it_is_the_autoencoder(rng):
    x, before = counts(rng, 32), counts(rng, 32)
    dynamic = linear(0.0)
    plain = ka.Autoencoder(*(keras.models.clone_model(n) for n in (dynamic.encoder, dynamic.decoder)), "multinomial")
    plain.set_weights([w for w in dynamic.get_weights() if w.shape])  # except the dynamics weight
    for model, y in ((dynamic, before), (plain, None)):
        model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_allclose(dynamic.encode(x), plain.encode(x), atol=1e-5)


def test_inference_finds_the_lowest_energy(rng):
    model, x = linear(2.0), counts(rng, 6)
    before = rng.normal(size=(6, D)).astype("float32")
    z = model.infer(x, before, encoding_weight=0.5)

    def energy(z):
        apart = 0.5 * np.sum((z - model.encode(x)) ** 2, 1) + 2.0 * np.sum((z - before) ** 2, 1)
        return 0.5 * apart - log_p(model, x, z)

    assert (energy(z) <= energy(model.encode(x)) + 1e-5).all()
    # The energy is convex here, so no step away from the minimum lowers it.
    for step in 0.05 * rng.normal(size=(20, 6, D)):
        assert (energy(z + step) > energy(z) - 1e-5).all()
    # With all weight on the past, the code stays there.
    model.dynamics_weight = 1e4
    np.testing.assert_allclose(model.infer(x, before, encoding_weight=0.5), before, atol=0.02)


def test_stages_share_the_first_networks_and_leave_them_still(rng):
    first, x = linear(latent_dim=6), counts(rng, 64)
    first.compile("adam", run_eagerly=True)
    first.fit(x, verbose=0)
    second = first.deepen(ka.networks.mlp_encoder((6,), D, hidden=()), ka.networks.mlp_decoder(D, (6,), hidden=()))
    assert second.encode(x).shape == (64, D) and second.reconstruct(x).shape == (64, V)
    before = first.encode(x)
    second.compile("adam", run_eagerly=True)
    second.fit(x, verbose=0)
    np.testing.assert_array_equal(first.encode(x), before)
    second.unfreeze()
    second.compile("adam", run_eagerly=True)
    second.fit(x, verbose=0)
    assert np.abs(first.encode(x) - before).max() > 0


def drifting(rng, steps=300, words=40):
    """Counts of documents whose share of two topics changes slowly, and that share `(T,)`."""
    share = 0.5 + 0.45 * np.sin(np.linspace(0, 4 * np.pi, steps))
    topics = rng.dirichlet(np.full(V, 0.3), 2)
    p = share[:, None] * topics[0] + (1 - share[:, None]) * topics[1]
    return np.stack([rng.multinomial(words, each) for each in p]).astype("float32"), share


def test_codes_follow_a_drift_and_the_dynamics_smooth_them(rng):
    x, share = drifting(rng)
    found = {}
    model = linear(latent_dim=1)
    model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    for weight in (0.0, 30.0):  # the second one continues training
        model.dynamics_weight = weight
        model.fit(x[1:], x[:-1], batch_size=50, epochs=80, verbose=0)
        z = model.encode(x)[:, 0]
        rough = topics.roughness(z[1:, None], z[:-1, None])
        found[weight] = rough, topics.perplexity(model, x), abs(np.corrcoef(z, share)[0, 1])
    assert found[0.0][2] > 0.8 and found[30.0][2] > 0.8
    assert found[30.0][0] < found[0.0][0]
    assert found[30.0][1] < 1.03 * found[0.0][1]


def test_refusals(rng):
    with pytest.raises(ValueError, match="dynamics_weight"):
        linear(-1.0)
    model = linear()
    with pytest.raises(ValueError, match=r"before: expected rows of shape \(2,\)"):
        model.infer(counts(rng, 3), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="encoder"):
        model.deepen(ka.networks.mlp_encoder((D,), 1), ka.networks.mlp_decoder(2, (D,)))


def test_a_deepened_model_round_trips(rng, tmp_path):
    x = counts(rng, 16)
    first = linear(latent_dim=6)
    second = first.deepen(ka.networks.mlp_encoder((6,), D, hidden=()), ka.networks.mlp_decoder(D, (6,), hidden=()))
    second.compile("adam", run_eagerly=True)
    second.fit(x, verbose=0)
    second.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(x), second.encode(x))


def test_layers_that_drop_do_so_in_training_only(rng):
    x = counts(rng, 8)
    inputs = keras.Input((V,))
    encoder = keras.Model(inputs, keras.layers.Dense(D)(keras.layers.Dropout(0.5)(inputs)))
    model = ka.DynamicAutoencoder(encoder, ka.networks.mlp_decoder(D, (V,), hidden=()), seed=0)
    before = counts(rng, 8)
    first, second = (model.loss_terms(x, before, training=True) for _ in range(2))
    for name in model.terms:
        assert np.abs(first[name] - second[name]).max() > 1e-3
    np.testing.assert_array_equal(model.loss_terms(x, x, training=True)["dynamics"], 0)
    first, second = (model.loss_terms(x, x, training=False)["reconstruction"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
