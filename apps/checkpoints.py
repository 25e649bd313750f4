"""Checkpoints of a training run: a run that was killed and resumed ends with the weights of a run that never was.

A checkpoint is one file, so that everything in it is of the same moment:

    keras_ae checkpoint 1
    {"arrays": [[dtype, shape], ...], "state": ...}     one line of JSON
    the bytes of the arrays, one after the other
    SHA-256 of all of the above, 32 bytes

It holds the variables of the model and of its optimizers, the state of the callbacks and of the random generators of
Python and NumPy, the number of epochs, the time spent, and the settings of the run.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
import random
import re
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_ae.training import distribute, states
from keras_ae.utils import files, plain

from . import common

_MAGIC = b"keras_ae checkpoint 1\n"
_DIGEST = hashlib.sha256().digest_size


class Damaged(ValueError):
    """A file is not a complete checkpoint; the message says why."""


class Checkpoint:
    """The checkpoint of a run, locked for this process; use `opened` to create it.

    Attributes:
        path: `pathlib.Path` of the file, which may not exist yet.
        resumes: bool, whether there is a state to resume from.
        complete: bool, whether the training needs no further epoch.
    """

    def __init__(self, path, settings, max_minutes):
        self.path, self.complete = path, False
        self.settings, self.max_minutes = settings, max_minutes
        self.state = _found(path, settings) if path.exists() else None
        self.resumes = self.state is not None
        if self.resumes and self.state["max_minutes"] != max_minutes:
            was, now = (_minutes(each) for each in (self.state["max_minutes"], max_minutes))
            print(f"Resuming with {now}; the run was started with {was}.", file=sys.stderr)

    def saver(self, budget, callbacks):
        """Returns the callback that restores and saves a `fit`; it must be the last one of the fit."""
        return _Saver(self, budget, callbacks)

    def done(self, strategy=None):
        """Removes the file once everything made from the model is written; it stays if time ended the training.

        Args:
            strategy: `tf.distribute.Strategy` of the training, or None. All its workers must call this.
        """
        if not self.complete:
            return
        if strategy is not None and distribute.spans_workers(strategy):
            # Until here a worker can be killed, and then all need theirs.
            common.mean_over_workers(strategy, 0.0)
        self.remove()

    def remove(self):
        """Removes the file."""
        self.path.unlink(missing_ok=True)
        files.sync(self.path.parent)


@contextlib.contextmanager
def opened(checkpoint_dir, name, settings, max_minutes=None):
    """Context manager with the `Checkpoint` of a run in the folder `checkpoint_dir/name`; None without a folder.

    Args:
        checkpoint_dir: path, or None.
        name: str, the app.
        settings: dict of JSON values by flag, on which the training depends. To resume, they must be the same.
        max_minutes: float, the flag; a run may be resumed with another limit, which is printed.

    Raises:
        UserError: if another process uses the checkpoint, it is damaged, or it is of another run.
    """
    if checkpoint_dir is None:
        yield None
        return
    folder = common.writable(pathlib.Path(checkpoint_dir) / name)
    _refuse_older(folder)
    path = folder / f"checkpoint{_worker()}"
    with _locked(path):
        for each in folder.glob(".keras_ae-*"):
            if each.suffix == path.suffix:  # of a killed run, even if young: this process has the lock
                each.unlink()
        with common.user_input():
            checkpoint = Checkpoint(path, _flat(plain.json_values(settings)), max_minutes)
        yield checkpoint


def _flat(settings):
    """Returns the settings with the entries of dicts under names such as "settings.epochs"."""
    flat = {}
    for key, value in settings.items():
        flat |= {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _worker():
    """Returns a suffix such as ".worker-0", as each worker has its own file; "" without a TF_CONFIG."""
    config = os.environ.get("TF_CONFIG") or "{}"
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        task = json.loads(config).get("task", {})
        if isinstance(task, dict):
            found = [str(task[key]) for key in ("type", "index") if key in task]
            if all(re.fullmatch(r"\w{1,99}", each) for each in found):  # it becomes part of a file name
                return f".{'-'.join(found)}" if found else ""
    raise common.UserError(
        'TF_CONFIG: expected a JSON object whose "task" is an object with a type and an index, received '
        f"{config[:200]!r}."
    )


def _refuse_older(folder):
    for path in folder.glob("backup*/training_metadata.json"):
        raise common.UserError(
            f"--checkpoint_dir: {str(path.parent)!r} is a checkpoint of an earlier version of keras_ae, which this one "
            "cannot resume. Finish that run with the earlier version, or delete the folder to train from the beginning."
        )


@contextlib.contextmanager
def _locked(path):
    """Locks a checkpoint for this process; the lock of a killed process is free, and its file is used again."""
    lock = path.with_name(f"{path.name}.lock")
    while True:
        with open(lock, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise common.UserError(
                    f"--checkpoint_dir: another process trains with the checkpoint {str(path)!r}. Wait for it, or "
                    "choose another folder."
                ) from error
            if not (lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat())):
                continue  # the process before removed the file in between, so this is a lock of nothing
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _found(path, settings):
    """Returns the state in a checkpoint; raises a `ValueError` if it is damaged or of another run."""
    try:
        state = read(path)
    except Damaged as error:
        raise ValueError(
            f"--checkpoint_dir: the checkpoint {str(path)!r} is damaged: {error}. Delete it to train from the "
            "beginning, or restore it from a copy."
        ) from error
    theirs = state["settings"]
    changed = [key for key in (theirs | settings) if theirs.get(key) != settings.get(key)]
    if changed:
        values = ", ".join(f"{key}={theirs.get(key)!r}, now {settings.get(key)!r}" for key in changed)
        raise ValueError(
            f"--checkpoint_dir: the checkpoint {str(path)!r} is of a run with other settings: {values}. Repeat the "
            "command of that run, choose another folder, or delete the checkpoint to train from the beginning."
        )
    return state


def _minutes(limit):
    return "no --max_minutes" if limit is None else f"--max_minutes={limit:g}"


class _Saver(keras.callbacks.Callback):
    """Restores the state of a training run when it begins, and saves it after each epoch."""

    def __init__(self, checkpoint, budget, callbacks):
        super().__init__()
        self.checkpoint, self.budget, self.callbacks = checkpoint, budget, callbacks
        self.logs = []  # of each epoch, with those of the killed run

    def on_train_begin(self, logs=None):
        self.model._initial_epoch, self.checkpoint.complete = None, False
        self.fresh = [_attributes(each) for each in self.callbacks]
        state, self.checkpoint.state = self.checkpoint.state, None
        epoch = 0 if state is None else state["epoch"]
        strategy = self.model.distribute_strategy
        if distribute.spans_workers(strategy):
            mean, square = (common.mean_over_workers(strategy, float(value)) for value in (epoch, epoch**2))
            if square - mean**2 > 0.1 / strategy.num_replicas_in_sync:
                raise common.UserError(
                    f"--checkpoint_dir: the workers were killed in different epochs; this one's checkpoint "
                    f"{str(self.checkpoint.path)!r} has {epoch}. Copy the checkpoint of one worker to all others."
                )
        if state is not None:
            self._restore(state)

    def _restore(self, state):
        variables, values = _variables(self.model), state["variables"]
        shapes = [[tuple(each.shape) for each in side] for side in (variables, values)]
        if shapes[0] != shapes[1]:
            raise common.UserError(
                f"--checkpoint_dir: the checkpoint {str(self.checkpoint.path)!r} is of another network or other data: "
                "its weights have other shapes. Choose another folder, or delete the checkpoint to train from the "
                "beginning."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        waiting = list(self.callbacks)
        for name, attributes in state["callbacks"]:
            callback = next((each for each in waiting if type(each).__name__ == name), None)
            if callback is not None:
                waiting.remove(callback)
                vars(callback).update(attributes)
            elif attributes:
                raise common.UserError(
                    f"--checkpoint_dir: the checkpoint {str(self.checkpoint.path)!r} is of a run with a callback "
                    f"{name}, which this one lacks."
                )
        self.logs = state["logs"]
        if not state["ran_out"]:
            self.budget.resume(state["seconds"])
            if state["max_minutes"] == self.checkpoint.max_minutes:
                self.budget.max_minutes = state["limit"]  # it may have been set from a clock
        # A run that another callback stopped early has no epoch left.
        self.model._initial_epoch = self.params["epochs"] if state["stopped"] else state["epoch"]
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append((epoch, {name: np.asarray(value)[()] for name, value in (logs or {}).items()}))
        ran_out = self.budget.ran_out
        state = {
            "settings": self.checkpoint.settings,
            "epoch": epoch + 1,
            "ran_out": ran_out,
            "stopped": bool(self.model.stop_training) and not ran_out,
            "seconds": self.budget.seconds(),
            "limit": self.budget.max_minutes,
            "max_minutes": self.checkpoint.max_minutes,
            "variables": [keras.ops.convert_to_numpy(each) for each in _variables(self.model)],
            "callbacks": [self._changed(each, fresh) for each, fresh in zip(self.callbacks, self.fresh, strict=True)],
            "logs": self.logs,
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),
        }
        with common.user_input():
            write(self.checkpoint.path, state)

    def _changed(self, callback, fresh):
        """Returns a callback's name, and the attributes that training changed, such as the best weights so far."""
        kept = _attributes(callback)
        return type(callback).__name__, {name: vars(callback)[name] for name in kept if kept[name] != fresh.get(name)}

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None  # of this fit only
        self.checkpoint.complete = not self.budget.ran_out or len(self.logs) >= self.params["epochs"]
        history = self.model.history
        history.epoch, history.history = [epoch for epoch, _ in self.logs], {}
        for _, each in self.logs:
            for name, value in each.items():
                history.history.setdefault(name, []).append(value)


