import contextlib
import functools
import io
import itertools
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_ae as ka
from apps import checkpoints, common
from apps.quickstart import evaluate, settings, train
from apps.quickstart.run import run

ROOT = pathlib.Path(__file__).parents[2]
TINY = {"hidden": (16,), "epochs": 2, "nll_samples": 8, "filters": (4,)}
LIKELIHOOD = ("elbo", "reconstruction", "kl", "test_nll", "test_nll_standard_error", "nll_samples")


def _quickstart(folder, patch, **flags):
    """Runs the quickstart with tiny settings; returns its report and what it printed."""
    defaults = {"dataset": "digits", "data": None, "kind": "vae", "latent_dim": 0, "max_minutes": None}
    defaults |= {"export_dir": f"{folder}/export", "seed": 0, "strategy": "default", "checkpoint_dir": None}
    for each in (settings.DIGITS, settings.OTHER):
        for key, value in TINY.items():
            patch.setitem(each, key, value)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run(**defaults | flags)
    return json.loads((pathlib.Path(folder) / "report.json").read_text()), printed.getvalue()


def compiled(patch, **options):
    """Compiles models with other options than `done`, because compiling with XLA takes longer than two epochs."""
    for cls in (ka.VAE, ka.Autoencoder):
        patch.setattr(cls, "compile", functools.partialmethod(cls.compile, **options))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    with pytest.MonkeyPatch.context() as patch:
        report, printed = _quickstart(folder, patch)
    return folder, report, printed


def test_the_last_line_is_the_report(done):
    _, report, printed = done
    assert json.loads(printed.splitlines()[-1]) == report
    assert report["dataset"] == "digits" and report["kind"] == "vae" and report["seed"] == 0
    assert report["latent_dim"] == settings.DIGITS["latent_dim"] and report["epochs"] == 2.0
    assert report["test_images"] == report["nll_images"] == 297 and report["nll_samples"] == 8
    assert {"train_seconds", "seconds"} <= set(report)


def test_the_numbers_are_consistent(done):
    report = done[1]
    assert math.isclose(report["elbo"], -(report["reconstruction"] + report["kl"]))
    # The importance-weighted bound of 8 samples is tighter by much more than the noise of both.
    assert report["test_nll"] < -report["elbo"]
    assert 0 < report["test_nll_standard_error"] < 1
    assert 0 <= report["active_units"] <= report["latent_dim"]
    x, test = (ka.datasets.arrays(ka.datasets.load("digits", split, shuffle=False)) for split in ("train", "test"))
    # PCA by its definition: the projection on the leading singular vectors of the centred training images.
    mean = x.reshape(len(x), -1).mean(axis=0)
    axes = np.linalg.svd(x.reshape(len(x), -1) - mean, full_matrices=False)[2][: report["latent_dim"]]
    rest = test.reshape(len(test), -1) - mean
    rest = rest - rest @ axes.T @ axes
    assert math.isclose(report["pca_squared_error"], np.mean(np.sum(rest**2, axis=1)), rel_tol=1e-4)


def test_the_figures_are_not_blank(done):
    folder, report, _ = done
    names = {"reconstructions", "samples", "latent_scatter", "latent_grid"}
    assert set(report["figures"]) == names
    for path in report["figures"].values():
        assert pathlib.Path(path).parent == folder
        assert matplotlib.image.imread(path)[..., :3].var() > 1e-3


def test_the_export_serves_the_model_and_has_a_card(done):
    _, report, _ = done
    assert report["export_max_error"] < 1e-5
    card = json.loads((pathlib.Path(report["export"]) / "card.json").read_text())
    assert card["data"] == "digits" and "CC BY" in card["licence"] and card["seed"] == 0
    assert card["command"].startswith("python")
    assert card["numbers"]["test_nll"] == report["test_nll"]


def test_an_autoencoder_on_mirrored_devices_without_time_still_exports(tmp_path, monkeypatch):
    flags = {"kind": "autoencoder", "latent_dim": 2, "max_minutes": 0.0, "strategy": "mirrored"}
    flags["checkpoint_dir"] = str(tmp_path / "checkpoints")
    report, _ = _quickstart(tmp_path, monkeypatch, **flags)
    assert all(report[key] is None for key in LIKELIHOOD)
    assert "density" in report["note"]
    assert report["epochs"] <= 1.0  # of 2: the number of batches in one execution
    assert report["export_max_error"] < 1e-5 and pathlib.Path(report["export"]).is_dir()
    assert "samples" not in report["figures"] and "latent_grid" in report["figures"]


def test_training_that_ran_out_of_time_resumes_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    chosen = settings.DIGITS | TINY
    data = train.load("digits", None, "vae", 0, chosen)
    flags = {"seed": 0, "strategy": tf.distribute.get_strategy()}
    compiled(monkeypatch, jit_compile=False)
    with checkpoints.opened(tmp_path, "quickstart", {}, 0.0) as checkpoint:
        first, _ = train.train("vae", data, 2, chosen, max_minutes=0.0, checkpoint=checkpoint, **flags)
        checkpoint.done()
    assert int(first.optimizer.iterations) == data.batches and os.listdir(tmp_path) == ["quickstart"]
    capsys.readouterr()
    compiled(monkeypatch, run_eagerly=True)
    with checkpoints.opened(tmp_path, "quickstart", {}, None) as checkpoint:
        second, _ = train.train("vae", data, 2, chosen, checkpoint=checkpoint, **flags)
        checkpoint.done()
    printed = capsys.readouterr().err
    assert int(second.optimizer.iterations) == 2 * data.batches
    assert "Epoch 2 of 2" in printed and "Epoch 1 of 2" not in printed
    assert "Resuming with no --max_minutes; the run was started with --max_minutes=0." in printed
    assert os.listdir(tmp_path / "quickstart") == []


