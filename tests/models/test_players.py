"""Models with several objectives: logs, updates, saving, export, shared passes, weight averages."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from tests.models import players
from tests.reuse import reused

D, Z = 6, 2
X = np.random.default_rng(0).normal(size=(48, D)).astype("float32")


def mlp(inputs, outputs, **options):
    layers = [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(outputs)]
    if options.get("normalised"):
        layers.insert(1, keras.layers.BatchNormalization())
    return keras.Sequential([keras.Input((inputs,)), *layers])


MODELS = {
    "GAN": lambda **options: players.GAN(mlp(Z, D, **options), mlp(D, 1, **options), seed=1),
    "AAE": lambda **options: players.AAE(mlp(D, Z, **options), mlp(Z, D, **options), mlp(Z, 1, **options), seed=1),
    "AAE, 3 critic steps": lambda **options: players.AAE(mlp(D, Z), mlp(Z, D), mlp(Z, 1), 3, seed=1),
    "VAE-GAN": lambda **options: players.VAEGAN(mlp(D, 2 * Z, **options), mlp(Z, D, **options), mlp(D, 1), seed=1),
    "BEGAN": lambda **options: players.BEGAN(mlp(Z, D), mlp(D, D), seed=1),
}


@pytest.mark.parametrize("model", [players.GAN, players.AAE, players.VAEGAN, players.BEGAN])
def test_a_model_of_several_players_takes_less_than_30_lines(model):
    assert len(inspect.getsourcelines(model)[0]) < 30


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@reused
def compiled(name, ema=False, **options):
    keras.utils.set_random_seed(2)
    model = MODELS[name]()
    names = list(model.objectives())
    optimizers = {each: keras.optimizers.Adam(0.01, use_ema=ema, ema_momentum=0.5) for each in names}
    model.compile(optimizers, **{"run_eagerly": True} | options)
    return model


def weights(model):
    return [each.copy() for each in model.get_weights()]


def assert_equal(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fit_logs_every_term_and_moves_every_network(name):
    model = compiled(name)
    before = [v.numpy() for v in model.trainable_variables]
    history = model.fit(X, batch_size=16, epochs=2, validation_data=X[:8], verbose=0).history
    assert set(history) == {f"{kind}{term}" for kind in ("", "val_") for term in ("loss", *model.terms)}
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0, variable.path


def test_fit_save_load_fit_equals_fit(name, tmp_path):
    ema = name != "GAN"  # one of them without averages
    whole = compiled(name, ema)
    whole.fit(X, batch_size=16, epochs=2, verbose=0)
    model = compiled(name, ema)
    model.fit(X, batch_size=16, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.fit(X, batch_size=16, epochs=1, verbose=0)
    assert_equal(whole.get_weights(), loaded.get_weights())
    for each in whole.optimizers:
        assert_equal(whole.optimizers[each].variables, loaded.optimizers[each].variables)
    np.testing.assert_array_equal(whole.sample(3), loaded.sample(3))


def test_one_program_trains_as_single_steps_do(name):
    results = []
    for options in ({"run_eagerly": True}, {"run_eagerly": False, "jit_compile": False}):
        keras.utils.set_random_seed(4)
        model = MODELS[name]()
        model.compile({each: keras.optimizers.SGD(0.1, use_ema=True) for each in model.objectives()}, **options)
        history = model.fit(X, batch_size=8, epochs=2, shuffle=False, verbose=0).history
        assert model.steps_per_execution > 1 or options["run_eagerly"]
        results.append([*model.get_weights(), *history.values()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_the_exports_follow_from_the_parts(name, tmp_path):
    model = compiled(name, True)
    model.fit(X, batch_size=8, verbose=0)
    served = tf.saved_model.load(ka.export(model, tmp_path))
    # Exports use the averaged weights, as in Python.
    made = served.signatures["sample"](seed=tf.constant([3, 4, 5], tf.int64))["x"]
    np.testing.assert_allclose(made, model.sample(3, seed=3), atol=1e-5)
    encodes = {"encode", "reconstruct", "score"} if hasattr(model, "encode") else set()
    assert set(served.signatures) - {"serving_default"} == {"decode", "sample"} | encodes
    assert encodes or not hasattr(model, "score")


def test_averages_are_used_by_everything_but_fit():
    model = compiled("GAN", ema=True)
    model.fit(X, batch_size=8, epochs=2, verbose=0)
    raw, seen = weights(model.decoder), model.sample(4)
    averages = {variable.path: average for variable, average in model.averages("generator")}
    assert any(np.abs(averages[v.path] - v.numpy()).max() > 1e-4 for v in model.decoder.trainable_variables)
    assert_equal(raw, weights(model.decoder))  # never overwritten
    z = model.prior.sample(5, seed=[0, 1])
    decoded = model.decode(z)
    for variable in model.decoder.trainable_variables:
        variable.assign(averages[variable.path])
    np.testing.assert_allclose(decoded, model.decoder(z), atol=1e-6)
    np.testing.assert_allclose(seen, model.sample(4), atol=1e-6)


# Averages of weights. Keras pairs model.trainable_weights with one optimizer's averages, in a different order.


@keras.saving.register_keras_serializable("players")
class Shifted(ka.posteriors.DiagonalGaussian):
    """A posterior with weights of the same shape as the encoder's bias."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shift = self.add_weight(shape=(2 * Z,), initializer="zeros", name="shift")

    def call(self, params):
        return super().call(params + self.shift)


