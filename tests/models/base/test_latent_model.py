"""A model's methods follow from its parts; x, its target and the code have different shapes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import keras_ae as ka
from keras_ae.models.base.walks import between
from keras_ae.training import roles
from tests.models import players

tfd = tfp.distributions
D, Z = 6, 2
X = (np.random.default_rng(0).random((12, D)) > 0.5).astype("float32")


def dense(units, inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])


def spatial(parameters=1):
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2 * parameters, 3, 2, padding="same")])
    decoder = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2DTranspose(1, 3, 2, padding="same")])
    return encoder, decoder


IMAGES = np.random.default_rng(1).random((6, 8, 8, 1)).astype("float32")

# Methods

METHODS = {"encode", "decode", "reconstruct", "sample", "score", "log_prob", "interpolate", "traverse", "sweep_labels"}
WITH = {
    "point code": (lambda: ka.Autoencoder(dense(Z, D), dense(D, Z)), {"sample", "log_prob", "sweep_labels"}),
    "point code and a prior": (
        lambda: ka.Autoencoder(dense(Z, D), dense(D, Z), prior="uniform"),
        {"log_prob", "sweep_labels"},
    ),
    "density": (lambda: ka.VAE(dense(2 * Z, D), dense(D, Z)), {"sweep_labels"}),
    "generator": (
        lambda: ka.LatentModel(decoder=dense(D, Z), prior="normal"),
        METHODS - {"decode", "sample"},
    ),
    "encoder alone": (lambda: ka.LatentModel(dense(Z, D)), METHODS - {"encode"}),
    "another target": (
        lambda: ka.VAE(dense(2 * Z, D), dense(9, Z)),
        {"score", "log_prob", "sweep_labels"},
    ),
    "labels": (
        lambda: ka.CVAE(
            ka.networks.mlp_encoder((D,), Z, parameters=2, condition_shape=(3,)),
            ka.networks.mlp_decoder(Z, (D,), condition_shape=(3,)),
            num_classes=3,
        ),
        set(),
    ),
}


@pytest.mark.parametrize("name", WITH)
def test_methods_follow_from_the_parts(name):
    make, absent = WITH[name]
    model = make()
    assert {method for method in METHODS if not hasattr(model, method)} == absent
    for method in absent:
        with pytest.raises(AttributeError, match=rf"has no {method}\(\), which needs"):
            getattr(model, method)


def test_a_uniform_prior_of_a_point_code_is_sampled_and_refused_by_a_bound():
    model = ka.Autoencoder(dense(Z, D), dense(D, Z), prior="uniform")
    images = model.sample(50, seed=3)
    z = np.linalg.lstsq(model.decoder.weights[0].numpy().T, (images - model.decoder.weights[1].numpy()).T, rcond=None)[
        0
    ]
    assert np.abs(z).max() <= 1 + 1e-4 and np.ptp(z) > 1
    with pytest.raises(ValueError, match="infinite"):
        ka.VAE(dense(2 * Z, D), dense(D, Z), prior="uniform")


# Shapes


def test_a_code_may_be_a_map_of_channels(tmp_path):
    model = ka.Autoencoder(*spatial(), seed=0)
    model.compile("adam", run_eagerly=True)
    model.fit(IMAGES, verbose=0)
    z = model.encode(IMAGES)
    assert z.shape == (6, 4, 4, 2) and model.code_shape == (4, 4, 2) and model.latent_dim is None
    np.testing.assert_allclose(model.decode(z), model.reconstruct(IMAGES), atol=1e-6)
    served = tf.saved_model.load(ka.export(model, tmp_path))
    np.testing.assert_allclose(served.signatures["encode"](x=IMAGES)["z"], z, atol=1e-5)
    with pytest.raises(ValueError, match=r"z: expected rows of shape \(4, 4, 2\)"):
        model.decode(z[:, 0])
    with pytest.raises(ValueError, match="a dimension of a vector code"):
        model.traverse(IMAGES, 0)


def test_a_map_of_codes_has_a_density_whose_kl_is_that_of_its_values(tmp_path):
    model = ka.VAE(*spatial(2), "gaussian", seed=0)
    model.compile("adam", run_eagerly=True)
    # Close to the posterior, so that importance weights vary little: the decoder hardly uses z, and scales are near 1.
    model.decoder.set_weights([0.1 * w for w in model.decoder.get_weights()])
    model.encoder.set_weights([0.2 * model.encoder.get_weights()[0], np.repeat(np.float32([0.1, 0.5]), 2)])
    q = model.posterior(IMAGES)
    m, s = q.mean().numpy(), q.stddev().numpy()
    kl = np.sum(0.5 * (m**2 + s**2 - 1) - np.log(s), axis=(1, 2, 3))
    logs = model.evaluate(IMAGES, return_dict=True, verbose=0)
    assert logs["kl"] == pytest.approx(kl.mean(), rel=1e-5)
    assert model.sample(3, seed=1).shape == (3, 8, 8, 1)
    np.testing.assert_allclose(model.sample(2, seed=2), model.sample(3, seed=1)[1:], atol=1e-6)
    # Importance sampling agrees with NumPy's within five standard errors of the difference. By the delta method,
    # log mean w has the standard error std(w) / (mean(w) sqrt(n)).
    n = 2_000
    z = m + s * np.random.default_rng(0).normal(size=(n, *m.shape)).astype("float32")
    log_w = model.likelihood(z).log_prob(IMAGES) + model.prior.log_prob(z) - q.log_prob(z)
    w = np.exp(log_w - np.max(log_w, axis=0))
    expected = np.log(w.mean(axis=0)) + np.max(log_w, axis=0)
    error = np.sqrt(2 / n) * w.std(axis=0) / w.mean(axis=0)
    assert error.max() < 0.2
    assert (np.abs(model.log_prob(IMAGES, num_samples=n) - expected) < 5 * error).all()
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "m.keras").encode(IMAGES), m, atol=1e-6)


@pytest.mark.parametrize("prior", ["mixture", tfd.MultivariateNormalDiag(tf.zeros(2)), "ring"])
def test_a_prior_of_another_shape_than_the_code_is_refused(prior):
    with pytest.raises(ValueError, match=r"codes|expected latent_dim=2"):
        ka.VAE(*spatial(2), "gaussian", prior=prior)


def test_an_encoder_and_a_decoder_of_different_codes_are_refused():
    encoder, _ = spatial()
    with pytest.raises(ValueError, match=r"decoder of 3-dimensional codes"):
        ka.Autoencoder(encoder, dense(4, 3))
    with pytest.raises(ValueError, match=r"full_covariance expects an output of .width,. shape"):
        ka.VAE(*spatial(2), "gaussian", posterior="full_covariance")


def test_outputs_of_another_shape_than_x_are_refused_where_channels_of_x_are_unknown():
    encoder = keras.Sequential([keras.Input((None,)), keras.layers.Lambda(lambda x: x[:, :Z], output_shape=(Z,))])
    with pytest.raises(ValueError, match=r"expects outputs of shape \(None,\); received \(3, 2\)"):
        ka.LatentModel(encoder, ka.networks.mlp_decoder(Z, (3, 2)), y_role=roles.AnotherRow("neighbour"))


def test_x_may_become_rows_of_another_shape():
    y = np.random.default_rng(2).random((12, 2, 2, 1)).astype("float32")
    model = ka.VAE(dense(2 * Z, D), ka.networks.mlp_decoder(Z, (2, 2, 1), (8,)), seed=0)
    model.compile(keras.optimizers.Adam(0.02), run_eagerly=True)
    losses = model.fit(X, y, epochs=4, validation_data=(X, y), verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.reconstruct(X).shape == (12, 2, 2, 1) and model.sample(2).shape == (2, 2, 2, 1)
    with pytest.raises(ValueError, match=r"maps x of shape \(6,\) to rows of shape \(2, 2, 1\)"):
        model.fit(X)
    with pytest.raises(ValueError, match=r"y: .*expected|y: VAE takes no labels"):
        model.fit(X, X)


# Conditions


def test_a_condition_may_enter_one_network_only():
    y = np.arange(12) % 3
    encoder = ka.networks.mlp_encoder((D,), Z, parameters=2)
    model = ka.CVAE(encoder, ka.networks.mlp_decoder(Z, (D,), condition_shape=(3,)), num_classes=3, seed=0)
    model.compile("adam", run_eagerly=True)
    model.fit(X, y, verbose=0)
    np.testing.assert_array_equal(model.encode(X, y), model.encode(X, (y + 1) % 3))
    z = model.encode(X, y)
    assert np.abs(model.decode(z, y) - model.decode(z, (y + 1) % 3)).max() > 1e-3
    with pytest.raises(ValueError, match="the second for the condition"):
        ka.CVAE(encoder, ka.networks.mlp_decoder(Z, (D,)), num_classes=3)


def test_samples_of_one_label_of_names_and_of_every_label():
    options = {"condition_shape": (3,)}
    model = ka.CVAE(
        ka.networks.mlp_encoder((D,), Z, parameters=2, **options),
        ka.networks.mlp_decoder(Z, (D,), **options),
        classes=["cat", "dog", "eel"],
        seed=0,
    )
    np.testing.assert_array_equal(model.sample(4, 1, seed=2), model.sample(4, [1] * 4, seed=2))
    np.testing.assert_array_equal(model.sample(4, "dog", seed=2), model.sample(4, 1, seed=2))
    np.testing.assert_array_equal(model.sample(3, np.eye(3), seed=2), model.sample(3, [0, 1, 2], seed=2))
    z = model.encode(X, ["cat"] * 12)
    swept = model.sweep_labels(z)
    assert swept.shape == (12, 3, D)
    np.testing.assert_allclose(swept[:, 1], model.decode(z, ["dog"] * 12), atol=1e-6)
    np.testing.assert_allclose(model.sweep_labels(z, ["eel"])[:, 0], swept[:, 2], atol=1e-6)
    assert model.card()["classes"] == ["cat", "dog", "eel"]


def test_two_meanings_of_y_are_refused():
    with pytest.raises(ValueError, match="Both declares two meanings of y"):

        class Both(ka.Autoencoder):
            y_role = (roles.Target(), roles.Condition(3))

    with pytest.raises(ValueError, match=r"Mixed declares two meanings of y.*CVAE.*SemanticHashing"):

        class Mixed(ka.CVAE, ka.SemanticHashing):
            pass

    class Settled(ka.CVAE, ka.SemanticHashing):
        y_role = roles.Condition()

    assert Settled.y_role.conditional


# Interpolation


def test_walks_between_codes():
    z1, z2 = np.float32([[1, 0], [2, 0]]), np.float32([[0, 1], [-2, 0]])
    line, arc = between(z1, z2, 3), between(z1, z2, 3, spherical=True)
    np.testing.assert_allclose(line[:, 1], [[0.5, 0.5], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(arc[0, 1], np.sqrt([0.5, 0.5]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(arc[0], axis=-1), 1, atol=1e-6)
    assert np.isfinite(arc).all()  # opposite codes have no unique arc: the straight line
    for walk in (line, arc):
        np.testing.assert_allclose(walk[:, [0, -1]], np.stack([z1, z2], 1), atol=1e-6)


def test_interpolate_and_traverse_decode_walks():
    model = ka.VAE(dense(2 * Z, D), dense(D, Z), seed=0)
    images = model.interpolate(X[:3], X[3:6], steps=5, spherical=True)
    assert images.shape == (3, 5, D)
    np.testing.assert_allclose(images[:, 0], model.reconstruct(X[:3]), atol=1e-6)
    np.testing.assert_allclose(images[:, -1], model.reconstruct(X[3:6]), atol=1e-6)
    moved = model.traverse(X[:2], 1, span=2.0, steps=3)
    z = model.encode(X[:2])
    z[:, 1] = -2.0
    np.testing.assert_allclose(moved[:, 0], model.decode(z), atol=1e-6)
    for call in (
        lambda: model.traverse(X, 2),
        lambda: model.traverse(X, 1.5),
        lambda: model.interpolate(X[:2], X[:3]),
        lambda: model.interpolate(X, X, 1),
        lambda: model.traverse(X, 1, steps=1),
        lambda: model.traverse(X, 1, steps=2.5),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


# Users' networks


def test_networks_of_several_outputs_or_inputs_are_refused_with_what_to_do():
    inputs = keras.Input((D,))
    h = keras.layers.Dense(4)(inputs)
    mean, log_var = keras.layers.Dense(Z)(h), keras.layers.Dense(Z)(h)
    with pytest.raises(ValueError, match=r"has 2\. Convert an encoder that returns.*from_mean_log_var"):
        ka.VAE(keras.Model(inputs, [mean, log_var]), dense(D, Z))
    three = [keras.Input((D,)) for _ in range(3)]
    many = keras.Model(three, keras.layers.Dense(Z)(keras.layers.Concatenate()(three)))
    with pytest.raises(ValueError, match="has 3"):
        ka.Autoencoder(many, dense(D, Z))
    with pytest.raises(ValueError, match="encoder: expected a Keras model; received str"):
        ka.Autoencoder("encoder", dense(D, Z))


@pytest.mark.parametrize("seed", [None, 1.5, "1", 2**63])
def test_what_is_no_seed_is_refused(seed):
    model = ka.VAE(dense(2 * Z, D), dense(D, Z))
    for draw in (
        lambda: model.sample(2, seed=seed),
        lambda: model.score(X, seed=seed),
        lambda: model.log_prob(X, num_samples=2, seed=seed),
        lambda: ka.samplers.PriorSampler(model).sample(2, seed=seed),
        lambda: ka.evaluation.likelihood.negative_log_likelihood(model, X, 2, seed),
    ):
        with pytest.raises(ValueError, match="seed: expected a whole number of 64 bits"):
            draw()
    assert model.sample(2, seed=np.int32(3)).shape == (2, D)


def test_an_unbuilt_model_says_so_before_it_samples():
    model = ka.VAE(keras.Sequential([keras.layers.Dense(4)]), keras.Sequential([keras.layers.Dense(D)]))
    with pytest.raises(ValueError, match="never built"):
        model.sample(3)
    for method in (model.decode, model.likelihood, ka.LatentModel(decoder=model.decoder).decode):
        with pytest.raises(ValueError, match=r"networks that were never built: add a keras\.Input"):
            method(X[:, :Z])


def test_the_summary_knows_every_shape():
    encoder, decoder = ka.networks.mlp_encoder((6, 5), 3, parameters=2), ka.networks.mlp_decoder(3, (6, 5))
    lines = []
    ka.VAE(encoder, decoder, prior="mixture").summary(print_fn=lines.append)
    for layer, shape in (("bernoulli", "(None, 6, 5)"), ("diagonal_gaussian", "(None, 3)"), ("mixture", "(None, 3)")):
        assert any(layer in line and shape in line for line in "\n".join(lines).split("\n")), layer
    assert "?" not in "\n".join(lines)


def two_layers():
    return ka.VAE([dense(6, D), dense(2 * Z, 3)], [dense(D, 3), dense(6, Z)])


def test_the_summary_knows_every_shape_of_a_generator_and_of_two_layers():
    for model in (players.GAN(dense(D, Z), dense(1, D)), two_layers()):
        lines = []
        model.summary(print_fn=lines.append)
        assert "?" not in "\n".join(lines)


def test_the_representation_is_one_line():
    text = repr(ka.VAE(dense(2 * Z, D), dense(D, Z)))
    assert text == "<VAE likelihood=bernoulli prior=normal code=(2,) parameters=46>" and "\n" not in text
    assert repr(two_layers()) == "<VAE likelihood=bernoulli prior=top_down_prior code=(5,) parameters=100>"
