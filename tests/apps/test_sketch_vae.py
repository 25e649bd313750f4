"""The user's path: from files of drawings to a served model, figures, and drawings as SVG and PNG."""

import functools
import json
import pathlib
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from apps import common
from apps.sketch_vae import draw, evaluate, measures, served, settings, train
from keras_ae import serving
from keras_ae.datasets import sketches, svg
from keras_ae.distributions import strokes

for library in ("defusedxml", "fontTools", "matplotlib"):
    pytest.importorskip(library)

TINY = {"units": 8, "encoder_units": 4, "latent_dim": 3, "mixtures": 2, "batch_size": 8, "epochs": 2, "kl_rate": 0.9}
LONGEST = 6


def drawings(count, seed=0):
    rng = np.random.default_rng(seed)
    made = np.empty(count, object)
    made[:] = [
        np.append(rng.integers(-9, 9, (n, 2)), np.arange(1, n + 1)[:, None] == n, axis=1).astype("int16")
        for n in 2 + np.arange(count) % (LONGEST - 1)
    ]
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "shapes.npz"
    np.savez(path, train=drawings(20), valid=drawings(6, 1), test=drawings(10, 2))
    return str(path)


def trained(data, folder, **flags):
    options = {"kl_weight": 0.25, "decoder_only": False, "long": "refuse", "max_minutes": None, "seed": 0}
    options |= {
        "strategy": "default",
        "export_dir": str(folder / "export"),
        "checkpoint_dir": str(folder / "checkpoint"),
    }
    with pytest.MonkeyPatch.context() as patch:  # a few short steps take less time than compiling them
        patch.setattr(ka.SketchVAE, "compile", functools.partialmethod(ka.SketchVAE.compile, run_eagerly=True))
        train.run(data=data, chosen=settings.of(data) | TINY, **options | flags)
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """The report of a training that was stopped and resumed, and its export."""
    folder = tmp_path_factory.mktemp("model")
    stopped = trained(data, folder, max_minutes=1e-9)
    assert stopped["steps"] == 1 and (folder / "checkpoint" / "sketch_vae" / "checkpoint").exists()
    return trained(data, folder), served.Artist(folder / "export")


@pytest.fixture(scope="module")
def artist(made):
    return made[1]


@pytest.fixture(scope="module")
def model():
    """An untrained model whose drawings end at different lengths, and its export."""
    keras.utils.set_random_seed(0)
    decoder = ka.networks.StrokeDecoder(2, 6, 2, max_length=LONGEST, dropout=0.0)
    model = ka.SketchVAE(ka.networks.StrokeEncoder(2, 4), decoder, scale=3.0, seed=0)
    for weight in model.trainable_variables:
        weight.assign_add(0.5 * np.random.default_rng(1).normal(size=weight.shape))
    return model


# Training.


def test_a_stopped_training_resumes_and_its_report_is_complete(made, data):
    report, artist = made
    assert report["steps"] == 4  # one before the stop, and the second epoch
    assert report["drawings"] == 20 and report["kl_weight"] == 0.25
    assert np.isfinite([report[f"validation_{name}"] for name in ("reconstruction", "kl", "nats_per_sketch")]).all()
    assert artist.card["n_max"] == LONGEST + 1 and artist.max_length == LONGEST and artist.card["licence"]
    assert artist.card["scale"] == pytest.approx(sketches.scale(drawings(20))) and artist.latent_dim == 3
    assert (artist.path / serving.WARMUP_FILE).exists()


def test_long_drawings_are_left_out_or_split():
    found = types.SimpleNamespace(drawings=list(drawings(10)), labels=np.arange(10))
    found._replace = lambda **changes: types.SimpleNamespace(**vars(found) | changes)
    kept, skipped = train.shortened(found, 4, "refuse")
    assert [len(x) for x in kept.drawings] == [2, 3, 4, 2, 3, 4] and skipped == {"over 4 points": 4}
    parts, skipped = train.shortened(found, 4, "split")
    assert max(len(x) for x in parts.drawings) == 4 and skipped == {}
    assert sum(len(x) for x in parts.drawings) == sum(map(len, found.drawings)) and len(parts.labels) > 10


def test_all_drawings_too_long_is_an_error_of_the_user(data, tmp_path, monkeypatch):
    monkeypatch.setitem(TINY, "max_length", 1)
    with pytest.raises(common.UserError, match=r"all drawings to train with have over 1 points. Use --long=split"):
        trained(data, tmp_path)
    with pytest.raises(common.UserError, match="does not exist"):
        trained(str(tmp_path / "none.npz"), tmp_path)


