"""The models of a server: named exports, each with its newest version loaded. Nothing here depends on the transport."""

import contextlib
import dataclasses
import itertools
import logging
import os
import pathlib
import sys
import threading
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from keras_ae import serving

DEFAULT_SIGNATURE = "serving_default"
MAX_WARMUP = 1000  # requests, as in TensorFlow Serving

_INIT_SIGNATURE = "__saved_model_init_op"
_MESSAGE = 500  # characters of an error of TensorFlow
_LOG = logging.getLogger("keras_ae")


class Failure(Exception):
    """A request that is refused or fails.

    Attributes:
        code: str, a canonical status code such as "INVALID_ARGUMENT"; gRPC has the same names.
        message: str, what was expected and what came.
    """

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def invalid(message):
    """Returns the `Failure` of a request that cannot be answered as it is."""
    return Failure("INVALID_ARGUMENT", message)


class Input(NamedTuple):
    """What a signature expects under a name: a NumPy dtype (`object` for strings), and a shape with None for any size.

    A shape of None means any number of axes.
    """

    dtype: np.dtype
    shape: tuple | None


class Signature(NamedTuple):
    """One endpoint: `{name: Input}`, the names of its outputs, and a function of arrays that returns arrays."""

    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    function: Any


class Version:
    """One version of a model, loaded into a session of its own, whose memory `close` frees.

    A session, as TensorFlow Serving uses, takes and returns arrays without the detour through eager tensors, releases
    Python's lock while it computes, and stops at a deadline.

    Args:
        path: `pathlib.Path` of the version.
        number: int, its version.

    Attributes:
        signatures: `{name: Signature}`.
        definitions: `{name: SignatureDef}` as in the file, for the metadata.

    Raises:
        OSError, ValueError, tf.errors.OpError: if it cannot be loaded.
    """

    def __init__(self, path, number):
        self.path, self.number, self.users = path, number, 0
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        self.definitions = dict(loaded.signature_def)
        self.signatures = {
            name: self._signature(definition)
            for name, definition in self.definitions.items()
            if name != _INIT_SIGNATURE and definition.inputs
        }

    def _signature(self, definition):
        inputs, outputs = dict(sorted(definition.inputs.items())), dict(sorted(definition.outputs.items()))
        function = self._session.make_callable(
            [each.name for each in outputs.values()], [each.name for each in inputs.values()], accept_options=True
        )
        return Signature({name: _input(info) for name, info in inputs.items()}, tuple(outputs), function)

    def predict(self, name, arrays, seconds):
        """Runs a signature.

        Args:
            name: str, the signature; "" for the default one.
            arrays: `{input: array}`.
            seconds: float, after which it stops.

        Returns:
            `{output: array}`, in the order of the outputs' names.

        Raises:
            Failure: if there is no such signature, the inputs do not fit it, it fails, or the time is over.
        """
        signature = self.signature(name)
        _check(signature, arrays)
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * seconds)))
        try:
            found = signature.function(*(arrays[each] for each in signature.inputs), options=options)
        except tf.errors.OpError as error:
            raise _failure(error) from error
        found = (np.asarray(each, object if isinstance(each, bytes) else None) for each in found)
        return dict(zip(signature.outputs, found, strict=True))

    def signature(self, name):
        """Returns a `Signature`; raises a `Failure` if there is none of that name."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            # TensorFlow Serving's code for it, too.
            raise Failure(
                "FAILED_PRECONDITION", f"signature_name: expected {_names(self.signatures)}; received {name!r}."
            )
        return self.signatures[name]

    def warm_up(self):
        """Runs the requests that come with the export, so that the first ones of clients are not slow."""
        path = self.path / serving.WARMUP_FILE
        if not path.exists():
            return
        for record in itertools.islice(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), MAX_WARMUP):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            arrays = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            self.predict(request.model_spec.signature_name, arrays, seconds=3600.0)

    def close(self):
        """Frees the session and its variables."""
        self.signatures = {}
        self._session.close()


def _input(info):
    shape = (
        None
        if info.tensor_shape.unknown_rank
        else tuple(d.size if d.size >= 0 else None for d in info.tensor_shape.dim)
    )
    return Input(np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype), shape)


def _check(signature, arrays):
    if arrays.keys() != signature.inputs.keys():
        wrong = [f"{name!r} is missing" for name in signature.inputs if name not in arrays]
        wrong += [f"{name!r} is unknown" for name in arrays if name not in signature.inputs]
        raise invalid(f"inputs: expected {_names(signature.inputs)}; {', '.join(wrong)}.")
    for name, (dtype, _) in signature.inputs.items():
        if arrays[name].dtype != dtype:
            raise invalid(f"{name}: expected {_dtype(dtype)}, received {_dtype(arrays[name].dtype)}.")
        check_shape(signature, name, arrays[name].shape)


def check_shape(signature, name, shape):
    """Raises a `Failure` if the input `name` of the signature cannot have the shape."""
    expected = signature.inputs[name].shape
    fits = expected is None or (
        len(shape) == len(expected) and all(e in (None, n) for e, n in zip(expected, shape, strict=True))
    )
    if not fits:
        raise invalid(f"{name}: expected the shape {_shape(expected)}, received {_shape(shape)}.")


def _names(names):
    return ", ".join(map(repr, sorted(names)))


def _dtype(dtype):
    return "string" if dtype.kind == "O" else dtype.name


def _shape(shape):
    return f"[{', '.join('?' if n is None else str(n) for n in shape)}]"


def _failure(error):
    """Returns the `Failure` of an error of TensorFlow, whose message has many lines and the nodes' names."""
    code = next((name for name in CODES if getattr(tf.errors, name, None) == error.error_code), "UNKNOWN")
    if code == "DEADLINE_EXCEEDED":
        return Failure(code, "The prediction took longer than the request's deadline or the server's --timeout.")
    lines = [line.strip() for line in (error.message or "").splitlines() if line.strip()]
    return Failure(code, (lines[0] if lines else type(error).__name__)[:_MESSAGE])


CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The canonical status codes, with the HTTP status that TensorFlow Serving gives each."""


@dataclasses.dataclass
class Status:
    """State of a version ("LOADING", "AVAILABLE", "UNLOADING" or "END"), with an error's code and message."""

    state: str
    code: str = "OK"
    message: str = ""


class Model:
    """The newest version of one export folder, replaced while requests go on.

    Args:
        name: str, the name in requests.
        folder: path of the export folder.

    Attributes:
        statuses: `{version: Status}` of all versions that were ever loaded or tried.
    """

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder)
        self.statuses = {}
        self._current, self._changed = None, threading.Condition()
        self._failed = {}  # state of the files of versions that could not be loaded

    @property
    def number(self):
        """The loaded version, an int; None if none is."""
        current = self._current
        return None if current is None else current.number

    @contextlib.contextmanager
    def version(self, number=None):
        """Context manager with the loaded `Version`, which stays loaded inside it.

        Args:
            number: int, the version to expect; None for the newest.

        Raises:
            Failure: if it is not loaded.
        """
        with self._changed:
            version = self._current
            if version is None:
                raise Failure("NOT_FOUND", f"Model {self.name!r} has no version that can be loaded; see its status.")
            if number not in (None, version.number):
                raise Failure(
                    "NOT_FOUND", f"Model {self.name!r}: expected version {version.number}, received {number}."
                )
            version.users += 1
        try:
            yield version
        finally:
            with self._changed:
                version.users -= 1
                self._changed.notify_all()

    def update(self):
        """Loads the newest version in the folder, unless it is loaded; the one before is freed once it is not in use.

        A version that cannot be loaded leaves the loaded one in place. It is tried again when its files change.
        """
        found = serving.numbered(self.folder)
        for number in sorted(found, reverse=True):
            if number == self.number:
                return
            state = _state_of_files(found[number])
            if self._failed.get(number) == state:
                continue
            self.statuses[number] = Status("LOADING")
            try:
                version = Version(found[number], number)
                try:
                    version.warm_up()
                except BaseException:
                    version.close()
                    raise
            except (OSError, ValueError, KeyError, RuntimeError, Failure, tf.errors.OpError) as error:
                self._failed[number] = state
                message = " ".join(str(error).split())[:_MESSAGE]
                self.statuses[number] = Status("END", getattr(error, "code", "UNKNOWN"), message)
                print(f"{self.name}: version {number} cannot be loaded: {message}", file=sys.stderr)
                continue
            self._failed.pop(number, None)
            self._replace(version)
            return

    def _replace(self, version):
        with self._changed:
            before, self._current = self._current, version
            self.statuses[version.number] = Status("AVAILABLE")
        if before is not None:
            self._free(before)

    def _free(self, version):
        self.statuses[version.number] = Status("UNLOADING")
        with self._changed:
            self._changed.wait_for(lambda: version.users == 0)
        version.close()
        self.statuses[version.number] = Status("END")

    def close(self):
        """Frees the loaded version once it is not in use."""
        with self._changed:
            version, self._current = self._current, None
        if version is not None:
            self._free(version)


