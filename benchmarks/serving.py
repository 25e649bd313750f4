"""`keras-ae serve` beside the model in process, and under load: `python -m benchmarks.serving`.

The server is a process of its own. It serves a VAE of 784 pixels with random weights, as speed does not depend on them.

Latency: one client sends one row at a time, from array to array: it writes the request, and reads the answer into an
array. Calls in process, over REST and over gRPC take turns.

Load: `CLIENTS` processes, half over REST and half over gRPC, send requests without a pause for `MINUTES` (`--minutes`):
one row, many rows, rows beside one that is not valid, and requests that must be refused. Every answer is compared with
that of the model in process. Meanwhile a copy of the export appears as the next version every `SWAP_SECONDS`.
"""

import contextlib
import http.client
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import options, results

CALLS, MINUTES, CLIENTS, SWAP_SECONDS = 1_000, 30.0, 8, 30.0
SHAPE, LATENT, HIDDEN = (28, 28, 1), 32, (512,)
ROWS = 32  # in the larger requests
SMOKE = {"CALLS": 20, "CLIENTS": 2, "SWAP_SECONDS": 1.0, "HIDDEN": (8,), "ROWS": 4}

_ROOT = pathlib.Path(__file__).parents[1]
_MODEL, _METHOD = "vae", "/tensorflow.serving.PredictionService/Predict"
_REST, _GRPC, _IN_PROCESS = "REST", "gRPC", "in process"
_SAMPLE_SECONDS = 0.5  # between two measurements of memory


def export(folder):
    """Exports a VAE, and returns its signatures."""
    import keras
    import tensorflow as tf

    import keras_ae as ka

    keras.utils.set_random_seed(options.SEED.value)
    encoder = ka.networks.mlp_encoder(SHAPE, LATENT, HIDDEN, parameters=2)
    vae = ka.VAE(encoder, ka.networks.mlp_decoder(LATENT, SHAPE, HIDDEN))
    return tf.saved_model.load(ka.export(vae, folder / _MODEL))


