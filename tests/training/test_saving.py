"""Files of models, and the state of optimizers in them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from tests.models import players
from tests.numerics import multiplies_half_precision
from tests.reuse import reused

D = 6
X = (np.random.default_rng(0).random((24, D)) > 0.5).astype("float32")


def dense(units, inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])


@reused
def vae(optimizer="adam", **options):
    keras.utils.set_random_seed(0)
    model = ka.VAE(dense(4, D), dense(D, 2), seed=0)
    model.compile(optimizer, **{"run_eagerly": True} | options)
    return model


# Paths


@pytest.mark.parametrize("name", ["model.h5", "model", "model.weights.h5"])
def test_other_formats_than_keras_are_refused(name, tmp_path):
    model = vae()
    with pytest.raises(ValueError, match=r"ends in \.keras"):
        model.save(tmp_path / name)
    with pytest.raises(ValueError, match=r"ends in \.keras"):
        model.fit(X, callbacks=[keras.callbacks.ModelCheckpoint(str(tmp_path / "model.h5"))], verbose=0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"ends in \.weights\.h5"):
        model.save_weights(tmp_path / "model.keras")


def test_folders_and_shards_are_refused_in_terms_of_the_users_path(tmp_path):
    model = vae()
    with pytest.raises(ValueError, match=r"zipped: a \.keras file is always a zip archive"):
        model.save(tmp_path / "model.keras", zipped=False)
    with pytest.raises(ValueError, match="max_shard_size: weights are written to a single file"):
        model.save_weights(tmp_path / "model.weights.h5", max_shard_size=1)
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "model.keras", zipped=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("name", ["model.h5", "{epoch}.h5", "{val_loss:.2f}.hdf5"])
@pytest.mark.parametrize("options", [{"save_best_only": True}, {"save_freq": 1}], ids=["best", "each batch"])
def test_a_checkpoint_of_another_format_is_refused_before_work_is_lost(name, options, tmp_path):
    model = vae()
    checkpoint = {"filepath": str(tmp_path / name), "monitor": "val_loss"} | options
    with pytest.raises(ValueError, match=r"\.keras"):
        model.fit(X, validation_data=X, callbacks=[keras.callbacks.ModelCheckpoint(**checkpoint)], verbose=0)
    assert not list(tmp_path.iterdir()) and int(model.optimizer.iterations) == 0


def test_an_hdf5_file_of_keras_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be loaded\. Save it as \.keras"):
        keras.saving.save_model(vae(), tmp_path / "model.h5")


def own_metric(truth, prediction):
    return tf.reduce_mean(tf.abs(truth - prediction), axis=-1)


class OwnMetric(keras.metrics.MeanSquaredError):
    """Not registered."""


class OwnOptimizer(keras.optimizers.SGD):
    """Not registered."""


class OwnSchedule(keras.optimizers.schedules.ExponentialDecay):
    """Not registered."""


@keras.saving.register_keras_serializable("test_saving")
class RegisteredOptimizer(keras.optimizers.SGD):
    pass


@keras.saving.register_keras_serializable("test_saving")
def registered_metric(truth, prediction):
    return own_metric(truth, prediction)


def excluding(model):
    optimizer = adamw()
    optimizer.exclude_from_weight_decay(var_list=[model.encoder.weights[0]])
    return optimizer


UNSAVED = {
    "function": ("metrics", lambda model: {"metrics": [own_metric]}),
    "lambda": ("metrics", lambda model: {"metrics": [lambda truth, prediction: truth]}),
    "metric": ("metrics", lambda model: {"metrics": ["mse", OwnMetric(name="own")]}),
    "optimizer": ("optimizer", lambda model: {"optimizer": OwnOptimizer()}),
    "schedule": ("optimizer", lambda model: {"optimizer": keras.optimizers.SGD(OwnSchedule(0.1, 10, 0.9))}),
    "excluded variables": ("exclude_from_weight_decay", lambda model: {"optimizer": excluding(model)}),
}


@pytest.mark.parametrize("kind", UNSAVED)
def test_what_a_file_could_not_restore_is_refused_before_training(kind, tmp_path):
    name, options = UNSAVED[kind]
    model = vae()
    model.compile(**{"optimizer": "sgd", "run_eagerly": True} | options(model))
    checkpoint = [keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")]
    for write in (lambda: model.save(tmp_path / "model.keras"), lambda: model.fit(X, callbacks=checkpoint, verbose=0)):
        with pytest.raises(ValueError, match=name):
            write()
    assert not list(tmp_path.iterdir()) and int(model.optimizer.iterations) == 0
    weights = keras.callbacks.ModelCheckpoint(tmp_path / "model.weights.h5", save_weights_only=True)
    model.fit(X, callbacks=[weights], verbose=0)
    assert (tmp_path / "model.weights.h5").exists()


def test_registered_optimizers_and_metrics_are_saved(tmp_path):
    model = vae(RegisteredOptimizer(0.1), metrics=[registered_metric])
    model.fit(X, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")], verbose=0)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, RegisteredOptimizer)
    assert "registered_metric" in loaded.evaluate(X, return_dict=True, verbose=0)


def test_a_likelihood_that_a_file_could_not_restore_is_refused_before_training(tmp_path):
    keras.utils.set_random_seed(0)
    model = ka.VAE(dense(4, D), dense(D, 2), lambda params: ka.likelihoods.get("bernoulli").call(params))
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=r"likelihood=.*register_keras_serializable"):
        model.fit(X, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")], verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_checkpoints_of_weights_are_loaded(tmp_path):
    model, path = vae(), tmp_path / "best.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model.fit(X, callbacks=[checkpoint], verbose=0)
    loaded = vae()
    loaded.load_weights(path)
    np.testing.assert_array_equal(loaded.encode(X), model.encode(X))


def test_a_model_with_metrics_is_saved_with_them(tmp_path):
    model = ka.Autoencoder(dense(2, D), dense(D, 2), seed=0)
    model.compile("sgd", metrics=["mse", keras.metrics.MeanAbsoluteError()], run_eagerly=True)
    model.fit(X, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    logs = loaded.evaluate(X, return_dict=True, verbose=0)
    assert set(logs) == {"loss", "reconstruction", "mse", "mean_absolute_error"}
    assert logs == pytest.approx(model.evaluate(X, return_dict=True, verbose=0))
    assert logs["mse"] == pytest.approx(np.mean((model.reconstruct(X) - X) ** 2), rel=1e-5)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder '.*missing' to save model\.keras"):
        vae().save(tmp_path / "missing" / "model.keras")


def test_model_export_writes_the_endpoints_to_the_path_itself(tmp_path):
    model = vae()
    path = model.export(tmp_path / "served", card={"data": "none"})
    assert path == str(tmp_path / "served")
    served = tf.saved_model.load(path)
    expected = tf.saved_model.load(ka.export(model, tmp_path / "versions"))
    assert set(served.signatures) == set(expected.signatures)
    np.testing.assert_allclose(served.signatures["encode"](x=X)["z"], model.encode(X), atol=1e-5)
    assert (tmp_path / "served" / "card.json").exists()
    with pytest.raises(FileExistsError, match="exists"):
        model.export(tmp_path / "served")


def test_a_saved_model_without_endpoints_is_not_made(tmp_path):
    with pytest.raises(ValueError, match=r"model\.export\(path\)"):
        tf.saved_model.save(vae(), str(tmp_path / "saved"))


# Optimizers


def kernels(model):
    return [model.encoder.layers[0].kernel.numpy(), model.encoder.layers[0].bias.numpy()]


def decayed(model):
    """Whether a step without a gradient shrinks the encoder's kernel, and its bias."""
    model.encoder.layers[0].bias.assign(np.ones(4))
    before = kernels(model)
    optimizer = model.optimizer
    optimizer.apply([tf.zeros_like(v) for v in optimizer._trainable_variables], optimizer._trainable_variables)
    return [bool(np.abs(after - old).max() > 1e-6) for after, old in zip(kernels(model), before, strict=True)]