def with_posterior(posterior):
    encoder = keras.Sequential([keras.Input((Z,)), keras.layers.Dense(posterior.parameters_for(Z))])
    return ka.VAE(encoder, square(), "gaussian", posterior=posterior, seed=0)


def square():
    return keras.Sequential([keras.Input((Z,)), keras.layers.Dense(Z)])


# Networks of equal shapes, so shapes alone would not reveal swapped weights.
AVERAGED = {
    "inverse autoregressive posterior": lambda: with_posterior(
        ka.posteriors.InverseAutoregressive(Z, context=0, steps=1, hidden=(4,))
    ),
    "posterior with weights": lambda: with_posterior(Shifted()),
    "networks of equal shapes": lambda: ka.Autoencoder(square(), square(), seed=0),
    "objectives of equal shapes": lambda: players.AAE(square(), square(), mlp(Z, 1), seed=0),
}
WAYS = {"eager": {"run_eagerly": True}, "compiled": {"jit_compile": False}, "XLA": {"jit_compile": True}}


@reused
def averaging(kind, way):
    keras.utils.set_random_seed(3)
    model = AVERAGED[kind]()
    sgd = {name: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5) for name in model.objectives()}
    model.compile(sgd, **WAYS[way])
    return model


def averages_by_hand(model, batches):
    """Trains step by step; returns the averages of all weights, `a <- 0.5 a + 0.5 w` after each step."""
    expected = None
    for batch in batches:
        model.train_on_batch(batch)
        now = [v.numpy() for v in model.trainable_variables]
        expected = now if expected is None else [0.5 * a + 0.5 * w for a, w in zip(expected, now, strict=True)]
    assert max(np.abs(a - w).max() for a, w in zip(expected, now, strict=True)) > 1e-3
    return expected


def found_averages(model):
    """The averages of all weights, as the model returns them, in the order of `trainable_variables`."""
    found = {id(variable): average for name in model.optimizers for variable, average in model.averages(name)}
    assert len(found) == len(model.trainable_variables)
    return [found[id(v)] for v in model.trainable_variables]


@pytest.mark.parametrize("kind", AVERAGED)
def test_averages_follow_their_recursion_whatever_the_order_of_networks(kind):
    stepwise = averaging(kind, "eager")
    expected = averages_by_hand(stepwise, X[:24, :Z].reshape(3, 8, Z))
    # The same three steps in one call.
    model = averaging(kind, "compiled")
    model.fit(X[:24, :Z], batch_size=8, shuffle=False, verbose=0)
    assert model.steps_per_execution == 3
    for each in (stepwise, model):
        for average, right in zip(found_averages(each), expected, strict=True):
            np.testing.assert_allclose(average, right, atol=1e-5)
    # Methods use them: the results equal those of networks with these weights.
    other, x = AVERAGED[kind](), X[:5, :Z]
    for variable, average in zip(other.trainable_variables, expected, strict=True):
        variable.assign(average)
    assert np.abs(model.encoder(x) - other.encoder(x)).max() > 1e-3
    z = other.posterior(x).mean()
    np.testing.assert_allclose(model.encode(x), z, atol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), other.likelihood(z).mean(), atol=1e-5)


