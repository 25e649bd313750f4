"""Training with two replicas, or two workers, gives the same results as one process."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka  # noqa: F401  load_model finds its classes
from keras_ae.training import distribute

pytestmark = pytest.mark.processes  # all but the last tests, which are fast

HERE = pathlib.Path(__file__).parent
TIME_LIMIT = 300  # seconds, after which a process counts as hanging; it takes about 30 alone on two cores


def run_processes(task, folder, environments):
    """Runs one process per environment in parallel, and returns their reports."""
    deadline = time.monotonic() + TIME_LIMIT
    outputs = [folder / f"{task}{i}.json" for i in range(len(environments))]
    base = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    base |= {"PYTHONPATH": str(HERE.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    with contextlib.ExitStack() as stack:
        logs, processes = [], []
        for output, environment in zip(outputs, environments, strict=True):
            logs.append(stack.enter_context(open(output.with_suffix(".log"), "w+")))
            command = [sys.executable, str(HERE / "distribute_task.py"), task, str(output)]
            processes.append(subprocess.Popen(command, env=base | environment, stdout=logs[-1], stderr=logs[-1]))
            stack.callback(processes[-1].wait)
            stack.callback(processes[-1].kill)
        for process, log in zip(processes, logs, strict=True):
            status = process.wait(timeout=max(1.0, deadline - time.monotonic()))
            log.seek(0)
            assert status == 0, log.read()[-4000:]
    return [json.loads(output.read_text()) for output in outputs]


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    return run_processes("mirrored", tmp_path_factory.mktemp("mirrored"), [{}])[0]


@pytest.fixture(scope="module")
def workers_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("multi_worker")


@pytest.fixture(scope="module")
def workers(workers_folder):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)]
    return run_processes("multi_worker", workers_folder, [{"TF_CONFIG": json.dumps(c)} for c in configs])


# Two replicas


def test_mirrored_has_a_replica_for_each_logical_cpu(mirrored):
    assert mirrored["replicas"] == 2
    assert mirrored["is_chief"]


def test_replicas_draw_different_noise(mirrored):
    assert mirrored["seeds"][0] != mirrored["seeds"][1]


def test_two_replicas_learn_as_one(mirrored):
    one, two = mirrored["vae_losses"]
    assert one[-1] < 0.95 * one[0]
    # The noise differs; with 512 rows of 8 values, it changes the loss of an epoch by about 0.3 %.
    np.testing.assert_allclose(two, one, rtol=0.015)
    assert two != one
    np.testing.assert_allclose(*mirrored["autoencoder_losses"], rtol=1e-5)


def test_gradients_and_logs_are_those_of_the_global_batch(mirrored):
    # Also if the replicas' parts differ in size, or one is empty, and with sample weights.
    assert len(mirrored["weights"]) == 4
    for name, difference in mirrored["weights"].items():
        assert difference < 1e-6, name
    for name, (one, two) in mirrored["evaluated"].items():
        assert two == pytest.approx(one, rel=1e-6), name


def test_saving_and_going_on_equals_never_having_stopped(mirrored):
    assert mirrored["reloaded"] == 0
    assert mirrored["went on"] < 1e-7


def test_model_saved_by_one_device_trains_on_two(mirrored):
    assert mirrored["saved by one"] == pytest.approx(mirrored["autoencoder_losses"][0][0], rel=1e-5)


@pytest.mark.parametrize("method", ["encode", "log_prob", "sample", "predict"])
def test_methods_equal_those_of_one_device(mirrored, method):
    assert mirrored["methods"][method] < 1e-5


def test_several_steps_per_execution_train_the_same(mirrored):
    assert mirrored["steps_per_execution"] < 1e-7


def test_optimizer_from_outside_the_scope_counts_steps_once(mirrored):
    assert mirrored["iterations"] == 2


def test_networks_from_outside_the_scope_are_refused(mirrored):
    for message in (mirrored["outside"], mirrored["outside_fit"]):
        assert "scope of MirroredStrategy" in message


def test_divergence_is_reported_under_replicas_too(mirrored):
    assert "Training stopped at step" in mirrored["diverged"]


# Two workers


def test_workers_end_with_identical_weights(workers):
    assert [worker["replicas"] for worker in workers] == [2, 2]
    assert workers[0]["weights"] == workers[1]["weights"]
    assert workers[0]["losses"] == workers[1]["losses"]
    assert workers[0]["evaluate"] == workers[1]["evaluate"]
    assert workers[0]["codes"] == workers[1]["codes"]


def test_workers_learn_as_one_process(workers, mirrored):
    np.testing.assert_allclose(workers[0]["losses"], mirrored["vae_losses"][0], rtol=0.015)


def test_only_the_first_worker_is_chief_and_saves(workers, workers_folder):
    assert [worker["is_chief"] for worker in workers] == [True, False]
    model = keras.saving.load_model(workers_folder / "vae.keras")
    for ours, theirs in zip((*model.encoder.weights, *model.decoder.weights), workers[0]["weights"], strict=True):
        np.testing.assert_array_equal(ours, np.array(theirs, "float32"))
    assert (workers_folder / "exported" / "1" / "saved_model.pb").exists()


# Names and TF_CONFIG


def test_default_is_the_current_strategy():
    assert distribute.get("default") is tf.distribute.get_strategy()
    assert distribute.is_chief(distribute.get("default"))


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match=r"'tpu'.*default, mirrored, multi_worker"):
        distribute.get("tpu")


CLUSTER = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
TASK = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "expected a JSON object.*received None"),
        ("{'cluster'", "expected a JSON object.*received \"{'cluster'\""),
        ([1], "expected a JSON object"),
        ({"task": TASK}, '"cluster".*received None'),
        ({"cluster": {}, "task": TASK}, '"cluster".*received {}'),
        ({"cluster": {"ps": ["a:1"]}, "task": TASK}, '"cluster".*received'),
        ({"cluster": {"worker": "a:1"}, "task": TASK}, "'worker'; received 'a:1'"),
        ({"cluster": {"worker": ["a"]}, "task": TASK}, r"host:port.*received \['a'\]"),
        ({"cluster": CLUSTER}, '"task".*received None'),
        ({"cluster": CLUSTER, "task": {"type": "worker"}}, '"task" with "type" and "index"'),
        ({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}, r"\['worker'\]; received 'chief'"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}, "0 to 1.*received 2"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": -1}}, "0 to 1.*received -1"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": "one"}}, "0 to 1.*received 'one'"),
    ],
)
def test_tf_config_errors_come_before_the_network(monkeypatch, config, message):
    def started(*args, **kwargs):
        raise AssertionError("the strategy was started")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", started)
    if config is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ValueError, match=f"TF_CONFIG: .*{message}"):
        distribute.get("multi_worker")
