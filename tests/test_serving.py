"""The serving contract: an export's contents, answers and leftovers, here and in other processes."""

import builtins
import contextlib
import errno
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.core.protobuf import saved_model_pb2

import keras_ae as ka
from keras_ae import serving
from keras_ae.models.base import latent_model

SHAPE = (6, 6, 1)
LATENT = 3
SIZES = (1, 3, 64)
SEED = 5
ROOT = pathlib.Path(__file__).parents[1]
LOWEST = np.finfo("float32").min


def make(name):
    levels = 256 if name == "categorical" else None
    encoder = ka.networks.mlp_encoder(SHAPE, LATENT, (8,), parameters=1 if name == "autoencoder" else 2)
    decoder = ka.networks.mlp_decoder(LATENT, (*SHAPE, levels) if levels else SHAPE, (8,))
    if name == "autoencoder":
        model = ka.Autoencoder(encoder, decoder)
    elif name == "mixture":
        model = ka.VAE(encoder, decoder, prior="mixture")
    else:
        model = ka.VAE(encoder, decoder, likelihood=name)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:  # biases must also affect the answers
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """`{name: (model, path, signatures, inputs)}` for one model of each kind, with 64 rows of inputs."""
    made = {}
    rng = np.random.default_rng(0)
    for name in ("bernoulli", "categorical", "mixture", "autoencoder"):
        x = rng.random((64, *SHAPE), "float32")
        if name == "categorical":
            x = (255 * x).astype("uint8")
        model = make(name)
        path = ka.export(model, tmp_path_factory.mktemp(name) / "export", card={"data": "noise", "seed": 1})
        made[name] = SimpleNamespace(
            model=model,
            path=path,
            signatures=signatures_of(path),
            inputs={
                "x": x,
                "z": rng.normal(size=(64, LATENT)).astype("float32"),
                "seed": SEED + np.arange(64, dtype="int64"),
            },
        )
    return made


def expected(model, inputs):
    """`{(endpoint, output): array}` of the Python model."""
    x = inputs["x"]
    answers = {
        ("encode", "z"): model.encode(x),
        ("decode", "x"): model.decode(inputs["z"]),
        ("reconstruct", "x"): model.reconstruct(x),
        ("serving_default", "x"): model.reconstruct(x),
        ("score", "score"): model.score(x, seed=SEED),
    }
    if hasattr(model, "sample"):
        answers["sample", "x"] = model.sample(len(x), seed=SEED)
    return answers


def assert_close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, atol=1e-5, rtol=1e-5)


def export_one(model, directory, **options):
    """An export with a single endpoint, for tests of files, because tracing graphs takes most of the time."""
    return ka.export(model, directory, endpoints={"decode": serving.model_endpoints(model)["decode"]}, **options)


def signatures_of(path):
    return tf.saved_model.load(str(path)).signatures


def call(function, inputs, rows=slice(None)):
    names = function.structured_input_signature[1]
    outputs = function(**{name: tf.constant(inputs[name][rows]) for name in names})
    return {key: value.numpy() for key, value in outputs.items()}


