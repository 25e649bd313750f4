"""Checkpoints: whatever stops a run, the next one goes on exactly there, or says what is wrong with the file."""

import collections
import json
import os
import random
import re

import keras
import numpy as np
import pytest

import keras_ae as ka
from apps import checkpoints, common
from keras_ae.training import states
from keras_ae.utils import files

FLAGS = {"seed": 0, "data": None, "settings": {"epochs": 4, "hidden": (3,)}}


class Killed(BaseException):
    """Leaves the process as a kill would: nothing in the programs catches it."""


def make(width=2):
    """A model with dropout, whose mask depends on a seed generator that a step moves on."""
    inputs = keras.Input((3,))
    encoder = keras.Model(inputs, keras.layers.Dense(width)(keras.layers.Dropout(0.2, seed=1)(inputs)))
    model = ka.Autoencoder(encoder, ka.networks.mlp_decoder(width, (3,), ()), "gaussian", seed=0)
    model.compile("adam", run_eagerly=True)  # a few steps need no graph
    return model


@pytest.fixture
def x(rng):
    return rng.random((8, 3)).astype("float32")


class Stop(keras.callbacks.Callback):
    """Raises at the beginning of an epoch; records the epochs that began in this process, and draws random numbers."""

    def __init__(self, epoch=None, error=Killed):
        super().__init__()
        self.epoch, self.error, self.drawn = epoch, error, []
        self._begun = collections.deque()  # which a checkpoint cannot hold

    @property
    def begun(self):
        return list(self._begun)

    def on_epoch_begin(self, epoch, logs=None):
        self._begun.append(epoch)
        if epoch == self.epoch:
            raise self.error
        self.drawn.append((random.random(), np.random.rand()))


def fit(x, folder, *callbacks, done=True, max_minutes=None, flags=FLAGS, budget=None, **options):
    """One run of a program: returns its model."""
    keras.utils.set_random_seed(3)
    model = make()
    budget = budget or common.TimeBudget(max_minutes)
    options = {"epochs": 4, "batch_size": 8, "verbose": 0} | options
    with checkpoints.opened(folder, "app", flags, max_minutes) as checkpoint:
        common.fit(model, x, budget=budget, checkpoint=checkpoint, callbacks=callbacks, **options)
        if done and checkpoint is not None:
            checkpoint.done()
    return model


def killed(*arguments, **options):
    with pytest.raises(Killed):
        fit(*arguments, **options)


def same(one, two):
    pairs = zip(states.variables(one), states.variables(two), strict=True)
    return all(np.asarray(a.value).tobytes() == np.asarray(b.value).tobytes() for a, b in pairs)


def test_a_resumed_run_is_the_run_never_killed(x, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "precious").touch()
    never = Stop()
    whole = fit(x, None, never)
    for epoch in (1, 3):
        killed(x, tmp_path, Stop(epoch))
    last = Stop()
    resumed = fit(x, tmp_path, last)
    assert last.begun == [3] and same(whole, resumed)
    assert last.drawn == never.drawn  # attributes of callbacks, and Python's and NumPy's generators, go on as well
    assert resumed.history.epoch == [0, 1, 2, 3] and resumed.history.history == whole.history.history
    assert os.listdir(tmp_path / "app") == ["precious"]


@pytest.mark.parametrize("epoch", [2, 3, None])  # before and after the best epoch, and after the stop, before `done`
def test_early_stopping_goes_on(x, tmp_path, epoch):
    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_loss"] = np.float32([0.3, 0.1, 0.25, 0.2, 0.4, 0.5][epoch])

    def callbacks(*more):
        early = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
        plateau = keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5)
        return Worse(), early, plateau, *more

    whole = fit(x, None, *callbacks(), epochs=6)
    assert len(whole.history.epoch) == 4 and float(whole.optimizer.learning_rate) < 0.001
    if epoch is None:
        fit(x, tmp_path, *callbacks(Stop()), epochs=6, done=False)
    else:
        killed(x, tmp_path, *callbacks(Stop(epoch)), epochs=6)
    last = Stop()
    resumed = fit(x, tmp_path, *callbacks(last), epochs=6)
    assert last.begun == {2: [2, 3], 3: [3], None: []}[epoch]
    assert same(whole, resumed) and not os.listdir(tmp_path / "app")


