"""VoiceBank-DEMAND's folders as a TFDS data set."""

import functools
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_ae.datasets import audio
from keras_ae.datasets.noisy_speech import NoisySpeech
from tests.datasets import tfds_builders

NAMES = ("p226_001.wav", "p226_002.wav", "p287_001.wav")


def write(folder, parts=("trainset_28spk_wav", "testset_wav"), rate=48000):
    """Sines of 0.1 s, clean and with a second sine; the test set has other sines and one file fewer."""
    t = np.arange(rate // 10) / rate
    for part in parts:
        for i, name in enumerate(NAMES[: 2 if part == "testset_wav" else 3]):
            clean = 0.3 * np.sin(2 * np.pi * (500 + 200 * i + len(part)) * t)
            audio.write(Path(folder, f"clean_{part}", name), clean, rate)
            audio.write(Path(folder, f"noisy_{part}", name), clean + 0.1 * np.sin(2 * np.pi * 3000 * t), rate)


class NoisySpeechTest(tfds_builders.ManualFiles, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = NoisySpeech
    SPLITS = {"train": 3, "test": 2}  # noqa: RUF012 (as TFDS wants it)
    write = staticmethod(write)


load = functools.partial(tfds_builders.load, "noisy_speech")


def test_examples_are_the_files_at_16_khz(tmp_path):
    write(tmp_path / "manual", ["testset_wav"])
    splits = load(tmp_path)
    assert list(splits) == ["test"]
    rows = {row["id"].decode(): row for row in splits["test"].as_numpy_iterator()}
    assert sorted(rows) == list(NAMES[:2])
    for name, row in rows.items():
        for part in ("clean", "noisy"):
            expected, _ = audio.read(tmp_path / "manual" / f"{part}_testset_wav" / name, rate=16000)
            assert row[part].dtype == np.float32 and row[part].shape == (1600,)
            np.testing.assert_array_equal(row[part], expected[:, 0])
    noisy, clean = next(iter(load(tmp_path, split="test", as_supervised=True)))
    assert not np.array_equal(noisy, clean)


def test_wrong_manual_data_raises(tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    (manual / "clean_testset_wav.zip").touch()
    with pytest.raises(FileNotFoundError, match="has none of the folders clean_trainset_28spk_wav"):
        load(tmp_path)
    write(manual, ["testset_wav"])
    (manual / "noisy_testset_wav" / NAMES[0]).unlink()
    with pytest.raises(ValueError, match=f"lacks the noisy counterpart of 1, such as {NAMES[0]}"):
        load(tmp_path)
    (manual / "clean_testset_wav").rename(manual / "other")
    with pytest.raises(FileNotFoundError, match="lacks 'clean_testset_wav'"):
        load(tmp_path)
