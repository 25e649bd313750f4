"""Answers about models, as the protocol buffers of TensorFlow Serving, which REST writes as JSON."""

from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from .failures import Failure
from .versions import DEFAULT_SIGNATURE


def status(model, version=None):
    """Returns the `GetModelStatusResponse` of a `Model`: all its versions, or one.

    Raises:
        Failure: if the version was never seen.
    """
    statuses = dict(model.statuses)
    if version is not None and version not in statuses:
        raise Failure("NOT_FOUND", f"Model {model.name!r} has no version {version}; it has {sorted(statuses)}.")
    response = get_model_status_pb2.GetModelStatusResponse()
    for number in sorted(statuses, reverse=True) if version is None else [version]:
        each = statuses[number]
        added = response.model_version_status.add(version=number, state=each.state)
        added.status.error_code, added.status.error_message = error_codes_pb2.Code.Value(each.code), each.message
    return response


def spec(name, version, signature_name=None):
    """Returns the `ModelSpec` of an answer, with the signature for a prediction."""
    made = model_pb2.ModelSpec(name=name)
    made.version.value = version.number
    if signature_name is not None:
        made.signature_name = signature_name or DEFAULT_SIGNATURE
    return made


def definitions(version):
    """Returns the `SignatureDefMap` of a `Version`."""
    made = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in version.definitions.items():
        made.signature_def[name].CopyFrom(definition)
    return made
