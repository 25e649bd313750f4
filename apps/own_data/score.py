"""Scores your own data: the error of each row, whether it is above the threshold, and the worst rows.

keras-ae score --model=runs/own_data/export --data=<folder> --output=scores.csv
"""

import heapq

from absl import flags

from .. import common
from . import outputs, served

WORST = 10

FLAGS = {
    "model": common.define_model("that scores"),
    "data": common.define_data("What to score: data of the form that the model was trained on."),
    "output": flags.DEFINE_string("output", "scores.csv", "Table to write, .csv, .parquet or .npz: names and scores."),
    "labels": flags.DEFINE_string("labels", None, "Column of labels in a CSV of pictures, for a conditional model."),
    "log_prob": flags.DEFINE_bool(
        "log_prob", False, "Also estimate log p(x) in nats, of a model that has a density; it takes 64 decodings a row."
    ),
    "threshold": flags.DEFINE_float(
        "threshold", None, "Squared error above which a row is anomalous; by default that of the model's card."
    ),
}


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


def main():
    score(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
