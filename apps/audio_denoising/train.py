"""Trains a model that removes noise from speech, and exports it for TensorFlow Serving.

keras-ae audio_denoising train
keras-ae audio_denoising train --clean_dir=clean --noise_dir=noise --max_minutes=90
keras-ae audio_denoising train --clean_dir=clean_trainset_28spk_wav --noisy_dir=noisy_trainset_28spk_wav

One file in ten, chosen by a hash of its name, is held out for validation.
"""

import contextlib
import pathlib
import re
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

import keras_ae as ka
from keras_ae import serving
from keras_ae.datasets import arrays, speech
from keras_ae.evaluation.speech import si_sdr
from keras_ae.training import distribute

from .. import checkpoints, common
from . import served, settings


def define_flags():
    return {
        "clean_dir": flags.DEFINE_string(
            "clean_dir", None, "Folder of clean speech (WAV, FLAC, OGG, any rate). By default, the embedded sentences."
        ),
        "noise_dir": flags.DEFINE_string(
            "noise_dir",
            None,
            "Folder of noises; every epoch mixes them with the speech differently. By default, the embedded ones.",
        ),
        "noisy_dir": flags.DEFINE_string(
            "noisy_dir",
            None,
            "Instead of --noise_dir: noisy versions of the files of --clean_dir, under the same names, as in "
            "VoiceBank-DEMAND. For existing mixtures.",
        ),
        "method": flags.DEFINE_enum(
            "method",
            "causal",
            list(settings.METHODS),
            "Model to train: the default, which can stream, or SEGAN as published, but narrower.",
        ),
        "max_minutes": common.define_max_minutes(),
        "export_dir": common.define_export_dir(served.EXPORT_DIR),
        "seed": common.define_seed(),
        "strategy": common.define_strategy(),
        "checkpoint_dir": common.define_checkpoint_dir(),
    }


def run(clean_dir, noise_dir, noisy_dir, method, max_minutes, export_dir, seed, strategy, checkpoint_dir):
    """Trains and exports; prints and writes the report. Arguments: the flags."""
    start = time.perf_counter()
    common.require("soundfile", "soxr")
    strategy = common.strategy(strategy)
    folder = common.writable(pathlib.Path(export_dir)).parent
    chosen = settings.of(method)
    if clean_dir is None:
        if noise_dir or noisy_dir:
            raise common.UserError("--clean_dir: expected a folder of clean speech with --noise_dir or --noisy_dir.")
        clean_dir, noise_dir = speech.embedded()
        chosen |= {"epochs": 2, "batches": 20}  # more would not help with so little speech
    flags = {"clean_dir": clean_dir, "noise_dir": noise_dir, "noisy_dir": noisy_dir}
    flags = {name: path and str(path) for name, path in flags.items()} | {"method": method, "seed": seed}
    flags |= {"strategy": type(strategy).__name__, "settings": chosen}
    with checkpoints.opened(checkpoint_dir, "audio_denoising", flags, max_minutes) as checkpoint:
        with common.user_input():
            data, validation = windows(clean_dir, noise_dir, noisy_dir, chosen, seed)
        options = {"strategy": strategy, "max_minutes": max_minutes, "checkpoint": checkpoint}
        with _readable():
            model, seconds = train(chosen, data, validation, seed=seed, **options)
        if distribute.is_chief(strategy):  # only one of several workers writes and prints
            steps = int(model.optimizer.iterations.numpy())  # not int(iterations), which fails under a strategy
            figures = {"train_seconds": seconds, "steps": steps, **validated(model, validation)}
            name = pathlib.Path(clean_dir).resolve().name
            licence = "not known to this program: the terms of the data's owner apply"
            if clean_dir == speech.embedded()[0]:
                name, licence = "speech_sample", settings.LICENCE
            made_of = {"data": name, "licence": licence, "method": method, "seed": seed}
            with common.user_input():
                path = export(model, chosen, export_dir, made_of | {"command": common.command(), "numbers": figures})
            common.report(made_of | figures | {"seconds": time.perf_counter() - start, "export": path}, folder)
            common.hint(f"keras-ae denoise --model={export_dir} --input=...")
        if checkpoint is not None:
            checkpoint.done(strategy)