@contextlib.contextmanager
def running(folder):
    """Context manager with a server's process, its addresses of REST and gRPC, and a function that ends it."""
    command = [sys.executable, str(_ROOT / "keras_ae_command.py"), "serve", f"--models={folder}"]
    command += ["--port=0", "--grpc_port=0"]
    with open(folder.parent / "log", "w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stderr=log, stdout=subprocess.PIPE, text=True)
        try:
            while not (text := (folder.parent / "log").read_text()).endswith("\n"):
                if process.poll() is not None:
                    raise RuntimeError("the server ended before it served")
                time.sleep(0.01)
            line = json.loads(text.splitlines()[0])
            yield process, line["rest"].removeprefix("http://"), line["grpc"], time.perf_counter() - start
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
            sys.stderr.write((folder.parent / "log").read_text().partition("\n")[2])


# Latency


def latencies(model, rest, grpc_address):
    """Returns `{way: seconds of each call}`; the ways take turns."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    random, size = np.random.default_rng(options.SEED.value), (CALLS, 1, *SHAPE)
    # Levels of pixels, a fifth of them not 0, as in MNIST: the zeros make a request in JSON short.
    x = (random.integers(256, size=size) / 255 * (random.random(size) < 0.2)).astype("float32")
    signature = model.signatures["serving_default"]
    connection = http.client.HTTPConnection(rest)
    channel = grpc.insecure_channel(grpc_address)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def in_process(row):
        return signature(x=tf.constant(row))["x"].numpy()

    def over_rest(row):
        body = json.dumps({"inputs": {"x": row.tolist()}})
        return np.array(json.loads(_post(connection, body)[1])["outputs"]["x"], "float32")

    def over_grpc(row):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = _MODEL
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(row))
        return tf.make_ndarray(stub.Predict(request).outputs["x"])

    ways = {_IN_PROCESS: in_process, _REST: over_rest, _GRPC: over_grpc}
    found, unequal = {way: [] for way in ways}, dict.fromkeys(ways, 0)
    for row in x:
        answers = {}
        for way, call in ways.items():
            start = time.perf_counter()
            answers[way] = call(row)
            found[way].append(time.perf_counter() - start)
        for way, answer in answers.items():
            unequal[way] += not np.array_equal(answer, answers[_IN_PROCESS])
    channel.close()
    connection.close()
    return {way: np.array(each[len(each) // 10 :]) for way, each in found.items()}, unequal


def _post(connection, body):
    connection.request("POST", f"/v1/models/{_MODEL}:predict", body)
    answer = connection.getresponse()
    return answer.status, answer.read()


# Load


def requests_of(model, way):
    """Returns a list of (request, expected status, bytes that its answer must contain), all bytes."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    random = np.random.default_rng(options.SEED.value)
    spoilt = random.random((3, *SHAPE), "float32")
    spoilt[1] = 2.0  # outside the range of pixels
    made = []
    for x in (random.random((1, *SHAPE), "float32"), random.random((ROWS, *SHAPE), "float32"), spoilt):
        z = model.signatures["encode"](x=tf.constant(x))["z"].numpy()
        if way == _REST:
            import orjson

            body = json.dumps({"signature_name": "encode", "inputs": {"x": x.tolist()}}).encode()
            made.append((body, 200, orjson.dumps(z, option=orjson.OPT_SERIALIZE_NUMPY)))
        else:
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = _MODEL, "encode"
            request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
            made.append((request.SerializeToString(), "OK", z.tobytes()))
    if way == _REST:
        return [*made, (b'{"inputs": {"x": [NaN, "a"]}}', 400, b"x: expected float32")]
    request.inputs["x"].tensor_shape.dim[1].size = 27
    return [*made, (request.SerializeToString(), "INVALID_ARGUMENT", b"x: expected the shape")]


def client(way, address, requests, seconds):
    """Sends requests for some seconds; returns the number of answers, the unexpected ones, and seconds of each."""
    import grpc

    if way == _REST:
        connection = http.client.HTTPConnection(address, timeout=60)

        def send(request):
            return _post(connection, request)
    else:
        channel = grpc.insecure_channel(address)
        call = channel.unary_unary(_METHOD)

        def send(request):
            try:
                return "OK", call(request, timeout=60)
            except grpc.RpcError as error:
                return error.code().name, error.details().encode()

    wrong, took, end = [], [], time.monotonic() + seconds
    while time.monotonic() < end:
        for request, status, containing in requests:
            start = time.perf_counter()
            try:
                found, answer = send(request)
            except OSError as error:
                found, answer = type(error).__name__, str(error).encode()
            took.append(time.perf_counter() - start)
            if found != status or containing not in answer:
                wrong.append(f"{way}: {found} {answer[:200]!r}")
    return len(took), wrong, np.array(took, "float32")


def megabytes(process):
    """Returns the resident memory of a process in megabytes, on Linux."""
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def load(model, folder, process, addresses, seconds):
    """Puts the server under load; returns the clients' results, the memory over time, and the number of versions."""
    jobs = []
    for number in range(CLIENTS):
        way = (_REST, _GRPC)[number % 2]
        jobs.append((way, addresses[way], requests_of(model, way), seconds))
    memory, versions, start = [], 1, time.monotonic()
    with multiprocessing.get_context("spawn").Pool(CLIENTS) as pool:
        pending = pool.starmap_async(client, jobs)
        while not pending.ready():
            pending.wait(_SAMPLE_SECONDS)
            memory.append((time.monotonic() - start, megabytes(process.pid)))
            if memory[-1][0] > versions * SWAP_SECONDS and memory[-1][0] < seconds - SWAP_SECONDS / 2:
                versions += 1
                beside = folder / f".{versions}"
                shutil.copytree(folder / _MODEL / "1", beside)
                os.rename(beside, folder / _MODEL / str(versions))
        return pending.get(), np.array(memory), versions


def available(address):
    """Returns the version that the server has loaded."""
    connection = http.client.HTTPConnection(address)
    connection.request("GET", f"/v1/models/{_MODEL}")
    statuses = json.loads(connection.getresponse().read())["model_version_status"]
    connection.close()
    return next(int(each["version"]) for each in statuses if each["state"] == "AVAILABLE")


# The table


def rows(measured):
    """Returns the rows of the table from the values that `main` measured."""
    shared = {
        "seeds": [options.SEED.value],
        "command": f"python -m benchmarks.serving --minutes={measured['minutes']:g}",
    }

    def row(claim, data, metric, ours, better="lower", **marks):
        return results.row(
            claim=claim,
            data=data,
            metric=metric,
            better=better,
            ours=ours,
            seconds=measured["seconds"],
            **marks,
            **shared,
        )

    times, made = {way: 1e3 * each for way, each in measured["latencies"].items()}, []
    one = f"one row of 784 pixels, a fifth not 0; {len(times[_REST])} calls"
    for way, each in times.items():
        made += [
            row(f"one client, {way}", one, f"{name}, ms", float(np.percentile(each, p))) for name, p in PERCENTILES
        ]
    for way in (_REST, _GRPC):
        beyond = times[way] - times[_IN_PROCESS]
        error = 1.2533 * beyond.std() / len(beyond) ** 0.5  # of the median of normal values
        ours = float(np.median(times[way]) - np.median(times[_IN_PROCESS]))
        made.append(
            row(
                f"one client, {way} beyond in process",
                one,
                "median, ms",
                ours,
                required=2.0,
                standard_error=float(error),
            )
        )
        claim = f"one client, {way}: answers unlike in process"
        made.append(row(claim, one, "answers of float32 not equal bit for bit", measured["unequal"][way], required=0))
    new = measured["versions"] - 1
    data = f"{CLIENTS} clients over REST and gRPC, {measured['minutes']:g} minutes, {new} new versions"
    answers = sum(number for number, *_ in measured["load"])
    wrong = [each for _, some, _ in measured["load"] for each in some]
    took = 1e3 * np.concatenate([each for *_, each in measured["load"]])
    memory = measured["memory"]
    tenth = max(1, len(memory) // 10)
    first, last = (float(np.median(memory[part, 1])) for part in (slice(0, tenth), slice(-tenth, None)))
    half = memory[len(memory) // 2 :]
    slope = float(np.polyfit(half[:, 0] / 600, half[:, 1], 1)[0])
    made += [
        row("load: failed or wrong answers", data, "answers", len(wrong), required=0),
        row(
            "load: versions that did not appear", data, "versions", measured["versions"] - measured["last"], required=0
        ),
        row("load: throughput", data, "requests a second", answers / (60 * measured["minutes"]), better="higher"),
        *(row("load: latency", data, f"{name}, ms", float(np.percentile(took, p))) for name, p in PERCENTILES),
        row("load: memory of the server at first", data, "MB, median of the first tenth", first),
        row("load: growth of memory", data, "MB, last tenth beyond the first", last - first, required=MEGABYTES),
        row("load: slope of memory", data, "MB in 10 minutes, second half", slope),
        row("start of the server", "one model", "s to the first answer", measured["start"]),
    ]
    return made


PERCENTILES = (("median", 50), ("95th percentile", 95), ("99th percentile", 99))
MEGABYTES = 32.0  # of growth that counts as flat: less than a tenth of the process


def main(_):
    minutes, start = options.minutes(MINUTES), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "exports"
        folder.mkdir()
        model = export(folder)
        with running(folder) as (process, rest, grpc_address, seconds):
            measured = {"minutes": minutes, "start": seconds}
            measured["latencies"], measured["unequal"] = latencies(model, rest, grpc_address)
            addresses = {_REST: rest, _GRPC: grpc_address}
            found = load(model, folder, process, addresses, 60 * minutes)
            measured["load"], measured["memory"], measured["versions"] = found
            measured["last"] = available(rest)
    for line in sorted({each for _, some, _ in measured["load"] for each in some})[:10]:
        print(line, file=sys.stderr)
    measured["seconds"] = time.perf_counter() - start
    made = rows(measured)
    for row in made:
        print(f"{row['claim']:55} {row['metric']:45} {row['ours']:.4g}", flush=True)
    results.write("serving", made)


if __name__ == "__main__":
    options.run(main)