def test_averages_follow_their_recursion_under_xla():
    expected = averages_by_hand(averaging("networks of equal shapes", "eager"), X[:24, :Z].reshape(3, 8, Z))
    model = averaging("networks of equal shapes", "XLA")
    model.fit(X[:24, :Z], batch_size=8, shuffle=False, verbose=0)
    for average, right in zip(found_averages(model), expected, strict=True):
        np.testing.assert_allclose(average, right, atol=1e-5)


@pytest.mark.parametrize("kind", ["posterior with weights", "objectives of equal shapes"])
def test_a_compiled_run_with_averages_goes_on_after_loading_bit_for_bit(kind, tmp_path):
    x, path = X[:, :Z], str(tmp_path / "{epoch}.keras")
    whole = averaging(kind, "compiled")
    whole.fit(x, batch_size=8, epochs=2, callbacks=[keras.callbacks.ModelCheckpoint(path)], verbose=0)
    loaded = keras.saving.load_model(tmp_path / "1.keras")
    assert loaded.has_averages
    loaded.fit(x, batch_size=8, epochs=2, initial_epoch=1, verbose=0)
    assert whole.steps_per_execution == loaded.steps_per_execution == 6
    assert_equal(whole.get_weights(), loaded.get_weights())
    assert_equal([v.numpy() for v in found_averages(whole)], [v.numpy() for v in found_averages(loaded)])
    np.testing.assert_array_equal(whole.encode(x), loaded.encode(x))


def test_an_objective_without_averages_says_so():
    model = MODELS["AAE"]()
    model.compile({"autoencoder": keras.optimizers.SGD(0.1, use_ema=True), "critic": "sgd"}, run_eagerly=True)
    with pytest.raises(ValueError, match="'autoencoder' has none"):
        model.averages("autoencoder")  # before the first step
    model.train_on_batch(X)
    assert len(model.averages("autoencoder")) == 8
    with pytest.raises(ValueError, match="'critic' has none"):
        model.averages("critic")


def test_validation_measures_the_averages():
    model = compiled("AAE", ema=True)
    model.fit(X, batch_size=8, epochs=3, verbose=0)
    logs = model.evaluate(X, batch_size=48, return_dict=True, verbose=0)
    averaged = np.mean(-model.likelihood(model.posterior(X).mean()).log_prob(X))
    other = MODELS["AAE"]()
    other.set_weights(model.get_weights())
    raw = np.mean(-other.likelihood(other.posterior(X).mean()).log_prob(X))
    assert logs["reconstruction"] == pytest.approx(averaged, rel=1e-5)
    assert abs(averaged - raw) > 1e-4


def test_averages_that_overwrite_the_weights_are_refused():
    model = MODELS["GAN"]()
    with pytest.raises(ValueError, match="ema_overwrite_frequency"):
        model.compile(keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=5))


@pytest.mark.parametrize("name", ["GAN", "AAE", "VAE-GAN"])
def test_a_move_changes_no_statistics_of_its_opponents(name):
    model = MODELS[name](normalised=True)
    model.compile("sgd", run_eagerly=True)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.moving_mean.numpy() for layer in norms]
    model.train_on_batch(X)
    # The statistics of every network change, in its own update or in the shared pass.
    assert all(np.abs(layer.moving_mean - old).max() > 0 for layer, old in zip(norms, before, strict=True))
    if name != "GAN":
        return
    # The critic sees real and generated rows in its own update, then generated ones in the generator's: its statistics
    # are updated twice, not three times.
    model = MODELS["GAN"](normalised=True)
    model.compile("sgd", run_eagerly=True)
    inner, norm = model.critic.layers[0], model.critic.layers[1]
    seed = model.seed_generator.state.numpy()
    first = [w.numpy() for w in inner.weights]
    made = model.shared_pass(tf.constant(X), None, True)
    model.seed_generator.state.assign(seed)
    norm.moving_mean.assign(tf.zeros(8))
    model.train_on_batch(X)
    expected = np.zeros(8)
    for rows in (X, made):
        hidden = np.tanh(np.asarray(rows) @ first[0] + first[1])
        expected = 0.99 * expected + 0.01 * hidden.mean(axis=0)
    np.testing.assert_allclose(norm.moving_mean, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["AAE", "VAE-GAN"])