def run_python(code, *arguments, **environment):
    """Runs code in a new process, in the folder given as its first argument; returns the finished process."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=arguments[0],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


# Contents of an export


def test_versions_count_up_and_the_newest_is_found(tmp_path):
    model, directory = make("autoencoder"), tmp_path / "a" / "b"
    assert serving.versions(directory) == []
    with pytest.raises(ValueError, match="No export found"):
        serving.newest(directory)
    paths = [export_one(model, directory) for _ in range(2)]
    assert paths == [str(directory / "1"), str(directory / "2")]
    (directory / "notes").mkdir()
    (directory / "0010").mkdir()
    assert serving.versions(str(directory)) == [1, 2, 10]
    assert serving.newest(directory) == directory / "0010"
    assert export_one(model, directory) == str(directory / "11")
    assert sorted(os.listdir(directory)) == ["0010", "1", "11", "2", "notes"]


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "mixture", "autoencoder"])
def test_endpoints_are_those_of_the_contract(exports, name):
    export = exports[name]
    table = {
        "reconstruct": ({"x"}, {"x", "valid"}),
        "encode": ({"x"}, {"z", "valid"}),
        "decode": ({"z"}, {"x", "valid"}),
        "score": ({"x", "seed"}, {"score", "valid"}),
        "sample": ({"seed"}, {"x"}),
    }
    if name == "autoencoder":
        del table["sample"]
    assert list(serving.model_endpoints(export.model)) == list(table)
    dtypes = {"x": tf.uint8 if name == "categorical" else tf.float32, "z": tf.float32, "seed": tf.int64}
    signatures = export.signatures
    assert set(signatures) == {*table, "serving_default"}
    table["serving_default"] = table["reconstruct"]
    for endpoint, (inputs, outputs) in table.items():
        specs = signatures[endpoint].structured_input_signature[1]
        assert {key: spec.dtype for key, spec in specs.items()} == {key: dtypes[key] for key in inputs}
        results = signatures[endpoint].structured_outputs
        assert set(results) == outputs
        assert all(spec.shape[0] is None for spec in (*specs.values(), *results.values()))
        assert results.get("valid", tf.TensorSpec((), tf.bool)).dtype == tf.bool


def test_the_card_tells_what_was_exported(exports):
    card = json.loads((pathlib.Path(exports["bernoulli"].path) / serving.CARD_FILE).read_text())
    assert card["model"] == "VAE" and card["likelihood"] == exports["bernoulli"].model.card()["likelihood"]
    assert card["latent_dim"] == LATENT
    assert card["score_samples"] == latent_model.SCORE_SAMPLES
    assert card["endpoints"]["score"] == {"x": "float32 [B, 6, 6, 1]", "seed": "int64 [B]"}
    assert (card["data"], card["seed"]) == ("noise", 1)
    assert {"keras_ae", "keras", "tensorflow"} <= set(card)


def test_the_card_takes_numpy_numbers_and_refuses_what_is_not_json(tmp_path):
    model = make("autoencoder")
    path = export_one(model, tmp_path, card={"loss": np.float32(0.5), "curve": np.arange(3), "nan": np.nan})
    card = json.loads((pathlib.Path(path) / serving.CARD_FILE).read_text())
    assert (card["loss"], card["curve"], card["nan"]) == (0.5, [0, 1, 2], None)
    with pytest.raises(ValueError, match="card: expected a dict of JSON values"):
        export_one(model, tmp_path, card={"bad": object()})
    assert os.listdir(tmp_path) == ["1"]


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "autoencoder"])
def test_every_warmup_request_runs(exports, name):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    export = exports[name]
    file = os.path.join(export.path, serving.WARMUP_FILE)
    records = list(tf.data.TFRecordDataset(file).as_numpy_iterator())
    assert 0 < len(records) <= 1000
    signatures = export.signatures
    warmed = []
    for record in records:
        request = logs.PredictionLog.FromString(record).predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        outputs = call(signatures[request.model_spec.signature_name], inputs)
        assert np.all(outputs.get("valid", True))
        warmed.append(request.model_spec.signature_name)
    assert warmed == list(serving.model_endpoints(export.model))


def test_without_the_serving_extra_the_export_warns_and_leaves_warmup_out(tmp_path, monkeypatch, caplog):
    real = builtins.__import__

    def without_serving(name, *args, **kwargs):
        if name.startswith("tensorflow_serving"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_serving)
    path = export_one(make("autoencoder"), tmp_path)
    assert "no warm-up requests" in caplog.text and "keras_ae[serving]" in caplog.text
    assert not os.path.exists(os.path.join(path, serving.WARMUP_FILE))
    assert signatures_of(path)


def test_own_endpoints_with_text_examples_and_open_shapes(tmp_path):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    endpoints = {
        "lengths": serving.Endpoint(
            lambda text, scale: {"length": tf.cast(tf.strings.length(text), tf.float32) * scale},
            [tf.TensorSpec((None,), tf.string, "text"), tf.TensorSpec((None,), tf.float32, "scale")],
            {"text": np.array(["ab", "c"]), "scale": [2, 3]},  # converted to the dtypes of the specs
        ),
        "sum": serving.Endpoint(
            lambda x: {"sum": tf.reduce_sum(x, axis=1)}, [tf.TensorSpec((None, None), tf.float32, "x")]
        ),
    }
    path = ka.export(make("autoencoder"), tmp_path, endpoints=endpoints)
    signatures = signatures_of(path)
    inputs = {"text": np.array(["ab", "c"], object), "scale": np.array([2, 3], "float32")}
    for name in ("lengths", "serving_default"):
        np.testing.assert_array_equal(call(signatures[name], inputs)["length"], [4, 3])
    (record,) = tf.data.TFRecordDataset(os.path.join(path, serving.WARMUP_FILE)).as_numpy_iterator()
    request = logs.PredictionLog.FromString(record).predict_log.request
    assert request.model_spec.signature_name == "lengths"
    assert request.inputs["scale"].dtype == tf.float32.as_datatype_enum


def test_an_endpoint_that_fails_on_its_example_is_not_exported(tmp_path):
    spec = tf.TensorSpec((None, 2), tf.float32, "x")
    broken = serving.Endpoint(lambda x: {"x": tf.debugging.check_numerics(x / 0.0, "broken")}, [spec])
    with pytest.raises(tf.errors.InvalidArgumentError, match="broken"):
        ka.export(make("autoencoder"), tmp_path / "new", endpoints={"broken": broken})
    assert not (tmp_path / "new").exists()


def wide_model():
    """A model with weights of 1.3 MB and optimizer slots of twice that."""
    encoder = ka.networks.mlp_encoder((28, 28, 1), LATENT, (200,))
    model = ka.Autoencoder(encoder, ka.networks.mlp_decoder(LATENT, (28, 28, 1), (200,)))
    model.compile("adam", jit_compile=False)
    return model


def test_weights_are_stored_once_and_nothing_of_the_optimizer(tmp_path):
    model = wide_model()
    path = pathlib.Path(ka.export(model, tmp_path))
    weights = sum(4 * int(np.prod(v.shape)) for v in model.weights)
    stored = sum(file.stat().st_size for file in (path / "variables").iterdir())
    everything = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert weights > 1e6
    assert 0.95 * weights < stored < 1.2 * weights + 100_000
    assert everything < stored + 500_000  # the graphs contain no second copy


@pytest.mark.parametrize(
    "prior",
    [
        lambda: tfp.distributions.MultivariateNormalDiag([1.0] * LATENT, [2.0] * LATENT),
        lambda: tfp.distributions.MultivariateNormalDiag(tf.Variable([1.0] * LATENT), [2.0] * LATENT),
    ],
    ids=["constants", "variables"],
)
@pytest.mark.filterwarnings("ignore:prior. training does not update the variables")  # it is untrained
def test_a_bare_distribution_as_prior_is_exported(tmp_path, prior):
    encoder = ka.networks.mlp_encoder(SHAPE, LATENT, (8,), parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(LATENT, SHAPE, (8,)), prior=prior())
    endpoints = {name: serving.model_endpoints(model)[name] for name in ("sample", "score")}  # that use the prior
    sample = signatures_of(ka.export(model, tmp_path, endpoints=endpoints))["sample"]
    assert_close(sample(seed=tf.range(4, 7, dtype=tf.int64))["x"], model.sample(3, seed=4))


# Answers

FRESH = """
import sys
for name in ("keras_ae", "keras", "tf_keras", "tensorflow_probability"):
    sys.modules[name] = None  # importing them fails