def _variables(model):
    """Returns the variables that the next epoch depends on: all but those of metrics, which each epoch resets."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [each for each in states.variables(model) if id(each) not in metrics]


def _attributes(callback):
    """Returns `{name: contents}` of the attributes of a callback that a file can hold."""
    found = {}
    for name, value in vars(callback).items():
        arrays = []
        with contextlib.suppress(TypeError):
            encoded = _encoded(value, arrays)
            if name not in ("params", "_model"):
                found[name] = encoded, [(each.dtype, each.shape, each.tobytes()) for each in arrays]
    return found


# The file.


def write(path, state):
    """Writes a state, nested dicts, lists and tuples of arrays and plain values, to a file, in one atomic step."""
    arrays, digest = [], hashlib.sha256()
    encoded = _encoded(state, arrays)
    header = json.dumps({"arrays": [[each.dtype.name, each.shape] for each in arrays], "state": encoded})
    parts = [_MAGIC, header.encode(), b"\n", *(np.ascontiguousarray(each).tobytes() for each in arrays)]
    with files.replacing(path) as beside, open(beside, "wb") as file:
        for part in parts:
            file.write(part)
            digest.update(part)
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())
    files.sync(pathlib.Path(path).parent)


def read(path):
    """Returns the state in a file.

    Raises:
        Damaged: if a byte is missing or differs from what was written.
    """
    if not files.is_regular(path):
        raise Damaged("it is not a regular file")
    data = pathlib.Path(path).read_bytes()
    if not data:
        raise Damaged("it is empty")
    if not data.startswith(_MAGIC):
        raise Damaged("it does not begin like a checkpoint of this version")
    if len(data) < len(_MAGIC) + _DIGEST or hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise Damaged("its digest is that of other contents")
    start = data.index(b"\n", len(_MAGIC)) + 1
    header, arrays = json.loads(data[len(_MAGIC) : start]), []
    for name, shape in header["arrays"]:
        dtype = np.dtype(tf.as_dtype(name).as_numpy_dtype)
        # A copy, because TensorFlow may go on using the memory.
        arrays.append(np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape).copy())
        start += arrays[-1].nbytes
    return _decoded(header["state"], arrays)


def _encoded(value, arrays):
    """Returns a JSON value for `value`, and appends its arrays to `arrays`; types survive, unlike in JSON."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        tf.as_dtype(array.dtype)  # raises a TypeError for objects
        arrays.append(array)
        return {"scalar" if isinstance(value, np.generic) else "array": len(arrays) - 1}
    if isinstance(value, states.Weights):
        return {"weights": [_encoded(list(value), arrays), _encoded(value.averages, arrays)]}
    if type(value) in (list, tuple):
        made = [_encoded(each, arrays) for each in value]
        return made if isinstance(value, list) else {"tuple": made}
    if type(value) is dict:
        return {"dict": [[_encoded(key, arrays), _encoded(each, arrays)] for key, each in value.items()]}
    raise TypeError(f"A checkpoint cannot hold {value!r}.")


def _decoded(value, arrays):
    if isinstance(value, list):
        return [_decoded(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in ("array", "scalar"):
        return arrays[content] if kind == "array" else arrays[content][()]
    if kind == "weights":
        return states.Weights(*(_decoded(each, arrays) for each in content))
    if kind == "tuple":
        return tuple(_decoded(each, arrays) for each in content)
    return {_decoded(key, arrays): _decoded(each, arrays) for key, each in content}
