"""Tiny data for smoke tests, made from data in the package and its dependencies; used by `benchmarks.options.data`."""

import datetime
import email.utils
import io
import itertools
import shutil
import tarfile

import numpy as np
import tensorflow as tf

from keras_ae import datasets
from keras_ae.datasets import audio, sketch_files, speech, text

POSTINGS = 400


def mnist(folder):
    """Creates a folder with an mnist.npz: scikit-learn's digits, enlarged to 24 x 24 pixels and padded with zeros."""
    arrays = {}
    for split in ("train", "test"):
        x, y = datasets.arrays(datasets.load("digits", split, labels=True, shuffle=False))
        large = np.kron(x[..., 0], np.ones((3, 3)))
        arrays[f"x_{split}"] = np.pad(np.rint(255 * large), ((0, 0), (2, 2), (2, 2))).astype("uint8")
        arrays[f"y_{split}"] = y.astype("uint8")
    folder.mkdir()
    np.savez(folder / "mnist.npz", **arrays)
    return folder


def pictures(folder):
    """Creates a folder with a tar of 150 pictures of 8 x 8 pixels, coloured digits."""
    x = datasets.arrays(datasets.load("digits", "train", shuffle=False))[:150]
    folder.mkdir()
    with tarfile.open(folder / "faces.tar", "w") as archive:
        for number, each in enumerate(x):
            png = tf.io.encode_png(np.rint(255 * each * [0.9, 0.6, 0.4]).astype("uint8")).numpy()
            info = tarfile.TarInfo(f"faces/{number}.png")
            info.size = len(png)
            archive.addfile(info, io.BytesIO(png))
    return folder


def postings(folder):
    """Creates a folder of postings in the format of 20 Newsgroups: docstrings, one per hour, every third a reply."""
    begin = datetime.datetime(1993, 4, 1, tzinfo=datetime.UTC)
    for number, each in enumerate(itertools.islice(text.Documents("docstrings"), POSTINGS)):
        if number % 3 != 2:
            subject = each.text.split("\n")[0][:80]
        reply = "Re: " if number % 3 == 2 else ""
        date = email.utils.format_datetime(begin + datetime.timedelta(hours=number))
        path = folder / f"group{number % 4}" / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Subject: {reply}{subject}\nDate: {date}\n\n{each.text}", encoding="utf-8")
    return folder


def spoken(folder):
    """Creates folders with the embedded speech and noise for training, and two noisy and clean test pairs."""
    clean, noise = speech.embedded()
    shutil.copytree(clean, folder / "clean_trainset")
    shutil.copytree(noise, folder / "noise_trainset")
    n, rate = audio.read(audio.files(noise)[0], rate=16_000)
    for path in audio.files(clean)[:2]:
        x = audio.read(path, rate=rate)[0].mean(axis=1)
        noisy = speech.mix(x, np.resize(n.mean(axis=1), len(x)), 5.0)
        for name, sound in (("clean_testset_wav", x), ("noisy_testset_wav", noisy)):
            audio.write(folder / name / f"{path.stem}.wav", sound, rate)
    return folder


def drawn(folder):
    """Creates a folder with an omniglot.npz and an aaron_sheep.npz: short outlines of letters, in three splits."""
    folder.mkdir()
    short = [each for each in sketch_files.glyphs().drawings if len(each) < 14][:24]
    rows = np.empty(len(short), object)
    rows[:] = short
    for name in ("omniglot", "aaron_sheep"):
        np.savez(folder / f"{name}.npz", train=rows[:12], valid=rows[12:18], test=rows[18:])
    return folder
