"""Audio files: read as a whole or in blocks, checked before decoding, and written atomically."""

import contextlib
import itertools
import math
import os
import pathlib
import warnings
from collections import namedtuple
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal

from keras_ae.typing import FilePath
from keras_ae.utils import containers, extras, validation
from keras_ae.utils import files as whole_files

MAX_SAMPLES = 2**28
"""Maximum samples times channels for `read` and for a block of `blocks`: 1 GB of float32."""

MAX_CHANNELS = 64
"""Maximum number of channels."""

RATES = (8000, 192000)
"""Minimum and maximum sampling rate in Hz."""

_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus"}
# Formats that are common in audio folders but not supported.
_OTHER_SUFFIXES = {".aac", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".m4a", ".mp2", ".mp3", ".mp4"}
_OTHER_SUFFIXES |= {".sph", ".webm", ".wma", ".wv"}
_FINER_THAN_24_BITS = ("PCM_32", "FLOAT", "DOUBLE")
_WRITTEN = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}
_FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG"}
# FLAC stores 65,535 frames of silence in 11 bytes; Vorbis and Opus stay below that ratio.
_MAX_FRAMES_PER_BYTE = 8192
# Delay of a prompt resampler in seconds, and the largest integer in its ratio: above it, the filter is too long for
# real time.
_PROMPT_DELAY = 0.004
_PROMPT_RATIO = 1000
# Maximum size in the header of a WAV file, and room for the header and for a final call to the encoder.
_WAV_BYTES, _WAV_ROOM = 2**32, 2**24
_BYTES = {"PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}
# libsndfile keeps all data of one call to the Vorbis encoder on the stack.
_WRITE_FRAMES = 2**14


class Header(namedtuple("Header", "rate channels frames")):
    """Header of an audio file: sampling rate in Hz, channels, and frames (samples per channel); ints.

    Example: `audio.Header(16_000, 1, 48_000)`

    See also: `header`, which reads it.
    """

    __slots__ = ()


def header(path: FilePath) -> Header:
    """Reads the header of an audio file and checks it against the file size, without decoding.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a WAV, FLAC or OGG file, has no samples, is shorter than its header says, has a rate
            outside `RATES` or more than 64 channels, or is a chain of OGG streams. A FLAC file that is truncated
            within a frame is only detected when it is read.

    Returns:
        `Header`.

    Example: `audio.header("speech.flac").rate    # 16000`

    See also: `read`, which decodes the file.
    """
    with _opened(path) as file:
        return Header(file.samplerate, file.channels, file.frames)


def read(
    path: FilePath, rate: int | None = None, *, start: int = 0, frames: int | None = None
) -> tuple[np.ndarray, int]:
    """Reads an audio file, or part of it.

    Args:
        path: a WAV (8, 16, 24, 32 bit or float), FLAC or OGG file.
        rate: int, Hz; the audio is resampled to this rate with soxr. None keeps the file's own rate.
        start: int, first frame, at the file's rate.
        frames: int, number of frames to read, at the file's rate; None reads to the end.

    Returns:
        float32 `(T, channels)` in [-1, 1], with louder samples clipped, and the rate in Hz. After resampling, T is
        `round(frames * rate / file's rate)`, but at least 1.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: as in `header`, and if the file is damaged or truncated, has NaN, infinite or absurdly large
            samples, is too long (`MAX_SAMPLES`), or `start` and `frames` reach beyond its end.

    Example:

        x, rate = audio.read("speech.flac", rate=16000)    # (48000, 1), 16000

    See also: `blocks`, for long files; `header`, without decoding.
    """
    with _opened(path, to_the_end=frames is None) as file:
        frames = file.frames - start if frames is None else frames
        if start < 0 or frames < 1 or start + frames > file.frames:
            raise ValueError(
                f"`start` and `frames` must lie within the {file.frames} frames of {os.fspath(path)!r}, received "
                f"{start} and {frames}."
            )
        _check_size(path, frames, file.channels)
        own = file.samplerate
        if rate is not None:
            rate = check_rate(rate)
            _check_size(path, frames * rate // own, file.channels)
        if start:
            _seek(file, path, start)
        x = _decode(file, path, start, frames)
    if rate not in (None, own):
        x = resample(x, own, rate)
    return np.clip(x, -1, 1, out=x), rate or own


def blocks(path: FilePath, seconds: float = 10.0, rate: int | None = None, clip: bool = True) -> Iterator[np.ndarray]:
    """Reads an audio file in blocks, in memory that does not grow with its length.

    The concatenated blocks equal the result of `read`; resampling is continuous across block boundaries.

    Args:
        path: as in `read`.
        seconds: float, length of a block. The last block may be shorter, and resampled blocks may differ by a few
            samples.
        rate: as in `read`.
        clip: bool; False keeps samples beyond full scale, which float files can have.

    Returns:
        Iterator of float32 `(t, channels)`, in [-1, 1] if clipped.

    Raises:
        FileNotFoundError, ValueError: as in `read`; header errors immediately, damage when it is reached.

    Example:

        audio.write("quieter.wav", (x / 2 for x in audio.blocks("hours.wav")), audio.header("hours.wav").rate)

    See also: `read`, the whole file at once; `resample_blocks`, for blocks from elsewhere.
    """
    own = header(path)
    if rate is not None:
        rate = check_rate(rate)
    if not seconds > 0:
        raise ValueError(f"`seconds` must be positive, received {seconds}.")
    # Compared as floats: seconds may be infinite.
    _check_size(path, min(seconds * max(own.rate, rate or 0), own.frames), own.channels)
    frames = max(1, round(min(seconds * own.rate, own.frames)))
    made = _blocks(path, frames)
    if rate not in (None, own.rate):
        made = resample_blocks(made, own.rate, rate, max(1, round(own.frames * rate / own.rate)))
    return (np.clip(block, -1, 1) for block in made) if clip else made


def resample(x: np.ndarray, own: float, rate: float) -> np.ndarray:
    """Resamples with soxr at high quality and without delay.

    Args:
        x: float32 `(T,)` or `(T, channels)`, zero-padded at both ends.
        own: float, the rate of x.
        rate: float, the new rate.

    Returns:
        float32 with `round(T * rate / own)` samples, but at least 1; peaks may exceed those of x.

    Example: `audio.resample(x, 48000, 16000)`

    See also: `resample_blocks`, for a signal that arrives in blocks.
    """
    y = extras.library("soxr", __name__).resample(x, own, rate)
    return y if len(y) else x[:1]


def resample_blocks(
    blocks: Iterable[np.ndarray], own: int, rate: int, frames: int | None = None, prompt: bool = False
) -> Iterator[np.ndarray]:
    """Resamples a signal that arrives in blocks, like `resample` for the whole signal.

    Args:
        blocks: iterable of float32 `(t, channels)`.
        own: int, the rate of the blocks.
        rate: int, the new rate.
        frames: int, total length of the output: it is cut or zero-padded to this length. None leaves the length as it
            is.
        prompt: bool; True limits the delay to `prompt_delay`, for live streams, with a less steep filter. soxr delays
            samples by up to 200 ms.

    Returns:
        Iterator of non-empty float32 `(t, channels)`.

    Raises:
        ValueError: as in `prompt_delay`, if `prompt` is True.

    Example: `sum(len(y) for y in audio.resample_blocks([x, x], 16_000, 8_000))    # as many samples as one x`

    See also: `resample`, for a whole signal; `blocks`, for a file.
    """
    blocks = iter(blocks)
    first = next(blocks, None)
    if first is None:
        return
    stream = None
    if own != rate and prompt:
        stream = _Polyphase(own, rate, first.shape[1])
    elif own != rate:
        stream = extras.library("soxr", __name__).ResampleStream(own, rate, first.shape[1], dtype="float32")

    def made():
        for block in itertools.chain([first], blocks):
            yield block if stream is None else stream.resample_chunk(np.ascontiguousarray(block))
        if stream is not None:
            yield stream.resample_chunk(first[:0], last=True)

    done = 0
    for block in made():
        block = block[: None if frames is None else frames - done]
        done += len(block)
        if len(block):
            yield block
    if not done:  # soxr returns nothing for a few samples
        yield first[:1]
    if frames is not None and (missing := frames - max(done, 1)):
        yield np.zeros((missing, first.shape[1]), "float32")


def prompt_delay(own: int, rate: int) -> float:
    """Maximum delay of `resample_blocks(prompt=True)`, in seconds.

    Args:
        own: int, Hz, the rate of the blocks.
        rate: int, Hz, the new rate.

    Raises:
        ValueError: if a rate is invalid, or the reduced ratio of the rates has integers above 1,000, such as 44,101 Hz
            to 16,000 Hz: the filter would be slower than real time.

    Example: `audio.prompt_delay(48_000, 16_000)    # 0.004`

    See also: `resample_blocks`, which has this delay.
    """
    check_rate(own)
    check_rate(rate)
    if own == rate:
        return 0.0
    if max(own, rate) // math.gcd(own, rate) > _PROMPT_RATIO:
        raise ValueError(
            f"rate: resampling {own} Hz to {rate} Hz is too slow for a live stream; expected a ratio of whole numbers "
            f"up to {_PROMPT_RATIO}. Write a file instead."
        )
    return _PROMPT_DELAY


class _Polyphase:
    """Chunked resampler with a short filter h: y[m] = sum_n h[m down - n up] x[n]."""

    def __init__(self, own, rate, channels):
        delay, shared = prompt_delay(own, rate), math.gcd(own, rate)
        self.up, self.down = rate // shared, own // shared
        longest = max(self.up, self.down)
        self.half = int(delay * RATES[0]) * longest
        h = self.up * signal.firwin(2 * self.half + 1, 0.92 / longest, window=("kaiser", 8.0))
        # `upfirdn` starts at the first coefficient. Leading zeros make its delay a whole number of output samples.
        self.late = -(-self.half // self.down)
        self.h = np.pad(h, (self.late * self.down - self.half, 0)).astype("float32")
        self.kept = np.zeros((0, channels), "float32")
        self.first = self.done = 0  # index of the first kept sample, a multiple of down; number of outputs returned

    def resample_chunk(self, x, last=False):
        x = np.concatenate([self.kept, x])
        end = self.first + len(x)
        ready = round(end * self.up / self.down) if last else ((end - 1) * self.up - self.half) // self.down + 1
        ready = max(ready, self.done)
        before = self.late - self.first // self.down * self.up
        y = x[:0] if ready == self.done else signal.upfirdn(self.h, x, self.up, self.down, axis=0)
        y = y[before + self.done : before + ready] if len(y) else y
        needed = (ready * self.down - self.half) // self.up
        dropped = max(0, needed // self.down * self.down - self.first)
        self.kept, self.first, self.done = x[dropped:], self.first + dropped, ready
        return y.astype("float32")


def subtype(path: FilePath, target: FilePath) -> str | None:
    """Sample encoding (subtype) of an audio file, such as `"PCM_24"`, or the finest one that the target format allows.

    None if the finest encoding is the default of the format.

    Raises:
        FileNotFoundError, ValueError: as in `header`.

    Example: `audio.subtype("speech.flac", "denoised.wav")    # "PCM_16"`

    See also: `write`, which takes it.
    """
    soundfile = extras.library("soundfile", __name__)
    with _opened(path) as file:
        found = file.subtype
    kind = _WRITTEN.get(pathlib.Path(target).suffix.lower())
    if kind and soundfile.check_format(kind, found):
        return found
    return "PCM_24" if kind == "FLAC" and found in _FINER_THAN_24_BITS else None


def writable(path: FilePath) -> bool:
    """Whether `write` supports the format of a file name.

    Example: `audio.writable("speech.mp3")    # False`
    """
    return pathlib.Path(path).suffix.lower() in _WRITTEN


def write(
    path: FilePath,
    audio: ArrayLike | Iterable[ArrayLike],
    rate: float,
    subtype: str | None = None,
    frames: int | None = None,
) -> None:
    """Writes an audio file atomically, creating its folder if necessary.

    Args:
        path: the file; its suffix, `.wav`, `.flac` or `.ogg`, determines the format.
        audio: floats `(T,)` or `(T, channels)`, or an iterable of such blocks. All encodings except floats clip them
            to [-1, 1].
        rate: int, Hz; a float with an integer value is accepted.
        subtype: str, soundfile's name of the encoding, such as `"PCM_16"`, `"PCM_24"` or `"FLOAT"`. None is `"PCM_16"`,
            or `"VORBIS"` for `.ogg`.
        frames: int, T if known. A WAV file of over 4 GB then gets a 64-bit header (RF64).

    Raises:
        ValueError: if the format does not support the subtype, if `audio` is empty, not floats, not finite, has more
            than 64 channels or a varying number of channels, or if a WAV file exceeds 4 GB and `frames` was not given.
        OSError: if the file cannot be written.

    Example:

        audio.write("tone.wav", np.sin(2 * np.pi * 440 / 16000 * np.arange(16000)), 16000)

    See also: `read` and `blocks`, which read such files; `subtype`, the encoding of a file.
    """
    soundfile = extras.library("soundfile", __name__)
    path = pathlib.Path(path)
    kind = _WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"`path` must end in {', '.join(_WRITTEN)}, received {os.fspath(path)!r}.")
    subtype = subtype or soundfile.default_subtype(kind)
    if not soundfile.check_format(kind, subtype):
        names = ", ".join(soundfile.available_subtypes(kind))
        raise ValueError(f"`subtype` of a {kind} file must be one of {names}; received {subtype!r}.")
    rate = check_rate(rate)
    pieces = _pieces(audio)
    first = next(pieces, None)
    if first is None:
        raise ValueError(f"`audio` must have samples, received none for {os.fspath(path)!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "WAV" and (frames or 0) * first.shape[1] * _BYTES.get(subtype, 8) >= _WAV_BYTES - _WAV_ROOM:
        kind = "RF64"
    with (
        whole_files.replacing(path) as beside,
        _writing(),
        # Pass bytes, because soundfile cannot encode every file name.
        soundfile.SoundFile(os.fsencode(beside), "w", rate, first.shape[1], subtype, format=kind) as file,
    ):
        for piece in itertools.chain([first], pieces):
            if piece.shape[1] != first.shape[1]:
                raise ValueError(
                    f"`audio` must have the same number of channels in every block, received {first.shape[1]} and "
                    f"{piece.shape[1]}."
                )
            file.write(piece)
            if kind == "WAV" and os.path.getsize(beside) + piece.nbytes >= _WAV_BYTES:
                raise ValueError(
                    f"{os.fspath(path)!r} would exceed 4 GB, the WAV limit. Pass its number of `frames`, or write FLAC."
                )


def files(folder: FilePath) -> list[pathlib.Path]:
    """Sorted paths of the audio files below a folder, recognised by suffix; hidden files are skipped.

    Unsupported audio formats are skipped with a warning that counts them.

    Raises:
        ValueError: if `folder` is not a folder, or has no audio files.

    Returns:
        list of `pathlib.Path`.

    Example: `audio.files("clean")    # [PosixPath('clean/p226_001.wav'), ...]`

    See also: `speech.pairs`, for two folders of files with equal names.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"Expected a folder of audio files, received {os.fspath(folder)!r}.")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES | _OTHER_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and whole_files.is_regular(path)
    )
    found = [path for path in paths if path.suffix.lower() in _SUFFIXES]
    others = whole_files.count_suffixes(path.name for path in paths if path.suffix.lower() not in _SUFFIXES)
    known = ", ".join(sorted(_SUFFIXES))
    if not found:
        has = f" It has {others}: convert them." if others else ""
        raise ValueError(f"{os.fspath(folder)!r} has no audio files ({known}).{has}")
    if others:
        warnings.warn(
            f"Left out of {os.fspath(folder)!r}: {others}. Only {known} are read; convert the others.", stacklevel=2
        )
    return found


def is_named(path: FilePath) -> bool:
    """Whether a file name ends like one of an audio format, be it one that can be read or not.

    Example: `audio.is_named("speech.mp3")    # True`

    See also: `files`, which lists those that can be read.
    """
    return pathlib.Path(path).suffix.lower() in _SUFFIXES | _OTHER_SUFFIXES


def check_rate(rate: float) -> int:
    """Returns `rate` as an int.

    Raises:
        ValueError: unless it is a whole number of Hz within `RATES`.

    Example: `audio.check_rate(16_000.0)    # 16000`
    """
    is_number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not is_number or not RATES[0] <= rate <= RATES[1] or rate != int(rate):
        hint = " Round it: files store whole numbers of Hz." if is_number and RATES[0] <= rate <= RATES[1] else ""
        raise ValueError(f"`rate` must be an integer of {RATES[0]} to {RATES[1]} Hz, received {rate!r}.{hint}")
    return int(rate)


# Reading.


@contextlib.contextmanager
def _opened(path, to_the_end=True):
    """Context manager with the `soundfile.SoundFile` of a path; only `to_the_end`, looks for more than one stream."""
    soundfile = extras.library("soundfile", __name__)
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path!r} does not exist.")
    if not whole_files.is_regular(path):
        raise ValueError(f"{path!r} must be an audio file; it is not a regular file.")
    # Pass a file, because soundfile cannot encode every file name.
    with open(path, "rb", buffering=0) as raw:
        size = os.fstat(raw.fileno()).st_size
        if size == 0:
            raise ValueError(f"{path!r} is empty: it has 0 bytes.")
        lacks = containers.lacks(raw, size)
        if lacks:
            raise ValueError(f"{path!r} is truncated: {lacks}.")
        if to_the_end and containers.is_chained(raw):
            raise ValueError(
                f"{path!r} has several streams, one after the other, of which only the first would be read. Join them: "
                "ffmpeg -i old.ogg new.ogg"
            )
        source = raw.fileno()
        stated, held = containers.flac_frames(raw, size)
        if stated == 0 and held:
            source = containers.FlacOfLength(raw.fileno(), held)
        elif stated == 0:
            raise ValueError(f"{path!r} does not state its length, and its last frame is damaged. Convert it again.")
        elif stated and held and stated != held:
            raise ValueError(
                f"{path!r} is damaged: the header says {stated} frames, the file has {held}. Convert it again, or "
                "decode what it has: ffmpeg -i old.flac new.wav"
            )
        raw.seek(0)
        try:
            file = soundfile.SoundFile(source, closefd=False)
        except soundfile.LibsndfileError as error:
            raise ValueError(
                f"{path!r} must be a WAV, FLAC or OGG file; it is not one, or is damaged: {error}"
            ) from error
        with file:
            _check_header(path, file, size)
            yield file


def _check_header(path, file, size):
    if file.format not in _FORMATS:
        raise ValueError(f"{path!r} must be a WAV, FLAC or OGG file, received {file.format}.")
    if file.frames < 1:
        raise ValueError(f"{path!r} has no samples.")
    if file.frames > size * _MAX_FRAMES_PER_BYTE:
        raise ValueError(f"{path!r} is damaged: the header says {file.frames} frames, in a file of {size} bytes.")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise ValueError(f"{path!r} must have a rate of {RATES[0]} to {RATES[1]} Hz, received {file.samplerate}.")
    if file.channels > MAX_CHANNELS:
        raise ValueError(f"{path!r} must have at most {MAX_CHANNELS} channels, received {file.channels}.")


def _check_size(path, frames, channels):
    if frames * channels > MAX_SAMPLES:
        raise ValueError(
            f"{os.fspath(path)!r}: {frames} frames of {channels} channels exceed the limit of {MAX_SAMPLES} samples in "
            "memory. Read the file in shorter `blocks`."
        )


def _decode(file, path, start, frames):
    """Reads the next frames of a file positioned at `start`."""
    soundfile, path = extras.library("soundfile", __name__), os.fspath(path)
    try:
        x = file.read(frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path!r} is damaged or truncated: {frames} of its {file.frames} frames, from frame {start}, cannot be "
            f"read ({error})."
        ) from error
    if len(x) < frames:
        raise ValueError(f"{path!r} is truncated: the header says {file.frames} frames, the file has {start + len(x)}.")
    peak = max(x.max(), -x.min())  # NaN if any sample is.
    if not np.isfinite(peak):
        frame = start + int(np.argmin(np.isfinite(x).all(axis=1)))
        raise ValueError(f"{path!r} has NaN or infinite samples, the first at frame {frame}.")
    if peak > validation.MAX_PEAK:
        raise ValueError(
            f"{path!r} must have samples in [-1, 1], received {peak:.4g}; divide floats by their full scale."
        )
    return x


def _seek(file, path, start):
    try:
        file.seek(start)
    except extras.library("soundfile", __name__).LibsndfileError as error:
        raise ValueError(
            f"{os.fspath(path)!r} cannot be read from frame {start} ({error}). It is damaged or truncated, or its "
            "encoding can only be read from the beginning."
        ) from error


def _blocks(path, frames):
    with _opened(path) as file:
        for start in range(0, file.frames, frames):
            yield _decode(file, path, start, min(frames, file.frames - start))


# Writing.


@contextlib.contextmanager
def _writing():
    soundfile = extras.library("soundfile", __name__)
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise OSError(f"libsndfile: {error}") from error
    except AssertionError as error:  # soundfile asserts that all was written
        raise OSError("not all samples were accepted") from error


def _pieces(audio):
    """Checked, non-empty float pieces `(t, channels)`."""
    # An array from any library is one block; iterating over it would yield single samples.
    is_one = hasattr(audio, "__array__") or not hasattr(audio, "__iter__")
    for block in [audio] if is_one else audio:
        if not hasattr(block, "__array__") or np.ndim(block) == 0:
            of = "" if is_one else f" of {type(block).__name__}"
            raise ValueError(
                "`audio` must be an array of floats (T,) or (T, channels), or an iterable of such arrays; received "
                f"{type(audio).__name__}{of}. Convert it: np.asarray(audio, 'float32')."
            )
        block = np.asarray(block)
        if block.dtype.kind != "f" or block.ndim not in (1, 2):
            hint = ""
            if block.dtype.kind in "iu":
                hint = " Divide integers by their full scale: 32,768 for 16 bits."
            raise ValueError(
                f"`audio` must be floats (T,) or (T, channels), received {block.dtype} {block.shape}.{hint}"
            )
        block = block[:, None] if block.ndim == 1 else block
        if not 1 <= block.shape[1] <= MAX_CHANNELS:
            hint = ""
            if block.shape[0] <= MAX_CHANNELS < block.shape[1]:
                hint = " That looks like (channels, T): pass `audio.T`."
            raise ValueError(
                f"`audio` must be (T, channels) with 1 to {MAX_CHANNELS} channels, received {block.shape}.{hint}"
            )
        if not np.isfinite(block).all():
            raise ValueError("`audio` must be finite, received NaN or infinity.")
        for start in range(0, len(block), _WRITE_FRAMES):
            # libsndfile only takes float32 and float64.
            piece = block[start : start + _WRITE_FRAMES]
            yield piece if piece.dtype in (np.float32, np.float64) else piece.astype(np.float32)