def adamw():
    return keras.optimizers.AdamW(0.1, weight_decay=0.1)


def test_variables_that_do_not_decay_are_copied_saved_and_restored(tmp_path):
    optimizer = adamw()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = vae(optimizer)
    assert decayed(model) == [True, False]
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert decayed(loaded) == [True, False]
    again = vae(optimizer)  # built for another model's variables: a copy
    assert again.optimizer is not optimizer and decayed(again) == [True, False]


def test_excluded_variables_themselves_are_copied_but_not_saved(tmp_path):
    keras.utils.set_random_seed(0)
    model = ka.VAE(dense(4, D), dense(D, 2), seed=0)
    optimizer = adamw()
    optimizer.exclude_from_weight_decay(var_list=[model.encoder.layers[0].bias])
    model.compile(optimizer, run_eagerly=True)
    assert decayed(model) == [True, False]
    with pytest.raises(ValueError, match=r"var_names=\["):
        model.save(tmp_path / "m.keras")


def game(optimizer, **options):
    """A model with two objectives."""
    keras.utils.set_random_seed(0)
    model = players.AAE(dense(2, D), dense(D, 2), dense(1, 2), seed=0)
    model.compile(optimizer, **{"run_eagerly": True} | options)
    return model


def without_bias():
    optimizer = adamw()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def decay_of(model):
    """`{kernel or bias: factors}` by which steps of all objectives, without gradients, multiply their variables."""
    factors = {"kernel": set(), "bias": set()}
    for name, objective in model.objectives().items():
        variables = [v for network in objective.networks for v in network.trainable_variables]
        for variable in variables:
            variable.assign(tf.ones_like(variable))
        model.optimizers[name].apply([tf.zeros_like(v) for v in variables], variables)
        for variable in variables:
            factors[variable.name] |= {round(float(value), 4) for value in np.ravel(variable)}
    return factors


