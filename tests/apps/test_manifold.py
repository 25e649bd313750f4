import contextlib
import functools
import io
import json
import math
import pathlib

import keras
import matplotlib.image
import numpy as np
import pytest
from PIL import Image
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

import keras_ae as ka
from apps import common
from apps.manifold import evaluate, methods, settings
from apps.manifold.run import Data, run
from keras_ae.evaluation import manifold

TINY = {"hidden": (8,), "epochs": 1}
POINTS, K = 150, 5


def _manifold(folder, patch, **flags):
    """Runs the app with tiny settings; returns its report and what it printed."""
    defaults = {"dataset": "digits", "data": None, "points": POINTS, "neighbours": K, "max_minutes": None}
    defaults |= {"output": folder, "seed": 0, "checkpoint_dir": None}
    for each in (settings.SETTINGS, settings.OTHER):
        for key, value in TINY.items():
            patch.setitem(each, key, value)
    for cls in (ka.Autoencoder, ka.DenoisingAutoencoder, ka.VAE):
        patch.setattr(cls, "compile", functools.partialmethod(cls.compile, run_eagerly=True))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run(**defaults | flags)
    return json.loads((pathlib.Path(folder) / "report.json").read_text()), printed.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifold")
    with pytest.MonkeyPatch.context() as patch:
        report, printed = _manifold(folder, patch)
    return folder, report, printed


def test_the_last_line_is_the_report_and_the_table_precedes_it(done):
    folder, report, printed = done
    assert json.loads(printed.splitlines()[-1]) == report
    assert report["points"] == report["new_points"] == POINTS and report["neighbours"] == K
    table = (folder / "table.md").read_text()
    assert table in printed and report["table"] == str(folder / "table.md")
    assert table.count("\n") == 2 + len(report["methods"])


def test_all_methods_are_measured_on_the_same_points(done):
    report = done[1]
    epsilon = next(name for name in report["methods"] if name.startswith("Isomap, epsilon"))
    assert list(report["methods"]) == [
        "PCA",
        "LDA",
        "t-SNE",
        "Isomap, k = 5",
        epsilon,
        "LLE, k = 5",
        "AE",
        "DAE",
        "VAE",
    ]
    for name, found in report["methods"].items():
        assert set(found) == set(evaluate.COLUMNS)
        for key in ("trustworthiness", "continuity", "knn_accuracy", "linear_probe_accuracy"):
            assert 0 <= found[key] <= 1
        assert (found["new_knn_accuracy"] is None) == (name in ("t-SNE", epsilon))
        assert (found["squared_error"] is None) == (name not in ("PCA", "AE", "DAE", "VAE"))
    # Two principal components retain neighbourhoods better than networks after one epoch.
    assert report["methods"]["PCA"]["trustworthiness"] > 0.7


def test_the_measures_are_those_of_a_principal_component_analysis(done):
    report = done[1]
    data = ka.datasets.load("digits", "train", labels=True, shuffle=True, seed=0, batch_size=POINTS)
    x, labels = ka.datasets.arrays(data.take(1))
    flat = x.reshape(len(x), -1).astype("float64")
    z = (flat - flat.mean(axis=0)) @ np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][:2].T
    found = report["methods"]["PCA"]
    assert math.isclose(found["trustworthiness"], manifold.trustworthiness(x, z, K), abs_tol=1e-6)
    assert math.isclose(found["knn_accuracy"], manifold.knn_accuracy(z, labels, k=K), abs_tol=1e-6)
    data = ka.datasets.load("digits", "test", labels=True, shuffle=True, seed=0, batch_size=POINTS)
    new, new_labels = ka.datasets.arrays(data.take(1))
    pca = PCA(2).fit(flat)
    placed = pca.transform(new.reshape(len(new), -1))
    expected = manifold.knn_accuracy(z, labels, placed * np.sign((pca.transform(flat) * z).sum(0)), new_labels, K)
    assert math.isclose(found["new_knn_accuracy"], expected, abs_tol=1e-6)
    error = manifold.reconstruction_error(new, pca.inverse_transform(placed).reshape(new.shape))
    assert math.isclose(found["squared_error"], error, rel_tol=1e-5)


def test_the_figures_are_not_blank(done):
    folder, report, _ = done
    assert set(report["figures"]) == {"embeddings", "latent_walk"}
    for path in report["figures"].values():
        assert pathlib.Path(path).parent == folder
        assert matplotlib.image.imread(path)[..., :3].var() > 1e-3


class Blend:
    """A model whose walks are blends of pixels."""

    def interpolate(self, x1, x2, steps):
        t = np.linspace(0, 1, steps)[:, None, None, None]
        return (1 - t) * x1[:, None] + t * x2[:, None]


def test_middles_are_compared_with_the_blend(done, rng):
    middles = done[1]["middles"]
    assert set(middles) == {"AE", "DAE", "VAE", "pixel blend", "an image"} and min(middles.values()) > 0
    x = rng.random((9, 2, 2, 1))
    middles = evaluate.middles({"blend": Blend()}, Data(x, None, x, None), seed=0)
    assert math.isclose(middles["blend"], middles["pixel blend"]) and middles["blend"] > 0 == middles["an image"]


def test_the_walk_ends_in_another_class(rng):
    x = rng.random((4, 2, 2, 1))
    for labels, last in ((np.array([3, 3, 5, 7]), 2), (np.array([3, 3, 3, 3]), 3), (None, 3)):
        np.testing.assert_array_equal(evaluate.ends(Data(x, labels, x, labels)), x[[0, last]])


def test_a_folder_without_labels_has_no_supervised_measures(tmp_path, monkeypatch, rng):
    for i in range(60):
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.setitem(settings.OTHER, "size", (6, 6))
    monkeypatch.setattr(methods, "NETWORKS", ("VAE",))
    report, _ = _manifold(
        tmp_path / "out", monkeypatch, dataset=str(tmp_path / "photos"), neighbours=3, max_minutes=0.0
    )
    assert "LDA" not in report["methods"]
    assert all(found["knn_accuracy"] is None for found in report["methods"].values())
    assert report["methods"]["VAE"]["squared_error"] > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"neighbours": 75}, "--neighbours: expected less than half of the 150 images; received 75"),
        ({"dataset": "mnist", "data": "/nowhere/mnist.npz"}, "/nowhere/mnist.npz"),
        ({"output": "/dev/null/manifold"}, "/dev/null"),
    ],
)
def test_errors_of_users_are_one_line(tmp_path, monkeypatch, flags, message):
    with pytest.raises(common.UserError, match=message) as caught:
        _manifold(tmp_path, monkeypatch, **flags)
    assert "\n" not in str(caught.value)


def test_the_radius_is_the_smallest_that_connects_all_points(rng):
    points = rng.normal(size=(40, 3))
    points[7] = points[8]  # equal images
    radius, distances = methods.connecting_radius(points), cdist(points, points)
    assert connected_components(distances <= radius)[0] == 1
    assert connected_components(distances < radius * (1 - 1e-5))[0] == 2


def test_the_networks_are_the_same_up_to_what_they_are_named_after():
    sizes = {}
    for name in methods.NETWORKS:
        keras.utils.set_random_seed(0)
        model = methods.build(name, (4, 4, 1), settings.SETTINGS | TINY, seed=0)
        sizes[name] = model.encoder.count_params(), model.decoder.count_params()
        assert model.code_shape == (2,)
    assert sizes["AE"] == sizes["DAE"] and sizes["AE"][1] == sizes["VAE"][1]
    assert sizes["VAE"][0] - sizes["AE"][0] == (8 + 1) * 2  # the scales