import json
import numpy as np
import tensorflow as tf
folder, paths, sizes = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
answers = {}
for model, path in paths.items():
    inputs = np.load(f"{folder}/{model}.npz")
    for endpoint, function in tf.saved_model.load(path).signatures.items():
        for size in sizes:
            names = function.structured_input_signature[1]
            outputs = function(**{name: tf.constant(inputs[name][:size]) for name in names})
            answers |= {f"{model}/{endpoint}/{key}/{size}": value for key, value in outputs.items()}
np.savez(f"{folder}/answers.npz", **answers)
"""


def test_a_process_without_the_package_answers_as_the_model(exports, tmp_path):
    for name, export in exports.items():
        np.savez(tmp_path / f"{name}.npz", **export.inputs)
    paths = json.dumps({name: export.path for name, export in exports.items()})
    done = run_python(FRESH, tmp_path, paths, json.dumps(SIZES), PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    answers = dict(np.load(tmp_path / "answers.npz"))
    for name, export in exports.items():
        for (endpoint, output), wanted in expected(export.model, export.inputs).items():
            for size in SIZES:
                assert_close(answers.pop(f"{name}/{endpoint}/{output}/{size}"), wanted[:size])
    assert all(key.split("/")[2] == "valid" and valid.all() for key, valid in answers.items())


# Programs in other languages use this API, and a server also runs a session on a graph.
C_API = """
import sys
import ctypes
import json
import numpy as np

