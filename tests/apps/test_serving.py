"""The server: conformance to TensorFlow Serving's documentation, new versions under requests, the docs' clients."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
import uvloop
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

import keras_ae as ka
from apps import common
from apps.serving import serve
from apps.serving.failures import CODES, Failure
from apps.serving.metrics import Metrics
from apps.serving.models import Model, Models, named_exports
from apps.serving.server import Desk, Limits, Server
from keras_ae import serving

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guides" / "server.md"
LIMITS = Limits(threads=2, max_waiting=50, max_bytes=200_000, max_rows=64, seconds=20.0)
POLL = 0.05  # seconds
SHAPE = (8, 8, 1)
DEADLINE = 60.0  # seconds, for what must happen; only a failing test waits so long


def save(path, function, **inputs):
    """Writes a SavedModel with one signature, as people write them without this package."""
    module = tf.Module()
    module.f = tf.function(
        function, [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in inputs.items()]
    )
    tf.saved_model.save(module, str(path), {"serving_default": module.f.get_concrete_function()})


def half_plus(constant, path):
    save(path, lambda x: {"y": x / 2 + constant}, x=([None], tf.float32))


def tagged(tag, signal, sensor):
    return {"tag_out": tf.strings.upper(tag), "total": tf.reduce_sum(signal, 1) + tf.reduce_sum(sensor, [1, 2])}


def count(loops):
    return {
        "loops": tf.while_loop(lambda i: i < tf.reduce_max(loops), lambda i: [i + 1], [tf.constant(0, tf.int64)])[0]
        + 0 * loops
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The exports: the models of TensorFlow Serving's documentation, a VAE of this package, and hard cases."""
    folder = tmp_path_factory.mktemp("exports")
    half_plus(3, folder / "half_plus_three" / "123")
    shapes = {"tag": ([None], tf.string), "signal": ([None, 5], tf.int32), "sensor": ([None, 2, 2], tf.int32)}
    save(folder / "tagged" / "1", tagged, **shapes)
    save(folder / "echo" / "1", lambda image_bytes: {"image_bytes": image_bytes}, image_bytes=([None], tf.string))
    save(folder / "text" / "1", lambda image_bytes: {"text": image_bytes}, image_bytes=([None], tf.string))
    save(folder / "counter" / "1", count, loops=([None], tf.int64))
    kinds = {"i": tf.uint8, "d": tf.float64, "b": tf.bool, "h": tf.float16}
    save(folder / "kinds" / "1", lambda i, d, b: {"i": i, "d": d, "b": b}, **{k: ([None], kinds[k]) for k in "idb"})
    save(folder / "float16" / "1", lambda h: {"h": h}, h=([None], tf.float16))
    save(folder / "scalar" / "1", lambda x: {"sum": tf.reduce_sum(x), "x": x}, x=([None], tf.float32))
    encoder = ka.networks.mlp_encoder(SHAPE, 4, (16,), parameters=2)
    vae = ka.VAE(encoder, ka.networks.mlp_decoder(4, SHAPE, (16,)), seed=0)
    endpoints = serving.model_endpoints(vae)
    served = {"serving_default": "reconstruct", "encode": "encode", "sample": "sample"}
    ka.export(vae, folder / "digits", endpoints={name: endpoints[each] for name, each in served.items()})
    return folder


@contextlib.contextmanager
def running(folder, limits=LIMITS):
    """A server in a thread, on free ports."""
    models = Models([str(folder)], POLL)
    server = Server(models, limits, "127.0.0.1", 0, 0)
    ready, made = threading.Event(), {}

    async def serve():
        made["loop"], made["stop"] = asyncio.get_running_loop(), asyncio.Event()
        await server.serve(ready.set, made["stop"])

    def loop():
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        yield server
    finally:
        made["loop"].call_soon_threadsafe(made["stop"].set)
        thread.join()
        models.close()


