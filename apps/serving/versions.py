"""One version of a model: its signatures, loaded into a session."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from keras_ae import serving

from .failures import Failure, invalid, of_tensorflow

DEFAULT_SIGNATURE = "serving_default"
MAX_WARMUP = 1000  # requests, as in TensorFlow Serving

_INIT_SIGNATURE = "__saved_model_init_op"


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
            raise of_tensorflow(error) from error
        found = (np.asarray(each, object if isinstance(each, bytes) else None) for each in found)
        return dict(zip(signature.outputs, found, strict=True))

    def signature(self, name):
        """Returns a `Signature`; raises a `Failure` if there is none of that name."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            # TensorFlow Serving's code for it, too.
            raise Failure(
                "FAILED_PRECONDITION", f"signature_name: expected {names(self.signatures)}; received {name!r}."
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
        raise invalid(f"inputs: expected {names(signature.inputs)}; {', '.join(wrong)}.")
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


def names(words):
    """Returns quoted words in a row, for messages."""
    return ", ".join(map(repr, sorted(words)))


def _dtype(dtype):
    return "string" if dtype.kind == "O" else dtype.name


def _shape(shape):
    return f"[{', '.join('?' if n is None else str(n) for n in shape)}]"
