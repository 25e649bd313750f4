"""Export to SavedModels for TensorFlow Serving, with named endpoints, atomic versions, warm-up and a model card."""

import contextlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_ae.training import optimizers
from keras_ae.training.roles import finite
from keras_ae.typing import FilePath
from keras_ae.utils import files, plain

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
CARD_FILE = "card.json"


class Endpoint(NamedTuple):
    """One signature of an export: a function of named tensors.

    Attributes:
        function: takes tensors named and ordered as in `inputs`, returns a dict of tensors; all share their first axis.
        inputs: list of named `tf.TensorSpec`s whose first axis is None.
        example: dict of arrays for the warm-up request. If None, the request is one row of zeros, or is omitted if a
            row has axes of unknown size, because a server refuses to load a model whose warm-up fails.

    `export` calls the function on the example, so it raises what the function raises.

    Example:

        def brighter(x):
            return {"x": tf.minimum(2.0 * vae.reconstruct(x), 1.0)}    # (B, 28, 28, 1)

        endpoint = Endpoint(brighter, [tf.TensorSpec((None, 28, 28, 1), tf.float32, name="x")])
        ka.export(vae, "saved_models/bright", endpoints={"serving_default": endpoint})

    See also: `model_endpoints`, the endpoints that a model has by itself.
    """

    function: Callable[..., Mapping[str, Any]]
    inputs: Sequence[tf.TensorSpec]
    example: Mapping[str, Any] | None = None


def export(
    model: keras.Model,
    directory: FilePath,
    *,
    endpoints: Mapping[str, Endpoint] | None = None,
    lookups: Iterable[keras.layers.Layer] = (),
    half: bool = False,
    card: Mapping[str, Any] | None = None,
) -> str:
    """Writes a SavedModel to `directory/<next integer version>` atomically, and returns its path, a str.

    Args:
        model: a built model of this package.
        directory: local path; versions are its sub-folders, as TensorFlow Serving expects.
        endpoints: `{name: Endpoint}`, the default one first; None for those of `model_endpoints(model)`.
        lookups: layers with tables that the endpoints use (TextVectorization, StringLookup), saved as assets.
        half: bool, whether to store float32 weights as float16, which halves the export. The model still computes in
            float32. Weights keep 11 bits of their mantissa, so measure the loss in accuracy.
        card: dict of JSON values for the model card (data, licence, seed, command, metrics); NaN becomes null.

    Raises:
        ValueError: if a network of the model is not built, the model has no endpoints, or `card` is not JSON.
        OSError: if the directory is not writable or the disk is full; no partial files are left behind.

    Example:

        path = ka.export(vae, "saved_models/mnist_vae")    # saved_models/mnist_vae/1
        served = tf.saved_model.load(path)
        served.signatures["encode"](x=x)["z"]    # (B, 4) float32

    See also: `model_endpoints`, which lists the endpoints with their inputs and outputs; `model.export`, which writes
    to a path without versions; `model.save`, for a file that can be trained further.
    """
    save = _prepared(model, directory, endpoints, lookups, half, card)
    return _write(save, pathlib.Path(directory), _publish)


def write(
    model: keras.Model,
    path: FilePath,
    *,
    endpoints: Mapping[str, Endpoint] | None = None,
    lookups: Iterable[keras.layers.Layer] = (),
    half: bool = False,
    card: Mapping[str, Any] | None = None,
) -> str:
    """Like `export`, but writes directly to `path` and returns it; this is `model.export(path)`.

    Raises:
        ValueError, OSError: as in `export`.
        FileExistsError: if the path exists.

    Example:

        endpoints = {"serving_default": model_endpoints(vae)["encode"]}
        write(vae, "mnist_encoder", endpoints=endpoints)    # "mnist_encoder", which only encodes

    See also: `export`, which numbers versions.
    """
    path = pathlib.Path(path)
    if os.path.lexists(path):  # a link to nowhere exists too
        raise FileExistsError(f"filepath: {str(path)!r} exists. Choose a new path, or keras_ae.export for versions.")

    def publish(beside, directory):
        os.rename(beside, path)
        return str(path)

    return _write(_prepared(model, path, endpoints, lookups, half, card), path.parent, publish)


