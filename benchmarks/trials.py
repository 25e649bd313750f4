"""What a trial of a hyper-parameter search costs: `python -m benchmarks.trials`.

A trial trains for one epoch. Apart from training, it costs tracing and compiling, and the memory that TensorFlow never
frees. Four ways to run trials are measured, each in its own process:

  new     a new `ka.VAE` in each trial, after `keras.utils.clear_session()`
  no XLA  the same with `compile(jit_compile=False)`
  reused  one `ka.VAE`; a trial loads the initial weights and optimizer, and sets the learning rate and beta
  Keras   a new plain Keras autoencoder of the same networks in each trial, after `keras.utils.clear_session()`

The first trial of each process is not counted.
"""

import functools
import gc
import json
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np

from benchmarks import options, results

TRIALS, ROWS, PIXELS, HIDDEN, LATENT = 8, 6_400, 784, 512, 32
SMOKE = {"TRIALS": 2, "ROWS": 256, "PIXELS": 36, "HIDDEN": 8, "LATENT": 2}
WAYS = {
    "new": "a new VAE for each trial",
    "no XLA": "a new VAE for each trial, without XLA",
    "reused": "one VAE for all trials",
    "Keras": "a new plain Keras autoencoder for each trial",
}


def networks(sizes, parameters):
    """Returns the encoder and the decoder, `parameters` values per dimension of the code."""
    import keras

    pixels, hidden, latent = sizes
    dense = keras.layers.Dense
    encoder = keras.Sequential([keras.Input((pixels,)), dense(hidden, "relu"), dense(parameters * latent)])
    decoder = keras.Sequential([keras.Input((latent,)), dense(hidden, "relu"), dense(pixels)])
    return encoder, decoder


def trials_of(way, x, sizes, start):
    """Returns the function that runs one trial.

    Args:
        way: key of `WAYS`.
        x: float32 `(rows, pixels)`.
        sizes: pixels, hidden units and size of the code.
        start: path of a file for the initial weights.
    """
    import keras

    import keras_ae as ka

    def vae(**compile_options):
        model = ka.VAE(*networks(sizes, 2), seed=0)
        model.compile(keras.optimizers.Adam(1e-3), **compile_options)
        return model

    def new(**compile_options):
        vae(**compile_options).fit(x, batch_size=128, verbose=0)
        keras.utils.clear_session()

    def plain():
        encoder, decoder = networks(sizes, 1)
        model = keras.Model(encoder.inputs, decoder(encoder.outputs[0]))
        model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
        model.fit(x, x, batch_size=128, verbose=0)
        keras.utils.clear_session()

    if way != "reused":
        return {"new": new, "no XLA": functools.partial(new, jit_compile=False), "Keras": plain}[way]
    model = vae()
    model.save_weights(start)

    def reused():
        model.load_weights(start)
        model.optimizer.learning_rate = 2e-3
        model.beta = 0.5
        model.fit(x, batch_size=128, verbose=0)

    return reused


def measure(way, trials, rows, sizes):
    """Runs the trials; returns the seconds of each but the first, and the megabytes that each added."""
    x = (np.random.default_rng(0).random((rows, sizes[0])) < 0.13).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        run = trials_of(way, x, sizes, str(pathlib.Path(folder) / "start.weights.h5"))
        run()
        gc.collect()
        seconds, before = [], memory()
        for _ in range(trials):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
            gc.collect()
    return seconds, (memory() - before) / trials


def memory():
    """Returns the process's resident memory in megabytes, on Linux."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(_):
    made = []
    shared = {"better": "lower", "seeds": [0], "command": "python -m benchmarks.trials"}
    for way, words in WAYS.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, megabytes = pool.apply(measure, (way, TRIALS, ROWS, (PIXELS, HIDDEN, LATENT)))
        error = statistics.stdev(seconds) / len(seconds) ** 0.5 * 1.2533  # of the median of normal values
        shared |= {"data": f"{ROWS:,} random binary images, one epoch, {TRIALS} trials", "seconds": sum(seconds)}
        row = {"claim": words, "metric": "s per trial, median", "ours": statistics.median(seconds)}
        made.append(results.row(**row, standard_error=error, **shared))
        made.append(results.row(claim=words, metric="MB of added memory per trial", ours=megabytes, **shared))
    results.write("trials", made)
    print(json.dumps({f"{each['claim']}, {each['metric']}": each["ours"] for each in made}))


if __name__ == "__main__":
    options.run(main)
