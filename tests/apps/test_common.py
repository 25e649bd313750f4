import importlib.metadata
import json
import os
import re
import sys

import keras
import numpy as np
import pytest

import keras_ae as ka
from apps import common
from keras_ae import plots
from keras_ae.utils.extras import EXTRAS
from tests import full_disk


@pytest.fixture
def model():
    encoder = ka.networks.mlp_encoder((2, 2, 1), latent_dim=2, hidden=(), parameters=2)
    decoder = ka.networks.mlp_decoder(latent_dim=2, output_shape=(2, 2, 1), hidden=())
    vae = ka.VAE(encoder, decoder, seed=0)
    vae.compile("adam", steps_per_execution=1, jit_compile=False)
    return vae


@pytest.fixture
def x(rng):
    return rng.random((20, 2, 2, 1)).astype("float32")


class _Stop(keras.callbacks.Callback):
    """Raises at the end of an epoch, as a signal or a kill would; records the epochs that began."""

    def __init__(self, epoch=None, error=None):
        super().__init__()
        self.epoch, self.error, self.begun = epoch, error, []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(epoch)
        if epoch == self.epoch:
            raise self.error


def _fit(model, x, **kwargs):
    budget = common.TimeBudget(kwargs.pop("max_minutes", None))
    return common.fit(model, x, batch_size=10, verbose=0, budget=budget, **kwargs)


def test_time_budget_stops_at_the_end_of_a_batch(model, x):
    _fit(model, x, epochs=50, max_minutes=0.0)
    assert int(model.optimizer.iterations) == 1


def test_without_a_budget_all_epochs_run(model, x):
    assert _fit(model, x, epochs=3) > 0.0
    assert int(model.optimizer.iterations) == 6


def test_an_interrupted_fit_keeps_the_weights_so_far(model, x, capsys):
    _fit(model, x, epochs=50, callbacks=[_Stop(2, KeyboardInterrupt())])
    assert int(model.optimizer.iterations) == 4
    assert "interrupted" in capsys.readouterr().err


def test_an_interrupted_fit_restores_the_best_weights(model, x):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_loss"] = float(epoch)
            if epoch == 0:
                self.best = [w.copy() for w in self.model.get_weights()]

    worse = Worse()
    early = keras.callbacks.EarlyStopping(patience=99, restore_best_weights=True)
    _fit(model, x, epochs=9, callbacks=[worse, early, _Stop(3, KeyboardInterrupt())])
    for a, b in zip(model.get_weights(), worse.best, strict=True):
        np.testing.assert_array_equal(a, b)


def test_report_is_the_last_line_and_the_file(tmp_path, capsys):
    figures = {"a": np.float32(1.5), "b": np.arange(2), "path": tmp_path, "bad": [float("nan")]}
    common.report(figures, tmp_path)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == {"a": 1.5, "b": [0, 1], "path": str(tmp_path), "bad": [None]}
    assert json.loads((tmp_path / "report.json").read_text()) == printed
    assert os.listdir(tmp_path) == ["report.json"]


def test_the_rate_falls_to_zero_by_the_end_of_the_steps_or_of_the_budget(monkeypatch):
    networks = ka.networks.WaveformGenerator((2,), 3), ka.networks.waveform_critic(8, (2,), 3)
    model = ka.SEGAN(*networks)
    model.compile("sgd")
    model.relative_rates = {"critic": 0.5}
    for minutes, steps, expected in ((0.0, 50, 0.5), (0.0, 100, 0.0), (15.0, 50, 0.146447), (21.0, 50, 0.0)):
        decay = common.CosineDecay(1.0, 100, 20.0)
        decay.set_model(model)
        monkeypatch.setattr(decay, "_minutes", lambda minutes=minutes: minutes)
        model.optimizer.iterations.assign(steps)
        decay.on_train_batch_begin(0)
        for player, factor in (("critic", 0.5), ("generator", 1.0)):
            rate = float(model.optimizers[player].learning_rate)
            assert rate == pytest.approx(factor * expected, abs=1e-6)
    decay = common.CosineDecay(1.0, 10**9, None, warm_up=4)
    decay.set_model(model)
    for step, expected in ((0, 0.25), (3, 1.0), (4, 1.0)):
        model.optimizer.iterations.assign(step)
        decay.on_train_batch_begin(0)
        assert float(model.optimizer.learning_rate) == pytest.approx(expected)


def test_a_progress_line_ends_with_the_epochs_or_with_the_time(model, x, capsys):
    budget = common.TimeBudget(None)
    common.fit(model, x, batch_size=10, epochs=2, budget=budget)
    lines = capsys.readouterr().err.split("\r")
    assert re.fullmatch(r"Epoch 2 of 2 100% \|\S+\| 00:00 left, loss [\d.]+\s*", lines[-1]), lines
    common.fit(model, x, batch_size=10, epochs=50, budget=common.TimeBudget(0.0))
    assert "Epoch 1 of 50 100%" in capsys.readouterr().err


def test_a_missing_module_names_its_extra(monkeypatch):
    common.require("numpy", "keras")
    for name in ("faiss", "soxr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        common.UserError, match=r'faiss and soxr.*are not.*"keras_ae\[apps,audio\]".* -e "\.\[apps,audio\]"'
    ):
        common.require("numpy", "faiss", "soxr")


def test_every_extra_brings_its_modules():
    packages = importlib.metadata.packages_distributions()
    required = importlib.metadata.requires("keras_ae")
    for module, extra in EXTRAS.items():
        names = {name.lower() for name in packages[module]}
        brought = {re.match(r"[\w.-]+", each)[0].lower() for each in required if f'extra == "{extra}"' in each}
        assert names & brought, module


def test_errors_of_users_become_one_line():
    with pytest.raises(common.UserError, match=r"^first second$"), common.user_input():
        raise ValueError("first\n  second")


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(common.UserError, match="file"):
        common.writable(tmp_path / "file" / "folder")


def test_a_figure_that_cannot_be_written_is_named(tmp_path):
    figure = plots.image_grid(np.zeros((1, 2, 2, 1)))
    common.save_figure(figure, tmp_path / "grid.png")
    before = (tmp_path / "grid.png").read_bytes()
    with full_disk.when_written("grid.png"), pytest.raises(OSError, match=r"Free some space.*grid\.png'"):
        common.save_figure(figure, tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "grid.png"] and (tmp_path / "grid.png").read_bytes() == before
