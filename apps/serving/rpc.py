"""The gRPC interface of TensorFlow Serving: Predict, GetModelMetadata and GetModelStatus."""

import contextlib

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from . import answers, tensors
from .failures import Failure, invalid

_SIGNATURES = "signature_def"  # the only field of the metadata


def server(desk):
    """Returns the `grpc.aio` server, which is not started.

    Args:
        desk: `server.Desk`.
    """
    options = [
        ("grpc.max_receive_message_length", desk.limits.max_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # otherwise two servers could share a port unnoticed
    ]
    made = grpc.aio.server(options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(desk), made)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(desk), made)
    return made


@contextlib.asynccontextmanager
async def _answering(desk, request, api, context):
    """Context manager that counts a request, and ends it with the code of a `Failure`."""
    try:
        async with desk.measured(request.model_spec.name, api, "GRPC"):
            if not request.HasField("model_spec"):
                raise invalid("Expected a model_spec with the name of a model.")
            if request.model_spec.HasField("version_label"):
                raise invalid("This server has no version labels: name a version, or none for the newest.")
            yield
    except Failure as failure:
        await context.abort(getattr(grpc.StatusCode, failure.code), failure.message)


def _version(request):
    spec = request.model_spec
    return spec.version.value if spec.HasField("version") else None


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Methods that this server lacks answer UNIMPLEMENTED."""

    def __init__(self, desk):
        self._desk = desk

    async def Predict(self, request, context):
        desk, limits = self._desk, self._desk.limits
        async with _answering(desk, request, "Predict", context):
            spec = request.model_spec
            model, number = desk.models.get(spec.name), _version(request)

            def predict(seconds):
                with model.version(number) as loaded:
                    signature = loaded.signature(spec.signature_name)
                    wanted = _outputs(request.output_filter, signature)
                    arrays = tensors.arrays_of_protos(request.inputs, signature, limits.max_rows, limits.max_bytes)
                    found = loaded.predict(spec.signature_name, arrays, seconds)
                response = predict_pb2.PredictResponse(model_spec=answers.spec(spec.name, loaded, spec.signature_name))
                for name in wanted:
                    response.outputs[name].CopyFrom(tensors.proto_of_array(found[name]))
                return response

            left = context.time_remaining()
            return await desk.run(predict, limits.seconds if left is None else min(left, limits.seconds))

    async def GetModelMetadata(self, request, context):
        async with _answering(self._desk, request, "GetModelMetadata", context):
            if list(request.metadata_field) != [_SIGNATURES]:
                raise invalid(f"metadata_field: expected [{_SIGNATURES!r}], received {list(request.metadata_field)}.")
            with self._desk.models.get(request.model_spec.name).version(_version(request)) as loaded:
                response = get_model_metadata_pb2.GetModelMetadataResponse(
                    model_spec=answers.spec(request.model_spec.name, loaded)
                )
                response.metadata[_SIGNATURES].Pack(answers.definitions(loaded))
            return response


def _outputs(wanted, signature):
    unknown = [name for name in wanted if name not in signature.outputs]
    if unknown or len(set(wanted)) < len(wanted):
        raise invalid(f"output_filter: expected some of {list(signature.outputs)}, each once; received {list(wanted)}.")
    return list(wanted) or signature.outputs


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, desk):
        self._desk = desk

    async def GetModelStatus(self, request, context):
        async with _answering(self._desk, request, "GetModelStatus", context):
            return answers.status(self._desk.models.get(request.model_spec.name), _version(request))
