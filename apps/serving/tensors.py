"""Tensors in JSON and in protocol buffers, as the REST and gRPC interfaces of TensorFlow Serving write them."""

import base64
import binascii
import itertools
import json
import math

import numpy as np
import orjson
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from .failures import Failure, invalid
from .versions import check_shape

BYTES = "_bytes"  # names with this ending hold binary values

_FIELDS = {
    "float16": "half_val",
    "float32": "float_val",
    "float64": "double_val",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "object": "string_val",
}
_IN_JSON = frozenset(_FIELDS) - {"float16", "uint16"}
_TYPES = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}, "O": {str, dict}}  # by the kind of a dtype
_JSON_NAMES = {bool: "true or false", int: "a whole number", float: "a decimal number", str: "a string"}
_JSON_NAMES |= {dict: "an object", list: "a list", type(None): "null"}


# JSON


def parse(body):
    """Returns the object of a request's body; it may contain NaN, Infinity and -Infinity.

    Raises:
        Failure: if it is not a JSON object.
    """
    try:
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            if b"NaN" not in body and b"Infinity" not in body:
                raise
            request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body is not valid JSON: {error}.") from error
    if type(request) is not dict:
        raise invalid(f"The body: expected an object, received {_json_name(request)}.")
    return request


def signature_name(request):
    """Returns the name of the signature in a request; "" for the default one."""
    name = request.get("signature_name", "")
    if type(name) is not str:
        raise invalid(f"signature_name: expected a string, received {_json_name(name)}.")
    return name


def arrays_of_json(request, signature, max_rows):
    """Returns `{input: array}` of a request in row format ("instances") or column format ("inputs").

    Args:
        request: dict, parsed JSON.
        signature: `versions.Signature` that the inputs are for.
        max_rows: int, limit of the first axis.

    Raises:
        Failure: if they do not fit.
    """
    rows = request.get("instances")
    if ("instances" in request) == ("inputs" in request):
        raise invalid('Expected one of "instances" (rows) and "inputs" (columns), received both or neither.')
    if "inputs" in request:
        columns = request["inputs"]
        if not _is_object(columns):
            columns = {_only(signature): columns}
    elif type(rows) is not list:
        raise invalid(f"instances: expected a list of rows, received {_json_name(rows)}.")
    elif not rows:
        raise invalid("instances: expected at least one row, received an empty list.")
    elif len(rows) > max_rows:
        raise too_many(len(rows), max_rows)
    else:
        columns = _columns(rows, signature)
    found = {}
    for name, values in columns.items():
        if name not in signature.inputs:  # the check of the signature names all that are wrong
            found[name] = np.empty(0)
            continue
        if type(values) is list and len(values) > max_rows:
            raise too_many(len(values), max_rows)
        found[name] = _array(name, values, signature)
    return found


def too_many(rows, max_rows):
    """Returns the `Failure` of a request with more rows than the server takes."""
    return invalid(f"Expected at most {max_rows} rows in a request, received {rows}. Send several requests.")


def _is_object(value):
    return type(value) is dict and not _is_binary(value)


def _is_binary(value):
    return type(value) is dict and value.keys() == {"b64"} and type(value["b64"]) is str


def _only(signature):
    if len(signature.inputs) > 1:
        raise invalid(f"Expected an object with the inputs {', '.join(signature.inputs)}, received plain values.")
    return next(iter(signature.inputs))


def _columns(rows, signature):
    are_objects = {_is_object(row) for row in rows}
    if are_objects == {False}:
        return {_only(signature): rows}
    if len(are_objects) > 1:
        raise invalid("instances: expected only objects or only plain values, received both.")
    names = rows[0].keys()
    for number, row in enumerate(rows):
        if row.keys() != names:
            raise invalid(f"instances: row {number} has other inputs than row 0: {sorted(row)}, not {sorted(names)}.")
    return {name: [row[name] for row in rows] for name in names}


def _array(name, values, signature):
    """Returns the array of nested lists; unlike NumPy it converts nothing but whole numbers to decimal ones."""
    dtype = signature.inputs[name].dtype
    if dtype.name not in _IN_JSON:
        raise Failure("UNIMPLEMENTED", f"{name}: JSON has no {dtype.name}. Use gRPC.")
    shape, leaves = [], [values]
    while leaves and type(leaves[0]) is list:
        if set(map(type, leaves)) != {list} or len(set(map(len, leaves))) > 1:
            raise invalid(
                f"{name}: expected lists of one length at level {len(shape) + 1}, received several or values."
            )
        shape.append(len(leaves[0]))
        leaves = list(itertools.chain.from_iterable(leaves))
    types = set(map(type, leaves))
    if wrong := types - _TYPES[dtype.kind]:
        expected = "string" if dtype.kind == "O" else dtype.name
        raise invalid(f"{name}: expected {expected} values, received {_JSON_NAMES[wrong.pop()]}.")
    check_shape(signature, name, tuple(shape))
    if dtype.kind == "O":
        array = np.empty(len(leaves), object)
        array[:] = [_string(name, each) for each in leaves]
        return array.reshape(shape)
    return (_floats(name, leaves, types, dtype) if dtype.kind == "f" else _integers(name, leaves, dtype)).reshape(shape)


