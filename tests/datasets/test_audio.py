"""Audio files: values, rates, blocks, hostile files, and atomic writing."""

import os
import struct
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from keras_ae.datasets import audio

RATE = 16000


def tone(seconds=0.5, rate=RATE, channels=1, hertz=440):
    """A sine of amplitude 1/2, float32 `(T, channels)`; each channel is quieter than the one before."""
    x = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return (x[:, None] / np.arange(1, channels + 1)).astype(np.float32)


def save(path, x, rate=RATE, **arguments):
    soundfile.write(path, x, rate, **arguments)
    return path


def whole(path, **arguments):
    return np.concatenate(list(audio.blocks(path, **arguments)))


# Reading.


@pytest.mark.parametrize(
    "suffix, subtype, step",
    [
        (".wav", "PCM_U8", 2**-7),
        (".wav", "PCM_16", 2**-15),
        (".wav", "PCM_24", 2**-23),
        (".wav", "PCM_32", 2**-24),  # the resolution of float32 at 1/2
        (".wav", "FLOAT", 0),
        (".wav", "DOUBLE", 0),
        (".flac", "PCM_S8", 2**-7),
        (".flac", "PCM_16", 2**-15),
        (".flac", "PCM_24", 2**-23),
        (".ogg", "VORBIS", 0.02),
    ],
)
def test_read_gives_the_samples_to_a_step_of_the_coding(tmp_path, suffix, subtype, step):
    x = tone(channels=2)
    y, rate = audio.read(save(tmp_path / f"x{suffix}", x, subtype=subtype))
    assert rate == RATE and y.dtype == np.float32 and y.shape == x.shape
    np.testing.assert_allclose(y, x, atol=step)


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
@pytest.mark.parametrize("channels", [1, 8])
def test_read_resamples(tmp_path, rate, channels):
    path = save(tmp_path / "x.wav", tone(rate=rate, channels=channels), rate)
    assert audio.header(path) == (rate, channels, round(0.5 * rate))
    y, new = audio.read(path, rate=RATE)
    assert new == RATE and y.shape == (RATE // 2, channels) and y.dtype == np.float32
    # Outside the file, the sound is silent.
    np.testing.assert_allclose(y[500:-500], tone(channels=channels)[500:-500], atol=1e-3)


@pytest.mark.parametrize("own, rate", [(8_000, 16_000), (44_100, 16_000), (16_000, 48_000), (16_000, 22_050)])
def test_a_prompt_resampler_makes_what_soxr_makes(own, rate, rng):
    t = np.arange(own // 2) / own
    x = np.stack([np.sin(2 * np.pi * f * t + f) for f in (440, 2_500)], axis=1).astype("float32")
    borders = np.sort(rng.integers(0, len(x), 20))
    made = np.concatenate(list(audio.resample_blocks(np.split(x, borders), own, rate, prompt=True)))
    expected = audio.resample(x, own, rate)
    inside = slice(rate // 50, -rate // 50)
    assert len(made) == len(expected)
    np.testing.assert_allclose(made[inside], expected[inside], atol=1e-3)


def test_a_ratio_for_which_a_live_stream_has_no_time_is_refused():
    assert audio.prompt_delay(16_000, 16_000) == 0 < audio.prompt_delay(11_025, 16_000)
    for rates, message in (((44_101, 16_000), "is too slow for a live stream"), ((7_000, 16_000), "8000 to 192000")):
        with pytest.raises(ValueError, match=message):
            audio.prompt_delay(*rates)


def test_read_takes_a_part(tmp_path):
    for suffix in (".wav", ".flac"):
        path = save(tmp_path / f"x{suffix}", tone())
        y, _ = audio.read(path)
        part, _ = audio.read(path, start=5000, frames=700)
        np.testing.assert_array_equal(part, y[5000:5700])
    for start, frames in ((-1, 5), (0, 8001), (8000, None), (3, 0)):
        with pytest.raises(ValueError, match=r"must lie within the 8000 frames of .*x\.flac"):
            audio.read(path, start=start, frames=frames)


def test_one_sample(tmp_path):
    path = save(tmp_path / "x.wav", np.float32([[0.25]]), 192000)
    for y in (audio.read(path)[0], audio.read(path, rate=8000)[0], whole(path), whole(path, rate=8000)):
        np.testing.assert_array_equal(y, [[0.25]])


def test_peaks_over_full_scale_are_clipped_and_other_scales_refused(tmp_path):
    y, _ = audio.read(save(tmp_path / "x.wav", 3 * tone(), subtype="FLOAT"))
    np.testing.assert_array_equal(y, np.clip(3 * tone(), -1, 1))
    with pytest.raises(ValueError, match=r"x\.wav' must have samples in \[-1, 1\], received 1\.6"):
        audio.read(save(tmp_path / "x.wav", 2**15 * tone(), subtype="FLOAT"))
    loud = save(tmp_path / "y.wav", np.sign(tone()), 44100)
    assert np.abs(audio.read(loud, rate=RATE)[0]).max() == 1


@pytest.mark.parametrize("seconds", [0.03, 0.1, 9, float("inf")])
@pytest.mark.parametrize("rate", [None, 8000, 44100])
def test_blocks_one_after_another_are_the_file(tmp_path, seconds, rate):
    path = save(tmp_path / "x.flac", tone(channels=2))
    np.testing.assert_allclose(whole(path, seconds=seconds, rate=rate), audio.read(path, rate=rate)[0], atol=1e-6)
    if rate is None and seconds < 1:
        assert {len(block) for block in audio.blocks(path, seconds=0.1)} == {1600}


@pytest.mark.parametrize("size", [2**32 - 1, 2**31 - 1 - 36])
def test_a_wav_file_of_a_pipe_ends_where_the_file_does(tmp_path, size):
    path = save(tmp_path / "x.wav", tone())
    whole_file = audio.read(path)[0]
    patched(path, 40, size.to_bytes(4, "little"))
    assert audio.header(path).frames == len(whole_file)
    np.testing.assert_array_equal(audio.read(path)[0], whole_file)


def test_the_finest_coding_that_a_format_has(tmp_path):
    for subtype, expected in (("PCM_16", "PCM_16"), ("PCM_24", "PCM_24"), ("PCM_32", "PCM_24"), ("FLOAT", "PCM_24")):
        path = save(tmp_path / "x.wav", tone(), subtype=subtype)
        assert audio.subtype(path, "y.flac") == expected and audio.subtype(path, "y.wav") == subtype


def test_hours_are_read_by_blocks_only(tmp_path, monkeypatch):
    path = save(tmp_path / "x.wav", tone(2))
    monkeypatch.setattr(audio, "MAX_SAMPLES", 2 * RATE - 1)
    for read in (audio.read, lambda path: audio.blocks(path, seconds=3)):
        with pytest.raises(ValueError, match=r"x\.wav': 32000 frames .* shorter `blocks`"):
            read(path)
    with pytest.raises(ValueError, match=r"x\.wav': 48000 frames"):
        audio.read(path, rate=48000, frames=RATE)
    assert whole(path, seconds=1).shape == (2 * RATE, 1)


def test_wrong_arguments_raise(tmp_path):
    path = save(tmp_path / "x.wav", tone())
    for rate in (0, 7999, 200_000, 16000.5):
        with pytest.raises(ValueError, match=r"`rate` must be an integer of 8000 to 192000 Hz"):
            audio.read(path, rate=rate)
        with pytest.raises(ValueError, match=r"`rate` must be"):
            audio.blocks(path, rate=rate)
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=r"`seconds` must be positive"):
            audio.blocks(path, seconds)


# Hostile files. All three ways to read them must raise an error that names the file.


def patched(path, at, data):
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])