def test_a_folder_of_photographs_takes_the_general_settings(tmp_path, monkeypatch, rng):
    (tmp_path / "photos").mkdir()
    for i in range(60):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    compiled(monkeypatch, run_eagerly=True)
    report, _ = _quickstart(tmp_path, monkeypatch, dataset=str(tmp_path / "photos"), latent_dim=3)
    assert report["test_nll"] > 0 and report["latent_dim"] == 3
    assert matplotlib.image.imread(report["figures"]["samples"])[..., :3].var() > 1e-3


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"dataset": "mnist", "data": "/nowhere/mnist.npz"}, "/nowhere/mnist.npz"),
        ({"dataset": "no_such_data"}, "no_such_data"),
        ({"latent_dim": 65}, "at most 64"),
        ({"export_dir": "/dev/null/export"}, "/dev/null"),
    ],
)
def test_errors_of_users_are_one_line(tmp_path, monkeypatch, flags, message):
    with pytest.raises(common.UserError, match=message) as caught:
        _quickstart(tmp_path, monkeypatch, **flags)
    assert "\n" not in str(caught.value)


def test_the_program_ends_with_one_line_and_a_code(tmp_path):
    command = [sys.executable, "-m", "apps.quickstart", f"--export_dir={tmp_path}/export"]
    ended = subprocess.run([*command, "--data=/nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stdout == ""
    # And nothing else, such as TensorFlow's start-up lines.
    assert re.fullmatch(r"error: `data` must be None for 'digits'.*\n", ended.stderr), ended.stderr


def test_the_numbers_are_on_the_disk_before_anything_is_drawn(tmp_path, monkeypatch):
    def fails(*args):
        raise OSError("disk full")

    monkeypatch.setattr(evaluate, "draw", fails)
    compiled(monkeypatch, run_eagerly=True)
    with pytest.raises(common.UserError, match="disk full"):
        _quickstart(tmp_path, monkeypatch)
    assert np.isfinite(json.loads((tmp_path / "report.json").read_text())["test_nll"])


def test_a_missing_extra_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(common.UserError, match=r'matplotlib.*pip install "keras_ae\[apps\]"'):
        _quickstart(tmp_path, monkeypatch)
    assert not os.listdir(tmp_path)


def test_networks_have_the_sizes_of_the_settings():
    model = train.build("vae", (28, 28, 1), 50, settings.MNIST, seed=0)
    first, second = settings.MNIST["hidden"]
    dense = [784, first, second, 100], [50, second, first, 784]
    expected = sum(a * b + b for sizes in dense for a, b in itertools.pairwise(sizes))
    assert model.encoder.count_params() + model.decoder.count_params() == expected


@pytest.mark.parametrize("kind", ["vae", "autoencoder"])
@pytest.mark.parametrize("chosen", [settings.DIGITS, settings.OTHER], ids=["mlp", "conv"])
def test_an_untrained_model_draws_the_mean(kind, chosen, rng):
    images = rng.uniform(0.1, 0.7, (50, 8, 8, 3)).astype("float32")
    model = train.build(kind, (8, 8, 3), 2, chosen, seed=0)
    train.start_at_mean(model, images)
    # For a code of zeros, the output is the output layer's bias, because all other biases are zero.
    drawn = model.decode(np.zeros((1, 2), "float32"))[0]
    expected = images.mean(axis=0) if chosen["network"] == "mlp" else images.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, drawn.shape), rtol=1e-5)


def _independent_vae(probability):
    """A VAE with q(z|x) = p(z) and p(x|z) = p(x), pixels Bernoulli(probability): bound and likelihood coincide."""
    model = train.build("vae", (2, 2, 1), 2, settings.DIGITS, seed=0)
    for network in (model.encoder, model.decoder):
        network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    # softplus(log(e - 1)) = 1
    model.encoder.layers[-1].bias.assign([0.0, 0.0] + [math.log(math.e - 1)] * 2)
    train.start_at_mean(model, np.full((1, 2, 2, 1), probability, "float32"))
    return model


def test_bound_and_likelihood_of_independent_pixels(rng):
    x = (rng.random((70, 2, 2, 1)) < 0.5).astype("float32")
    on = x.sum(axis=(1, 2, 3), dtype="float64")
    exact = -(on * math.log(0.3) + (4 - on) * math.log(0.7))
    vae = _independent_vae(0.3)
    bound = evaluate.bound(vae, x, seed=0)
    assert math.isclose(bound["reconstruction"], exact.mean(), rel_tol=1e-5)
    assert abs(bound["kl"]) < 1e-5
    figures = evaluate.likelihood(vae, x, num_samples=10, seed=0)
    assert math.isclose(figures["test_nll"], exact.mean(), rel_tol=1e-5)
    assert math.isclose(figures["test_nll_standard_error"], exact.std(ddof=1) / math.sqrt(70), rel_tol=1e-4)


def test_an_interrupted_likelihood_reports_what_is_done(capsys):
    class Slow:
        calls = 0

        def log_prob(self, x, **options):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return np.arange(len(x), dtype="float32")

    figures = evaluate.likelihood(Slow(), np.zeros((120, 1)), num_samples=7, seed=0)
    assert figures["nll_images"] == 50 and figures["test_nll"] == -24.5
    assert "will take about" in capsys.readouterr().err
