"""The way of one's own data, from a folder to the report and to the use of the export."""

import contextlib
import csv
import functools
import io
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import keras_ae as ka
from apps import common
from apps.own_data import report, settings, use
from apps.own_data.run import run

TINY = {"filters": (4, 4), "latent_dims": (2, 3), "passes": 2, "batch_size": 8}


def _printed(function, *args, **options):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        function(*args, **options)
    return json.loads(printed.getvalue().splitlines()[-1])


def _train(data, folder, eager=True, **flags):
    """Trains with tiny settings; eagerly, as graphs take longer to trace than to run."""
    defaults = {"size": None, "kind": "vae", "latent_dim": "auto", "max_minutes": None, "likelihood": "auto"}
    defaults |= {"labels": None, "export_dir": f"{folder}/export", "seed": 0, "checkpoint_dir": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "STEPS_PER_EPOCH", 4)
        patch.setattr(settings, "WARM_UP", 2)
        for cls in (ka.Autoencoder, ka.CVAE) if eager else ():
            patch.setattr(cls, "compile", functools.partialmethod(cls.compile, run_eagerly=True))
        for each in (settings.PICTURES, settings.SMALL_PICTURES, settings.TABLE):
            for key, value in TINY.items():
                patch.setitem(each, key, value)
        patch.setitem(settings.TABLE, "hidden", (8,))
        return _printed(run, str(data), **defaults | flags)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of 60 blobs in two classes, and one file that is no picture."""
    root, rng = tmp_path_factory.mktemp("data") / "blobs", np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :8]
    for i in range(60):
        y, x, colour = rng.uniform(1, 6), rng.uniform(1, 6), rng.uniform(80, 250, 3)
        blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4)[..., None] * colour
        path = root / ("left" if x < 3.5 else "right") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blob.astype("uint8")).save(path)
    (root / "left" / "broken.jpg").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def done(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, _train(faces, folder, eager=False, size=8)


def test_the_report_counts_measures_and_names_what_was_left_out(done):
    folder, figures = done
    assert json.loads((folder / "report.json").read_text()) == figures
    assert figures["rows"] == 60 and figures["left_out"] == {"not an image, or damaged": 1}
    assert sum(figures["classes"].values()) == 60
    assert figures["train"] + figures["validation"] + figures["test"] == 60
    assert 0 < figures["ratio_to_pca"] < 1.3  # two passes from a start at PCA
    assert figures["latent_dim"] in (2, 3) and figures["samplers"] and figures["threshold"] > 0
    assert figures["elbo"] == pytest.approx(-(figures["reconstruction"] + figures["kl"]))
    assert figures["bits_per_dimension"] < 8
    assert not list(folder.glob(".keras_ae-*"))


def test_the_page_needs_nothing_else_and_shows_everything(done):
    folder, _ = done
    page = (folder / "report.html").read_text()
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert {"Numbers", "Training", "Reconstructions", "Samples", "Nearest training pictures", "Latent map"} <= set(
        titles
    )
    assert {"Traversals", "Interpolation", "Anomalies", "Live dimensions", "How to use the model", "Data"} <= set(
        titles
    )
    assert not re.findall(r"(?:src|href)='(?!data:)", page)  # no file and no network
    assert "not an image, or damaged (left/broken.jpg)" in page
    assert "are few. They may train a usable autoencoder" in page  # a sentence on what more pictures would bring


def test_names_of_files_cannot_change_the_page(done):
    figures = done[1] | {"worst": [{"id": "<script>.png", "row": 0, "score": 1.0}]}
    rows = type("Rows", (), {"schema": {"kind": "pictures"}, "left_out": {}, "x": np.zeros((1, 8, 8, 3), "uint8")})
    facts = {"kind": "vae", "data": "<b>", "settings": {}}
    page = report.page(figures, {}, rows, facts)
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;.png" in page


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_codes_and_scores_of_new_pictures(done, faces, tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    folder, figures = done
    output = str(tmp_path / f"codes.{suffix}")
    with pytest.raises(common.SomeFailed, match="1 not an image"):
        use.encode(f"{folder}/export", str(faces), output, None)
    if suffix == "npz":
        file = np.load(output)
        ids, z, error = file["id"].tolist(), file["z"], file["squared_error"]
    else:
        import pandas

        table = pandas.read_csv(output) if suffix == "csv" else pandas.read_parquet(output)
        ids, z = table["id"].tolist(), table[[f"z{i + 1}" for i in range(figures["latent_dim"])]].to_numpy()
        error = table["squared_error"]
    assert len(ids) == 60 and "left/broken.jpg" not in ids and z.shape == (60, figures["latent_dim"])
    worst = figures["worst"][0]
    assert error[ids.index(worst["id"])] == pytest.approx(worst["score"], rel=1e-4)


def test_scores_reconstructions_and_samples_of_the_export(done, faces, tmp_path):
    folder, figures = done
    model, data = f"{folder}/export", str(faces / "right")
    found = _printed(use.score, model, data, str(tmp_path / "s.csv"), None, True, figures["threshold"])
    with open(tmp_path / "s.csv") as file:
        lines = list(csv.DictReader(file))
    assert found["rows"] == len(lines) and found["anomalous"] == sum(int(line["anomalous"]) for line in lines)
    assert found["worst"][0]["squared_error"] == pytest.approx(max(float(line["squared_error"]) for line in lines))
    assert all(np.isfinite(float(line["log_prob"])) for line in lines)
    made = _printed(use.reconstruct, model, data, str(tmp_path / "r.npz"), None)
    assert np.load(tmp_path / "r.npz")["x"].shape == (made["rows"], 8, 8, 3)
    drawn = _printed(use.sample, model, 5, str(tmp_path / "x.npz"), None, 3)
    again = _printed(use.sample, model, 2, str(tmp_path / "y.npz"), None, 5)
    x, y = (np.load(tmp_path / name)["x"] for name in ("x.npz", "y.npz"))
    np.testing.assert_allclose(x[2:4], y, atol=1e-5)  # a picture depends on its seed only
    assert pathlib.Path(drawn["picture"]).exists() and again["samples"] == 2


def test_a_conditional_model_learns_the_sub_folders(faces, tmp_path):
    figures = _train(faces, tmp_path, size=8, kind="cvae", latent_dim="2")
    assert figures["latent_dim"] == 2 and figures["samplers"] == {} and figures["test_squared_error"] > 0
    found = _printed(use.sample, f"{tmp_path}/export", 3, str(tmp_path / "x.npz"), "right", 0)
    assert found["endpoint"] == "sample" and np.load(tmp_path / "x.npz")["x"].shape == (3, 8, 8, 3)


def test_a_table_gives_scores_that_find_what_is_odd(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(150, 2))
    x = z @ rng.normal(size=(2, 6)) + 0.01 * rng.normal(size=(150, 6))
    np.savez(tmp_path / "t.npz", x=x)
    figures = _train(tmp_path / "t.npz", tmp_path, kind="autoencoder", latent_dim="2")
    assert figures["elbo"] is None and figures["samplers"]
    odd = x.copy()
    odd[7] += [9, -9, 9, -9, 9, -9]
    np.savez(tmp_path / "odd.npz", x=odd)
    found = _printed(
        use.score, f"{tmp_path}/export", str(tmp_path / "odd.npz"), str(tmp_path / "s.csv"), None, False, None
    )
    assert found["worst"][0]["id"] == "7"


def test_windows_of_a_series(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "SERIES", settings.SERIES | {"filters": (4,), "hidden": (8,), "passes": 2})
    np.save(tmp_path / "s.npy", np.sin(np.arange(600) / 3) + 0.1 * np.random.default_rng(0).normal(size=600))
    figures = _train(tmp_path / "s.npy", tmp_path, kind="autoencoder", size=16, latent_dim="2")
    page = (tmp_path / "report.html").read_text()
    assert figures["rows"] > 60 and "<h2>Anomalies</h2>" in page and "float32 (B, 16, 1)" in page


def test_an_export_of_another_app_encodes_a_folder(faces, tmp_path):
    x = np.zeros((20, 8, 8, 1), "float32")
    model = ka.Autoencoder(ka.networks.mlp_encoder((8, 8, 1), 2, (4,)), ka.networks.mlp_decoder(2, (8, 8, 1), (4,)))
    model.compile("adam", run_eagerly=True)
    model.fit(x, epochs=1, verbose=0)
    ka.export(model, tmp_path / "export")
    found = _printed(use.encode, str(tmp_path / "export"), str(faces / "right"), str(tmp_path / "c.npz"), None)
    assert np.load(tmp_path / "c.npz")["z"].shape == (found["rows"], 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"latent_dim": "many"}, "--latent_dim: expected auto or a whole number"),
        ({"latent_dim": "1000", "size": 8}, "--latent_dim: expected at most"),
        ({"kind": "cvae", "size": 8, "data": "left"}, "--kind=cvae needs labels"),
    ],
)
def test_flags_that_do_not_fit_end_with_one_sentence(faces, tmp_path, flags, message):
    data = faces / flags.pop("data", ".")
    with pytest.raises(common.UserError, match=message):
        _train(data, tmp_path, **flags)


def test_no_data_and_no_model_say_what_to_give(tmp_path):
    with pytest.raises(common.UserError, match="--data: expected a folder of pictures"):
        _train("", tmp_path)
    with pytest.raises(common.UserError, match="--model: expected an export folder"):
        use.sample(None, 1, str(tmp_path / "x.npz"), None, 0)
    with pytest.raises(common.UserError, match="--output: expected a name that ends in"):
        use.sample(None, 1, "x.doc", None, 0)