def flac_of_frames(path, frames):
    """Sets the number of frames, the 36 bits of STREAMINFO at byte 21."""
    patched(path, 21, struct.pack(">Q", path.read_bytes()[21] >> 4 << 60 | frames << 24)[:5])


HOSTILE = {
    "text": ("x.wav", lambda path: path.write_bytes(b"This is no sound at all. " * 99), "must be a WAV, FLAC or OGG"),
    "zeros": ("x.flac", lambda path: path.write_bytes(bytes(5000)), "must be a WAV, FLAC or OGG"),
    "no bytes": ("x.wav", lambda path: path.write_bytes(b""), "is empty"),
    "header alone": ("x.wav", lambda path: path.write_bytes(path.read_bytes()[:20]), "it is not one, or is damaged"),
    "no samples": ("x.wav", lambda path: save(path, tone(0)), "has no samples"),
    "no samples, OGG": ("x.ogg", lambda path: save(path, tone(0)), "has no samples|is truncated"),
    "cut WAV": ("x.wav", lambda path: cut(path, 0.5), "the header says 16000 bytes of samples, the file has 7978"),
    "cut OGG": ("x.ogg", lambda path: cut(path, 0.7), "its last page does not end the stream"),
    "WAV of 1 GB": ("x.wav", lambda path: patched(path, 43, b"\x40"), "the header says 1073757824 bytes of samples"),
    "FLAC of 2^36 frames": ("x.flac", lambda path: flac_of_frames(path, 2**36 - 1), "is damaged: the header says"),
    "FLAC of 1 frame": ("x.flac", lambda path: flac_of_frames(path, 1), "the header says 1 frames, the file has 8000"),
    "FLAC of more frames": ("x.flac", lambda path: flac_of_frames(path, 9000), "says 9000 frames, the file has 8000"),
    "FLAC of unknown length, cut": ("x.flac", lambda path: (flac_of_frames(path, 0), cut(path, 0.9)), "its last frame"),
    "chained OGG": ("x.ogg", lambda path: path.write_bytes(2 * path.read_bytes()), "several streams, one after"),
    "0 Hz": ("x.wav", lambda path: patched(path, 24, bytes(4)), "must have a rate|it is not one, or is damaged"),
    "1 GHz": ("x.wav", lambda path: patched(path, 24, struct.pack("<I", 10**9)), "must have a rate of 8000 to 192000"),
    "500 channels": ("x.wav", lambda path: save(path, np.zeros((9, 500)), RATE), "at most 64 channels, received 500"),
    "AIFF": ("x.wav", lambda path: save(path, tone(), format="AIFF"), "received AIFF"),
}


