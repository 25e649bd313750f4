"""What an export of one's own data, or of another app, is used for: codes, scores, reconstructions and samples.

The scripts with the flags are beside this module, one a verb.
"""

import heapq

import numpy as np

from .. import common
from . import outputs, served

WORST = 10


def encode(model, data, output, labels):
    """Encodes the data; prints and writes nothing but the table and a line of JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    threshold, count = export.card.get("threshold"), 0
    with outputs.writer(output) as append:
        failed = None
        try:
            for ids, x, made in served.batches(export, data, labels, ["encode", "reconstruct"]):
                error = served.squared_error(x, made["reconstruct"]["x"])
                columns = {"id": ids, "z": made["encode"]["z"], "squared_error": error}
                if threshold is not None:
                    columns["anomalous"] = (error > threshold).astype("int64")
                append(columns)
                count += len(ids)
        except common.SomeFailed as error:
            failed = error  # what could be read is written first
    common.printed({"rows": count, "output": output, "model": str(export.served.path)})
    if failed is not None:
        raise failed


def score(model, data, output, labels, log_prob, threshold):
    """Scores the data; prints the worst rows as JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    threshold = export.card.get("threshold") if threshold is None else threshold
    count, anomalous, worst, failed = 0, 0, [], None
    with outputs.writer(output) as append:
        try:
            for ids, x, made in served.batches(export, data, labels, ["reconstruct", *(["score"] if log_prob else [])]):
                error = served.squared_error(x, made["reconstruct"]["x"])
                columns = {"id": ids, "squared_error": error}
                if log_prob:
                    columns["log_prob"] = made["score"]["score"]
                if threshold is not None:
                    columns["anomalous"] = (error > threshold).astype("int64")
                    anomalous += int(columns["anomalous"].sum())
                append(columns)
                count += len(ids)
                worst = heapq.nlargest(WORST, [*worst, *zip(error.tolist(), ids.tolist(), strict=True)])
        except common.SomeFailed as error:
            failed = error
    figures = {"rows": count, "threshold": threshold, "anomalous": None if threshold is None else anomalous}
    figures["worst"] = [{"id": name, "squared_error": each} for each, name in worst]
    common.printed(figures | {"output": output, "model": str(export.served.path)})
    if failed is not None:
        raise failed


def reconstruct(model, data, output, labels):
    """Reconstructs the data; prints the mean squared error as JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    count, total, failed = 0, 0.0, None
    with outputs.writer(output) as append:
        try:
            for ids, x, made in served.batches(export, data, labels, ["reconstruct"]):
                append({"id": ids, "x": made["reconstruct"]["x"]})
                count, total = count + len(ids), total + float(served.squared_error(x, made["reconstruct"]["x"]).sum())
        except common.SomeFailed as error:
            failed = error
    figures = {"rows": count, "squared_error": total / max(count, 1), "output": output}
    common.printed(figures | {"model": str(export.served.path)})
    if failed is not None:
        raise failed


def sample(model, count, output, label, seed):
    """Draws samples; prints where they are as JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    endpoint = next((name for name in ("sample_best", "sample") if name in export.signatures), "sample")
    export.need(endpoint)
    given, classes = {}, (export.card.get("schema") or {}).get("classes") or []
    if export.takes_condition(endpoint):
        if label is not None and label not in classes:
            raise common.UserError(f"--label: expected one of {', '.join(classes)}; received {label!r}.")
        given["condition"] = np.full(count, classes.index(label)) if label else np.arange(count) % max(len(classes), 1)
    parts = []
    with outputs.writer(output) as append:
        for i in range(0, count, served.BATCH):
            seeds = seed + np.arange(i, min(i + served.BATCH, count))
            each = {name: values[i : i + served.BATCH] for name, values in given.items()}
            x = export.call(endpoint, seed=seeds, **each)["x"]
            append({"seed": seeds, "x": x})
            parts.append(x[: max(0, served.BATCH - i)])
    figures = {"samples": count, "endpoint": endpoint, "output": output, "model": str(export.served.path)}
    x = np.concatenate(parts)
    if x.ndim == 4 and x.shape[-1] in (1, 3):
        common.require("matplotlib")
        from keras_ae import plots

        figures["picture"] = f"{output.rpartition('.')[0]}.png"
        plots.image_grid(np.clip(x, 0, 1)).savefig(figures["picture"])
    common.printed(figures)