# AdamW multiplies decaying variables by 1 - learning rate * weight decay.
DECAY = {"kernel": {0.99}, "bias": {1.0}}


def test_every_objective_excludes_the_same_variables_from_decay(tmp_path):
    model = game(without_bias())
    assert model.optimizers["critic"] is not model.optimizers["autoencoder"]
    model.save(tmp_path / "m.keras")
    assert decay_of(model) == DECAY
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert decay_of(loaded) == DECAY
    loaded.compile(loaded.optimizer, run_eagerly=True)
    assert decay_of(loaded) == DECAY


def test_an_optimizer_used_before_excludes_the_same_variables_from_decay():
    optimizer = without_bias()
    vae(optimizer).train_on_batch(X)
    model = game(optimizer)
    assert decay_of(model) == DECAY
    # With several objectives, and inside the loss-scaling optimizer of mixed precision.
    assert decay_of(game({"critic": optimizer, "autoencoder": optimizer})) == DECAY
    scaling = keras.optimizers.LossScaleOptimizer(without_bias(), initial_scale=1.0)
    assert decay_of(game(scaling)) == decay_of(game(scaling)) == DECAY


def test_variables_excluded_by_object_do_not_decay_in_any_objective(tmp_path):
    keras.utils.set_random_seed(0)
    model, optimizer = players.AAE(dense(2, D), dense(D, 2), dense(1, 2), seed=0), adamw()
    kept = [model.encoder.layers[0].kernel, model.critic.layers[0].bias]
    optimizer.exclude_from_weight_decay(var_list=kept)
    model.compile(optimizer, run_eagerly=True)
    decay_of(model)
    for variable in (v for network in (model.encoder, model.decoder, model.critic) for v in network.variables):
        expected = 1.0 if any(variable is each for each in kept) else 0.99
        np.testing.assert_allclose(variable, np.full(variable.shape, expected), atol=1e-6)
    with pytest.raises(ValueError, match=r"var_names=\["):
        model.save(tmp_path / "m.keras")