def _integers(name, leaves, dtype):
    try:
        return np.array(leaves, dtype)
    except OverflowError as error:
        raise invalid(f"{name}: a number is outside the range of {dtype.name}.") from error


def _floats(name, leaves, types, dtype):
    exact = 2 ** (np.finfo(dtype).nmant + 1) - 1
    if int in types and any(abs(each) > exact for each in leaves if type(each) is int):
        raise invalid(f"{name}: a whole number above {exact} has no exact {dtype.name}. Write it as a decimal number.")
    wide = np.array(leaves, np.float64)
    with np.errstate(over="ignore"):
        array = wide.astype(dtype, copy=False)
    if dtype != np.float64 and (np.isinf(array) & np.isfinite(wide)).any():
        raise invalid(f"{name}: a number is outside the range of {dtype.name}.")
    return array


def _string(name, value):
    try:
        if type(value) is str:
            return value.encode()
        if _is_binary(value):
            return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"{name}: a string is not valid UTF-8, or not valid base64: {error}.") from error
    raise invalid(f'{name}: expected strings, or objects {{"b64": "..."}} for binary values; received another object.')


def _json_name(value):
    return _JSON_NAMES[type(value)]


def json_of_arrays(arrays, by_rows):
    """Returns the body of an answer, bytes: "predictions" if the request was in row format, otherwise "outputs".

    float32 values have the fewest digits that identify them, so a client reads the same float32. Values that are not
    finite become NaN, Infinity and -Infinity, as in TensorFlow Serving.
    """
    values = {name: _plain(name, array) for name, array in arrays.items()}
    (_, first), *others = values.items()
    if by_rows:
        shapes = {name: np.shape(array) for name, array in arrays.items()}
        if len({shape[:1] for shape in shapes.values()}) > 1 or () in shapes.values():
            listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise invalid(f"The outputs have no common first axis ({listed}): use the column format, inputs.")
        rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)] if others else first
        answer = {"predictions": rows}
    else:
        answer = {"outputs": values if others else first}
    if all(np.isfinite(each).all() for each in arrays.values() if each.dtype.kind == "f"):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(answer, default=lambda value: value.tolist(), separators=(",", ":")).encode()


def _plain(name, array):
    array = np.asarray(array)
    if array.dtype.name not in _IN_JSON:
        raise Failure("UNIMPLEMENTED", f"{name}: JSON has no {array.dtype.name}. Use gRPC.")
    if array.dtype.kind == "O":
        return _texts(name, array.tolist())
    return array[()] if array.ndim == 0 else np.ascontiguousarray(array)


def _texts(name, value):
    if type(value) is list:
        return [_texts(name, each) for each in value]
    if name.endswith(BYTES):
        return {"b64": base64.b64encode(value).decode()}
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Failure(
            "INTERNAL", f"{name}: the output is not UTF-8. Use gRPC, or export it under a name that ends in {BYTES}."
        ) from error


# Protocol buffers


def arrays_of_protos(protos, signature, max_rows, max_bytes):
    """Returns `{input: array}` of the tensors in a gRPC request.

    A small message may promise a huge tensor, so shapes are checked before anything is made of them.

    Args:
        protos: `{input: TensorProto}`.
        signature: `versions.Signature` that the inputs are for.
        max_rows: int, limit of the first axis.
        max_bytes: int, limit of an array.

    Raises:
        Failure: if they do not fit, or are damaged.
    """
    found = {}
    for name, proto in protos.items():
        if name not in signature.inputs:
            found[name] = np.empty(0)
            continue
        try:
            dtype = tf.dtypes.as_dtype(proto.dtype).as_numpy_dtype
        except (TypeError, KeyError) as error:
            raise invalid(f"{name}: the tensor has no valid dtype.") from error
        shape = tuple(dim.size for dim in proto.tensor_shape.dim)
        if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
            raise invalid(f"{name}: expected a tensor whose shape is known.")
        check_shape(signature, name, shape)
        if shape and shape[0] > max_rows:
            raise too_many(shape[0], max_rows)
        if math.prod(shape) * np.dtype(dtype).itemsize > max_bytes:
            raise invalid(f"{name}: expected at most {max_bytes} bytes, received the shape {list(shape)}.")
        try:
            found[name] = tf.make_ndarray(proto)
        except (TypeError, ValueError) as error:
            raise invalid(f"{name}: the tensor's values do not fit its shape {list(shape)}.") from error
    return found


def proto_of_array(array):
    """Returns the `TensorProto` of an array, with the values in the field of their type, as clients expect them."""
    array = np.asarray(array)
    field = _FIELDS.get(array.dtype.name)
    if field is None or field == "half_val":
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=tf.dtypes.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
    return proto
