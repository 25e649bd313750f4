"""Windows of noisy speech with the clean speech as target, from pairs of files or mixed on the fly."""

import math
import os
import pathlib
import sys
import warnings
from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from scipy import fft

from keras_ae.datasets import audio, epochs
from keras_ae.typing import FilePath
from keras_ae.utils import digests, validation

SPLITS = ("train", "validation")

AUGMENTATION = {
    "speed": (0.8, 1.25),  # of speech and of each noise; also changes pitch: other speakers, other machines
    "tilt": 8.0,  # maximum gain or cut in dB of each of two shelves, for speech and each noise: microphones
    "band": 0.1,  # fraction of windows without the highest and lowest frequencies, in the target too: telephones
    "second": 0.3,  # fraction of noises that are a sum of two
    "coloured": 0.2,  # fraction of those summands that are synthetic: noises that no recording has
    "clean": 0.05,  # fraction of windows without noise, which a denoiser must not change
    "noise": 0.05,  # fraction of windows without speech, whose target is silence
    "offset": 0.02,  # fraction of windows with a constant added to the input
    "clipping": 0.05,  # fraction of windows whose input is clipped at a random level
}
"""Default augmentation of `mixtures`, described there. `AUGMENTATION | {"clean": 0}` changes a single setting."""

_PLAIN = dict.fromkeys(AUGMENTATION, 0) | {"speed": (1.0, 1.0)}

# Extra samples on each side of a window for resampling and filtering, so that edge effects stay outside of it.
_MARGIN = 256
# Minimum RMS. The hiss of a pause, amplified to speech level, would pass for speech; noise may be much quieter.
_SPEECH_FLOOR = 10 ** (-50 / 20)
_NOISE_FLOOR = 10 ** (-80 / 20)
_DRAWS = 100
_SHELF_HZ = (100.0, 6000.0)
_LOW_HZ, _HIGH_HZ = (50.0, 400.0), (3000.0, 7000.0)
_SLOPES = (-1.0, 2.5)  # of the power spectrum f^-slope: from blue noise over white (0) and pink (1) beyond brown (2)
_SLOPE_FROM_HZ = 50.0  # The spectrum is flat below; otherwise most of the energy would be inaudible.
_SECOND_DB = (0.0, 10.0)
_OFFSET = 0.5  # of the input's RMS
_MAX_SNR = 200  # dB; float32 resolves 144
_CLIP = (0.3, 0.9)  # of the input's peak

_Clip = namedtuple("_Clip", "path rate frames")


def is_validation(name: str) -> bool:
    """Whether a file belongs to the validation split, as about one in ten does.

        int(sha1(name)[:8 hex digits], 16) % 10 == 0

    The split depends only on the name, so adding files later does not change it. If all files of a folder would be in
    one split, `mixtures` and `pairs` move one to the other.

    Args:
        name: str, path of the file relative to its folder, with `/`; hashed as UTF-8.

    Returns:
        bool.

    Example:

    >>> from keras_ae.datasets.speech import is_validation
    >>> is_validation("p226_001.wav"), is_validation("p226_002.wav")
    (True, False)

    See also: `mixtures` and `pairs`, whose `split` uses it.
    """
    return digests.of_name(name) % 10 == 0


def embedded() -> tuple[pathlib.Path, pathlib.Path]:
    """The folders of clean speech and noise included in the package: `(clean, noise)`, `pathlib.Path`s.

    They contain a few sentences from a speech synthesizer and a few synthetic noises, 16 kHz mono: enough to run the
    examples, but too little to train on. Both folders have files in both splits.

    Example:

    >>> from keras_ae.datasets import speech
    >>> noisy, clean = next(iter(speech.mixtures(*speech.embedded(), window=16384, batch_size=4)))
    >>> noisy.shape, clean.shape
    (TensorShape([4, 16384]), TensorShape([4, 16384]))

    See also: `mixtures`, which takes the folders.
    """
    folder = pathlib.Path(__file__).with_name("speech_sample")
    return folder / "clean", folder / "noise"


