"""Requests that fail: a canonical status code and a message, which each interface writes in its own way."""

import tensorflow as tf

_MESSAGE = 500  # characters of an error of TensorFlow


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


def of_tensorflow(error):
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