def test_a_kill_before_the_results_are_written_costs_no_epoch(x, tmp_path):
    whole = fit(x, tmp_path, done=False)
    last = Stop()
    assert same(whole, fit(x, tmp_path, last, done=False)) and last.begun == []
    assert same(whole, fit(x, tmp_path)) and not os.listdir(tmp_path / "app")


def test_a_kill_while_saving_leaves_the_epoch_before(x, tmp_path, monkeypatch):
    whole = fit(x, None)
    moments = iter([0, 1, 0, 0])

    def killing(path, state):
        if next(moments):
            # As a kill: half of the file is there, and the lock of the dead process.
            (tmp_path / "app" / files.hidden(path).name).write_bytes(b"half")
            raise Killed
        write(path, state)

    write = checkpoints.write
    monkeypatch.setattr(checkpoints, "write", killing)
    killed(x, tmp_path)
    (tmp_path / "app" / "checkpoint.lock").touch()
    monkeypatch.setattr(checkpoints, "write", write)
    last = Stop()
    assert same(whole, fit(x, tmp_path, last)) and last.begun == [1, 2, 3]
    assert not os.listdir(tmp_path / "app")


def test_a_kill_while_removing_leaves_nothing_after_the_next_run(x, tmp_path, monkeypatch):
    def killing(folder):
        raise Killed

    fit(x, tmp_path, done=False)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "sync", killing)  # the file is gone, but perhaps not on the disk
        fit(x, tmp_path)
    last = Stop()
    fit(x, tmp_path, last)
    assert last.begun == [0, 1, 2, 3] and not os.listdir(tmp_path / "app")


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "magic"])
def test_a_damaged_checkpoint_is_named(x, tmp_path, damage):
    killed(x, tmp_path, Stop(1))
    path = tmp_path / "app" / "checkpoint"
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.write_bytes({"empty": b"", "cut": data[:-1], "bit": flipped, "magic": b"PK" + data[2:]}[damage])
    expected = rf"--checkpoint_dir: the checkpoint '{re.escape(str(path))}' is damaged: .*Delete it to train from"
    with pytest.raises(common.UserError, match=expected):
        fit(x, tmp_path)
    assert os.listdir(path.parent) == ["checkpoint"]  # not touched


def test_other_flags_are_refused(x, tmp_path):
    killed(x, tmp_path, Stop(1))
    for changed, message in (
        ({"seed": 1}, "seed=0, now 1"),
        ({"more": 1}, "more=None, now 1"),
        ({"settings": {"epochs": 5, "hidden": (3,)}}, r"settings\.epochs=4, now 5"),
    ):
        with pytest.raises(common.UserError, match=rf"with other settings: {message}\. Repeat the"):
            fit(x, tmp_path, flags=FLAGS | changed)


def test_another_network_is_refused(x, tmp_path, monkeypatch):
    killed(x, tmp_path, Stop(1))
    monkeypatch.setattr(make, "__defaults__", (3,))
    with pytest.raises(common.UserError, match="its weights have other shapes"):
        fit(x, tmp_path)


def test_a_callback_whose_state_would_be_lost_is_named(x, tmp_path):
    early = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
    killed(x, tmp_path, early, Stop(1))
    with pytest.raises(common.UserError, match="a callback EarlyStopping, which this one lacks"):
        fit(x, tmp_path)


def test_metadata_of_an_earlier_version_without_weights_is_not_the_end(x, tmp_path):
    (tmp_path / "app" / "backup").mkdir(parents=True)
    (tmp_path / "app" / "backup" / "training_metadata.json").write_text('{"epoch": 4, "batch": 0}')
    with pytest.raises(common.UserError, match=r"app/backup' is a checkpoint of an earlier version.*delete the folder"):
        fit(x, tmp_path)