@contextlib.contextmanager
def _readable():
    """Raises a `UserError` for errors in reading the data, which TensorFlow wraps in a message with a traceback."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"^ValueError: (.*)", error.message, re.MULTILINE)
        if found is None:
            raise
        raise common.UserError(found[1]) from error


def windows(clean_dir, noise_dir, noisy_dir, chosen, seed):
    """Returns datasets of (noisy, clean) windows: one for training, and one for validation.

    Raises:
        ValueError: unless exactly one of `noise_dir` and `noisy_dir` is given; if a folder has no files.
    """
    if (noise_dir is None) == (noisy_dir is None):
        raise ValueError("Expected exactly one of --noise_dir and --noisy_dir with --clean_dir.")
    size = {"window": chosen["window"], "batch_size": chosen["batch_size"], "rate": chosen["rate"], "seed": seed}
    if noisy_dir is not None:
        parts = [speech.pairs(clean_dir, noisy_dir, split) for split in speech.SPLITS]
        data = speech.windows(parts[0], hop=chosen["window"] // 2, **size)
        return data, speech.windows(parts[1], shuffle=False, **size).take(chosen["validation"])
    counts = {"train": chosen["batches"], "validation": chosen["validation"]}
    return tuple(
        speech.mixtures(clean_dir, noise_dir, split=split, batches=batches, **size) for split, batches in counts.items()
    )


def build(chosen, seed):
    """Returns an untrained model."""
    if chosen["generator"] == "spectral":
        names = ("frame", "hop", "units", "depth", "taps", "ahead", "floor")
        generator = ka.networks.SpectralGenerator(**{name: chosen[name] for name in names})
    else:
        generator = ka.networks.WaveformGenerator(chosen["filters"], chosen["kernel_size"])
    if not chosen["critic"]:
        return ka.SpeechDenoiser(generator, seed=seed, **chosen["arguments"])
    critic = ka.networks.waveform_critic(chosen["window"], chosen["filters"], chosen["kernel_size"])
    return ka.SEGAN(generator, critic, seed=seed, **chosen["arguments"])


def train(chosen, data, validation, *, seed, strategy=None, max_minutes=None, checkpoint=None):
    """Builds and trains a model on (noisy, clean) windows, or resumes from a checkpoint.

    Returns:
        the model, and the training time in seconds.
    """
    keras.utils.set_random_seed(seed)
    steps = chosen["epochs"] * int(data.cardinality())
    with (strategy or tf.distribute.get_strategy()).scope():
        model = build(chosen, seed)
        optimizer = getattr(keras.optimizers, chosen["optimizer"])
        model.compile(optimizer(chosen["learning_rate"], clipnorm=chosen["clipnorm"]))
    budget = common.TimeBudget(max_minutes)
    if chosen["decay"]:
        budget = common.CosineDecay(chosen["learning_rate"], steps, max_minutes)
    seconds = common.fit(
        model,
        data,
        validation_data=validation,
        epochs=chosen["epochs"],
        shuffle=False,  # mixtures are already random, and Keras would warn
        budget=budget,
        checkpoint=checkpoint,
    )
    return model, seconds


def validated(model, validation):
    """Returns the mean SI-SDR in dB of the validation windows before and after denoising.

    Only windows with both speech and noise count: without speech the ratio is undefined, and the 120 dB of windows
    without noise would dominate the mean. NaN if there are no such windows.
    """
    noisy, clean = arrays(validation)
    both = np.abs(clean).max(axis=1) * np.abs(noisy - clean).max(axis=1) > 0
    noisy, clean = noisy[both], clean[both]
    made = model.denoise(noisy) if len(noisy) else noisy
    scores = [[si_sdr(c, x) for c, x in zip(clean, each, strict=True)] for each in (noisy, made)]
    before, after = (np.mean(each) if each else np.nan for each in scores)
    return {"validation_noisy_si_sdr": before, "validation_si_sdr": after}


def export(model, chosen, directory, card):
    """Exports the model with its endpoints; returns the path of the new version."""
    samples = int(settings.EXAMPLE_SECONDS * chosen["rate"])
    generator = model.generator
    endpoints = {
        "serving_default": serving.Endpoint(
            served.denoising(model),
            [tf.TensorSpec([None, None], tf.float32, name="audio"), tf.TensorSpec([None], tf.int32, name="length")],
            {"audio": np.zeros([1, samples], "float32"), "length": [samples]},
        )
    }
    card = {"rate": chosen["rate"]} | card
    if hasattr(generator, "process"):
        sizes = {"frame": generator.hop, "state": generator.state_size}
        inputs = [tf.TensorSpec([None, size], tf.float32, name=name) for name, size in sizes.items()]
        endpoints["stream"] = serving.Endpoint(served.streaming(model), inputs)
        inputs = [tf.TensorSpec([1, size], tf.float32, name=name) for name, size in (sizes | {"frame": None}).items()]
        example = {name: np.zeros([1, 4 * size if name == "frame" else size]) for name, size in sizes.items()}
        endpoints["stream_blocks"] = serving.Endpoint(served.streaming(model), inputs, example)
        card["stream"] = {
            "frame": generator.hop,
            "state": generator.state_size,
            "start": "zeros",
            "stream_blocks": "the same for one row and any number of frames, for programs that hold the model",
            "delay_samples": generator.delay,
            "algorithmic_delay_ms": 1000 * (generator.hop + generator.delay) / chosen["rate"],
        }
    return ka.export(model, directory, endpoints=endpoints, card=card)


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