folder, framework, library, models = *sys.argv[1:4], json.loads(sys.argv[4])
ctypes.CDLL(framework, ctypes.RTLD_GLOBAL)
tf = ctypes.CDLL(library)
P, I, S = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
for name, result, arguments in [
    ("TF_NewStatus", P, []),
    ("TF_GetCode", I, [P]),
    ("TF_Message", ctypes.c_char_p, [P]),
    ("TF_NewGraph", P, []),
    ("TF_NewSessionOptions", P, []),
    ("TF_LoadSessionFromSavedModel", P, [P, P, P, P, I, P, P, P]),
    ("TF_GraphOperationByName", P, [P, ctypes.c_char_p]),
    ("TF_AllocateTensor", P, [I, P, I, S]),
    ("TF_TensorData", P, [P]),
    ("TF_TensorType", I, [P]),
    ("TF_NumDims", I, [P]),
    ("TF_Dim", ctypes.c_int64, [P, I]),
    ("TF_TensorByteSize", S, [P]),
    ("TF_SessionRun", None, [P, P, P, P, I, P, P, I, P, I, P, P]),
]:
    getattr(tf, name).restype, getattr(tf, name).argtypes = result, arguments
DTYPES = {1: np.float32, 4: np.uint8, 9: np.int64, 10: np.bool_}


class Output(ctypes.Structure):
    _fields_ = [("operation", P), ("index", I)]


def checked(status):
    assert tf.TF_GetCode(status) == 0, tf.TF_Message(status)


def output(graph, tensor_name):
    name, index = tensor_name.split(":")
    operation = tf.TF_GraphOperationByName(graph, name.encode())
    assert operation, name
    return Output(operation, int(index))


def to_tensor(array):
    dtype = next(code for code, dtype in DTYPES.items() if array.dtype == dtype)
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = tf.TF_AllocateTensor(dtype, shape, array.ndim, array.nbytes)
    ctypes.memmove(tf.TF_TensorData(tensor), np.ascontiguousarray(array).ctypes.data, array.nbytes)
    return tensor


def to_array(tensor):
    shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
    data = ctypes.string_at(tf.TF_TensorData(tensor), tf.TF_TensorByteSize(tensor))
    return np.frombuffer(data, DTYPES[tf.TF_TensorType(tensor)]).reshape(shape)


answers = {}
for model, (path, signatures) in models.items():
    inputs, status, graph = np.load(f"{folder}/{model}.npz"), tf.TF_NewStatus(), tf.TF_NewGraph()
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = tf.TF_LoadSessionFromSavedModel(
        tf.TF_NewSessionOptions(), None, path.encode(), tags, 1, graph, None, status)
    checked(status)
    for name, (ins, outs) in signatures.items():
        feeds = (Output * len(ins))(*[output(graph, tensor) for tensor in ins.values()])
        values = (P * len(ins))(*[to_tensor(inputs[key]) for key in ins])
        fetches = (Output * len(outs))(*[output(graph, tensor) for tensor in outs.values()])
        results = (P * len(outs))()
        tf.TF_SessionRun(
            session, None, feeds, values, len(ins), fetches, results, len(outs), None, 0, None, status)
        checked(status)
        for key, result in zip(outs, results, strict=True):
            answers[f"{model}/{name}/{key}"] = to_array(result)
