"""What all models share, asserted once for each of them. A new model adds one line to MODELS."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka

SHAPE, D = (6, 5, 1), 3


def networks(parameters, raw=1, dropout=0.0):
    encoder = ka.networks.mlp_encoder(SHAPE, D, hidden=(16,), parameters=parameters, activation="tanh")
    if dropout:
        inputs = keras.Input(SHAPE)
        encoder = keras.Model(inputs, encoder(keras.layers.Dropout(dropout)(inputs)))
    shape = (*SHAPE, 256) if raw == 256 else SHAPE
    return encoder, ka.networks.mlp_decoder(D, shape, hidden=(16,), parameters=1 if raw == 256 else raw)


def autoencoder(likelihood="gaussian", raw=1, **kwargs):
    return ka.Autoencoder(*networks(1, raw), likelihood, seed=1, **kwargs)


def vae(likelihood="bernoulli", raw=1, dropout=0.0, **kwargs):
    return ka.VAE(*networks(2, raw, dropout), likelihood, seed=1, **kwargs)


MODELS = {
    "Autoencoder": autoencoder,
    "Autoencoder-learned-scale": lambda: autoencoder("gaussian_learned_scale"),
    "VAE": vae,
    "VAE-dropout": lambda: vae(dropout=0.3),
    "VAE-mixture-prior": lambda: vae(prior="mixture", beta=0.5, num_samples=3),
    "VAE-free-bits": lambda: vae("gaussian_per_dimension", raw=2, free_bits=0.1),
    "VAE-categorical": lambda: vae("categorical", raw=256),
    "SemanticHashing": lambda: ka.SemanticHashing(*networks(1), "bernoulli", seed=1),
    "SemanticHashing-mixture-prior": lambda: ka.SemanticHashing(
        *networks(1), "bernoulli", ka.priors.BernoulliMixture(D), contrast_weight=0.0, relaxation="logistic", seed=1
    ),
    "VDSH": lambda: ka.VDSH(*networks(2), "bernoulli", seed=1),
}


@pytest.fixture(params=MODELS)
def model(request):
    made = MODELS[request.param]()
    made.compile("adam", jit_compile=False)
    return made


def data(model, rows=48):
    x = np.random.default_rng(0).random((rows, *SHAPE))
    return (x * 255).astype("uint8") if model.input_dtype == "uint8" else (x > 0.5).astype("float32")


def test_fit_logs_every_term_and_moves_every_variable(model):
    x = data(model)
    before = [v.numpy() for v in model.trainable_variables]
    history = model.fit(x, batch_size=16, epochs=2, validation_data=x[:20], verbose=0).history
    names = {"loss", *model.terms}
    assert set(history) == names | {f"val_{name}" for name in names}
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0, variable.path
    assert int(model.optimizer.iterations) == 6


def test_loss_is_the_weighted_sum_of_the_logged_terms(model):
    x = data(model)
    logs = model.evaluate(x, batch_size=16, return_dict=True, verbose=0)
    weights = next(reversed(model.objectives().values())).weights
    expected = sum(float(weights.get(name, 1.0)) * logs[name] for name in model.terms)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_shapes_and_agreement_of_the_methods(model):
    x = data(model, 37)
    z = model.encode(x, batch_size=16)
    assert z.shape == (37, D) and z.dtype == np.float32
    np.testing.assert_allclose(model.posterior(x).mean(), z, atol=1e-6)
    np.testing.assert_allclose(model.decode(z), model.reconstruct(x), atol=1e-6)
    np.testing.assert_allclose(model.predict(x, verbose=0), model.reconstruct(x), atol=1e-6)
    np.testing.assert_allclose(model(x), model.reconstruct(x), atol=1e-6)
    assert model.likelihood(z).event_shape == SHAPE
    assert model.posterior(x).event_shape == (D,)
    assert np.isfinite(model.likelihood(z).log_prob(x)).all()


def test_data_sets_give_what_arrays_give(model):
    x = data(model, 20)
    batches = tf.data.Dataset.from_tensor_slices((x, np.arange(20))).batch(7)
    np.testing.assert_allclose(model.encode(batches), model.encode(x), atol=1e-6)
    np.testing.assert_allclose(model.score(batches, seed=2), model.score(x, seed=2), rtol=1e-5)


def test_methods_work_inside_a_graph(model):
    x = data(model, 5)
    inside = tf.function(lambda x: model.reconstruct(x), autograph=False)(tf.constant(x))
    assert tf.is_tensor(inside)
    np.testing.assert_allclose(inside, model.reconstruct(x), atol=1e-6)


def test_going_on_after_loading_equals_never_having_stopped(model, tmp_path):
    x = data(model)
    model.fit(x, batch_size=16, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for step in range(3):
        assert model.train_on_batch(x[step * 16 :][:16]) == loaded.train_on_batch(x[step * 16 :][:16])
    for mine, its in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_weights_round_trip(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    before = model.encode(data(model))
    model.fit(data(model), verbose=0)
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model.encode(data(model)), before)


def test_same_seed_same_numbers(model, request):
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        again = MODELS[request.node.callspec.params["model"]]()
        again.compile("adam", jit_compile=False)
        again.fit(data(again), batch_size=16, verbose=0)
        results.append(again.get_weights())
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_score_depends_on_the_row_and_its_seed_only(model):
    x = data(model, 9)
    whole = model.score(x, seed=5)
    np.testing.assert_allclose(model.score(x[3:4], seed=8), whole[3:4], rtol=1e-5)
    assert whole.shape == (9,)


def test_samples_depend_on_their_own_seed_only(model):
    if not hasattr(model, "sample"):
        pytest.skip("a model without a prior does not sample")
    whole = model.sample(7, seed=3)
    assert whole.shape == (7, *SHAPE)
    np.testing.assert_allclose(model.sample(2, seed=5), whole[2:4], atol=1e-6)
    assert np.abs(whole[0] - whole[1]).max() > 0


def test_a_run_in_one_call_equals_a_run_step_by_step(model):
    # 40 rows by 16: two steps in one execution and a smaller last batch. test_training.py does the same under XLA.
    x = data(model, 40)
    weights, histories = [], []
    for steps in ("auto", 1):
        keras.utils.set_random_seed(5)  # of the dropout layers, which have no seed of their own
        again = type(model).from_config(model.get_config())
        again.set_weights(model.get_weights())
        again.compile(keras.optimizers.SGD(0.01), jit_compile=False, steps_per_execution=steps)
        histories.append(again.fit(x, batch_size=16, epochs=2, shuffle=False, verbose=0).history)
        weights.append(again.get_weights())
        assert int(again.optimizer.iterations) == 6
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4)


def test_refuses_data_that_do_not_suit(model):
    x = data(model).astype("float32")
    bad = x.copy()
    bad[3, 0, 0, 0] = np.nan
    cases = {
        "NaN or infinity": (bad, None),
        r"shape \(6, 5, 1\), received \(6, 5\)": (x[..., 0], None),
        r"received \(6, 5, 3\)": (np.repeat(x, 3, -1), None),
        "empty": (x[:0], None),
        "labels": (x, np.zeros(len(x), int)),
    }
    for message, (rows, y) in cases.items():
        with pytest.raises(ValueError, match=message):
            model.fit(rows, y, verbose=0)
        if y is None:
            with pytest.raises(ValueError, match=message):
                model.fit(tf.data.Dataset.from_tensors(rows), verbose=0)
    with pytest.raises(ValueError, match="empty"):
        model.fit(tf.data.Dataset.from_tensor_slices(x[:0]).batch(4), verbose=0)
    with pytest.raises(ValueError, match="labels"):
        model.fit(x if model.input_dtype != "uint8" else data(model), [0] * len(x), verbose=0)
    with pytest.raises(ValueError, match="NaN"):
        model.train_on_batch(bad)
    with pytest.raises(ValueError, match="NaN"):
        model.encode(bad)
    with pytest.raises(ValueError, match=r"z: expected rows of shape \(3,\), received \(4,\)"):
        model.decode(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="expected rows of shape"):
        model.fit(x if model.input_dtype != "uint8" else data(model), validation_data=x[..., 0], verbose=0)
