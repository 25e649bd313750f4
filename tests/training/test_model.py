"""The training step: objectives, optimizers, weights, reductions, precision, failures, callbacks."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.training import Objective, ObjectiveModel, loop
from tests.numerics import multiplies_half_precision

X = (np.random.default_rng(0).random((64, 6)) > 0.5).astype("float32")


def dense(units, inputs, **kwargs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, **kwargs)])


@keras.saving.register_keras_serializable("test")
class Adversarial(ka.Autoencoder):
    """A small adversarial autoencoder: a critic distinguishes codes from normal samples."""

    terms = ("discrimination", "reconstruction", "adversarial")

    def __init__(self, encoder, decoder, critic, *, seed=None, critic_steps=1, **kwargs):
        super().__init__(encoder, decoder, seed=seed, **kwargs)
        self.critic = critic
        self.critic_steps = critic_steps

    def objectives(self):
        critic = Objective(self.discriminate, [self.critic], steps=self.critic_steps)
        autoencoder = super().objectives()["autoencoder"]
        return {"critic": critic, "autoencoder": autoencoder._replace(weights={"adversarial": 0.1})}

    def discriminate(self, x, y, training):
        z = self.posterior(x).mean()
        prior = tf.random.stateless_normal(tf.shape(z), self.next_seed())
        return {"discrimination": tf.nn.softplus(self.critic(z) - self.critic(prior))[:, 0]}

    def loss_terms(self, x, y, training):
        terms = super().loss_terms(x, y, training)
        return terms | {"adversarial": tf.nn.softplus(-self.critic(self.posterior(x).mean()))[:, 0]}


def adversarial(**kwargs):
    return Adversarial(dense(2, 6), dense(6, 2), dense(1, 2), seed=0, **kwargs)


def vae(**kwargs):
    return ka.VAE(dense(4, 6), dense(6, 2), seed=0, **kwargs)


def weights(network):
    return [w.copy() for w in network.get_weights()]


def moved(network, before):
    return any(np.abs(a - b).max() > 0 for a, b in zip(network.get_weights(), before, strict=True))


def test_every_objective_moves_its_own_networks_only():
    for frozen in ("critic", "autoencoder"):
        model = adversarial()
        rates = {"critic": keras.optimizers.SGD(0.1), "autoencoder": keras.optimizers.SGD(0.1)}
        rates[frozen].learning_rate = 0.0
        model.compile(rates, run_eagerly=True)
        before = {name: weights(getattr(model, name)) for name in ("critic", "encoder", "decoder")}
        model.train_on_batch(X)
        assert moved(model.critic, before["critic"]) == (frozen != "critic")
        assert moved(model.encoder, before["encoder"]) == (frozen != "autoencoder")
        assert moved(model.decoder, before["decoder"]) == (frozen != "autoencoder")


def test_each_move_takes_a_batch_of_its_own():
    seen = {"critic": [], "autoencoder": []}

    class Watching(Adversarial):
        def discriminate(self, x, y, training):
            seen["critic"].append(x.numpy())
            return super().discriminate(x, y, training)

        def loss_terms(self, x, y, training):
            seen["autoencoder"].append(x.numpy())
            return super().loss_terms(x, y, training)

    for source in ("arrays", "dataset", "generator"):
        for each in seen.values():
            each.clear()
        model = Watching(dense(2, 6), dense(6, 2), dense(1, 2), seed=0, critic_steps=3)
        model.compile("adam", run_eagerly=True)
        batches = tf.data.Dataset.from_tensor_slices(X).batch(8)  # 8 batches: 2 steps of 3, and 2 left over
        if source == "arrays":
            model.fit(X, batch_size=8, shuffle=False, verbose=0)
        else:
            model.fit(batches if source == "dataset" else iter(batches.as_numpy_iterator()), verbose=0)
        assert int(model.optimizers["critic"].iterations) == 6
        assert int(model.optimizer.iterations) == 2
        np.testing.assert_array_equal(np.concatenate(seen["critic"]), X[:48])
        # The last objective sees the last of the three batches.
        np.testing.assert_array_equal(np.concatenate(seen["autoencoder"]), np.concatenate([X[16:24], X[40:48]]))


def test_an_epoch_of_fewer_batches_than_moves_has_one_step():
    for source in (X[:16], tf.data.Dataset.from_tensor_slices(X[:16]).batch(8)):
        model = adversarial(critic_steps=5)
        model.compile("adam", jit_compile=False)
        model.fit(source, batch_size=8 if source is not None and hasattr(source, "shape") else None, verbose=0)
        assert int(model.optimizers["critic"].iterations) == 5 and int(model.optimizer.iterations) == 1


def test_one_optimizer_is_copied_for_every_objective():
    model = adversarial()
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    critic, autoencoder = model.optimizers["critic"], model.optimizers["autoencoder"]
    assert critic is not autoencoder and model.optimizer is autoencoder
    assert float(critic.learning_rate) == float(autoencoder.learning_rate) == pytest.approx(0.01)
    assert len(critic.variables) == 2 + 2 * 2 and len(autoencoder.variables) == 2 + 2 * 4


def test_one_instance_for_two_objectives_is_copied():
    model, optimizer = adversarial(), keras.optimizers.Adam(0.01)
    model.compile({"critic": optimizer, "autoencoder": optimizer}, jit_compile=False)
    assert model.optimizers["critic"] is not model.optimizers["autoencoder"]
    model.train_on_batch(X)


@pytest.mark.parametrize("names", [{"critic": "adam"}, {"critic": "adam", "autoencoder": "adam", "x": "adam"}])
def test_missing_and_unknown_optimizers_raise(names):
    with pytest.raises(ValueError, match="'critic', 'autoencoder'"):
        adversarial().compile(names)


def test_numpy_numbers_survive_saving(tmp_path):
    model = vae(beta=np.float32(0.5), num_samples=np.int64(3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.beta == 0.5 and again.num_samples == 3


@pytest.mark.parametrize("x", [X, tf.data.Dataset.from_tensor_slices(X).batch(16)], ids=["arrays", "data set"])
def test_keras_does_not_warn_that_it_cannot_shuffle(x):
    model = vae()
    model.compile("adam", jit_compile=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(x, batch_size=16 if x is X else None, epochs=2, verbose=0)
    assert model.steps_per_execution > 1


def test_every_optimizers_state_survives_saving(tmp_path):
    model = adversarial()
    model.compile({"critic": "rmsprop", "autoencoder": "adam"}, jit_compile=False)
    model.fit(X, epochs=2, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for name in ("critic", "autoencoder"):
        mine, its = model.optimizers[name], loaded.optimizers[name]
        assert type(mine) is type(its)
        for a, b in zip(mine.variables, its.variables, strict=True):
            np.testing.assert_array_equal(a, b)
    assert model.train_on_batch(X) == loaded.train_on_batch(X)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_freezing_and_compiling_again_takes_effect():
    model = vae()
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(optimizer, jit_compile=False)
    model.fit(X, verbose=0)
    model.encoder.trainable = False
    model.compile(optimizer, jit_compile=False)
    encoder, decoder = weights(model.encoder), weights(model.decoder)
    model.fit(X, verbose=0)
    assert not moved(model.encoder, encoder) and moved(model.decoder, decoder)
    model.encoder.trainable = True
    model.compile(optimizer, jit_compile=False)
    model.fit(X, verbose=0)
    assert moved(model.encoder, encoder)


def test_sample_weight_in_loss_and_log():
    model = ka.Autoencoder(dense(2, 6), dense(6, 2), seed=0)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    w = np.random.default_rng(1).random(64).astype("float32")
    rows = -model.likelihood(model.encode(X)).log_prob(X).numpy()
    logs = model.evaluate(X, sample_weight=w, batch_size=64, return_dict=True, verbose=0)
    assert logs["loss"] == pytest.approx(np.mean(w * rows), rel=1e-5)
    assert logs["reconstruction"] == pytest.approx(np.sum(w * rows) / np.sum(w), rel=1e-5)
    trained = model.fit(X, sample_weight=w, batch_size=64, verbose=0).history
    assert trained["loss"][0] == pytest.approx(logs["loss"], rel=1e-5)


def test_a_row_of_weight_zero_does_not_train():
    after = []
    for extra in (0.0, 1.0):
        keras.utils.set_random_seed(1)
        model = ka.Autoencoder(dense(2, 6), dense(6, 2), seed=0)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        x = X[:8].copy()
        x[0] = extra
        model.train_on_batch(x, sample_weight=np.float32([0, 1, 1, 1, 1, 1, 1, 1]))
        after.append(model.get_weights())
    for a, b in zip(*after, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_regularisers_join_the_loss_of_their_objective():
    model = ka.Autoencoder(dense(2, 6, kernel_regularizer="l2"), dense(6, 2), seed=0)
    model.compile("adam", jit_compile=False)
    logs = model.evaluate(X, return_dict=True, verbose=0)
    penalty = 0.01 * (model.encoder.layers[0].kernel.numpy() ** 2).sum()
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + penalty, rel=1e-5)


def test_a_layer_that_two_networks_share_is_regularised_once():
    trunk = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1), activity_regularizer="l2")

    class Pair(ObjectiveModel):
        terms = ("size",)

        def objectives(self):
            return {"both": Objective(self.shrink, self.pair)}

        def shrink(self, x, y, training):
            return {"size": tf.add_n([tf.reduce_sum(network(x) ** 2, axis=-1) for network in self.pair])}

    model = Pair()
    model.pair = [keras.Sequential([keras.Input((4,)), trunk]), keras.Sequential([keras.Input((4,)), trunk])]
    model.compile("adam", run_eagerly=True)
    x = np.ones((5, 4), "float32")
    found = model.evaluate(x, batch_size=5, verbose=0, return_dict=True)
    of_weights = 0.1 * np.sum(trunk.kernel.numpy() ** 2)
    of_outputs = 0.01 * np.sum(trunk(x).numpy() ** 2) / 5
    # Keras keeps only the losses that the last call added.
    assert found["loss"] - found["size"] == pytest.approx(of_weights + of_outputs, rel=1e-4)


def test_weights_load_into_a_fresh_model(tmp_path):
    model, other = vae(), vae()
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5", True)  # skip_mismatch
    for mine, loaded in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, loaded)


def test_gradient_clipping_acts():
    for clip in ({"clipnorm": 1e-3}, {"global_clipnorm": 1e-3}, {"clipvalue": 1e-5}):
        model = vae()
        model.compile(keras.optimizers.SGD(1.0, **clip), run_eagerly=True)
        before = model.encoder.get_weights()[0].copy()
        model.train_on_batch(X)
        assert 0 < np.linalg.norm(model.encoder.get_weights()[0] - before) <= 1.001e-3


@multiplies_half_precision
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_in_float32_densities(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = vae()
        model.compile("adam", jit_compile=False)
        losses = model.fit(X, epochs=20, batch_size=16, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    assert losses[-1] < losses[0]
    assert model.posterior(X).mean().dtype == tf.float32 and model.encode(X).dtype == np.float32


@pytest.mark.parametrize("settings", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}])
def test_ways_to_run(settings):
    model = vae()
    model.compile("adam", **settings)
    losses = model.fit(X, epochs=3, batch_size=16, verbose=0).history["loss"]
    assert len(losses) == 3 and int(model.optimizer.iterations) == 12


def test_xla_changes_nothing_but_rounding():
    results = []
    for settings in ({"jit_compile": True}, {"jit_compile": False, "steps_per_execution": 1}):
        keras.utils.set_random_seed(1)
        model = ka.Autoencoder(dense(2, 6), dense(6, 2), seed=0)  # XLA has different random numbers
        model.compile(keras.optimizers.SGD(0.01), **settings)
        logs = model.fit(X[:56], batch_size=16, epochs=2, shuffle=False, verbose=0).history
        assert model.steps_per_execution == (4 if settings["jit_compile"] else 1)
        results.append([*model.get_weights(), *logs.values()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_defaults_choose_xla_without_convolutions():
    model = vae()
    model.compile("adam")
    assert model.jit_compile
    shape = (8, 8, 1)
    convolutional = ka.VAE(
        ka.networks.conv_encoder(shape, 2, (4,), parameters=2), ka.networks.conv_decoder(2, shape, (4,))
    )
    convolutional.compile("adam")
    assert not convolutional.jit_compile


@pytest.mark.parametrize(
    "layer", [keras.layers.Dropout, keras.layers.AlphaDropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise]
)
def test_noise_layers_are_slow_under_xla_unless_they_make_none(layer):
    assert loop.xla_pays([keras.layers.Dense(2), layer(0.0)])
    assert not loop.xla_pays([keras.layers.Dense(2), layer(0.1)])


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_loss_that_is_not_finite_stops_training_and_says_where(jit_compile):
    model = vae()
    model.compile(keras.optimizers.SGD(1e25), jit_compile=jit_compile)
    with pytest.raises(FloatingPointError, match=r"step [23] of VAE: .*kl of objective autoencoder"):
        model.fit(X, batch_size=8, epochs=2, verbose=0)


@pytest.mark.parametrize("rows", [64, 60])
def test_steps_per_epoch_is_kept(rows):
    # 60 rows in batches of 16 give a batch of 12 between full ones.
    model = vae()
    model.compile("adam", jit_compile=False)
    endless = tf.data.Dataset.from_tensor_slices(X[:rows]).batch(16).repeat()
    model.fit(endless, steps_per_epoch=10, epochs=3, verbose=0)
    assert int(model.optimizer.iterations) == 30


def test_no_batch_is_lost_between_smaller_ones():
    model = vae()
    model.compile("adam", jit_compile=False)
    history = model.fit(tf.data.Dataset.from_tensor_slices(X[:60]).batch(16).repeat(4), verbose=0)
    assert int(model.optimizer.iterations) == 16 and model.steps_per_execution == 16
    assert len(history.epoch) == 1


@pytest.mark.parametrize("extra", ["y", "sample_weight", "both", "dataset", "validation_split"])
def test_the_loop_sees_what_single_steps_see(extra):
    y, w = 1 - X, np.linspace(0, 1, 64, dtype="float32")
    data = {
        "y": {"x": X, "y": y},
        "sample_weight": {"x": X, "sample_weight": w[:, None]},
        "both": {"x": X, "y": y, "sample_weight": w.tolist()},
        "dataset": {"x": tf.data.Dataset.from_tensor_slices((X, y, w)).batch(24)},
        "validation_split": {"x": X, "y": y, "sample_weight": w, "validation_split": 0.25},
    }[extra]
    results = []
    for steps in ("auto", 1):
        keras.utils.set_random_seed(1)
        model = ka.Autoencoder(dense(2, 6), dense(6, 2), seed=0)
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False, steps_per_execution=steps)
        logs = model.fit(**data, batch_size=None if extra == "dataset" else 24, shuffle=False, verbose=0).history
        assert (model.steps_per_execution > 1) == (steps == "auto")
        results.append([*model.get_weights(), *logs.values()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [np.ones(63), np.ones((64, 2)), np.full(64, np.nan)])
def test_invalid_sample_weights_raise(weight):
    model = vae()
    model.compile("adam", jit_compile=False)
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match="sample_weight"):
            call(X, sample_weight=weight)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, validation_data=(X, None, weight), verbose=0)


def test_a_model_that_xla_cannot_compile_trains_without_xla():
    class Host(keras.layers.Layer):
        def call(self, x):
            return tf.ensure_shape(tf.numpy_function(lambda a: a, [x], x.dtype), x.shape)

    model = ka.Autoencoder(keras.Sequential([keras.Input((6,)), Host(), keras.layers.Dense(2)]), dense(6, 2))
    model.compile("adam")
    assert model.jit_compile
    with pytest.warns(UserWarning, match="without XLA"):
        model.fit(X, batch_size=16, epochs=2, verbose=0)
    assert not model.jit_compile and int(model.optimizer.iterations) == 8  # no batch is lost


def test_generators_and_pydatasets_train():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return (X[i * 16 :][:16],)

    for source in (Batches(), ((X[i * 16 :][:16],) for i in range(4))):
        model = vae()
        model.compile("adam", jit_compile=False)
        model.fit(source, verbose=0)
        assert int(model.optimizer.iterations) == 4


def test_keras_callbacks(tmp_path):
    model = vae()
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_loss", save_best_only=True)
    logs = keras.callbacks.TensorBoard(tmp_path / "logs")
    history = model.fit(X, epochs=9, validation_data=X, callbacks=[stop, best, logs], verbose=0)
    assert len(history.epoch) == 2
    assert keras.saving.load_model(tmp_path / "best.keras").encode(X).shape == (64, 2)
    assert list((tmp_path / "logs").rglob("events*"))


def test_backup_and_restore_resumes_where_it_stopped(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(callbacks, epochs=4):
        keras.utils.set_random_seed(2)
        model = adversarial()
        model.compile({"critic": "rmsprop", "autoencoder": "adam"}, jit_compile=False)
        model.fit(X, batch_size=16, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
        return model

    whole = run([])
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        run([backup, Stop()])
    resumed = run([keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_annealing_moves_beta_and_validates_with_its_end():
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(self.model.beta)

        def on_test_batch_begin(self, batch, logs=None):
            assert self.model.beta == 2.0

    model = vae(beta=2.0)
    model.compile("adam", jit_compile=False, steps_per_execution=1)
    annealing = ka.callbacks.Annealing(steps=8, start=0.5, end=2.0)
    model.fit(X, batch_size=16, epochs=3, validation_data=X, callbacks=[annealing, Watch()], verbose=0)
    expected = [0.5 + 1.5 * min(step / 8, 1) for step in range(12)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    assert model.beta == 2.0


def test_annealing_refuses_weights_that_a_model_lacks():
    model = vae()
    model.compile("adam")
    for weight in ("capacity", "gamma", "trainable"):
        with pytest.raises(ValueError, match=f"VAE has no '{weight}' that can be set during training; it has beta"):
            model.fit(X, callbacks=[ka.callbacks.Annealing(5, weight=weight)], verbose=0)
    assert not hasattr(model, "gamma")


def test_assigning_beta_during_fit_acts_on_the_loss():
    model = vae()
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    for beta in (1.0, 4.0):
        model.beta = beta
        logs = model.fit(X, verbose=0).history
        assert logs["loss"][0] == pytest.approx(logs["reconstruction"][0] + beta * logs["kl"][0], rel=1e-5)


def test_undeclared_terms_raise():
    class Wrong(ka.Autoencoder):
        def loss_terms(self, x, y, training):
            return {"size": tf.reduce_sum(self.reconstruct(x), -1)}

    model = Wrong(dense(2, 6), dense(6, 2))
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"declares the terms \['reconstruction'\].*\['size'\]"):
        model.train_on_batch(X)


def test_a_loss_of_keras_is_refused():
    model = vae()
    for options in (("adam", "mse"), ("adam",)):
        with pytest.raises(ValueError, match="loss: VAE has its own, the weighted sum of reconstruction, kl"):
            model.compile(*options, **({} if len(options) == 2 else {"loss": "mse"}))


WRONG_METRICS = {
    r"metrics: expected a list of metrics; received 'mse'\. Pass metrics=\['mse'\]": {"metrics": "mse"},
    r"metrics: expected a list of metrics; received {'a': 'mse'}": {"metrics": {"a": "mse"}},
    r"metrics: expected names, functions .*; received None": {"metrics": [None]},
    r"metrics: expected names, functions .*; received \['mae'\]": {"metrics": ["mse", ["mae"]]},
    r"weighted_metrics: pass them as metrics": {"weighted_metrics": ["mse"]},
    r"loss_weights: VAE weighs its own terms, reconstruction, kl; received \[1\.0\]": {"loss_weights": [1.0]},
}


@pytest.mark.parametrize("message", WRONG_METRICS)
def test_what_are_no_metrics_is_refused_in_compile(message):
    with pytest.raises(ValueError, match=message):
        vae().compile("adam", **WRONG_METRICS[message])


def test_metrics_need_something_to_compare():
    model = ka.LatentModel(decoder=dense(6, 2), prior="normal")
    with pytest.raises(ValueError, match="metrics: LatentModel makes no predictions to compare"):
        model.prediction(tf.constant(X), None)


def test_arguments_of_keras_export(tmp_path):
    model = vae()
    model.export(tmp_path / "a", format="tf_saved_model", verbose=False)
    assert (tmp_path / "a" / "saved_model.pb").exists()
    with pytest.raises(ValueError, match="format: expected 'tf_saved_model'; received 'onnx'"):
        model.export(tmp_path / "b", format="onnx")
    with pytest.raises(ValueError, match="input_signature: each endpoint has its own"):
        model.export(tmp_path / "b", input_signature=[tf.TensorSpec([None, 6])])


def test_fit_before_compile_raises():
    with pytest.raises(ValueError, match="compile"):
        vae().fit(X)