assert "tensorflow" not in sys.modules
np.savez(f"{folder}/answers.npz", **answers)
"""


def tensor_names(path):
    """`{signature: (input names, output names)}`, each `{key: name of the tensor in the graph}`."""
    proto = saved_model_pb2.SavedModel.FromString((pathlib.Path(path) / "saved_model.pb").read_bytes())
    (graph,) = proto.meta_graphs
    signatures = {key: d for key, d in graph.signature_def.items() if not key.startswith("__")}
    assert {d.method_name for d in signatures.values()} == {"tensorflow/serving/predict"}
    sides = {key: (d.inputs, d.outputs) for key, d in signatures.items()}
    return {key: [{k: info.name for k, info in side.items()} for side in pair] for key, pair in sides.items()}


def test_the_c_api_answers_as_the_model(exports, tmp_path):
    package = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    libraries = [package / f"libtensorflow_{part}.so.2" for part in ("framework", "cc")]
    if not all(library.exists() for library in libraries):
        pytest.skip("this build of TensorFlow has no shared libraries of these names")
    for name, export in exports.items():
        np.savez(tmp_path / f"{name}.npz", **export.inputs)
    models = {name: (export.path, tensor_names(export.path)) for name, export in exports.items()}
    done = run_python(C_API, tmp_path, *libraries, json.dumps(models))
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    for name, export in exports.items():
        for (endpoint, output), wanted in expected(export.model, export.inputs).items():
            assert_close(answers[f"{name}/{endpoint}/{output}"], wanted)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "mixture", "autoencoder"])
def test_an_answer_does_not_depend_on_the_servers_batches(exports, name):
    inputs = exports[name].inputs
    for endpoint, function in exports[name].signatures.items():
        together = call(function, inputs, slice(0, 5))
        alone = [call(function, inputs, slice(i, i + 1)) for i in range(5)]
        reversed_order = call(function, inputs, slice(4, None, -1))
        for key, rows in together.items():
            assert rows.shape[0] == 5, endpoint
            assert_close(rows, np.concatenate([one[key] for one in alone]))
            assert_close(rows, reversed_order[key][::-1])
        nothing = call(function, inputs, slice(0, 0))
        assert all(rows.shape[0] == 0 for rows in nothing.values())


def test_other_seeds_give_other_answers(exports):
    signatures = exports["mixture"].signatures
    x = tf.constant(exports["mixture"].inputs["x"][:1])
    for a, b in [(0, 1), (0, 2**32), (-1, 1)]:
        for endpoint, output, fixed in [("sample", "x", {}), ("score", "score", {"x": x})]:
            answers = [signatures[endpoint](seed=tf.constant([s], tf.int64), **fixed)[output] for s in (a, b)]
            assert np.any(answers[0] != answers[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.5, -0.1])
def test_a_bad_row_is_told_and_leaves_its_neighbours_alone(exports, bad):
    inputs = {key: value[:4].copy() for key, value in exports["bernoulli"].inputs.items()}
    signatures = exports["bernoulli"].signatures
    clean = {name: call(function, inputs) for name, function in signatures.items()}
    inputs["x"][1, 2, 3] = bad
    inputs["z"][1, 0] = bad
    outside = [True, False, True, True]
    for endpoint, function in signatures.items():
        if endpoint == "sample":
            continue
        answers = call(function, inputs)
        good = np.array(outside if endpoint != "decode" or not np.isfinite(bad) else [True] * 4)
        np.testing.assert_array_equal(answers.pop("valid"), good)
        for key, rows in answers.items():
            np.testing.assert_array_equal(rows[~good], LOWEST if key == "score" else 0)
            if good.all():
                assert np.all(np.isfinite(rows))
            else:
                assert_close(rows[good], clean[endpoint][key][good])


def test_a_bad_row_does_not_reach_operations_that_raise():
    def strict(x):
        return tf.debugging.check_numerics(x, "a bad row came through") + 1

    answers = serving._guarded(strict, [serving.finite], "x", 0.0)(tf.constant([[1.0, 2.0], [np.nan, 0.0]]))
    np.testing.assert_array_equal(answers["valid"], [True, False])
    np.testing.assert_array_equal(answers["x"], [[2.0, 3.0], [0.0, 0.0]])


def test_a_row_whose_answer_overflows_is_not_valid(exports):
    inputs = {key: value[:3].copy() for key, value in exports["autoencoder"].inputs.items()}
    inputs["x"][1] = 3e38  # finite, but its square is not
    answers = call(exports["autoencoder"].signatures["score"], inputs)
    np.testing.assert_array_equal(answers["valid"], [True, False, True])
    assert answers["score"][1] == LOWEST
    assert_close(answers["score"][[0, 2]], exports["autoencoder"].model.score(inputs["x"][[0, 2]]))


# Leftovers


def tree(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("write_out", NO_SPACE),
        ("_write_warmup", NO_SPACE),
        ("_publish", NO_SPACE),
        ("_write_warmup", KeyboardInterrupt()),
    ],
)
def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch, step, error):
    (tmp_path / "old" / "1").mkdir(parents=True)
    (tmp_path / "old" / "1" / "saved_model.pb").write_text("kept")
    before = tree(tmp_path)
    owner = type(keras.export.ExportArchive()) if step == "write_out" else serving
    real = getattr(owner, step)

    def failing(*args, **kwargs):
        if step != "_publish":
            real(*args, **kwargs)  # all files of this version are on the disk
        raise error

    monkeypatch.setattr(owner, step, failing)
    for directory in (tmp_path / "old", tmp_path / "new" / "folder"):
        with pytest.raises(type(error)) as caught:
            export_one(make("autoencoder"), directory)
        if error is NO_SPACE:
            assert f"directory={str(directory)!r} ([Errno 28] No space left on device)" in str(caught.value)
    assert tree(tmp_path) == before


FULL_DISK = """
import os, resource, signal, sys
import keras_ae as ka
from keras_ae import serving
directory = os.path.join(sys.argv[1], "export")
encoder = ka.networks.mlp_encoder((28, 28, 1), 3, (200,))
model = ka.Autoencoder(encoder, ka.networks.mlp_decoder(3, (28, 28, 1), (200,)))
ka.export(model, directory)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (500_000, 50_000):  # the weights do not fit; the graph does not fit
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        ka.export(model, directory)
    except OSError as error:
        assert f"directory={directory!r}" in str(error), error
    else:
        raise AssertionError("the export went through")
    assert os.listdir(directory) == ["1"], os.listdir(directory)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