@pytest.fixture(scope="module")
def server(folder):
    """A running server with clients: `get`, `post` and `predict` for REST; stubs and `call` for gRPC."""
    with running(folder) as made, requests.Session() as session, grpc.insecure_channel(made.grpc_address) as channel:
        base = f"http://{made.address}"
        predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def predict(model, body, expect=200, where=""):
            data = body if isinstance(body, bytes | str) else json.dumps(body)
            answer = session.post(f"{base}/v1/models/{model}{where}:predict", data=data)
            assert answer.status_code == expect, answer.text
            assert answer.headers["content-type"] == "application/json"
            return answer.json()

        def call(model, timeout=DEADLINE, signature_name="", version=None, outputs=(), **inputs):
            request = predict_pb2.PredictRequest(output_filter=outputs)
            request.model_spec.name, request.model_spec.signature_name = model, signature_name
            if version is not None:
                request.model_spec.version.value = version
            for name, value in inputs.items():
                proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
                request.inputs[name].CopyFrom(proto)
            return predictions.Predict(request, timeout=timeout)

        yield SimpleNamespace(
            **{"made": made, "folder": folder, "base": base, "session": session, "predict": predict, "call": call},
            predictions=predictions,
            models=model_service_pb2_grpc.ModelServiceStub(channel),
            get=lambda path: session.get(f"{base}{path}"),
        )


@pytest.fixture(scope="module")
def in_process(folder):
    return tf.saved_model.load(str(folder / "digits" / "1")).signatures


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).random((5, *SHAPE), "float32")