def test_settings_name_each_other():
    assert settings.GLYPHS.keys() <= settings.SHARED.keys() and settings.of(None)["units"] == settings.GLYPHS["units"]
    assert settings.of("a.npz") == settings.SHARED


# Measures.


def test_measures_are_the_papers_and_per_drawing():
    found = {"offsets": [2.0, 4.0], "pen": [-1.0, -3.0], "end": [-0.5, -1.5], "kl": [3.0, 5.0], "points": [2, 3]}
    made = measures.summary({name: np.array(x, "float32") for name, x in found.items()}, latent_dim=4, n_max=10)
    assert made["reconstruction_masked"] == pytest.approx(-(1 + 1) / 2 / 10)
    assert made["reconstruction"] == pytest.approx((-(1 + 1) + 0.5 + 1.5) / 2 / 10)
    assert made["kl"] == pytest.approx(1.0) and made["nats_per_sketch"] == pytest.approx(0.0 + 4.0)
    assert made["nats_per_sketch_masked"] == pytest.approx(-1.0 + 4.0)
    assert made["reconstruction_per_point"] == pytest.approx(-2 / 5)
    assert made["nats_per_sketch_standard_error"] == pytest.approx(np.std([-0.5 + 3, 0.5 + 5], ddof=1) / np.sqrt(2))


def test_scores_are_those_of_the_model_whatever_the_order(model):
    part = types.SimpleNamespace(drawings=list(drawings(9)), labels=None)
    score = served.endpoints(model)["score"].function
    names = ("strokes", "length", "seed")
    found = measures.scores(lambda **given: score(*(tf.convert_to_tensor(given[n]) for n in names)), part.drawings)
    x = sketches.to_strokes5(part.drawings)
    q = model.posterior(x)
    noise = [
        tf.random.stateless_normal([2], tf.bitcast(tf.constant(i, tf.int64), tf.int32), alg="philox") for i in range(9)
    ]
    nats = -model.likelihood(q.mean() + q.stddev() * tf.stack(noise)).log_prob(x)
    np.testing.assert_allclose(-(found["offsets"] + found["pen"] + found["end"]), nats, rtol=1e-4)
    assert found["points"].tolist() == [len(each) for each in part.drawings]
    assert measures.summary(found, 2, 7)["nats_per_sketch"] == pytest.approx(
        np.mean(nats + ka.losses.divergences.kl(q, model.prior, None)), rel=1e-4
    )


# The export.

FRESH = """
import sys
import numpy as np
import tensorflow as tf
sys.modules["keras_ae"] = None
signatures = tf.saved_model.load(sys.argv[1]).signatures
given, made = dict(np.load(sys.argv[2])), {}
for rows in (1, 3, 64):
    for name, inputs in (("serving_default", "z temperature seed"), ("encode", "strokes length"),
                         ("complete", "strokes length temperature seed"), ("sample", "temperature seed")):
        found = signatures[name](**{each: tf.constant(given[each][:rows]) for each in inputs.split()})
        made |= {f"{name} {rows} {key}": value.numpy() for key, value in found.items()}
np.savez(sys.argv[3], **made)
"""


def test_an_export_draws_what_the_model_draws_at_any_batch_size(model, tmp_path):
    path = train.export(model, tmp_path / "export", {"extent": 20.0})
    x = sketches.to_strokes5(list(drawings(64)))
    length = strokes.lengths(x).numpy()
    garbage = np.where(np.arange(x.shape[1])[None, :, None] < length[:, None, None], x, np.nan)  # behind the end
    rng = np.random.default_rng(0)
    given = {"z": rng.normal(size=(64, 2)).astype("float32"), "temperature": np.full(64, 0.7, "float32")}
    given |= {"seed": np.arange(100, 164), "strokes": garbage.astype("float32"), "length": length}
    np.savez(tmp_path / "given.npz", **given)
    command = [sys.executable, "-c", FRESH, path, tmp_path / "given.npz", tmp_path / "made.npz"]
    subprocess.run(command, check=True, timeout=200, cwd=tmp_path)
    made = np.load(tmp_path / "made.npz")
    drawn, points = model.generate(*(tf.constant(given[name]) for name in ("z", "seed", "temperature")))
    assert len(np.unique(points)) > 2  # some drawings end before others
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    z = model.codes_of(tf.constant(x))
    whole, total = model.generate(
        z, tf.constant(given["seed"]), tf.constant(given["temperature"]), begun=tf.constant(x)
    )
    for rows in (1, 3, 64):
        close(made[f"serving_default {rows} strokes"], drawn[:rows])
        assert made[f"serving_default {rows} length"].tolist() == points[:rows].numpy().tolist()
        close(made[f"encode {rows} z"], z[:rows])
        assert made[f"complete {rows} length"].tolist() == (total - length)[:rows].numpy().tolist()
        close(made[f"sample {rows} strokes"], made["sample 64 strokes"][:rows])
    for i in range(64):
        close(made["complete 64 strokes"][i, : LONGEST - length[i]], whole[i, length[i] :])
    size = sum(file.stat().st_size for file in pathlib.Path(path, "variables").iterdir())
    assert size < 4 * model.count_params() + 20_000