def test_excluded_variables_do_not_decay_after_backup_and_restore(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def run(*callbacks, optimizer=without_bias):
        model = game(optimizer())
        model.fit(X, batch_size=12, epochs=2, callbacks=callbacks, verbose=0)
        return model

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Stop())
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    for one, two in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    decaying = run(optimizer=adamw)
    assert np.abs(decaying.decoder.layers[0].bias - whole.decoder.layers[0].bias).max() > 1e-4


def test_gradients_accumulate(tmp_path):
    model = vae(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    before = model.get_weights()
    model.train_on_batch(X)
    for old, new in zip(before[:2], model.get_weights()[:2], strict=True):
        np.testing.assert_array_equal(old, new)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for each in (model, loaded):
        each.train_on_batch(X)
    assert np.abs(model.encoder.get_weights()[0] - before[0]).max() > 0
    for one, two in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert vae(keras.optimizers.Adam(gradient_accumulation_steps=3), run_eagerly=False, jit_compile=False).fit(
        X, batch_size=4, verbose=0
    )


def test_compile_uses_the_instance_itself_where_it_can():
    optimizer = keras.optimizers.Adam(0.01)
    model = vae(optimizer)
    assert model.optimizer is optimizer
    model.train_on_batch(X)
    model.compile(optimizer, run_eagerly=True)
    assert model.optimizer is optimizer
    optimizer.learning_rate = 0.5
    assert float(model.optimizer.learning_rate) == 0.5
    model.encoder.trainable = False
    model.compile(optimizer, run_eagerly=True)
    assert model.optimizer is not optimizer  # it knows the encoder's variables


@pytest.fixture
def float16():
    keras.config.set_dtype_policy("float16")
    yield
    keras.config.set_dtype_policy("float32")


@multiplies_half_precision
@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}], ids=["eager", "compiled"])
def test_the_policy_float16_logs_what_float32_does(float16, options):
    # The losses of 9,600 rows sum to more than the maximum of float16, 65,504.
    x = np.tile(X, (400, 1))
    model = ka.Autoencoder(dense(2, D), dense(D, 2), "gaussian", seed=0)
    model.compile(keras.optimizers.SGD(0.0), **options)
    z = model.encode(x[:24])
    assert z.dtype == np.float32
    mean = model.decode(z)
    right = np.mean(0.5 * np.sum((x[:24] - mean) ** 2, axis=1)) + 0.5 * D * np.log(2 * np.pi)
    assert right * len(x) > np.finfo("float16").max
    assert model.evaluate(x, batch_size=1200, verbose=0)[0] == pytest.approx(right, rel=1e-2)
    history = model.fit(x, batch_size=1200, validation_data=x, verbose=0).history
    assert history["loss"][0] == pytest.approx(right, rel=1e-2)
    assert history["val_loss"][0] == pytest.approx(right, rel=1e-2)


@multiplies_half_precision
def test_the_policy_float16_trains_a_vae(float16):
    model = ka.VAE(dense(4, D), dense(D, 2), seed=0)
    model.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
    history = model.fit(X, batch_size=12, epochs=10, verbose=0).history
    assert np.isfinite(list(history.values())).all() and history["loss"][-1] < history["loss"][0]
    assert model.posterior(X).mean().dtype == tf.float32 and np.isfinite(model.log_prob(X, num_samples=5)).all()


def test_numpy_numbers_are_arguments(tmp_path):
    model = ka.VAE(dense(4, D), dense(D, 2), beta=np.float32(2), num_samples=np.int64(2), seed=np.int64(3))
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").num_samples == 2