def eventually(condition):
    """Waits until the condition holds, and returns its value."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


# REST, as documented


def test_the_documents_example_of_a_status(server):
    expected = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("", "/versions/123"):
        answer = server.get(f"/v1/models/half_plus_three{path}")
        assert answer.status_code == 200 and answer.json() == {"model_version_status": [expected]}


def test_the_documents_example_of_a_prediction(server):
    for where in ("", "/versions/123"):
        answer = server.predict("half_plus_three", {"instances": [1.0, 2.0, 5.0]}, where=where)
        assert answer == {"predictions": [3.5, 4.0, 5.5]}
    assert server.predict("half_plus_three", {"inputs": [1.0, 2, -5e-1]}) == {"outputs": [3.5, 4.0, 2.75]}
    assert server.predict("half_plus_three", {"instances": [{"x": 1.0}]}) == {"predictions": [3.5]}


ROWS = [
    {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
    {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
]


def test_the_documents_rows_and_columns_of_several_inputs(server):
    answer = server.predict("tagged", {"signature_name": "serving_default", "instances": ROWS})
    assert answer == {"predictions": [{"tag_out": "FOO", "total": 25}, {"tag_out": "BAR", "total": 38}]}
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert server.predict("tagged", {"inputs": columns}) == {"outputs": {"tag_out": ["FOO", "BAR"], "total": [25, 38]}}


def test_metadata_has_the_documents_form(server):
    for path in ("", "/versions/123"):
        answer = server.get(f"/v1/models/half_plus_three{path}/metadata").json()
        assert answer["model_spec"] == {"name": "half_plus_three", "signature_name": "", "version": "123"}
        signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        assert signature["inputs"]["x"]["tensor_shape"] == shape


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_binary_values_are_base64(server, form):
    b64 = {"b64": base64.b64encode(b"\x00\xff").decode()}
    for values in ([b64], [{"image_bytes": b64}] if form == "instances" else {"image_bytes": [b64]}):
        answer = server.predict("echo", {form: values})
        assert answer == {"predictions" if form == "instances" else "outputs": [b64]}
    # The name of this output does not say that it is binary.
    assert server.predict("text", {form: ["é"]}) == {"predictions" if form == "instances" else "outputs": ["é"]}
    assert "ends in _bytes" in server.predict("text", {form: [b64]}, 500)["error"]


def test_numbers_that_are_not_finite_are_tokens(server):
    text = server.session.post(
        f"{server.base}/v1/models/half_plus_three:predict", data='{"instances": [NaN, Infinity, -Infinity, 1.0]}'
    ).text
    assert text == '{"predictions":[NaN,Infinity,-Infinity,3.5]}'


def test_every_type_of_json_comes_back(server):
    columns = {"i": [0, 255], "d": [0.1, 1e300], "b": [True, False]}
    assert server.predict("kinds", {"inputs": columns}) == {"outputs": dict(sorted(columns.items()))}


NOT_JSON = ["", "{", '{"instances": [1.0,]}', "\xff", '{"instances": [NaN', "[" * 100_000, "NaN" + "[" * 100_000]
BAD = {
    "half_plus_three": [
        *[(body, "not valid JSON") for body in NOT_JSON],
        ("[1.0]", "expected an object, received a list"),
        ({}, "both or neither"),
        ({"instances": [1.0], "inputs": [1.0]}, "both or neither"),
        ({"instances": []}, "at least one row"),
        ({"instances": 1.0}, "a list of rows, received a decimal number"),
        ({"instances": None}, "received null"),
        ({"signature_name": "nothing", "instances": [1.0]}, "expected 'serving_default'; received 'nothing'"),
        ({"signature_name": 1, "instances": [1.0]}, "signature_name: expected a string"),
        ({"instances": ["1.0"]}, "x: expected float32 values, received a string"),
        ({"instances": [True]}, "received true or false"),
        ({"instances": [None]}, "received null"),
        ({"instances": [1.0, [2.0]]}, "received a list"),
        ({"instances": [[1.0], 2.0]}, "lists of one length at level 2"),
        ({"instances": [[1.0], [2.0, 3.0]]}, "lists of one length at level 2"),
        ({"instances": [[1.0]]}, r"shape \[\?\], received \[1, 1\]"),
        ({"inputs": 1.0}, r"shape \[\?\], received \[\]"),
        ({"inputs": {"z": [1.0]}}, "expected 'x'; 'x' is missing, 'z' is unknown"),
        ({"inputs": {}}, "'x' is missing"),
        ({"instances": [{"x": 1.0}, 1.0]}, "received both"),
        ({"instances": [{"x": 1.0}, {}]}, "row 1 has other inputs"),
        ({"instances": [{"b64": "AAAA"}]}, "received an object"),
        ({"instances": [1e39]}, "outside the range of float32"),
        ({"instances": [2**24]}, "no exact float32"),
        ({"instances": [0.0] * (LIMITS.max_rows + 1)}, "at most 64 rows"),
        ({"inputs": {"x": [0.0] * (LIMITS.max_rows + 1)}}, "at most 64 rows"),
    ],
    "tagged": [
        ({"instances": [1, 2]}, "inputs sensor, signal, tag"),
        ({"instances": [{"tag": "foo"}]}, "'sensor' is missing, 'signal' is missing"),
        ({"instances": [ROWS[0] | {"signal": [1, 2]}]}, r"signal: expected the shape \[\?, 5\], received \[1, 2\]"),
        ({"instances": [ROWS[0] | {"signal": [1, 2, 3, 4, 5.0]}]}, "int32 values, received a decimal number"),
        ({"instances": [ROWS[0] | {"signal": [1, 2, 3, 4, 2**31]}]}, "outside the range of int32"),
        ({"instances": [ROWS[0] | {"tag": 1}]}, "string values, received a whole number"),
        ({"instances": [ROWS[0] | {"tag": {"b64": "?"}}]}, "not valid base64"),
        ({"instances": [ROWS[0] | {"tag": {"base64": "AAAA"}}]}, "another object"),
    ],
    "scalar": [({"instances": [1.0]}, "no common first axis")],
}


@pytest.mark.parametrize(("model", "body", "message"), [(m, *case) for m, cases in BAD.items() for case in cases])
def test_a_bad_request_is_refused_with_the_reason(server, model, body, message):
    error = server.predict(model, body, 400)
    assert error.keys() == {"error"} and re.search(message, error["error"])


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/half", 404, "no model 'half'"),
        ("POST", "/v1/models/half:predict", 404, "no model 'half'"),
        ("GET", "/v1/models/half_plus_three/versions/1", 404, "no version 1"),
        ("GET", "/v1/models/half_plus_three/versions/1/metadata", 404, "expected version 123"),
        ("POST", f"/v1/models/half_plus_three/versions/{2**70}:predict", 404, "expected version 123"),
        ("GET", "/v1/models/half_plus_three/versions/x", 400, "Malformed request"),
        ("GET", "/v1/models/half_plus_three/labels/stable", 400, "Malformed request"),
        ("GET", "/v1/models/half_plus_three:predict", 400, "Malformed request"),
        ("POST", "/v1/models/half_plus_three", 400, "Malformed request"),
        ("POST", "/v1/models/half_plus_three:explain", 400, "Malformed request"),
        ("GET", "/v1/models", 400, "Malformed request"),
        ("POST", "/v1/models/half_plus_three:classify", 501, "use :predict"),
        ("POST", "/v1/models/half_plus_three:regress", 501, "use :predict"),
        ("GET", "/", 404, "Malformed request"),
    ],
)
def test_a_wrong_path_has_the_documents_status(server, method, path, status, message):
    answer = server.session.request(
        method, server.base + path, data='{"instances": [1.0]}' if method == "POST" else None
    )
    assert answer.status_code == status and message in answer.json()["error"]


def test_columns_may_have_no_axis(server):
    assert server.predict("scalar", {"inputs": [1.0, 2.5]}) == {"outputs": {"sum": 3.5, "x": [1.0, 2.5]}}
    assert server.predict("scalar", {"inputs": [float("nan")]}, 200)["outputs"]["sum"] != 0.0
    assert server.call("scalar", x=ONE).outputs["sum"].tensor_shape.dim == []


def test_half_precision_needs_grpc(server):
    assert "no float16" in server.predict("float16", {"instances": [1.0]}, 501)["error"]
    answer = server.call("float16", h=np.array([1.5], "float16"))
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["h"]), [1.5])


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_large_body_is_refused(server, in_chunks):
    body = b" " * (LIMITS.max_bytes + 1)
    data = (body[i : i + 50_000] for i in range(0, len(body), 50_000)) if in_chunks else body
    with requests.post(f"{server.base}/v1/models/digits:predict", data=data) as answer:
        assert answer.status_code == 413 and "at most 200000 bytes" in answer.json()["error"]


# gRPC, as documented


def code_of(function, *arguments, **keywords):
    with pytest.raises(grpc.RpcError) as error:
        function(*arguments, **keywords)
    return error.value.code().name, error.value.details()


def test_grpc_predicts(server):
    answer = server.call("half_plus_three", x=np.array([1, 2, 5], "float32"))
    assert list(answer.outputs["y"].float_val) == [3.5, 4.0, 5.5]
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("half_plus_three", 123, "serving_default")
    answer = server.call(
        "tagged",
        outputs=["total"],
        **{k: np.array([r[k] for r in ROWS], "int32") for k in ("signal", "sensor")},
        tag=["foo", "bar"],
    )
    assert answer.outputs.keys() == {"total"} and list(answer.outputs["total"].int_val) == [25, 38]
    answer = server.call("kinds", i=np.uint8([255]), d=np.array([0.1]), b=np.array([True]))
    assert (answer.outputs["i"].int_val, answer.outputs["d"].double_val, answer.outputs["b"].bool_val) == (
        [255],
        [0.1],
        [True],
    )


def test_grpc_has_the_metadata_and_the_status(server):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_three"
    answer = server.predictions.GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    assert answer.model_spec.version.value == 123 and "x" in found.signature_def["serving_default"].inputs
    request.metadata_field[:] = ["other"]
    assert code_of(server.predictions.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"
    request = get_model_status_pb2.GetModelStatusRequest()
    assert code_of(server.models.GetModelStatus, request)[0] == "INVALID_ARGUMENT"
    request.model_spec.name = "half_plus_three"
    (status,) = server.models.GetModelStatus(request).model_version_status
    assert (status.version, status.state) == (123, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    request.model_spec.version.value = 1
    assert code_of(server.models.GetModelStatus, request)[0] == "NOT_FOUND"


def tensor(dtype=tf.float32, shape=(1,), **fields):
    proto = tensor_pb2.TensorProto(dtype=tf.dtypes.as_dtype(dtype).as_datatype_enum, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


ONE = np.ones(1, "float32")
UNKNOWN_RANK = tensor(shape=(), float_val=[1.0])
UNKNOWN_RANK.tensor_shape.unknown_rank = True


@pytest.mark.parametrize(
    ("keywords", "code", "message"),
    [
        ({"model": "float16", "x": ONE}, "INVALID_ARGUMENT", "'h' is missing, 'x' is unknown"),
        ({"model": "none", "x": ONE}, "NOT_FOUND", "no model 'none'"),
        ({"version": 7, "x": ONE}, "NOT_FOUND", "expected version 123"),
        ({"signature_name": "none", "x": ONE}, "FAILED_PRECONDITION", "received 'none'"),
        ({}, "INVALID_ARGUMENT", "'x' is missing"),
        ({"x": ONE, "outputs": ["z"]}, "INVALID_ARGUMENT", "output_filter"),
        ({"x": ONE, "outputs": ["y", "y"]}, "INVALID_ARGUMENT", "each once"),
        ({"x": ONE.astype("float64")}, "INVALID_ARGUMENT", "expected float32, received float64"),
        ({"x": np.ones((1, 1), "float32")}, "INVALID_ARGUMENT", r"received [1, 1]"),
        ({"x": np.ones(65, "float32")}, "INVALID_ARGUMENT", "at most 64 rows"),
        # One value that stands for a terabyte.
        ({"x": tensor(shape=(2**40,), float_val=[1.0])}, "INVALID_ARGUMENT", "rows"),
        ({"x": tensor(shape=(-1,), float_val=[1.0])}, "INVALID_ARGUMENT", "shape is known"),
        ({"x": UNKNOWN_RANK}, "INVALID_ARGUMENT", "shape is known"),
        ({"x": tensor(shape=(2,), tensor_content=b"\x00" * 7)}, "INVALID_ARGUMENT", "do not fit its shape"),
        ({"x": tensor(shape=(1,), float_val=[1.0, 2.0])}, "INVALID_ARGUMENT", "do not fit its shape"),
        ({"x": tensor(tf.variant)}, "INVALID_ARGUMENT", "x"),
        ({"x": tensor_pb2.TensorProto()}, "INVALID_ARGUMENT", "dtype"),
        ({"x": np.ones(LIMITS.max_bytes // 4, "float32")}, "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_a_bad_grpc_request_is_refused_with_the_reason(server, keywords, code, message):
    found, details = code_of(server.call, **{"model": "half_plus_three"} | keywords)
    assert (found, message in details) == (code, True), details


def test_an_empty_batch_is_answered_over_grpc(server):
    answer = server.call("digits", signature_name="encode", x=np.zeros((0, *SHAPE), "float32"))
    assert tf.make_ndarray(answer.outputs["z"]).shape == (0, 4)


def test_other_methods_are_unimplemented(server):
    from tensorflow_serving.apis import classification_pb2

    assert code_of(server.predictions.Classify, classification_pb2.ClassificationRequest())[0] == "UNIMPLEMENTED"


def test_codes_are_those_of_grpc():
    assert CODES.keys() == {code.name for code in grpc.StatusCode} - {"OK"}


# Answers are those of the model


@pytest.mark.parametrize("name", ["serving_default", "encode"])
def test_answers_equal_the_model_in_process_bit_for_bit(server, in_process, x, name):
    expected = {key: value.numpy() for key, value in in_process[name](x=tf.constant(x)).items()}
    over_grpc = server.call("digits", signature_name=name, x=x).outputs
    columns = server.predict("digits", {"signature_name": name, "inputs": {"x": x.tolist()}})["outputs"]
    rows = server.predict("digits", {"signature_name": name, "instances": [{"x": row.tolist()} for row in x]})[
        "predictions"
    ]
    for key, value in expected.items():
        for found in (tf.make_ndarray(over_grpc[key]), columns[key], [row[key] for row in rows]):
            np.testing.assert_array_equal(np.array(found, value.dtype), value)


def test_a_bad_row_changes_nothing_beside_it(server, x):
    good = tf.make_ndarray(server.call("digits", signature_name="encode", x=x).outputs["z"])
    spoilt = x.copy()
    spoilt[2, 3, 3] = np.nan
    spoilt[4, 0, 0] = 7.0  # outside the range of pixels
    over_grpc = server.call("digits", signature_name="encode", x=spoilt).outputs
    body = json.dumps({"signature_name": "encode", "inputs": spoilt.tolist()})
    columns = server.predict("digits", body)["outputs"]
    for z, valid in (
        (tf.make_ndarray(over_grpc["z"]), tf.make_ndarray(over_grpc["valid"])),
        (np.array(columns["z"], "float32"), columns["valid"]),
    ):
        np.testing.assert_array_equal(valid, [True, True, False, True, False])
        np.testing.assert_array_equal(z[[0, 1, 3]], good[[0, 1, 3]])
        np.testing.assert_array_equal(z[[2, 4]], 0.0)


# Versions


def test_versions_come_and_go_under_requests(server, tmp_path):
    target = server.folder / "changing"
    half_plus(1, tmp_path / "1")
    half_plus(2, tmp_path / "2")
    target.mkdir()
    os.rename(tmp_path / "1", target / "1")  # a model that is new, too
    eventually(lambda: server.get("/v1/models/changing").status_code == 200 and number(server, "changing") == 1)
    answers, stop = [], threading.Event()

    def over_rest():
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(f"{server.base}/v1/models/changing:predict", data='{"instances": [0.0]}')
                answers.append(answer.json().get("predictions", answer.text))

    def over_grpc():
        while not stop.is_set():
            answers.append(list(server.call("changing", x=ONE * 0).outputs["y"].float_val))

    threads = [threading.Thread(target=each) for each in (over_rest, over_grpc)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(answers) > 20)
        os.rename(tmp_path / "2", target / "2")
        eventually(lambda: states(server, "changing") == {1: "END", 2: "AVAILABLE"})
        count = len(answers)
        eventually(lambda: len(answers) > count + 20)
        shutil.rmtree(target / "2")
        eventually(lambda: states(server, "changing") == {1: "AVAILABLE", 2: "END"})
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {tuple(answer) for answer in answers} == {(1.0,), (2.0,)}


def states(server, model):
    answer = server.get(f"/v1/models/{model}").json()
    return {int(each["version"]): each["state"] for each in answer["model_version_status"]}


def number(server, model):
    return next((number for number, state in states(server, model).items() if state == "AVAILABLE"), None)


def test_a_damaged_version_leaves_the_one_before_until_it_is_whole(folder, tmp_path, capsys):
    shutil.copytree(folder / "half_plus_three" / "123", tmp_path / "1")
    model = Model("half", tmp_path)
    model.update()
    shutil.copytree(folder / "half_plus_three" / "123", tmp_path / "2")
    whole = (tmp_path / "2" / "saved_model.pb").read_bytes()
    (tmp_path / "2" / "saved_model.pb").write_bytes(whole[:100])
    for _ in range(2):  # the second time, its files are as they were
        model.update()
    assert model.number == 1 and model.statuses[2].state == "END" and model.statuses[2].message
    assert len(capsys.readouterr().err.splitlines()) == 1
    (tmp_path / "2" / "saved_model.pb").write_bytes(whole)
    model.update()
    assert model.number == 2 and model.statuses[2].code == "OK"
    with model.version() as version:
        shutil.rmtree(tmp_path / "2")
        update = threading.Thread(target=model.update)
        update.start()
        eventually(lambda: model.number == 1)
        np.testing.assert_array_equal(version.predict("", {"x": ONE}, 9.0)["y"], [3.5])  # loaded as long as it is used
        assert model.statuses[2].state == "UNLOADING"
    update.join()
    assert version.signatures == {} and model.statuses[2].state == "END"
    model.close()
    with pytest.raises(Failure, match="no version"), model.version():
        pass


def test_a_version_whose_warm_up_fails_is_not_served(folder, tmp_path, capsys):
    shutil.copytree(folder / "digits" / "1", tmp_path / "1")
    path = tmp_path / "1" / serving.WARMUP_FILE
    assert path.exists()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
    model = Model("digits", tmp_path)
    model.update()
    assert model.number is None and model.statuses[1].code == "INVALID_ARGUMENT"
    assert "x: expected the shape" in capsys.readouterr().err


def test_models_are_named_by_their_folders(folder, tmp_path):
    assert named_exports([str(folder / "digits")]) == {"digits": folder / "digits"}
    assert named_exports([f"d={folder / 'digits'}", str(folder / "text")]).keys() == {"d", "text"}
    assert {"digits", "text"} < named_exports([str(folder)]).keys()
    shutil.copytree(folder / "text", tmp_path / "digits")
    with pytest.raises(ValueError, match="both named 'digits'"):
        named_exports([str(folder), str(tmp_path / "digits")])
    with pytest.raises(ValueError, match="is no folder"):
        named_exports([str(tmp_path / "none")])


# Limits


def test_a_prediction_ends_at_its_deadline(server):
    forever = np.array([2**62])
    code, _ = code_of(server.call, "counter", timeout=0.2, loops=forever)
    assert code == "DEADLINE_EXCEEDED"
    # Its thread ends, too: otherwise these would wait.
    for _ in range(LIMITS.threads + 1):
        assert list(server.call("counter", loops=np.array([3])).outputs["loops"].int64_val) == [3]


@pytest.fixture
def desk():
    limits = Limits(threads=1, max_waiting=1, seconds=DEADLINE)
    made = Desk([], limits)
    yield made
    made.close()


def test_requests_that_find_no_place_fail_at_once(desk):
    release = threading.Event()

    async def crowd():
        running = [asyncio.create_task(desk.run(lambda left: release.wait(DEADLINE), DEADLINE)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Failure, match="UNAVAILABLE"):
            await desk.run(lambda left: None, DEADLINE)
        release.set()
        return await asyncio.gather(*running), await desk.run(lambda left: "served", DEADLINE)

    assert asyncio.run(crowd()) == ([True, True], "served")


def test_a_request_that_waited_too_long_is_not_computed(desk):
    release, computed = threading.Event(), []

    async def crowd():
        first = asyncio.create_task(desk.run(lambda left: release.wait(DEADLINE), DEADLINE))
        await asyncio.sleep(0)
        with pytest.raises(Failure, match="DEADLINE_EXCEEDED"):
            await desk.run(computed.append, 0.01)
        release.set()
        await first
        await desk.run(lambda left: None, DEADLINE)

    asyncio.run(crowd())
    assert computed == []


def test_errors_are_passed_on_and_give_their_place_back(desk):
    async def broken():
        raise EOFError

    async def whole():
        return "read"

    for _ in range(3):
        with pytest.raises(EOFError):
            asyncio.run(desk.run(lambda body, left: body, DEADLINE, read=broken))
        with pytest.raises(ZeroDivisionError):
            asyncio.run(desk.run(lambda left: 1 / 0, DEADLINE))
    assert asyncio.run(desk.run(lambda body, left: body, DEADLINE, read=whole)) == "read"


def test_a_client_that_sends_too_slowly_is_answered(folder):
    import socket

    with running(folder / "half_plus_three", LIMITS._replace(seconds=0.3)) as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), DEADLINE) as client:
            client.sendall(b"POST /v1/models/half_plus_three:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
            assert client.recv(1000).startswith(b"HTTP/1.1 504 ")


# Metrics


def test_metrics_have_the_names_of_tensorflow_serving(server):
    server.predict("half_plus_three", {"instances": [1.0]})
    server.predict("made up by a client", {"instances": [1.0]}, 404)
    answer = server.get("/monitoring/prometheus/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert re.search(
        r'^:tensorflow:serving:request_count{model_name="half_plus_three",status="OK"} \d', answer.text, re.M
    )
    label = '{API="Predict",entrypoint="REST",le="10.0",model_name="half_plus_three"}'
    assert f":tensorflow:serving:request_latency_bucket{label}" in answer.text
    assert "made up" not in answer.text


def test_metrics_count_by_model_and_status():
    metrics = Metrics(lambda: {"a"})
    for model, code in (("a", "OK"), ("a", "OK"), ("b", "NOT_FOUND"), ("c", "NOT_FOUND")):
        metrics.add(model, "Predict", "GRPC", code, 15e-6)
    assert metrics.totals() == {"OK": 2, "NOT_FOUND": 2}
    page = metrics.page().decode()
    assert ':tensorflow:serving:request_count{model_name="(unknown)",status="NOT_FOUND"} 2.0' in page
    labels = 'API="Predict",entrypoint="GRPC",le="{}",model_name="a"'
    for limit, number in (("10.0", 0), ("18.0", 2)):
        assert f"request_latency_bucket{{{labels.format(limit)}}} {number}.0" in page


# The command


@pytest.mark.processes
def test_the_command_serves_until_sigterm_and_ends_what_is_under_way(folder):
    command = [sys.executable, "keras_ae_command.py", "serve", "--port=0", "--grpc_port=0"]
    command.append(f"--models=half={folder / 'half_plus_three'},{folder / 'counter'}")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = json.loads(process.stderr.readline())
        assert line["models"] == {"half": 123, "counter": 1}
        assert line["rest"].startswith("http://127.0.0.1:")
        slow = http.client.HTTPConnection(line["rest"].removeprefix("http://"), timeout=DEADLINE)
        slow.request("POST", "/v1/models/counter:predict", '{"instances": [100000]}')
        requests.post(f"{line['rest']}/v1/models/half:predict", data="{}")
        process.send_signal(signal.SIGTERM)
        answer = json.loads(slow.getresponse().read())
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    report = json.loads(out.splitlines()[-1])
    assert process.returncode == 0 and "Traceback" not in err, err
    assert report["by_status"] == {"INVALID_ARGUMENT": 1, "OK": 1} and report["requests"] == 2
    assert answer == {"predictions": [100000]}


def test_what_cannot_be_served_is_an_error_of_the_user(server, tmp_path):
    flags = {"host": "127.0.0.1", "port": 0, "grpc_port": 0, "poll_seconds": 1.0, "threads": 1, "max_waiting": 1}
    flags |= {"max_megabytes": 1.0, "max_rows": 1, "timeout": 1.0}
    with pytest.raises(common.UserError, match="--models: there is no export that can be loaded"):
        serve.run([str(tmp_path)], **flags)
    half, taken = [str(server.folder / "half_plus_three")], server.made
    with pytest.raises(common.UserError, match=r"--port: cannot listen at 127\.0\.0\.1"):
        serve.run(half, **flags | {"port": int(taken.address.split(":")[1])})
    with pytest.raises(common.UserError, match=r"--grpc_port: cannot listen at 127\.0\.0\.1"):
        serve.run(half, **flags | {"grpc_port": int(taken.grpc_address.split(":")[1])})


# Clients in the documentation


@pytest.fixture
def block(server, x, tmp_path, monkeypatch):
    """Returns the one block of the page in a language that contains some text, for this server."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    pathlib.Path("rows.json").write_text(json.dumps({"signature_name": "encode", "inputs": {"x": x.tolist()}}))
    np.save("x.npy", x)

    def find(language, containing):
        (code,) = [code for found, code in blocks if found == language and containing in code]
        assert "localhost:850" in code
        return code.replace("localhost:8501", server.made.address).replace("localhost:8500", server.made.grpc_address)

    return find


def run(*command):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on this machine")
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def sampled(in_process):
    return in_process["sample"](seed=tf.constant([0, 1], tf.int64))["x"].numpy()


def test_the_pages_curl_works(block, sampled):
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    rows = run("bash", "-ec", block("bash", '"sample"'))["predictions"]
    np.testing.assert_array_equal(np.array(rows, "float32"), sampled)
    assert run("bash", "-ec", block("bash", "rows.json"))["outputs"]["valid"] == [True] * 5


@pytest.mark.parametrize("containing", ["requests.post", "PredictionServiceStub"])
def test_the_pages_python_works(block, in_process, x, capsys, containing):
    exec(compile(block("python", containing), str(PAGE), "exec"), {})
    expected = in_process["encode"](x=tf.constant(x))["z"].numpy()
    np.testing.assert_array_equal(np.array(json.loads(capsys.readouterr().out), "float32"), expected)


def test_the_pages_javascript_works(block, sampled):
    shown = run("node", "--input-type=module", "-e", block("javascript", "fetch"))
    np.testing.assert_array_equal(np.array(shown, "float32"), sampled)
