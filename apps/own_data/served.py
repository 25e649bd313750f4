"""Exports of any app at work on one's own data."""

import tempfile

import numpy as np
import tensorflow as tf

from keras_ae import serving

from .. import common
from ..progress import progress_bar
from . import models, source

BATCH = 256


class Export:
    """An export and what its card says of its data.

    Args:
        directory: path of the export folder, the flag --model.

    Raises:
        UserError: if there is none, or it cannot be read.
    """

    def __init__(self, directory):
        if not directory:
            raise common.UserError("--model: expected an export folder, such as runs/own_data/export.")
        with common.user_input():
            self.served = serving.Served(directory)
        self.card, self.signatures = self.served.card, self.served.signatures

    def need(self, endpoint):
        """Raises a `UserError` if the export lacks an endpoint."""
        if endpoint not in self.signatures:
            raise common.UserError(
                f"--model: {str(self.served.path)!r} has no endpoint {endpoint!r}; it has {', '.join(self.signatures)}."
            )

    @property
    def schema(self):
        """The form of the data: that of the card, or else that of the inputs of an endpoint."""
        if "schema" in self.card:
            return self.card["schema"]
        name = next((name for name in ("encode", "reconstruct") if name in self.signatures), None)
        shape = self._specs(name)["x"].shape[1:] if name and "x" in self._specs(name) else None
        if shape is None or len(shape) != 3 or None in shape or shape[2] not in (1, 3):
            raise common.UserError(
                f"--model: the card of {str(self.served.path)!r} does not say how data become inputs, and its inputs "
                "are no pictures. Expected an export of keras-ae train, or one of pictures."
            )
        return {"kind": "pictures", "size": list(shape[:2]), "channels": shape[2], "classes": []}

    def call(self, endpoint, **arrays):
        """Returns the outputs of an endpoint, `{name: array}`."""
        specs = self._specs(endpoint)
        given = {name: tf.cast(arrays[name], spec.dtype) for name, spec in specs.items()}
        return {name: each.numpy() for name, each in self.signatures[endpoint](**given).items()}

    def takes_condition(self, endpoint):
        """Whether an endpoint takes labels."""
        return "condition" in self._specs(endpoint)

    def _specs(self, endpoint):
        return self.signatures[endpoint].structured_input_signature[1]


def batches(export, data, labels, endpoints):
    """Yields `(ids, x, outputs)` of all rows of the data, `{endpoint: {name: array}}`, with a progress bar.

    Args:
        export: `Export`.
        data: the flag --data.
        labels: the flag --labels, or None.
        endpoints: names.

    Raises:
        UserError: if the data cannot be read, or lack the labels that the model needs.
        SomeFailed: after the last batch, if some rows were left out.
    """
    if not data:
        raise common.UserError("--data: expected data of the form that the model was trained on.")
    for each in endpoints:
        export.need(each)
    with tempfile.TemporaryDirectory() as folder:
        rows = source.read(data, folder, labels=labels, schema=export.schema)
        conditional = any(export.takes_condition(each) for each in endpoints)
        if conditional and rows.labels is None:
            raise common.UserError(
                "--data: the model needs labels: put the pictures into a sub-folder for each class, or name the column "
                "of a CSV with --labels."
            )
        keep = np.arange(len(rows.x)) if not conditional else np.flatnonzero(rows.labels >= 0)
        for i in progress_bar(range(0, len(keep), BATCH), unit=" batches"):
            numbers = keep[i : i + BATCH]
            x = models.numbers(rows.x, numbers)
            given = {"x": x, "seed": numbers} | ({"condition": rows.labels[numbers]} if conditional else {})
            outputs = {each: export.call(each, **given) for each in endpoints}
            yield np.array([rows.ids[number] for number in numbers], dtype=object), x, outputs
        failed = {k: v for k, v in rows.left_out.items() if "taken as missing" not in k}
        if len(keep) < len(rows.x):
            failed["without a label that the model knows"] = [rows.ids[i] for i in np.flatnonzero(rows.labels < 0)]
        if failed:
            raise common.SomeFailed(f"Some rows were left out: {source.described(failed)}.")


def squared_error(x, made):
    """Squared error of each row, summed over its values: `(B,)`."""
    return np.square(x - made).reshape(len(x), -1).sum(axis=1)