def mix(speech: ArrayLike, noise: ArrayLike, snr: float) -> np.ndarray:
    """Adds noise to speech at a given signal-to-noise ratio.

        x = s + g n,    g = sqrt(sum_t s_t^2 / (10^(snr / 10) sum_t n_t^2))

    so that `10 log10(sum_t s_t^2 / sum_t (g n_t)^2) = snr`, the energy ratio over all samples, including pauses.

    Args:
        speech: s, float `(T,)`.
        noise: n, float `(T,)`.
        snr: float, dB, from -200 to 200.

    Returns:
        x, float32 `(T,)`.

    Raises:
        ValueError: if the shapes differ, `snr` is out of range, or either is not finite or silent, where the ratio is
            undefined.

    Example:

        noisy = speech.mix(s, n, snr=5.0)

    See also: `mixtures`, which mixes whole batches.
    """
    speech, noise = np.asarray(speech, np.float32), np.asarray(noise, np.float32)
    if speech.shape != noise.shape or speech.ndim != 1:
        raise ValueError(f"Expected speech and noise of equal shape (T,), received {speech.shape} and {noise.shape}.")
    if not abs(snr) <= _MAX_SNR:  # also for NaN
        raise ValueError(f"`snr` must be from -{_MAX_SNR} to {_MAX_SNR} dB, received {snr!r}.")
    s, n = _energy(speech), _energy(noise)
    if not math.isfinite(s + n):
        raise ValueError(
            f"{'noise' if math.isfinite(s) else 'speech'}: expected finite samples, received NaN or infinity."
        )
    if s == 0 or n == 0:
        raise ValueError(f"{'speech' if s == 0 else 'noise'}: expected sound, received silence.")
    return speech + np.float32(math.sqrt(s / n * 10 ** (-snr / 10))) * noise


