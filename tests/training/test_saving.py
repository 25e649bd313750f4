"""Files of models, and what optimizers carry through them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka

D = 6
X = (np.random.default_rng(0).random((24, D)) > 0.5).astype("float32")


def dense(units, inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])


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


def test_the_policy_float16_logs_finite_numbers():
    keras.config.set_dtype_policy("float16")
    try:
        x = np.tile(X, (200, 1))
        model = ka.Autoencoder(dense(2, D), dense(D, 2), seed=0)
        model.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
        logs = model.evaluate(x, batch_size=24, return_dict=True, verbose=0)
        history = model.fit(x[:48], verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(list(logs.values())).all() and np.isfinite(history["loss"]).all()


def test_numpy_numbers_are_arguments(tmp_path):
    model = ka.VAE(dense(4, D), dense(D, 2), beta=np.float32(2), num_samples=np.int64(2), seed=np.int64(3))
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").num_samples == 2