def test_a_shared_pass_is_computed_once(name):
    calls = {"encoder": 0, "decoder": 0}
    model = MODELS[name]()
    for each in calls:
        network = getattr(model, each)
        inner = network.call

        def counted(*args, inner=inner, each=each, **kwargs):
            calls[each] += 1
            return inner(*args, **kwargs)

        network.call = counted
    model.compile("adam", run_eagerly=True)
    calls.update(encoder=0, decoder=0)
    model.train_on_batch(X)
    assert calls == {"encoder": 1, "decoder": 1}


def test_a_shared_pass_gives_each_player_the_gradient_of_its_own_loss():
    model = MODELS["VAE-GAN"]()
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = {name: [v.numpy() for v in getattr(model, name).trainable_variables] for name in ("encoder", "decoder")}
    seed = model.seed_generator.state.numpy()
    gradients = {}
    for name in ("decoder", "encoder"):
        model.seed_generator.state.assign(seed)
        variables = getattr(model, name).trainable_variables
        with tf.GradientTape() as tape:
            shared = model.shared_pass(tf.constant(X), None, True)
            objective = model.objectives()[name]
            terms = objective.terms(tf.constant(X), None, True, shared)
            loss = sum(objective.weights.get(each, 1.0) * tf.reduce_mean(term) for each, term in terms.items())
        gradients[name] = tape.gradient(loss, variables)
    model.seed_generator.state.assign(seed)
    model.train_on_batch(X)
    for name, each in gradients.items():
        for variable, old, gradient in zip(getattr(model, name).trainable_variables, before[name], each, strict=True):
            np.testing.assert_allclose(variable, old - 0.1 * gradient, atol=1e-6)


def test_k_of_a_began_moves_by_its_own_rule():
    model = MODELS["BEGAN"]()
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    model.k.assign(0.3)
    logs = model.train_on_batch(X, return_dict=True)
    assert float(model.k.numpy()) == pytest.approx(0.3 + 0.1 * (0.5 * logs["real"] - logs["generation"]), abs=1e-6)


@keras.saving.register_keras_serializable("players")
class WGANGP(players.GAN):
    """Wasserstein, with a penalty on the critic's gradient between real and generated rows (Gulrajani 2017)."""

    terms = ("discrimination", "penalty", "generation")

    def discriminate(self, x, y, training, made):
        made = tf.stop_gradient(made)
        share = tf.random.stateless_uniform([tf.shape(x)[0], 1], self.next_seed())
        between = share * x + (1 - share) * made
        with tf.GradientTape() as tape:
            tape.watch(between)
            scores = self.critic(between, training=training)
        slope = tf.norm(tape.gradient(scores, between), axis=-1)
        distance = self.critic(made, training=training) - self.critic(x, training=training)
        return {"discrimination": distance[:, 0], "penalty": 10.0 * (slope - 1) ** 2}

    def generate(self, x, y, training, made):
        return {"generation": -self.critic(made, training=training)[:, 0]}


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("kind", ["gradient penalty", "spectral normalisation"])
def test_steadied_critics_train_in_one_program(kind, jit_compile):
    if kind == "gradient penalty":
        model = WGANGP(mlp(Z, D), mlp(D, 1), seed=0)
    else:
        layer = keras.layers.SpectralNormalization(keras.layers.Dense(1))
        critic = keras.Sequential([keras.Input((D,)), layer])
        model = players.GAN(mlp(Z, D), critic, seed=0)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
    history = model.fit(X, batch_size=8, epochs=2, verbose=0).history
    assert model.steps_per_execution > 1 and np.isfinite(history["loss"]).all()
    if kind == "spectral normalisation":
        model.optimizers["critic"].learning_rate = 0.0
        model.fit(X, batch_size=8, verbose=0)
        assert np.linalg.norm(layer.layer.kernel, 2) == pytest.approx(1.0, abs=0.05)


