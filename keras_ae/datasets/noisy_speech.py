"""VoiceBank-DEMAND as a TFDS data set. Importing this module imports TFDS and registers the data set."""

import os

import numpy as np
import tensorflow_datasets as tfds

from keras_ae.datasets import audio, speech

_RATE = 16000
_PARTS = ("clean", "noisy")
_FOLDERS = {
    "train": ("trainset_28spk_wav", "trainset_56spk_wav", "trainset_wav"),
    "test": ("testset_wav",),
}


class NoisySpeech(tfds.core.GeneratorBasedBuilder):
    """VoiceBank speech with DEMAND noise (Valentini-Botinhao, 2017), or any pairs of files in the same layout.

    Put the unpacked folders into `manual_dir`: `clean_testset_wav` and `noisy_testset_wav` for the split `"test"`; for
    `"train"`, `clean_trainset_28spk_wav` and `noisy_trainset_28spk_wav`, or else those of 56 speakers, or else
    `clean_trainset_wav` and `noisy_trainset_wav`. A split without folders is omitted.

    Examples are dicts of the string `id`, the file's path relative to its folder, and `noisy` and `clean`, float32
    `(T,)` in [-1, 1] at 16 kHz, averaged over channels.

    Raises:
        FileNotFoundError, ValueError: when prepared: if there are no such folders, or as in `speech.pairs`.

    Example:

        import tensorflow_datasets as tfds
        import keras_ae.datasets.noisy_speech

        config = tfds.download.DownloadConfig(manual_dir="folder/of/the/folders")
        train = tfds.load(
            "noisy_speech",
            split="train",
            as_supervised=True,
            download_and_prepare_kwargs={"download_config": config},
        )

    Source: Valentini-Botinhao 2017. See also: `speech.pairs` and `speech.windows`, without TFDS; `speech.mixtures`,
    from any speech and noise.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put the unpacked folders clean_testset_wav and noisy_testset_wav, clean_trainset_28spk_wav and "
        "noisy_trainset_28spk_wav into manual_dir."
    )

    def _info(self):
        sound = tfds.features.Audio(shape=(None,), dtype=np.float32, sample_rate=_RATE)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Speech of VoiceBank with noise of DEMAND, and the same speech without, at 16 kHz.",
            features=tfds.features.FeaturesDict({"id": tfds.features.Text(), "noisy": sound, "clean": sound}),
            supervised_keys=("noisy", "clean"),
            homepage="https://doi.org/10.7488/ds/2117",
            citation=(
                "@misc{valentini2017noisy, author={Cassia Valentini-Botinhao}, title={Noisy speech database for "
                "training speech enhancement algorithms and TTS models}, publisher={University of Edinburgh}, "
                "doi={10.7488/ds/2117}, year={2017}}"
            ),
        )

    def _split_generators(self, dl_manager):
        root = dl_manager.manual_dir
        splits = {}
        for split, names in _FOLDERS.items():
            name = next((name for name in names if any((root / f"{part}_{name}").exists() for part in _PARTS)), None)
            if name is None:
                continue
            folders = [root / f"{part}_{name}" for part in _PARTS]
            for folder in folders:
                if not folder.exists():
                    raise FileNotFoundError(f"{os.fspath(root)!r} lacks {folder.name!r}, the other half of the pairs.")
            splits[split] = self._generate_examples(*folders)
        if not splits:
            raise FileNotFoundError(
                f"{os.fspath(root)!r} has none of the folders "
                f"{', '.join(f'clean_{name}' for names in _FOLDERS.values() for name in names)}."
            )
        return splits

    def _generate_examples(self, clean_dir, noisy_dir):
        for paths in speech.pairs(clean_dir, noisy_dir):
            name = paths[0].relative_to(clean_dir).as_posix()
            clean, noisy = (audio.read(path, rate=_RATE)[0].mean(axis=1) for path in paths)
            yield name, {"id": name, "noisy": noisy, "clean": clean}
