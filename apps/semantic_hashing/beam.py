"""Encodes a corpus that is too large for one machine with an Apache Beam pipeline.

keras-ae beam --input='corpus/*.jsonl' --output=runs/codes
keras-ae index --codes='runs/codes/codes-*.jsonl'

Unknown flags are passed to Beam: --runner=FlinkRunner --flink_master=..., SparkRunner, DataflowRunner. The workers need
this package, for example in their container image, and the model under the same path. If they run on other machines,
input and output must be on storage that they can reach, such as gs:// or hdfs://.

The input has one JSON object per line, in the format of `keras_ae.datasets.text.Documents`. The default id differs: it
is the SHA-1 of the line, because line numbers are unknown when a file is read in parallel. The output files are
`codes-*-of-*.jsonl` with {"id", "title", "text", "code", "fingerprint"}, where the code is hexadecimal and the text is
truncated to the length that the index stores; and `bad-*-of-*.jsonl` with {"reason", "line"} for unusable lines. These
lines are counted, and so are truncated texts ("truncated").
"""

import contextlib
import hashlib
import json
import sys
import time

from absl import app, flags

from keras_ae.datasets import text
from keras_ae.utils import plain

from .. import common
from . import served, store

try:
    import apache_beam as beam
    from apache_beam.coders import BytesCoder
    from apache_beam.io import ReadFromText, WriteToText
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.metrics import Metrics, MetricsFilter
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.pvalue import TaggedOutput
except ImportError as error:
    message = 'This needs Apache Beam: pip install "keras_ae[beam]", or in a clone pip install -e ".[beam]".'
    raise (SystemExit(f"error: {message}") if __name__ == "__main__" else ImportError(message)) from error

NAMESPACE = "semantic_hashing"  # of the counters
BAD = "bad"


def define_flags():
    return {
        "model": common.define_model("at a path that this machine and the workers can read"),
        "input": flags.DEFINE_string("input", None, "Glob pattern of the .jsonl files to encode; may be compressed."),
        "output": flags.DEFINE_string(
            "output",
            None,
            "Output folder. Use a new one for each run, so that runs do not mix.",
        ),
        "text_column": flags.DEFINE_string("text_column", "text", "Key of the text in each object."),
    }


class Encoding(ModelHandler):
    """Runs a `served.Encoder`, loaded once per process, on `store.Entry`s with their full text.

    Beam's own TensorFlow model handlers do not fit: they stack examples into numeric arrays, but these are strings.

    Args:
        model: path of the export folder.
    """

    def __init__(self, model):
        super().__init__(min_batch_size=served.BATCH, max_batch_size=served.BATCH)
        self._model = model

    def load_model(self):
        return served.Encoder(self._model)

    def run_inference(self, batch, model, inference_args=None):
        codes, _, valid = model.encode([entry.text for entry in batch])
        for entry, code, known in zip(batch, codes, valid, strict=True):
            yield PredictionResult(entry, code.tobytes().hex() if known else None, model.fingerprint)

    def get_metrics_namespace(self):
        return NAMESPACE


def parse(line, text_column):
    """Yields the `store.Entry` of a line (bytes), or the reason why there is none, tagged `BAD`."""
    if not line.strip():
        return
    record = text.json_object(line) if len(line) < text.MAX_LINE_BYTES else None
    default_id = hashlib.sha1(line, usedforsecurity=False).hexdigest()
    found = text.of_record(record, default_id, text_column) if record else None
    if found and found[0].text.strip():
        document, cut = found
        if cut:
            _count("truncated")
        yield store.Entry(document.id, document.title, document.text)
    elif len(line) >= text.MAX_LINE_BYTES:
        yield _bad("too long", line[: store.TEXT].decode("utf-8", "replace"))
    else:
        reason = "malformed" if record is None else "empty" if found else "text not a string"
        yield _bad(reason, line.decode("utf-8", "replace"))


def written(result):
    """Yields the JSON line of an encoded document, or the reason why it has no code, tagged `BAD`."""
    entry = result.example
    if result.inference is None:
        yield _bad("no known words", json.dumps(entry._asdict()))
        return
    Metrics.counter(NAMESPACE, "documents").inc()
    kept = entry._replace(text=entry.text[: store.TEXT])._asdict()
    yield json.dumps(kept | {"code": result.inference, "fingerprint": result.model_id})


def _count(reason):
    Metrics.counter(NAMESPACE, f"{BAD}: {reason}").inc()


def _bad(reason, line):
    _count(reason)
    return TaggedOutput(BAD, json.dumps({"reason": reason, "line": line}))


def build(pipeline, model, input, output, text_column):
    """Adds the steps to a `beam.Pipeline`. The arguments are the flags."""
    lines = pipeline | "read" >> ReadFromText(input, coder=BytesCoder())
    entries = lines | "parse" >> beam.FlatMap(parse, text_column).with_outputs(BAD, main="entries")
    results = entries.entries | "encode" >> RunInference(Encoding(model))
    records = results | "format" >> beam.FlatMap(written).with_outputs(BAD, main="records")
    for name, made in (("codes", records.records), (BAD, (entries[BAD], records[BAD]) | beam.Flatten())):
        made | f"write {name}" >> WriteToText(FileSystems.join(output, name), ".jsonl")


def run(model, input, output, text_column, arguments=()):
    """Runs the pipeline to completion; prints and writes the report.

    Args:
        model, input, output, text_column: the flags.
        arguments: list of str, Beam's flags.
    """
    start = time.perf_counter()
    if not (input and output):
        raise common.UserError("--input and --output: expected a pattern of .jsonl files and a folder.")
    local = "://" not in output
    if local:
        common.writable(output)
    with common.user_input():
        encoder = served.Encoder(model)  # errors in the model are clearer here than in a worker
        pipeline = beam.Pipeline(options=PipelineOptions(list(arguments)))
        build(pipeline, model, input, output, text_column)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    counts = {each.key.metric.name: each.result for each in counters}
    skipped = {name.removeprefix(f"{BAD}: "): n for name, n in counts.items() if name.startswith(BAD)}
    figures = {"output": output, "input": input, "model": encoder.path, "bits": encoder.bits}
    figures |= {"fingerprint": encoder.fingerprint, "documents": counts.get("documents", 0), "skipped": skipped}
    figures |= {"seconds": time.perf_counter() - start}
    if local:
        common.report(figures, output)
    else:
        print(json.dumps(plain.json_values(figures)), flush=True)
    if skipped and not figures["documents"]:
        raise common.UserError(f"No document of {input!r} could be encoded; skipped: {skipped}.")


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()}, arguments=BEAM_FLAGS)


if __name__ == "__main__":
    # Import under the real module name, so that workers can find what is pickled here.
    from .beam import run

    FLAGS, BEAM_FLAGS = define_flags(), []
    app.define_help_flags()
    flags.FLAGS.set_gnu_getopt(True)  # the value of a Beam flag may be in the next argument
    with contextlib.suppress(flags.Error):  # `common.main` raises it again and shows it
        _, *BEAM_FLAGS = flags.FLAGS(sys.argv, known_only=True)
        sys.argv = [each for each in sys.argv if each not in BEAM_FLAGS]
    common.main(main)