def mixtures(
    clean_dir: FilePath,
    noise_dir: FilePath | None,
    window: int,
    batch_size: int,
    seed: int = 0,
    *,
    rate: int = 16000,
    snr: tuple[float, float] = (-5.0, 20.0),
    level: tuple[float, float] = (-40.0, -10.0),
    augmentation: Mapping[str, Any] | None = AUGMENTATION,
    split: str | None = None,
    batches: int | None = None,
    fixed: bool | None = None,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of noisy windows, mixed from files of clean speech and noise, with the clean speech as target.

    For each window, a speech file and a noise file are drawn uniformly, and a random crop is taken from each. Speech
    shorter than the window is padded with silence; shorter noise is looped. Speech crops below -50 dBFS and noise crops
    below -80 dBFS are redrawn. With s and n the crops, augmented as described below, and x their `mix`,

        noisy = a x,   clean = a s,    SNR ~ uniform(snr) dB,   20 log10 RMS(a x) ~ uniform(level) dBFS

    where a is reduced if necessary to keep both within [-1, 1]. The SNR is the energy ratio over the window.

    `augmentation` has these keys; a missing key disables that augmentation:

    - `"speed"`: smallest and largest speed factor for speech and for each noise, drawn uniformly and rounded to
      hundredths, applied by resampling.
    - `"tilt"`: dB. Each crop is filtered by two first-order shelves (g w + jf) / (w + jf) with corners w log-uniform in
      100 to 6,000 Hz and gains g uniform in -tilt to tilt dB.
    - `"band"`: fraction of windows that are band-limited: everything below 50-400 Hz and above 3,000-7,000 Hz is
      removed from both speech and noise.
    - `"second"`: fraction of noises that are the sum of two, the second 0 to 10 dB weaker.
    - `"coloured"`: fraction of noises, for each summand independently, that are Gaussian with power f^-slope above
      50 Hz, slope uniform in -1 to 2.5.
    - `"clean"`: fraction of windows without noise: noisy = clean.
    - `"noise"`: fraction of windows without speech: clean = 0, and the level applies to the noise.
    - `"offset"`, `"clipping"`: fraction of windows whose noisy signal alone gets an added constant of up to half its
      RMS, or is clipped at 0.3 to 0.9 of its peak.

    Only the names, rates and lengths of the files are kept in memory. Crops are read from disk, averaged over channels,
    and resampled.

    Args:
        clean_dir: folder of clean speech, see `audio.files`.
        noise_dir: folder of noises; None to use only coloured noise.
        window: int, samples per window.
        batch_size: int; every batch has this size.
        seed: non-negative int. All draws depend only on it and the epoch number.
        rate: int, sampling rate of the windows in Hz.
        snr: `(min, max)`, dB.
        level: `(min, max)`, dBFS, RMS of the noisy window.
        augmentation: dict; None for plain mixtures with a single recorded noise.
        split: `"train"` or `"validation"`, selected by `is_validation` for both speech and noise; None for all files.
        batches: int, batches per epoch. By default, an epoch has as many seconds as the clean speech, and at least 1
            batch.
        fixed: bool, whether all epochs are identical. Defaults to True for `"validation"` only, so that epochs are
            comparable.
        first_epoch: int, number of epochs completed before an interruption, for resuming training. An epoch counts once
            its second batch has been requested, so you can inspect the first one.

    Returns:
        `tf.data.Dataset` of `batches` pairs (noisy, clean), float32 `(batch_size, window)` in [-1, 1].

    Raises:
        ValueError: if an argument is not as described above, or a split has no readable files. Files with an unreadable
            header are skipped with a warning, and crops from damaged parts are redrawn. If too many crops in a row
            fail, TensorFlow raises an `InvalidArgumentError` that names the last one.

    Example:

        noisy_clean = speech.mixtures("clean", "noise", window=16384, batch_size=64, split="train")
        held_out = speech.mixtures("clean", "noise", window=16384, batch_size=64, split="validation")
        model.fit(noisy_clean, validation_data=held_out, epochs=100)

    See also: `pairs` and `windows`, for speech that is noisy already.
    """
    window, batch_size = validation.positive_int("window", window), validation.positive_int("batch_size", batch_size)
    rate, seed = audio.check_rate(rate), validation.positive_int("seed", seed, at_least=0)
    clean = _clips(clean_dir, split)
    noise = [] if noise_dir is None else _clips(noise_dir, split)
    if batches is None:
        batches = max(1, int(sum(clip.frames / clip.rate for clip in clean) * rate / (window * batch_size)))
    batches = validation.positive_int("batches", batches)
    fixed = split == "validation" if fixed is None else fixed
    mixer = _Mixer(clean, noise, window, rate, snr, level, _augmentation(augmentation))
    # Splits with the same seed must not share their random draws.
    key = (seed, SPLITS.index(split) if split else len(SPLITS))

    def generate(epoch):
        rng = np.random.default_rng([*key, epoch])
        for _ in range(batches):
            rows = [mixer(rng) for _ in range(batch_size)]
            yield tuple(np.stack(column) for column in zip(*rows, strict=True))

    return _dataset(generate, (batch_size, window), batches, first_epoch, not fixed)


def pairs(
    clean_dir: FilePath, noisy_dir: FilePath, split: str | None = None
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Pairs of files with equal names in two folders, the layout of VoiceBank-DEMAND (Valentini-Botinhao 2017).

    Args:
        clean_dir: folder of clean speech, such as `clean_trainset_28spk_wav`.
        noisy_dir: folder of the same speech with noise, such as `noisy_trainset_28spk_wav`.
        split: as in `mixtures`.

    Returns:
        Sorted list of `(clean, noisy)`, `pathlib.Path`s.

    Raises:
        ValueError: if a file has no partner, or the two differ in length or rate.

    Example:

        test = speech.pairs("clean_testset_wav", "noisy_testset_wav")

    See also: `windows`, which takes the result; `datasets.pairs`, of rows.
    """
    clean, noisy = _named(clean_dir), _named(noisy_dir)
    for lacking, folder, names in (
        ("clean", clean_dir, noisy.keys() - clean.keys()),
        ("noisy", noisy_dir, clean.keys() - noisy.keys()),
    ):
        if names:
            some = ", ".join(sorted(names)[:5])
            raise ValueError(
                f"Each file must have a counterpart of the same name: {os.fspath(folder)!r} lacks the {lacking} "
                f"counterpart of {len(names)}, such as {some}."
            )
    found = [(clean[name], noisy[name]) for name in _of_split(clean, clean_dir, split)]
    for pair in found:
        _paired(pair)
    return found


def windows(
    pairs: Sequence[tuple[FilePath, FilePath]],
    window: int,
    batch_size: int,
    seed: int = 0,
    *,
    hop: int | None = None,
    rate: int = 16000,
    shuffle: bool = True,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of all windows of pairs of files, each window once per epoch.

    Windows start every `hop` samples, and the last one ends at the end of the file. Files shorter than a window are
    padded with zeros at the end. Only the names and lengths of the files and one number per window are kept in memory.

    Args:
        pairs: list of `(clean, noisy)` paths, from `pairs`.
        window: int, samples.
        batch_size: int; the last batch may be smaller.
        seed: non-negative int, for shuffling.
        hop: int, samples. Defaults to `window`.
        rate: int, Hz; files with other rates are resampled. Channels are averaged.
        shuffle: bool, whether to shuffle, in a new order each epoch.
        first_epoch: int, number of epochs completed before an interruption, for resuming training. An epoch counts once
            its second batch has been requested, so you can inspect the first one.

    Returns:
        `tf.data.Dataset` of pairs (noisy, clean), float32 `(B, window)` in [-1, 1].

    Raises:
        ValueError: if there are no pairs, the files of a pair differ in length, or an argument or a header is invalid.
            A window from a damaged part of a file is replaced by another one, with a warning.

    Example:

        train = speech.pairs("clean_trainset_28spk_wav", "noisy_trainset_28spk_wav", split="train")
        model.fit(speech.windows(train, window=16384, batch_size=64, hop=8192))

    See also: `mixtures`, which mixes on the fly.
    """
    window, batch_size = validation.positive_int("window", window), validation.positive_int("batch_size", batch_size)
    hop = validation.positive_int("hop", window if hop is None else hop)
    if not pairs:
        raise ValueError("`pairs` must have at least one pair of files, received none.")
    rate, seed = audio.check_rate(rate), validation.positive_int("seed", seed, at_least=0)
    clips = [_paired(pair) for pair in pairs]
    lengths = [math.ceil(clean.frames * rate / clean.rate) for clean, _ in clips]
    ends = np.cumsum([1 + math.ceil(max(0, length - window) / hop) for length in lengths])

    def row(number):
        i = np.searchsorted(ends, number, side="right")
        start = min(int(number - (ends[i - 1] if i else 0)) * hop, max(0, lengths[i] - window))
        clean, noisy = (_crop(clip, round(start * clip.rate / rate), window, clip.rate / rate) for clip in clips[i])
        return noisy, clean

    def drawn(number, rng):
        for _ in range(_DRAWS):
            try:
                return row(number)
            except ValueError as error:  # the file is damaged here
                reason = str(error)
                warnings.warn(f"Replaced a window that cannot be read: {reason}", stacklevel=2)
                number = rng.integers(ends[-1])
        raise ValueError(f"{_DRAWS} windows could not be read; the last error: {reason}")

    def generate(epoch):
        order, rng = np.arange(ends[-1]), np.random.default_rng([seed, epoch])
        if shuffle:
            rng.shuffle(order)
        for start in range(0, len(order), batch_size):
            rows = [drawn(number, rng) for number in order[start : start + batch_size]]
            yield tuple(np.stack(column) for column in zip(*rows, strict=True))

    return _dataset(generate, (None, window), math.ceil(ends[-1] / batch_size), first_epoch, shuffle)


def _dataset(generate, shape, batches, first_epoch, is_random):
    spec = tf.TensorSpec(shape, tf.float32)

    def make(epoch):
        return tf.data.Dataset.from_generator(generate, output_signature=(spec, spec), args=(epoch,))

    return epochs.numbered(make, batches, first_epoch, is_random)


# Files.


def _named(folder):
    return {path.relative_to(folder).as_posix(): path for path in audio.files(folder)}


def _of_split(names, folder, split):
    if split not in (None, *SPLITS):
        raise ValueError(f"`split` must be one of {SPLITS} or None, received {split!r}.")
    if split is None:
        return sorted(names)
    if len(names) < 2:
        raise ValueError(
            f"{os.fspath(folder)!r} has one file: expected at least two, because some are held out for validation. "
            "Split a long one into parts."
        )
    ordered = sorted(names, key=digests.of_name)
    held_out = [name for name in ordered if is_validation(name)] or ordered[:1]  # a small folder may have none
    held_out = held_out[: len(names) - 1]
    return sorted(held_out if split == "validation" else set(names) - set(held_out))


def _clip(path):
    header = audio.header(path)
    return _Clip(os.fspath(path), header.rate, header.frames)


def _paired(pair):
    clean, noisy = (_clip(path) for path in pair)
    if clean[1:] != noisy[1:]:
        raise ValueError(
            f"The files of a pair must have equal length: {clean.path!r} has {clean.frames} frames at {clean.rate} Hz, "
            f"{noisy.path!r} {noisy.frames} at {noisy.rate} Hz."
        )
    return clean, noisy


def _clips(folder, split):
    named, found, unreadable = _named(folder), [], []
    for name in _of_split(named, folder, split):
        try:
            found.append(_clip(named[name]))
        except ValueError as error:
            unreadable.append(str(error))
    if not found:
        raise ValueError(f"None of the {len(unreadable)} files of {os.fspath(folder)!r} can be read: {unreadable[0]}")
    if unreadable:
        warnings.warn(f"Skipped {len(unreadable)} files that cannot be read, such as: {unreadable[0]}", stacklevel=3)
    return found


def _read(clip, start, frames, loop):
    """Reads `(frames,)` of the file from `start`, averaged over channels, padded with zeros or looped."""
    if loop and clip.frames < frames:
        x, _ = audio.read(clip.path)
        return x.mean(axis=1)[(start + np.arange(frames)) % len(x)]
    y = np.zeros(frames, np.float32)
    first, end = max(start, 0), min(start + frames, clip.frames)
    if first < end:
        x, _ = audio.read(clip.path, start=first, frames=end - first)
        y[first - start : end - start] = x[:, 0] if x.shape[1] == 1 else x.mean(axis=1)
    return y


def _crop(clip, start, samples, ratio, loop=False):
    """Reads `(samples,)` of the file from frame `start`, where a sample is `ratio` frames long."""
    if ratio == 1:
        return _read(clip, start, samples, loop)
    before = round(_MARGIN * ratio)
    x = _read(clip, start - before, before + math.ceil((samples + _MARGIN) * ratio), loop)
    # `before` frames need not be a whole number of samples, so the crop may be off by a fraction of a sample.
    return audio.resample(x, ratio, 1)[round(before / ratio) :][:samples]


# Mixtures.


def _energy(x):
    return float(np.square(x, dtype=np.float64).sum())


def _rms(x):
    return math.sqrt(_energy(x) / len(x))


def _augmentation(augmentation):
    unknown = set(augmentation or ()) - set(AUGMENTATION)
    if unknown:
        raise ValueError(f"`augmentation` must have keys among {sorted(AUGMENTATION)}, received {sorted(unknown)}.")
    chosen = _PLAIN | dict(augmentation or {})
    _check_range("augmentation['speed']", chosen["speed"])
    if not chosen["speed"][0] > 0:
        raise ValueError(f"augmentation['speed'] must be positive, received {chosen['speed']}.")
    for key in ("band", "second", "coloured", "clean", "noise", "offset", "clipping"):
        if not 0 <= chosen[key] <= 1:
            raise ValueError(f"augmentation[{key!r}] must be a share from 0 to 1, received {chosen[key]}.")
    if chosen["clean"] + chosen["noise"] > 1:
        raise ValueError("augmentation: the shares 'clean' and 'noise' must sum to at most 1.")
    return chosen


def _check_range(name, pair, most=sys.float_info.max):
    if len(pair) != 2 or not -most <= pair[0] <= pair[1] <= most:
        within = "" if most == sys.float_info.max else f" from -{most} to {most}"
        raise ValueError(f"`{name}` must be (minimum, maximum){within}, received {pair!r}.")


class _Mixer:
    """Callable that draws a window (noisy, clean) with a given random generator."""

    def __init__(self, clean, noise, window, rate, snr, level, augmentation):
        _check_range("snr", snr, _MAX_SNR)
        _check_range("level", level)
        self.clean, self.noise, self.window, self.rate = clean, noise, window, rate
        self.snr, self.level, self.augmentation = snr, level, augmentation
        # FFTs of arbitrary lengths may be ten times slower.
        self.samples = fft.next_fast_len(window + 2 * _MARGIN, real=True)
        self.f = fft.rfftfreq(self.samples, 1 / rate).astype(np.float32)

    def __call__(self, rng):
        chosen, kind = self.augmentation, rng.random()
        band = self._band(rng) if rng.random() < chosen["band"] else None
        is_clean, is_noise = kind < chosen["clean"], 1 - kind <= chosen["noise"]
        speech = np.zeros(self.window, np.float32) if is_noise else self._draw(rng, self._speech, band, _SPEECH_FLOOR)
        if is_clean:
            noisy = speech.copy()
        else:
            noise = self._sum(rng, band)
            noisy = noise if is_noise else mix(speech, noise, rng.uniform(*self.snr))
        peak = max(np.abs(noisy).max(), np.abs(speech).max())
        gain = np.float32(min(10 ** (rng.uniform(*self.level) / 20) / _rms(noisy), 1 / peak))
        noisy, speech = gain * noisy, gain * speech
        # Rounding may push the product just above 1.
        return np.clip(self._spoilt(rng, noisy), -1, 1), np.clip(speech, -1, 1)

    def _draw(self, rng, draw, band, floor):
        for _ in range(_DRAWS):
            try:
                x, path = draw(rng, band)
            except ValueError as error:  # the file is damaged here
                reason = str(error)
                continue
            if _rms(x) > floor:
                return x
            reason = f"of {path!r}, which is silent there: below {20 * math.log10(floor):.0f} dBFS"
        raise ValueError(f"{_DRAWS} crops could not be used; the last one: {reason}.")

    def _speech(self, rng, band):
        return self._recorded(rng, self.clean, band, loop=False)

    def _one_noise(self, rng, band):
        if not self.noise or rng.random() < self.augmentation["coloured"]:
            return self._coloured(rng, band), "coloured noise"
        return self._recorded(rng, self.noise, band, loop=True)

    def _sum(self, rng, band):
        noise = self._draw(rng, self._one_noise, band, _NOISE_FLOOR)
        if rng.random() < self.augmentation["second"]:
            second = self._draw(rng, self._one_noise, band, _NOISE_FLOOR)
            noise = mix(noise, second, rng.uniform(*_SECOND_DB))
        return noise

    def _recorded(self, rng, clips, band, loop):
        clip = clips[rng.integers(len(clips))]
        # Rounded, because soxr takes up to three times as long for ratios of large integers.
        speed, response = round(rng.uniform(*self.augmentation["speed"]), 2), self._response(rng, band)
        ratio = speed * clip.rate / self.rate
        samples, before = (self.window, 0) if response is None else (self.samples, round(_MARGIN * ratio))
        spare = clip.frames - math.ceil(self.window * ratio)
        if loop and spare < 0:
            start = int(rng.integers(clip.frames))
        else:
            start = int(rng.integers(min(0, spare), max(0, spare) + 1))
        x = _crop(clip, start - before, samples, ratio, loop)
        if response is not None:
            x = fft.irfft(fft.rfft(x) * response, self.samples)[_MARGIN : _MARGIN + self.window]
        return x, clip.path

    def _coloured(self, rng, band):
        # Sample in the frequency domain: the spectrum of Gaussian noise is Gaussian.
        spectrum = rng.standard_normal((2, len(self.f)), np.float32)
        slope = rng.uniform(*_SLOPES)
        shape = (np.maximum(self.f, _SLOPE_FROM_HZ) / _SLOPE_FROM_HZ) ** np.float32(-slope / 2)
        shape[0] = 0
        spectrum = (spectrum[0] + 1j * spectrum[1]) * shape
        response = self._response(rng, band)
        noise = fft.irfft(spectrum if response is None else spectrum * response, self.samples)[: self.window]
        return noise / np.float32(max(_rms(noise), np.finfo(np.float32).tiny))

    def _response(self, rng, band):
        tilt = self.augmentation["tilt"]
        if not tilt:
            return band
        response = np.complex64(1) if band is None else band
        for _ in range(2):
            w = np.float32(math.exp(rng.uniform(*np.log(_SHELF_HZ))))
            g = np.float32(10 ** (rng.uniform(-tilt, tilt) / 20))
            response = response * ((g * w + 1j * self.f) / (w + 1j * self.f))
        return response

    def _band(self, rng):
        # Butterworth magnitudes of order 4 (low end) and 16 (high end); nothing passes above 8 times the high cutoff.
        low, high = (self.f / np.float32(rng.uniform(*cut)) for cut in (_LOW_HZ, _HIGH_HZ))
        low, high = np.minimum(low, 8), np.minimum(high, 8)
        return low**4 / np.sqrt(1 + low**8) / np.sqrt(1 + high**32)

    def _spoilt(self, rng, noisy):
        if rng.random() < self.augmentation["offset"]:
            noisy = noisy + np.float32(_OFFSET * rng.uniform(-1, 1) * _rms(noisy))
        if rng.random() < self.augmentation["clipping"]:
            height = np.float32(rng.uniform(*_CLIP)) * np.abs(noisy).max()
            noisy = np.clip(noisy, -height, height)
        return noisy