def test_objectives_without_networks_are_refused():
    class Empty(players.GAN):
        def objectives(self):
            return super().objectives() | {"nobody": ka.Objective(self.generate, [])}

    with pytest.raises(ValueError, match="'nobody' has no networks"):
        Empty(mlp(Z, D), mlp(D, 1)).compile("adam")


@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_early_stopping_restores_the_averages_that_it_has_measured(way):
    x = np.random.default_rng(0).normal(size=(32, Z)).astype("float32")
    model = averaging("objectives of equal shapes", way)
    early = keras.callbacks.EarlyStopping(
        "val_reconstruction", mode="max", patience=1, restore_best_weights=True, start_from_epoch=1
    )
    history = model.fit(x, batch_size=8, epochs=5, validation_data=x, callbacks=[early], verbose=0).history
    measured = history["val_reconstruction"]
    assert early.best_epoch < len(measured) - 1 and measured[early.best_epoch] > measured[-1] + 1e-3
    found = model.evaluate(x, verbose=0, return_dict=True)
    assert found["reconstruction"] == pytest.approx(measured[early.best_epoch], rel=1e-5)


def test_weights_from_elsewhere_are_their_own_averages():
    x = np.random.default_rng(0).normal(size=(16, Z)).astype("float32")
    model, other = (averaging("networks of equal shapes", "eager") for _ in range(2))
    model.fit(x, batch_size=4, verbose=0)
    other.set_weights([2 * w for w in other.get_weights()])
    model.set_weights(other.get_weights())
    np.testing.assert_array_equal(model.encode(x), other.encode(x))


def test_swapping_weights_and_averages_is_refused():
    x = np.random.default_rng(0).normal(size=(8, Z)).astype("float32")
    model = averaging("networks of equal shapes", "eager")
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    for method in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match=r"SwapEMAWeights .* already use\. Leave it out"):
            method(x, callbacks=swap, verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_every_method_uses_the_averages_also_after_it_was_traced_without():
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")

    def made():
        keras.utils.set_random_seed(0)
        parts = ka.networks.mlp_encoder((4,), 2, (5,), parameters=2), ka.networks.mlp_decoder(2, (4,), (5,))
        return ka.VAE(*parts, "gaussian", ka.priors.LearnedMixture(2, 3), seed=0)

    model = made()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), jit_compile=False)
    z = np.ones((3, 2), "float32")
    answers = {
        "test_on_batch": lambda m: m.test_on_batch(x, return_dict=True)["reconstruction"],
        "predict_on_batch": lambda m: m.predict_on_batch(x),
        "posterior": lambda m: m.posterior(x).mean(),
        "likelihood": lambda m: m.likelihood(z).mean(),
        "prior": lambda m: m.prior.log_prob(z),
        "conditional_prior": lambda m: m.conditional_prior().log_prob(z),
    }
    before = {name: np.array(answer(model)) for name, answer in answers.items()}  # traced before there are averages
    model.fit(x, epochs=3, verbose=0)
    averaged, raw = made(), made()
    raw.set_weights(model.get_weights())
    averaged.set_weights(model.get_weights())
    averages = {v.path: mean for v, mean in model.averages("autoencoder")}
    for mine, its in zip(model.trainable_variables, averaged.trainable_variables, strict=True):
        its.assign(averages[mine.path])
    for other in (averaged, raw):
        other.compile("sgd", jit_compile=False)
    for name, answer in answers.items():
        if name == "test_on_batch":
            for other in (averaged, raw):
                other.seed_generator.state.assign(model.seed_generator.state)
        found, expected, without = (np.array(answer(each)) for each in (model, averaged, raw))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
        assert np.abs(found - without).max() > 1e-4, name
        assert np.abs(found - before[name]).max() > 1e-4, name