def test_two_processes_do_not_share_a_checkpoint(tmp_path):
    with (
        checkpoints.opened(tmp_path, "app", {}),
        checkpoints.opened(tmp_path, "other", {}),
        pytest.raises(common.UserError, match="another process trains with the checkpoint"),
        checkpoints.opened(tmp_path, "app", {}),
    ):
        pass
    with checkpoints.opened(tmp_path, "app", {}):
        pass
    assert not os.listdir(tmp_path / "app")


def test_each_worker_has_its_own_file(x, tmp_path, monkeypatch):
    for index in (0, 1):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"task": {"type": "worker", "index": index}}))
        killed(x, tmp_path, Stop(1 + index))
    assert sorted(os.listdir(tmp_path / "app")) == ["checkpoint.worker-0", "checkpoint.worker-1"]
    last = Stop()
    fit(x, tmp_path, last)
    assert last.begun == [2, 3] and os.listdir(tmp_path / "app") == ["checkpoint.worker-0"]


@pytest.mark.parametrize("config", ["{", "[]", '{"task": 5}', '{"task": {"type": "../x"}}', "[" * 10**5])
def test_a_task_that_cannot_be_read_names_tf_config(tmp_path, monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    refused = pytest.raises(common.UserError, match="TF_CONFIG: expected a JSON object")
    with refused, checkpoints.opened(tmp_path, "app", {}):
        pass


def test_ctrl_c_keeps_the_checkpoint(x, tmp_path):
    fit(x, tmp_path, Stop(2, KeyboardInterrupt))
    last = Stop()
    fit(x, tmp_path, last)
    assert last.begun == [2, 3] and not os.listdir(tmp_path / "app")


def test_a_fit_that_ran_out_of_time_goes_on_next_time(x, tmp_path):
    fit(x, tmp_path, max_minutes=0.0)
    last = Stop()
    fit(x, tmp_path, last)
    assert last.begun == [1, 2, 3]


def test_a_killed_fit_goes_on_with_the_time_that_was_left(x, tmp_path, capsys):
    now = 0.0

    class Budget(common.TimeBudget):
        clock = staticmethod(lambda: now)

    class Slow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            nonlocal now
            now += 60.0

    def run(flag, limit, *callbacks):
        budget = Budget(limit)
        fit(x, tmp_path, Slow(), *callbacks, max_minutes=flag, budget=budget, epochs=9)
        return budget.seconds(), checkpoints.read(tmp_path / "app" / "checkpoint")["epoch"]

    with pytest.raises(Killed):
        run(3.0, 2.5, Stop(2))
    # It was saved after two minutes. The third epoch ends the run within its first batch: the limit is that of the
    # killed run, which may depend on how long its preparation took.
    assert run(3.0, 4.0, Stop()) == (180.0, 3)
    assert "Resuming" not in capsys.readouterr().err
    # Time ran out, so the next run gets the full budget; epochs take a minute each.
    assert run(2.0, 2.0, Stop()) == (120.0, 5)
    assert "Resuming with --max_minutes=2; the run was started with --max_minutes=3." in capsys.readouterr().err


def test_all_types_survive_a_file(tmp_path):
    half = np.arange(3).astype(keras.ops.convert_to_numpy(keras.ops.zeros(1, "bfloat16")).dtype)
    state = {
        **{"a": [1, 2.5, True, None, "ä", float("inf"), 10**30], "b": (1, (2,)), "c": {1: "x", "tuple": []}},
        **{"f": np.float32(0.1), "i": np.int64(2**62), "half": half, "empty": np.zeros((0, 3), "int8")},
        **{"bool": np.array(True), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))},
    }
    checkpoints.write(tmp_path / "c", state)
    found = checkpoints.read(tmp_path / "c")
    assert list(found) == list(state)
    for key, value in state.items():
        if isinstance(value, np.ndarray | np.generic):
            assert type(found[key]) is type(value) and found[key].dtype == value.dtype
            np.testing.assert_array_equal(found[key], value)
        else:
            assert found[key] == value
    with pytest.raises(TypeError, match="cannot hold"):
        checkpoints.write(tmp_path / "d", {"x": object()})
    assert os.listdir(tmp_path) == ["c"]