def test_bad_rows_are_invalid_and_leave_their_neighbours_alone(model):
    endpoints = {name: endpoint.function for name, endpoint in served.endpoints(model).items()}
    z = np.zeros((4, 2), "float32")
    z[1] = np.nan
    temperature, seed = np.array([0.5, 0.5, -1.0, np.nan], "float32"), np.arange(4)
    found = endpoints["serving_default"](*map(tf.constant, (z, temperature, seed)))
    assert found["valid"].numpy().tolist() == [True, False, False, False]
    assert found["length"].numpy()[1:].tolist() == [0, 0, 0]
    alone = endpoints["serving_default"](*(tf.constant(each[:1]) for each in (z, temperature, seed)))
    np.testing.assert_allclose(found["strokes"][:1], alone["strokes"], atol=1e-5)
    np.testing.assert_array_equal(found["strokes"][1:], np.tile(strokes.END, (3, LONGEST, 1)))
    x = sketches.to_strokes5(list(drawings(5)))
    x[1, 0, 0], x[2, 0, 2:], x[3, 0, 1] = np.nan, (1, 1, 0), 1e9
    length = np.array([len(each) for each in drawings(5)], "int32")
    length[4] = 0
    for name, more in {
        "encode": [],
        "score": [np.arange(5)],
        "complete": [np.ones(5, "float32"), np.arange(5)],
    }.items():
        found = endpoints[name](tf.constant(x), tf.constant(length), *map(tf.constant, more))
        assert found["valid"].numpy().tolist() == [True, False, False, False, False], name
        assert all(np.isfinite(each).all() for each in found.values())


def test_classes_and_decoders_alone_have_their_own_endpoints():
    decoder = ka.networks.StrokeDecoder(2, 4, 2, max_length=4, num_classes=2)
    model = ka.SketchVAE(ka.networks.StrokeEncoder(2, 4), decoder, classes=["cat", "dog"])
    endpoints = served.endpoints(model)
    assert all(each.inputs[-1].name == "condition" for each in endpoints.values())
    z, t, seed = np.zeros((3, 2), "float32"), np.zeros(3, "float32"), np.arange(3)
    found = endpoints["serving_default"].function(*map(tf.constant, (z, t, seed, np.array([0, 1, 2]))))
    assert found["valid"].numpy().tolist() == [True, True, False]
    assert np.abs(found["strokes"][0] - found["strokes"][1]).max() > 0
    alone = ka.SketchVAE(None, ka.networks.StrokeDecoder(0, 4, 2, max_length=4))
    endpoints = served.endpoints(alone)
    assert list(endpoints) == ["serving_default", "complete", "sample", "score"]
    found = endpoints["sample"].function(tf.constant(t), tf.constant(seed))
    assert found["strokes"].shape == (3, 4, 5)


# Evaluation and drawing.


