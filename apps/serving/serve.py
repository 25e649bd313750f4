"""Serves exports over REST and gRPC, as TensorFlow Serving does, without Docker.

keras-ae serve --models=saved_models --port=8501 --grpc_port=8500
keras-ae serve --models=digits=runs/quickstart/export

Of each model, the newest version is loaded; a newer one replaces it without a failed request, and if it is removed the
one before comes back. Ctrl-C or SIGTERM ends the server once the requests under way are answered. The first line on
stderr has the addresses and the models as JSON.

For trials, tests and demonstrations. For production run TensorFlow Serving, with the same files: see `serving/`.
"""

import asyncio
import json
import os
import signal
import sys
import time

from absl import flags

from keras_ae import serving
from keras_ae.utils import plain

from .. import common

NEEDS = ("grpc", "httptools", "orjson", "prometheus_client", "starlette", "tensorflow_serving", "uvicorn", "uvloop")


def define_flags():
    return {
        "models": flags.DEFINE_list(
            "models",
            None,
            "What to serve, separated by commas: an export folder, whose name is the model's; a folder of export "
            "folders; or name=folder. Default: keras_ae's own models.",
        ),
        "host": flags.DEFINE_string(
            "host",
            "127.0.0.1",
            "Address to listen at. The default is this machine only: there is neither encryption nor a password. "
            "0.0.0.0 is all networks.",
        ),
        "port": _define_port("port", 8501, "REST"),
        "grpc_port": _define_port("grpc_port", 8500, "gRPC"),
        "poll_seconds": flags.DEFINE_float(
            "poll_seconds", 1.0, "Seconds between two looks for new versions and models.", lower_bound=0.01
        ),
        "threads": flags.DEFINE_integer(
            "threads", None, "Requests computed at once; by default the number of cores.", lower_bound=1
        ),
        "max_waiting": flags.DEFINE_integer(
            "max_waiting",
            100,
            "Requests that may arrive or wait for a thread. Further ones fail at once, not after their deadline.",
            lower_bound=0,
        ),
        "max_megabytes": flags.DEFINE_float(
            "max_megabytes", 32.0, "Size of a request in MB; larger ones are refused unread.", lower_bound=0.001
        ),
        "max_rows": flags.DEFINE_integer(
            "max_rows",
            512,
            "Rows in a request. It bounds the memory of answers, which may be much larger than requests.",
            lower_bound=1,
        ),
        "timeout": flags.DEFINE_float(
            "timeout", 30.0, "Seconds for a request, from its arrival to its answer.", lower_bound=0.01
        ),
    }


def _define_port(name, default, interface):
    return flags.DEFINE_integer(
        name, default, f"Port of the {interface} interface; 0 for any free one.", lower_bound=0, upper_bound=65535
    )


def run(models, host, port, grpc_port, poll_seconds, threads, max_waiting, max_megabytes, max_rows, timeout):
    """Serves until a signal; prints the number of requests. Arguments: the flags."""
    common.require(*NEEDS)
    import tensorflow as tf
    import uvloop

    from .models import Models
    from .server import Limits, Server

    tf.get_logger().setLevel("ERROR")  # it calls the loader of sessions deprecated, which users cannot act on
    folders = models or [str(serving.pretrained("semantic_hashing").parent)]
    limits = Limits(threads or os.cpu_count() or 1, max_waiting, int(max_megabytes * 1e6), max_rows, timeout)
    start = time.monotonic()
    with common.user_input():
        loaded = Models(folders, poll_seconds)
        try:
            if all(model.number is None for model in loaded):
                raise ValueError(f"--models: there is no export that can be loaded in {', '.join(folders)}.")
            server = Server(loaded, limits, host, port, grpc_port)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_until_signal(server, loaded))
        finally:
            loaded.close()
    totals = server.desk.metrics.totals()
    figures = {"requests": sum(totals.values()), "by_status": totals, "seconds": time.monotonic() - start}
    print(json.dumps(plain.json_values(figures)), flush=True)


async def _until_signal(server, models):
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)

    def started():
        versions = {model.name: model.number for model in models}
        line = {"rest": f"http://{server.address}", "grpc": server.grpc_address, "models": versions}
        print(json.dumps(line), file=sys.stderr, flush=True)

    await server.serve(started, stop)


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
