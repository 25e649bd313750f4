"""Learning rates of players, rows that a batch needs, and the callback that draws codes."""

import keras
import numpy as np
import pytest

import keras_ae as ka

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")


def aae(**kwargs):
    encoder, decoder = ka.networks.mlp_encoder((3,), 2, (8,)), ka.networks.mlp_decoder(2, (3,), (8,))
    return ka.AAE(encoder, decoder, ka.networks.code_critic(2, (8,)), "gaussian", seed=0, **kwargs)


def rates(model, step=0):
    found = {name: optimizer._learning_rate for name, optimizer in model.optimizers.items()}
    return {name: float(each(step) if callable(each) else each.numpy()) for name, each in found.items()}


def test_each_player_has_its_own_rate():
    model = aae()
    for optimizer in ("adam", keras.optimizers.Adam(1e-3)):
        model.compile(optimizer, run_eagerly=True)
        assert rates(model) == pytest.approx({"critic": 5e-4, "generator": 1e-3, "autoencoder": 1e-3})
    own = {"critic": keras.optimizers.SGD(0.3), "generator": "sgd", "autoencoder": "adam"}
    model.compile(own, run_eagerly=True)
    assert rates(model) == pytest.approx({"critic": 0.3, "generator": 0.01, "autoencoder": 1e-3})
    with pytest.raises(ValueError, match=r"expects one optimizer for each.*'critic', 'generator', 'autoencoder'"):
        model.compile({"critic": "adam", "encoder": "adam"})


def test_schedules_are_scaled_and_saved(tmp_path):
    model = aae()
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)), run_eagerly=True)
    for step in (0, 10):
        found = rates(model, step)
        assert found["critic"] == pytest.approx(0.5 * found["generator"]) and found["generator"] > 0
    model.train_on_batch(X)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert rates(loaded, 7) == pytest.approx(rates(model, 7))


def test_a_batch_needs_rows_to_compare():
    encoder, decoder = ka.networks.mlp_encoder((3,), 2, (8,)), ka.networks.mlp_decoder(2, (3,), (8,))
    wae = ka.WAE(encoder, decoder, seed=0)
    wae.compile("sgd", run_eagerly=True)
    for use in (lambda: wae.fit(X, batch_size=1, verbose=0), lambda: wae.train_on_batch(X[:1])):
        with pytest.raises(ValueError, match="batches of 2 rows or more; received 1"):
            use()
    # A last batch of one row has no pairs of codes, but still a distance from the prior.
    logs = wae.fit(X[:9], batch_size=4, verbose=0).history
    assert np.isfinite(logs["mmd"]).all()
    ka.WAE(encoder, decoder, ka.networks.code_critic(2, (8,))).compile("sgd")


def test_a_nan_names_the_player_and_keeps_the_weights():
    model = aae()
    still = keras.optimizers.SGD(0.0)
    model.compile({"critic": keras.optimizers.SGD(1e30), "generator": still, "autoencoder": "sgd"}, run_eagerly=True)
    with pytest.raises(FloatingPointError, match=r"at step \d+ of AAE: .*of objective (critic|generator)"):
        model.fit(X, batch_size=8, epochs=5, verbose=0)
    assert np.isfinite(model.encode(X)).all()


def test_codes_are_drawn_after_each_epoch(tmp_path):
    pytest.importorskip("matplotlib")
    model = aae()
    model.compile("adam", run_eagerly=True)
    callback = ka.callbacks.CodesAgainstPrior(
        X, np.arange(24) % 3, directory=tmp_path / "png", log_dir=tmp_path / "logs", every=2
    )
    model.fit(X, epochs=4, verbose=0, callbacks=[callback])
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == ["codes_0002.png", "codes_0004.png"]
    assert (tmp_path / "png/codes_0004.png").read_bytes()[:4] == b"\x89PNG"
    (events,) = (tmp_path / "logs").iterdir()
    assert events.read_bytes().count(b"codes") == 2
    with pytest.raises(ValueError, match="at least one of them"):
        ka.callbacks.CodesAgainstPrior(X)
    plain = ka.Autoencoder(model.encoder, model.decoder)
    plain.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match="an encoder of x alone and a prior; received Autoencoder"):
        plain.fit(X, verbose=0, callbacks=[callback])


def test_instance_noise_decays():
    model = aae(instance_noise=0.5)
    model.compile("adam", run_eagerly=True)
    assert model.instance_noise == 0.5
    annealing = ka.callbacks.Annealing(4, 0.5, 0.1, weight="instance_noise")
    model.fit(X, batch_size=12, epochs=1, verbose=0, callbacks=[annealing])
    assert model.instance_noise == pytest.approx(0.1)
    with pytest.raises(ValueError, match="instance_noise: this model has no instance_noise"):
        aae().instance_noise = 0.1


def test_spectral_normalization_bounds_the_critic():
    keras.utils.set_random_seed(0)
    critic = ka.networks.code_critic(2, (16, 16), spectral_normalization=True)
    model = ka.AAE(*(getattr(aae(), name) for name in ("encoder", "decoder")), critic, "gaussian", seed=0)
    model.compile({"critic": keras.optimizers.Adam(1e-3), "generator": "sgd", "autoencoder": "sgd"}, run_eagerly=True)
    model.fit(X, batch_size=8, epochs=12, verbose=0)
    kernels = [v.numpy() for v in critic.trainable_variables if v.name == "kernel"]
    assert len(kernels) == 3
    for kernel in kernels:  # a step of Adam moves each entry by about 1e-3 after the rescaling
        assert np.linalg.svd(kernel, compute_uv=False)[0] == pytest.approx(1, abs=0.05)
    z = np.random.default_rng(0).normal(size=(500, 2, 2)).astype("float32")
    change = np.abs(critic(z[:, 0]) - critic(z[:, 1]))[:, 0]
    assert (change <= 1.15 * np.linalg.norm(z[:, 0] - z[:, 1], axis=1)).all()