serving._write_warmup = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ka.export(model, directory)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_full_disk_and_a_kill(tmp_path):
    done = run_python(FULL_DISK, tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == -9, done.stderr
    assert serving.versions(tmp_path / "export") == [1]
    assert signatures_of(tmp_path / "export" / "1")
    assert export_one(make("autoencoder"), tmp_path / "export").endswith("2")


def test_a_disk_without_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs privileges")
    try:
        small = make("autoencoder")
        export_one(small, disk / "export")
        before = tree(disk)
        for directory in (disk / "export", disk / "other"):
            with pytest.raises(OSError, match=re.escape(repr(str(directory))) + ".*enough free space"):
                ka.export(wide_model(), directory)
        assert tree(disk) == before
        assert export_one(small, disk / "export").endswith("2")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_directory_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    model = make("autoencoder")
    for directory in (file, file / "below", "/proc/keras_ae/export"):
        with pytest.raises(OSError, match=re.escape(repr(str(directory))) + ".*write permission"):
            export_one(model, directory)
    assert tree(tmp_path) == ["file"] and file.read_text() == "kept"
    with pytest.raises(ValueError, match="expected a local path, received 'gs://bucket/model'"):
        ka.export(model, "gs://bucket/model")


def test_two_exporters_take_different_versions(tmp_path, monkeypatch):
    models = [make("autoencoder") for _ in range(2)]
    barrier, paths, real = threading.Barrier(2), [], serving.versions

    def versions(directory):
        found = real(directory)
        with contextlib.suppress(threading.BrokenBarrierError):  # the thread that lost the race asks again, alone
            barrier.wait(timeout=20)
        barrier.abort()
        return found

    monkeypatch.setattr(serving, "versions", versions)
    threads = [threading.Thread(target=lambda m=model: paths.append(export_one(m, tmp_path))) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paths) == [str(tmp_path / "1"), str(tmp_path / "2")]
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]
    assert all(signatures_of(path) for path in paths)


def test_a_model_that_was_never_built_raises(tmp_path):
    layers = keras.layers
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(LATENT)])
    decoder = keras.Sequential([layers.Dense(36), layers.Reshape(SHAPE)])
    with pytest.raises(ValueError, match="never built"):
        ka.export(ka.Autoencoder(encoder, decoder), tmp_path / "new")
    assert tree(tmp_path) == []


# The server's configuration


def test_the_servers_model_list_parses():
    proto = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    parsed = text_format.Parse((ROOT / "serving/models.config").read_text(), proto.ModelServerConfig())
    models = {model.name: model for model in parsed.model_config_list.config}
    committed = {path.name for path in (ROOT / "saved_models").iterdir()}
    assert set(models) == {"quickstart"} | committed
    for name, model in models.items():
        assert (model.base_path, model.model_platform) == (f"/models/{name}", "tensorflow")


