"""The REST interface of TensorFlow Serving: status, metadata, `:predict` and the metrics of models."""

import asyncio

import orjson
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from . import answers, metrics, tensors
from .failures import CODES, Failure

_JSON = "application/json"
_VERBS = ("predict", "classify", "regress")
_PATHS = "/v1/models/<name>[/versions/<version>][/metadata] by GET, or ...:predict by POST"


def application(desk):
    """Returns the ASGI application.

    Args:
        desk: `server.Desk`.
    """
    limits = desk.limits

    async def status(request):
        name, version = _named(request)
        async with desk.measured(name, "GetModelStatus", "REST"):
            return _json(200, _fields(answers.status(desk.models.get(name), version)))

    async def metadata(request):
        name, version = _named(request)
        async with desk.measured(name, "GetModelMetadata", "REST"):
            with desk.models.get(name).version(version) as loaded:
                spec, definitions = _fields(answers.spec(name, loaded)), _fields(answers.definitions(loaded))
            return _json(200, {"model_spec": spec, "metadata": {"signature_def": definitions}})

    async def act(request):
        name, version = _named(request)
        verb = request.path_params["verb"]
        if verb not in _VERBS:  # before it becomes a label of the metrics
            return _malformed(request, None)
        async with desk.measured(name, verb.title(), "REST"):
            if verb != "predict":
                raise Failure(
                    "UNIMPLEMENTED", f":{verb} takes tf.Example records, which this server does not; use :predict."
                )
            model = desk.models.get(name)

            def predict(body, seconds):
                parsed = tensors.parse(body)
                signature_name = tensors.signature_name(parsed)
                with model.version(version) as loaded:
                    signature = loaded.signature(signature_name)
                    arrays = tensors.arrays_of_json(parsed, signature, limits.max_rows)
                    found = loaded.predict(signature_name, arrays, seconds)
                return tensors.json_of_arrays(found, by_rows="instances" in parsed)

            answer = await desk.run(predict, limits.seconds, read=lambda: _body(request, limits))
            return Response(answer, media_type=_JSON)

    async def monitoring(request):
        return Response(desk.metrics.page(), media_type=metrics.CONTENT_TYPE)

    model = "/v1/models/{name:model}"
    routes = [Route(metrics.PATH, monitoring)]
    for prefix in (model, f"{model}/versions/{{version:int}}"):
        routes += [
            Route(f"{prefix}/metadata", metadata),
            Route(f"{prefix}:{{verb}}", act, methods=["POST"]),
            Route(prefix, status),
        ]
    handlers = {Failure: _failed, TooLarge: _failed, 404: _malformed, 405: _malformed, 500: _broken}
    return Starlette(routes=routes, exception_handlers=handlers)


class _Name(StringConvertor):
    regex = "[^/:]+"


register_url_convertor("model", _Name())


class TooLarge(Failure):
    """A body with more bytes than the server takes."""

    def __init__(self, limit):
        super().__init__("RESOURCE_EXHAUSTED", f"The body: expected at most {limit} bytes. Send several requests.")


async def _body(request, limits):
    """Returns the body, read up to the limit of size and in the limit of time."""
    if int(request.headers.get("content-length") or 0) > limits.max_bytes:
        raise TooLarge(limits.max_bytes)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_bytes:
                    raise TooLarge(limits.max_bytes)
                chunks.append(chunk)
    except TimeoutError as error:
        raise Failure("DEADLINE_EXCEEDED", f"The body did not arrive within {limits.seconds:g} seconds.") from error
    except ClientDisconnect as error:
        raise Failure("CANCELLED", "The client left.") from error
    return b"".join(chunks)


def _named(request):
    return request.path_params["name"], request.path_params.get("version")


def _fields(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json(status, value):
    return Response(orjson.dumps(value, option=orjson.OPT_INDENT_2), status, media_type=_JSON)


def _failed(request, failure):
    # HTTP has a status of its own for a body that is too large.
    status = 413 if isinstance(failure, TooLarge) else CODES[failure.code]
    return _json(status, {"error": failure.message})


def _malformed(request, error):
    # TensorFlow Serving's answers, too: 400 below /v1, 404 elsewhere.
    status = 400 if request.url.path.startswith("/v1/") else 404
    return _json(
        status, {"error": f"Malformed request: expected {_PATHS}; received {request.method} {request.url.path}."}
    )


def _broken(request, error):
    return _json(500, {"error": f"{type(error).__name__} in the server; its log has the details."})