@pytest.fixture
def run_draw(artist, monkeypatch, tmp_path, capsys):
    """The program, with an export that is loaded once for all tests."""
    monkeypatch.setattr(served, "Artist", lambda export_dir=None: artist)

    def run(**flags):
        options = {"model": None, "mode": "sample", "input": None, "output": str(tmp_path / "out.svg"), "count": 4}
        options |= {"temperature": 0.5, "label": None, "long": "refuse", "seed": 0}
        draw.run(**options | flags)
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_evaluation_prints_the_papers_figures_and_draws(artist, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(served, "Artist", lambda export_dir=None: artist)
    evaluate.run(model=None, data=data, split="test", seed=0, output=str(tmp_path))
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert {"reconstruction", "kl", "nats_per_sketch", "reconstruction_masked"} <= report.keys()
    assert report["drawings"] == 10 and report["n_max"] == LONGEST + 1
    names = ["samples", "reconstructions", "interpolations", "arithmetic"]
    assert [pathlib.Path(path).stem for path in report["figures"]] == names
    assert all((tmp_path / f"{name}{suffix}").stat().st_size > 500 for name in names for suffix in (".png", ".svg"))


def test_walks_end_at_the_drawings_and_arithmetic_adds_codes(artist):
    given = sketches.to_strokes3(sketches.to_strokes5(list(drawings(6, 2))))
    ends = artist.decode(artist.encode(given), 0.0)
    walk = evaluate.walks(artist, given[:2], steps=5, temperature=0.0)["1"]
    assert len(walk) == 5
    for one, two in ((walk[0], ends[0]), (walk[-1], ends[1])):
        np.testing.assert_allclose(one, two, atol=1e-3)
    rows = evaluate.arithmetic(artist, [given[0], given[1], given[1]], temperature=0.0)
    np.testing.assert_allclose(rows["a - b + c"][0], ends[0], atol=1e-3)


def test_every_mode_draws(run_draw, data, tmp_path):
    found = run_draw()
    assert found["drawings"] == 4 and len(found["points"]) == 4
    one = tmp_path / "one.svg"
    svg.write(one, drawings(9)[3])
    for mode in ("reconstruct", "complete"):
        assert run_draw(mode=mode, input=str(one))["drawings"] == 4
    assert run_draw(mode="reconstruct", input=data, count=3)["drawings"] == 3
    assert run_draw(mode="interpolate", input=data, output=str(tmp_path / "out.png"))["drawings"] == 4
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    line = tmp_path / "a.ndjson"
    line.write_text('{"drawing": [[[0, 9], [0, 9]]]}')
    assert min(run_draw(mode="complete", input=str(line), count=1)["points"]) >= 2


def test_a_completed_drawing_begins_as_the_given_one(artist, run_draw, tmp_path):
    given = drawings(9)[2].astype("float32")
    (made,) = draw.drawings(artist, "complete", [given], 1, 0.5, 0)
    np.testing.assert_array_equal(made[: len(given), :2], given[:, :2])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"temperature": -0.1}, "--temperature: expected 0 or more; received -0.1"),
        ({"temperature": np.nan}, "--temperature: expected 0 or more"),
        ({"output": "a.gif"}, "--output: expected a file .svg or .png"),
        ({"mode": "complete"}, "--input: expected none with --mode=sample"),
        ({"mode": "sample", "input": "a.svg"}, "--input: expected none with --mode=sample"),
        ({"label": "cat"}, "--label: this model has no classes"),
        ({"mode": "reconstruct", "input": "a.txt"}, "--input: expected a file .svg, .npz or .ndjson"),
        ({"mode": "reconstruct", "input": "none.svg"}, "No such file"),
        (
            {"mode": "reconstruct", "input": "long.svg"},
            "has 9 points, and the model's longest drawing 6. Use --long=split",
        ),
        ({"mode": "interpolate", "input": "long.svg", "long": "split", "count": 1}, None),
        ({"mode": "reconstruct", "input": "nan.npz"}, "NaN or infinity"),
        ({"mode": "reconstruct", "input": "empty.npz"}, "it is empty"),
        ({"mode": "reconstruct", "input": "huge.npz"}, "out of the model's scale"),
        ({"mode": "complete", "input": "script.svg"}, "scripts are refused"),
    ],
)
def test_bad_input_is_one_line(run_draw, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    corners = np.array([[0, 0]] + [[9, 0], [0, 9], [9, 0], [0, -9]] * 2, "float32")
    svg.write("long.svg", np.append(corners, np.zeros((9, 1), "float32"), axis=1))
    pathlib.Path("script.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>')
    np.savez("nan.npz", test=np.full((1, 2, 3), np.nan))
    np.savez("empty.npz", test=np.zeros((1, 0, 3)))
    np.savez("huge.npz", test=np.full((1, 2, 3), 9e5) * [1, 1, 0])
    if message is None:
        assert run_draw(**flags)["drawings"] == 2
        return
    with pytest.raises(common.UserError) as raised:
        run_draw(**flags)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_an_export_of_another_app_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a sketch_vae model"):
        served.Artist(serving.pretrained("semantic_hashing"))
    with pytest.raises(ValueError, match=r"No export found under .*`keras-ae sketch_vae train"):
        served.Artist(tmp_path)