def test_the_batching_parameters_are_sound():
    # The message is not in tensorflow-serving-api: its fields are read as text.
    text = re.sub("#.*", "", (ROOT / "serving/batching.config").read_text())
    field = r"(\w+) \{ value: (\d+) \}"
    assert re.sub(field, "", text).split() == ["pad_variable_length_inputs:", "true"]
    values = {name: int(value) for name, value in re.findall(field, text)}
    assert set(values) == {
        "max_batch_size",
        "batch_timeout_micros",
        "num_batch_threads",
        "max_enqueued_batches",
    }
    assert values["max_batch_size"] >= max(SIZES)


def test_the_compose_file_mounts_what_it_names():
    text = (ROOT / "serving/docker-compose.yml").read_text()
    mounts = dict(re.findall(r"- (\.\S+):(/\S+):ro", text))
    committed = {f"../saved_models/{path.name}": f"/models/{path.name}" for path in (ROOT / "saved_models").iterdir()}
    assert set(mounts) == {"./models.config", "./batching.config"} | set(committed)
    assert committed.items() <= mounts.items()
    assert all((ROOT / "serving" / name).exists() for name in mounts)
    flags = dict(re.findall(r"- --(\w+)=(\S+)", text))
    assert flags["model_config_file"] == mounts["./models.config"]
    assert flags["batching_parameters_file"] == mounts["./batching.config"]
    assert flags["enable_batching"] == flags["enable_model_warmup"] == "true"
    assert "target: /models/quickstart" in text and "8500:8500" in text and "8501:8501" in text
    assert "${KERAS_AE_EXPORT:-../runs/quickstart/export}" in text


# The committed models


@pytest.mark.parametrize("directory", sorted((ROOT / "saved_models").iterdir()), ids=lambda path: path.name)
def test_a_committed_model_is_small_and_says_what_it_is(directory):
    path = serving.newest(directory)
    card = json.loads((path / serving.CARD_FILE).read_text())
    assert {"data", "licence", "seed", "command", "numbers", "limits", "endpoints"} <= set(card)
    assert not re.search(r"[\"' =]/\w", json.dumps(card)), "a path of the machine that made it"
    assert sum(file.stat().st_size for file in path.rglob("*")) < 15e6
    assert "serving_default" in tf.saved_model.load(str(path)).signatures


def test_half_precision_halves_the_weights_and_moves_the_answers_little(tmp_path):
    model = ka.Autoencoder(
        ka.networks.mlp_encoder(SHAPE, LATENT, (512,)), ka.networks.mlp_decoder(LATENT, SHAPE, (512,))
    )
    x = np.random.default_rng(0).random((5, *SHAPE), "float32")
    sizes, answers = [], []
    for half in (False, True):
        path = pathlib.Path(ka.export(model, tmp_path / str(half), half=half))
        sizes.append(sum(file.stat().st_size for file in (path / "variables").iterdir()))
        loaded = tf.saved_model.load(str(path))  # a signature does not keep its variables alive
        answers.append(loaded.signatures["reconstruct"](x=tf.constant(x))["x"].numpy())
    assert sizes[1] < 0.55 * sizes[0]
    np.testing.assert_allclose(answers[0], model.reconstruct(x), atol=1e-5)
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-2)
    assert np.any(answers[1] != answers[0])


@pytest.mark.parametrize("nested", [False, True], ids=["own averages", "of a model within the model"])
def test_half_precision_of_averages(nested, tmp_path):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).random((32, 64), "float32")
    outer = keras.Sequential([keras.Input((64,)), keras.layers.Dense(256), keras.layers.Dense(4)])
    trained = ka.VAE(outer, ka.networks.mlp_decoder(2, (64,), (256,)), seed=0)
    trained.compile(keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.9), run_eagerly=True)
    trained.fit(x, batch_size=4, epochs=2, verbose=0)
    model = trained
    if nested:
        networks = (
            ka.networks.mlp_encoder((2,), 2, (4,), parameters=2, condition_shape=(3,)),
            ka.networks.mlp_decoder(2, (2,), (4,), condition_shape=(3,)),
        )
        model = ka.M1M2(trained, ka.M2(*networks, ka.networks.mlp_encoder((2,), 3, (4,)), 3, "gaussian", seed=0))
    given = {"condition": tf.zeros(32, tf.int64)} if nested else {}
    sizes, answers = [], []
    for half in (False, True):
        path = pathlib.Path(ka.export(model, tmp_path / str(half), half=half))
        sizes.append(sum(file.stat().st_size for file in (path / "variables").iterdir()))
        loaded = tf.saved_model.load(str(path))
        answers.append(loaded.signatures["reconstruct"](x=tf.constant(x), **given)["x"].numpy())
    assert sizes[1] < 0.6 * sizes[0]
    np.testing.assert_allclose(answers[1], answers[0], atol=2e-3)
    trained.compile("sgd")
    raw = model.reconstruct(x, *given.values())
    assert np.abs(raw - answers[0]).max() > 4e-3  # of the weights themselves