def _state_of_files(path):
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    found = []
    for file in sorted(files):
        with contextlib.suppress(OSError):  # deleted meanwhile
            stat = os.stat(file)
            found.append((file, stat.st_size, stat.st_mtime_ns))
    return found


class Models:
    """All models of a server; a thread looks for new versions and new models.

    Args:
        folders: list of str: an export folder, a folder of export folders, or one of them as `name=folder`.
        poll_seconds: float, time between two looks.

    Raises:
        ValueError: if a folder does not exist or two models have one name.

    Example:

        models = Models(["exports"], poll_seconds=1.0)
        with models.get("digits").version() as version:
            version.predict("encode", {"x": x}, seconds=1.0)["z"]
    """

    def __init__(self, folders, poll_seconds):
        self._folders, self._poll_seconds = folders, poll_seconds
        self._models, self._stop = {}, threading.Event()
        self.update()
        self._watcher = threading.Thread(target=self._watch, name="versions", daemon=True)
        self._watcher.start()

    def __iter__(self):
        return iter(list(self._models.values()))

    def get(self, name):
        """Returns a `Model`; raises a `Failure` if there is none of that name."""
        if name not in self._models:
            raise Failure("NOT_FOUND", f"There is no model {name!r}; the server has {_names(self._models)}.")
        return self._models[name]

    def update(self):
        """Loads the models and versions that are new."""
        for name, folder in named_exports(self._folders).items():
            if name not in self._models:
                self._models[name] = Model(name, folder)
        for model in self:
            model.update()

    def _watch(self):
        while not self._stop.wait(self._poll_seconds):
            try:
                self.update()
            except Exception as error:  # whatever is in the folders, the loaded versions go on
                _LOG.warning("Looking for new versions failed: %s", error)

    def close(self):
        """Stops the thread and frees all versions."""
        self._stop.set()
        self._watcher.join()
        for model in self:
            model.close()


def named_exports(folders):
    """Returns `{name: folder}` of the exports in folders, given as for `Models`."""
    found = {}
    for given in folders:
        name, equals, path = given.rpartition("=")
        folder = pathlib.Path(path)
        if not folder.is_dir():
            raise ValueError(f"--models: {str(folder)!r} is no folder.")
        if serving.versions(folder) or equals:
            exports = {name or folder.resolve().name: folder}
        else:
            exports = {each.name: each for each in sorted(folder.iterdir()) if serving.versions(each)}
        for name, folder in exports.items():
            if found.setdefault(name, folder) != folder:
                raise ValueError(
                    f"--models: {str(found[name])!r} and {str(folder)!r} are both named {name!r}; rename one: "
                    f"another_name={folder}."
                )
    return found