def _prepared(model, directory, endpoints, lookups, half, card):
    """Returns a function that writes the SavedModel, warm-up requests and card to a folder."""
    model.require_built()
    if "://" in str(directory):
        raise ValueError(f"directory: expected a local path, received {directory!r}. Export here, then copy.")
    endpoints = model_endpoints(model) if endpoints is None else endpoints
    if not endpoints:
        raise ValueError(
            f"endpoints: {type(model).__name__} has no default endpoints, because it has none of the methods that are "
            "served. Pass some."
        )
    card = _card(model, endpoints, card or {})
    if half:
        endpoints = _halved(endpoints, model)
    archive, warmup = _archive(endpoints, lookups)

    def save(folder):
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=model.saves_gradients)
        archive.write_out(str(folder), options=options, verbose=False)
        _write_warmup(warmup, folder)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")

    return save


def _write(save, directory, publish):
    files.sweep(directory)
    beside = files.hidden(directory / "version")
    missing = [path for path in (directory, *directory.parents) if not os.path.exists(path)]
    try:
        beside.mkdir(parents=True)
        save(beside)
        return publish(beside, directory)
    except (OSError, tf.errors.OpError) as error:
        raise OSError(
            f"export: could not write to directory={str(directory)!r} ({error}). Expected a directory with "
            "write permission and enough free space; no partial version was left behind."
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for path in missing:
            with contextlib.suppress(OSError):  # not empty: the version was written
                path.rmdir()


def versions(directory: FilePath) -> list[int]:
    """Lists the integer versions under `directory`, in ascending order.

    Example: `versions(pretrained("semantic_hashing"))    # [1]`

    See also: `newest`, the path of the last one.
    """
    return sorted(numbered(directory))


def newest(directory: FilePath) -> pathlib.Path:
    """Returns the path of the newest version under `directory`.

    Raises:
        ValueError: if there is none.

    Example: `newest(pretrained("semantic_hashing")).name    # "1"`

    See also: `versions`, all of them; `load`, which loads it.
    """
    found = numbered(directory)
    if not found:
        raise ValueError(f"No export found: expected integer version folders under {str(directory)!r}.")
    return found[max(found)]


def load(directory: FilePath) -> tuple[pathlib.Path, Any, dict[str, Any]]:
    """Loads the newest version under `directory`, as a server would.

    Returns:
        its path; the object returned by `tf.saved_model.load`, which must be kept because signatures do not keep the
        variables alive; and the model card, a dict that is empty if there is no card.

    Raises:
        ValueError: if there is no version, or it has no readable SavedModel.

    Example:

        path, loaded, card = load(pretrained("semantic_hashing"))    # .../semantic_hashing/1
        loaded.signatures["serving_default"](text=tf.constant(["A text."]))["code"]    # (1, 8) uint8

    See also: `Served`, which keeps all three together.
    """
    path = pathlib.Path(newest(directory))
    for each in path.rglob("*"):
        if not (each.is_dir() or files.is_regular(each)):
            raise ValueError(f"{str(path)!r} has no readable SavedModel: {str(each)!r} is not a regular file.")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises almost any type on damaged files, such as IndexError.
        raise ValueError(f"{str(path)!r} has no readable SavedModel: {error}") from error
    return path, loaded, _read_card(path / CARD_FILE)


def _read_card(path):
    if not path.exists():
        return {}
    try:
        return files.read_json(path)
    except ValueError as error:
        raise ValueError(f"{error} Export the model again.") from error


class Served:
    """The newest version of an export, as a server would load it.

    Args:
        directory: path of the export folder, whose sub-folders are the versions.

    Attributes:
        path: path of the version.
        card: dict, the model card; empty if there is none.
        signatures: `{endpoint: function}`; each function takes named tensors and returns a dict of tensors.

    Raises:
        ValueError: if there is no version, or it cannot be read.

    Example:

        ka.export(autoencoder, "saved_models/mnist")
        served = Served("saved_models/mnist")
        served.signatures["encode"](x=x)["z"]    # (N, 2) float32
        served.card["model"]                     # "Autoencoder"

    See also: `load_pretrained`, for the models that ship with keras_ae.
    """

    def __init__(self, directory: FilePath) -> None:
        self.path, self._model, self.card = load(directory)

    @property
    def signatures(self) -> Mapping[str, Callable[..., dict[str, tf.Tensor]]]:
        """`{endpoint: function}`; each function takes named tensors and returns a dict of tensors."""
        return self._model.signatures


def load_pretrained(name: str) -> Served:
    """Loads the newest version of a pretrained model that ships with keras_ae.

    Args:
        name: str, the app that trained it: "audio_denoising" or "semantic_hashing".

    Returns:
        a `Served` with `signatures`, whose inputs, outputs, shapes and dtypes `card["endpoints"]` lists, and `card`.

    Raises:
        ValueError: for an unknown name, which the message answers with a list of the names, or files that cannot be
            read.

    Example:

        model = ka.load_pretrained("semantic_hashing")
        model.signatures["serving_default"](text=tf.constant(["A text."]))["code"]    # (1, 8) uint8
        model.card["licence"]

    See also: `Served`, for an export of your own.
    """
    return Served(pretrained(name))


def pretrained(name: str) -> pathlib.Path:
    """Returns the export folder of a pretrained model; arguments and errors as in `load_pretrained`."""
    package = pathlib.Path(__file__).parent
    installed, cloned = package / "pretrained", package.parent / "saved_models"
    folder = installed if installed.is_dir() else cloned
    names = sorted(path.name for path in folder.glob("*") if versions(path))
    if name not in names:
        raise ValueError(f"name: expected one of {names}, received {name!r}.")
    return folder / name


def numbered(directory: FilePath) -> dict[int, pathlib.Path]:
    """Returns `{version: path}` of the versions under `directory`; empty if there is none.

    Example: `list(numbered(pretrained("semantic_hashing")))    # [1]`

    See also: `versions`, the numbers in ascending order.
    """
    directory = pathlib.Path(directory)
    # Keep both number and path: TensorFlow Serving reads a folder named 007 as version 7.
    paths = directory.iterdir() if directory.is_dir() else []
    return {int(path.name): path for path in paths if path.name.isascii() and path.name.isdecimal()}


def model_endpoints(model: keras.Model) -> dict[str, Endpoint]:
    """Returns a model's endpoints, which depend on the methods it has; the default one is first.

    | endpoint | inputs | outputs |
    |---|---|---|
    | `reconstruct` | `x` | `x`, `valid` |
    | `encode` | `x` | `z`, `valid` |
    | `decode` | `z` | `x`, `valid` |
    | `score` | `x`, `seed` int64 | `score`, `valid` |
    | `sample` | `seed` int64 | `x` |
    | `classify` | `x` | `probability` of each class, `valid` |
    | `denoise` | `x` | `x`, `valid` |

    Endpoints of conditional models, except `classify`, also take `condition`; their `sample` also returns `valid`.

    `valid` is false for rows with NaN, infinity, values outside the likelihood's range or a label out of range, and for
    rows whose output would not be finite. Outputs of invalid rows are 0, and their score is the lowest float32.

    Example: `list(model_endpoints(vae))    # ["reconstruct", "encode", "decode", "score", "sample"]`

    See also: `Endpoint`, for one of your own; `export`, which writes them.
    """
    inputs = {
        "x": lambda: (tf.TensorSpec((None, *model.event_shape), model.input_dtype, name="x"), model.valid),
        "z": lambda: (tf.TensorSpec((None, *model.code_shape), tf.float32, name="z"), finite),
        "seed": lambda: (tf.TensorSpec((None,), tf.int64, name="seed"), None),
        "condition": lambda: (
            tf.TensorSpec((None, *model.condition_shape), model.condition_dtype, name="condition"),
            model.y_role.valid,
        ),
    }
    condition = ["condition"] if model.y_role.conditional else []
    made = {}
    for name, (method, output, takes, otherwise) in _ENDPOINTS.items():
        if hasattr(model, method):
            takes = takes + (condition if method != "predict_proba" else [])
            specs, checks = zip(*(inputs[each]() for each in takes), strict=True)
            function = _averaged(model, getattr(model, method))
            made[name] = Endpoint(_guarded(function, checks, output, otherwise), list(specs))
    return made


# Endpoint: (method of the model, output name, input names, output for invalid rows).
_ENDPOINTS = {
    "reconstruct": ("reconstruct", "x", ["x"], 0.0),
    "denoise": ("denoise", "x", ["x"], 0.0),
    "encode": ("encode", "z", ["x"], 0.0),
    "decode": ("decode", "x", ["z"], 0.0),
    "score": ("score_from_seeds", "score", ["x", "seed"], tf.float32.min),
    "sample": ("sample_from_seeds", "x", ["seed"], 0.0),
    "classify": ("predict_proba", "probability", ["x"], 0.0),
}


def _averaged(model, method):
    def served(*inputs):
        with model.averaged():
            return method(*inputs)

    return served


def _guarded(function, checks, output, otherwise):
    """Wraps `function` to replace invalid rows, so that they cannot make the rest of the batch fail.

    `checks` has one function per input that returns its row mask, or None if all rows are valid. With no checks at all,
    as for `seed` alone, there is no `valid` output.
    """
    if not any(checks):
        return lambda *inputs: {output: function(*inputs)}

    def guarded(*inputs):
        good = tf.reduce_all([check(i) for check, i in zip(checks, inputs, strict=True) if check], axis=0)
        result = function(*(_where(good, i, tf.zeros_like(i)) for i in inputs))
        good &= finite(result)
        return {output: _where(good, result, tf.fill(tf.shape(result), otherwise)), "valid": good}

    return guarded


def _where(rows, a, b):
    shape = tf.concat([tf.shape(rows), tf.ones(a.shape.rank - 1, tf.int32)], 0)  # (B, 1, ..., 1)
    return tf.where(tf.reshape(rows, shape), a, b)


def _halved(endpoints, model):
    """Returns the endpoints with float16 copies in place of the float32 variables, or of their averages."""
    means = {id(v): mean for each in model.averaging_optimizers() for v, mean in optimizers.average(each)}
    floats = [means.get(id(v), v) for v in model.variables if v.dtype == "float32"]
    copies = [tf.Variable(tf.cast(v.value, tf.float16), trainable=False) for v in floats]

    def halved(function):
        def call(*inputs):
            state = [(v, tf.cast(copy, tf.float32)) for v, copy in zip(floats, copies, strict=True)]
            with keras.StatelessScope(state_mapping=state):
                return function(*inputs)

        return call

    return {name: endpoint._replace(function=halved(endpoint.function)) for name, endpoint in endpoints.items()}


def _archive(endpoints, lookups):
    """Returns the archive of all endpoints, and their warm-up requests: `{name: {input: array}}`."""
    # The archive finds variables through the endpoints; archive.track(model) would store each of them twice.
    archive = keras.export.ExportArchive()
    for layer in lookups:
        layer.built = True  # a table needs no shapes, but Keras requires a built layer
        archive.track(layer)
    warmup = {}
    for name, endpoint in endpoints.items():
        function = archive.add_endpoint(name, endpoint.function, input_signature=endpoint.inputs)
        inputs = _example(endpoint)
        if inputs is not None:
            function.get_concrete_function()(**inputs)  # fails here rather than in the server
            warmup[name] = inputs
    return archive, warmup


def _example(endpoint):
    if endpoint.example is not None:
        return {s.name: tf.convert_to_tensor(endpoint.example[s.name], s.dtype) for s in endpoint.inputs}
    if any(None in s.shape[1:] for s in endpoint.inputs):
        return None
    return {s.name: tf.zeros([1, *s.shape[1:]], s.dtype) for s in endpoint.inputs}


def _write_warmup(warmup, path):
    try:
        from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
    except ImportError:
        logging.getLogger("keras_ae").warning(
            "The export has no warm-up requests: they need tensorflow-serving-api. "
            "Install it with: pip install 'keras_ae[serving]'."
        )
        return
    target = path / WARMUP_FILE
    target.parent.mkdir()
    with tf.io.TFRecordWriter(str(target)) as writer:
        for name, inputs in warmup.items():
            request = predict_pb2.PredictRequest(
                # The server fills in the model name; only the signature matters here.
                model_spec=model_pb2.ModelSpec(signature_name=name),
                inputs={key: tf.make_tensor_proto(value) for key, value in inputs.items()},
            )
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _card(model, endpoints, card):
    facts = {"model": type(model).__name__, "keras_ae": _version(), "keras": keras.__version__}
    facts |= {"tensorflow": tf.__version__, "endpoints": {n: _describe(e) for n, e in endpoints.items()}}
    facts |= getattr(model, "card", dict)()
    try:
        values = plain.json_values(facts | card)
    except (TypeError, ValueError) as error:
        raise ValueError(f"card: expected a dict of JSON values, received {card!r} ({error}).") from error
    return json.dumps(values, indent=2) + "\n"


def _publish(beside, directory):
    """Renames the finished folder to the next version, and retries if another writer took that number."""
    while True:
        version = max(versions(directory), default=0) + 1
        target = directory / str(version)
        try:
            os.rename(beside, target)
            return str(target)
        except OSError:
            if not target.exists():
                raise


def _describe(endpoint):
    shapes = {s.name: ", ".join(map(str, [s.shape[0] or "B", *s.shape[1:]])) for s in endpoint.inputs}
    return {s.name: f"{s.dtype.name} [{shapes[s.name]}]" for s in endpoint.inputs}


def _version():
    from keras_ae import __version__

    return __version__