def test_the_tables_of_lookups_are_stored(tmp_path):
    words = keras.layers.StringLookup(vocabulary=["cat", "dog"])
    endpoint = serving.Endpoint(
        lambda text: {"number": words(text)}, [tf.TensorSpec([None], tf.string, name="text")], {"text": ["cat"]}
    )
    path = ka.export(make("autoencoder"), tmp_path, endpoints={"serving_default": endpoint}, lookups=[words])
    loaded = tf.saved_model.load(path)
    numbers = loaded.signatures["serving_default"](text=tf.constant(["dog", "cow", "cat"]))["number"]
    np.testing.assert_array_equal(numbers, [2, 0, 1])


def test_a_semi_supervised_model_classifies(tmp_path):
    encoder = ka.networks.mlp_encoder(SHAPE, LATENT, (8,), parameters=2, condition_shape=(3,))
    decoder = ka.networks.mlp_decoder(LATENT, SHAPE, (8,), condition_shape=(3,))
    model = ka.M2(encoder, decoder, ka.networks.mlp_encoder(SHAPE, 3), 3, seed=0)
    x = np.random.default_rng(0).random((4, *SHAPE), "float32")
    x[1] = np.nan
    answer = signatures_of(ka.export(model, tmp_path))["classify"](x=tf.constant(x))
    assert answer["valid"].numpy().tolist() == [True, False, True, True]
    np.testing.assert_allclose(answer["probability"][2:], model.predict_proba(x[2:]), atol=1e-6)
    assert not answer["probability"][1].numpy().any()


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_a_conditional_model_answers_under_each_rows_condition(tmp_path, kind):
    classes = 4
    encoder = ka.networks.mlp_encoder(SHAPE, LATENT, (8,), parameters=2, condition_shape=(classes,))
    decoder = ka.networks.mlp_decoder(LATENT, SHAPE, (8,), condition_shape=(classes,))
    model = ka.CVAE(encoder, decoder, num_classes=classes if kind == "labels" else None, seed=0)
    served = signatures_of(ka.export(model, tmp_path))
    rng = np.random.default_rng(0)
    y = np.arange(64) % classes if kind == "labels" else rng.normal(size=(64, classes)).astype("float32")
    x, z = rng.random((64, *SHAPE), "float32"), rng.normal(size=(64, LATENT)).astype("float32")
    seed = SEED + np.arange(64, dtype="int64")
    expected = {
        "reconstruct": ({"x": x}, "x", model.reconstruct(x, y)),
        "encode": ({"x": x}, "z", model.encode(x, y)),
        "decode": ({"z": z}, "x", model.decode(z, y)),
        "sample": ({"seed": seed}, "x", model.sample(64, y, seed=SEED)),
    }
    for name, (inputs, output, answer) in expected.items():
        for rows in SIZES:
            given = {key: value[:rows] for key, value in inputs.items()} | {"condition": y[:rows]}
            found = served[name](**{key: tf.constant(value) for key, value in given.items()})
            np.testing.assert_allclose(found[output], answer[:rows], rtol=1e-5, atol=1e-5)
            assert found["valid"].numpy().all()
    broken = y.copy()
    broken[1] = classes if kind == "labels" else np.nan
    answer = served["decode"](z=tf.constant(z), condition=tf.constant(broken))
    assert answer["valid"].numpy().tolist() == [True, False] + [True] * 62
    np.testing.assert_allclose(answer["x"][2:], expected["decode"][2][2:], atol=1e-5)