@pytest.mark.parametrize("name, spoil, message", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_raise_at_once(tmp_path, name, spoil, message):
    path = save(tmp_path / name, tone())
    spoil(path)
    for read in (audio.header, audio.read, audio.blocks):
        with pytest.raises(ValueError, match=rf"x\.\w+'.*({message})"):
            read(path)


# Decoders notice different errors.
TRUNCATED = r"x\.flac' (is (damaged or )?truncated|cannot be read from frame .*It is damaged or truncated)"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_flac_file_cut_short_raises_where_it_ends(tmp_path, share):
    path = save(tmp_path / "x.flac", np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 1)))
    cut(path, share)
    for read in (audio.read, whole, lambda path: audio.read(path, start=RATE - 100)):
        with pytest.raises(ValueError, match=TRUNCATED):
            read(path)


@pytest.mark.parametrize("frames", [1, 100, 4096, 8000])
@pytest.mark.parametrize("rate, subtype", [(RATE, "PCM_16"), (11000, "PCM_24"), (192000, "PCM_S8")])
def test_a_flac_file_of_unknown_length_is_read_to_its_end(tmp_path, frames, rate, subtype):
    path = save(tmp_path / "x.flac", tone()[:frames], rate, subtype=subtype)
    expected = audio.read(path)[0]
    flac_of_frames(path, 0)
    assert audio.header(path).frames == len(expected) == frames
    np.testing.assert_array_equal(audio.read(path)[0], expected)
    np.testing.assert_array_equal(whole(path, seconds=0.1), expected)
    np.testing.assert_array_equal(audio.read(path, start=frames // 2)[0], expected[frames // 2 :])


def test_streams_that_follow_each_other_are_told_from_one(tmp_path):
    path = save(tmp_path / "x.ogg", tone(20))
    assert audio.header(path).frames == len(tone(20))
    parts = path.read_bytes(), save(tmp_path / "y.ogg", tone(1), 44100).read_bytes()
    path.write_bytes(b"".join(parts))
    with pytest.raises(ValueError, match=r"x\.ogg' has several streams.*ffmpeg"):
        audio.header(path)
    assert len(audio.read(path, frames=5000)[0]) == 5000  # of the first stream, as asked


def test_an_encoder_that_fails_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise soundfile.LibsndfileError(2)  # System error.

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(
        OSError, match=r"x\.wav' could not be written: libsndfile: System error\. \(is the disk full\?\)"
    ):
        audio.write(tmp_path / "x.wav", tone(), RATE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_raise(tmp_path, value):
    x = tone()
    x[5000] = value
    path = save(tmp_path / "x.wav", x, subtype="FLOAT")
    for read in (audio.read, whole, lambda path: whole(path, seconds=0.1)):
        with pytest.raises(ValueError, match=r"x\.wav' has NaN or infinite samples, the first at frame 5000"):
            read(path)
    assert np.isfinite(audio.read(path, frames=5000)[0]).all()


def test_long_wav_headers_are_read(tmp_path):
    path = save(tmp_path / "x.wav", tone(), format="RF64")
    np.testing.assert_allclose(audio.read(path)[0], tone(), atol=2**-15)
    cut(path, 0.5)
    with pytest.raises(ValueError, match=r"x\.wav' is truncated"):
        audio.read(path)


def test_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        audio.read(tmp_path / "none.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "kernel.wav").symlink_to("/proc/self/status")
    for name in ("", "pipe.wav", "kernel.wav"):
        with pytest.raises(ValueError, match="it is not a regular file"):
            audio.read(tmp_path / name)
    with pytest.raises(ValueError, match="no audio files"):
        audio.files(tmp_path)
    # A name that is not UTF-8.
    path = tmp_path / "x\udcff.wav"
    audio.write(path, tone(), RATE)
    assert len(audio.read(path)[0]) == 8000


def test_files_are_sorted_and_hidden_ones_left_out(tmp_path):
    names = ["a/x.FLAC", "b.ogg", "a.wav", ".hidden.wav", ".hidden/x.wav", "c.txt", "a/deep/y.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in audio.files(tmp_path)]
    assert found == ["a/deep/y.wav", "a/x.FLAC", "a.wav", "b.ogg"]
    with pytest.raises(ValueError, match=r"folder\.wav' has no audio files"):
        audio.files(tmp_path / "folder.wav")
    with pytest.raises(ValueError, match="Expected a folder"):
        audio.files(tmp_path / "c.txt")


# Writing.


@pytest.mark.parametrize("suffix, subtype", [(".wav", None), (".wav", "FLOAT"), (".flac", "PCM_24"), (".ogg", None)])
def test_write_then_read(tmp_path, suffix, subtype):
    x = tone(3, channels=2)
    audio.write(tmp_path / f"new/x{suffix}", x, RATE, subtype)
    audio.write(tmp_path / f"new/y{suffix}", (x[i : i + 1000] for i in range(0, len(x), 1000)), RATE, subtype)
    (y, rate), (z, _) = (audio.read(tmp_path / f"new/{name}{suffix}") for name in "xy")
    assert rate == RATE
    for read in (y, z):
        np.testing.assert_allclose(read, x, atol=0.02 if suffix == ".ogg" else 2**-15)
    info = soundfile.info(tmp_path / f"new/x{suffix}")
    assert info.subtype == (subtype or {".wav": "PCM_16", ".ogg": "VORBIS"}[suffix])


def test_write_clips_and_takes_one_axis(tmp_path):
    audio.write(tmp_path / "x.wav", np.array([0.5, 2, -2], np.float16), RATE)
    np.testing.assert_allclose(audio.read(tmp_path / "x.wav")[0], [[0.5], [1], [-1]], atol=2**-14)


def test_a_wav_file_beyond_its_header_gets_a_longer_one(tmp_path, monkeypatch, rng):
    import soundfile

    monkeypatch.setattr(audio, "_WAV_BYTES", 30_000)
    monkeypatch.setattr(audio, "_WAV_ROOM", 1_000)
    x = rng.uniform(-1, 1, size=(9_000, 2)).astype("float32")
    blocks = list(np.split(x, 9))
    with pytest.raises(ValueError, match="Pass its number of `frames`"):
        audio.write(tmp_path / "x.wav", blocks, 16_000)
    assert not list(tmp_path.iterdir())
    audio.write(tmp_path / "x.wav", blocks, 16_000, frames=9_000)
    assert soundfile.info(tmp_path / "x.wav").format == "RF64"
    np.testing.assert_allclose(audio.read(tmp_path / "x.wav")[0], x, atol=2**-15)
    audio.write(tmp_path / "x.wav", blocks[:5], 16_000, frames=5_000)
    assert soundfile.info(tmp_path / "x.wav").format == "WAV"


def test_a_coding_without_places_is_read_from_its_beginning(tmp_path, rng):
    import soundfile

    soundfile.write(tmp_path / "x.wav", 0.1 * rng.normal(size=8_000), 8_000, "GSM610")
    whole, _ = audio.read(tmp_path / "x.wav")
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(tmp_path / "x.wav", 0.3))), whole)
    with pytest.raises(
        ValueError, match=r"cannot be read from frame 100 .*encoding can only be read from the beginning"
    ):
        audio.read(tmp_path / "x.wav", start=100)


def test_nothing_remains_of_a_write_that_fails(tmp_path):
    path = tmp_path / "x.wav"
    audio.write(path, tone(), RATE)
    before = path.read_bytes()

    def blocks():
        yield tone()
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        audio.write(path, blocks(), RATE)
    bad = tone()
    bad[-1] = np.nan
    for sound, message in (
        (iter([tone(), tone(channels=2)]), "same number of channels in every block, received 1 and 2"),
        (iter([tone(), bad]), "must be finite"),
        (np.zeros(0), "must have samples"),
        ([], "must have samples"),
        (np.zeros(5, np.int16), "must be floats"),
        (np.zeros((5, 1, 1)), "must be floats"),
    ):
        with pytest.raises(ValueError, match=message):
            audio.write(path, sound, RATE)
    with pytest.raises(ValueError, match=r"must end in \.wav, \.flac, \.ogg"):
        audio.write(tmp_path / "x.mp3", tone(), RATE)
    with pytest.raises(ValueError, match=r"`subtype` of a FLAC file must be one of .*PCM_16"):
        audio.write(tmp_path / "x.flac", tone(), RATE, "FLOAT")
    with pytest.raises(OSError, match=r"y\.flac' could not be written"):  # FLAC has at most 8 channels.
        audio.write(tmp_path / "y.flac", tone(channels=9), RATE)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_what_audio_was_given_is_named_and_what_to_do(tmp_path):
    x = tone(channels=2).astype(float)
    for sound, message in (
        (x.T, r"1 to 64 channels, received \(2, 8000\). That looks like \(channels, T\): pass `audio.T`"),
        (tf.constant(x.T), r"\(2, 8000\). That looks like"),
        (np.zeros((100, 100)), r"1 to 64 channels, received \(100, 100\)\.$"),
        (x[:, 0].tolist(), r"received list of float. Convert it: np.asarray\(audio, 'float32'\)"),
        (x.tolist(), "received list of list. Convert it"),
        (tuple(x[:3, 0]), "received tuple of float64. Convert it"),
        (0.5, "received float. Convert it"),
        ((1000 * x).astype("int16"), r"received int16 \(8000, 2\). Divide integers by their full scale"),
    ):
        with pytest.raises(ValueError, match=message):
            audio.write(tmp_path / "x.wav", sound, RATE)
    for sound in (x, tf.constant(x), [x[:10], x[10:]], (block for block in (x[:10], x[10:]))):
        audio.write(tmp_path / "x.wav", sound, RATE)
        np.testing.assert_allclose(audio.read(tmp_path / "x.wav")[0], x, atol=1e-4)


@pytest.mark.parametrize("rate", [16000.0, np.float32(16000), np.int64(16000)])
def test_whole_rates_of_any_type_are_taken(tmp_path, rate):
    audio.write(tmp_path / "x.wav", tone(), rate)
    assert audio.header(tmp_path / "x.wav").rate == 16000
    x, read = audio.read(tmp_path / "x.wav", rate=rate / 2)
    assert x.shape == (4000, 1) and read == 8000 and isinstance(read, int)
    assert sum(len(block) for block in audio.blocks(tmp_path / "x.wav", rate=rate / 2)) == 4000


@pytest.mark.parametrize("rate", [16000.5, "16000", None, True, float("nan"), 100.0])
def test_other_rates_are_named(tmp_path, rate):
    with pytest.raises(ValueError, match=rf"`rate` must be an integer of 8000 to 192000 Hz, received {rate!r}\."):
        audio.write(tmp_path / "x.wav", tone(), rate)
    assert not (tmp_path / "x.wav").exists()


def test_files_of_formats_that_are_not_read_are_counted(tmp_path, recwarn):
    for name in ("a.wav", "b.mp3", "c.MP3", "deep/d.aif", ".hidden.mp3", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"Left out of .*: 2 \.mp3, 1 \.aif\. Only \.flac, .* are read") as found:
        assert [path.name for path in audio.files(tmp_path)] == ["a.wav"]
    assert len(found) == 1
    (tmp_path / "a.wav").unlink()
    with pytest.raises(ValueError, match=r"has no audio files .*It has 2 \.mp3, 1 \.aif: convert them"):
        audio.files(tmp_path)
    (tmp_path / "a.wav").touch()
    for path in tmp_path.rglob("*.[mM][pP]3"):
        path.unlink()
    (tmp_path / "deep" / "d.aif").unlink()
    audio.files(tmp_path)
    assert not recwarn


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    path = save(tmp_path / "x.wav", tone())
    monkeypatch.setitem(sys.modules, "soxr", None)
    audio.read(path)
    with pytest.raises(ImportError, match=r'needs soxr: pip install "keras_ae\[audio\]"'):
        audio.read(path, rate=8000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r'needs soundfile: pip install "keras_ae\[audio\]"'):
        audio.header(path)
