"""The user's path: from folders of speech and noise to clean files, streams and reports."""

import functools
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from apps import common
from apps.audio_denoising import denoise, evaluate, served, settings, train
from keras_ae import serving
from keras_ae.datasets import audio, speech
from keras_ae.evaluation.speech import si_sdr

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {"frame": 128, "hop": 64, "units": 16, "depth": 1, "taps": 2, "window": 4096, "batch_size": 4}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """An export of a small untrained model whose filters are far from the identity, and the model."""
    keras.utils.set_random_seed(0)
    chosen = settings.of("causal") | SMALL
    model = train.build(chosen, seed=0)
    rng = np.random.default_rng(0)
    model.generator.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in model.generator.get_weights()])
    path = train.export(model, chosen, tmp_path_factory.mktemp("model"), {"data": "none"})
    return pathlib.Path(path).parent, model


@pytest.fixture(scope="module")
def segan(tmp_path_factory):
    """An export of a small untrained SEGAN, and the model."""
    keras.utils.set_random_seed(0)
    chosen = settings.of("segan") | {"filters": (4, 8), "kernel_size": 5, "window": 64}
    model = train.build(chosen, seed=0)
    rng = np.random.default_rng(0)
    model.generator.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in model.generator.get_weights()])
    path = train.export(model, chosen, tmp_path_factory.mktemp("segan"), {"data": "none"})
    return pathlib.Path(path).parent, model


def tone(seconds, rate, channels=1, noise=0.05):
    rng = np.random.default_rng(1)
    t = np.arange(round(seconds * rate)) / rate
    x = 0.3 * np.sin(2 * np.pi * 440 * t)[:, None] / np.arange(1, channels + 1)
    return (x + noise * rng.normal(size=x.shape)).astype("float32")


loaded = functools.cache(served.Denoiser)


@pytest.fixture(scope="module", autouse=True)
def _unloaded():
    yield
    loaded.cache_clear()


def run_denoise(model, **flags):
    """The program with an export that is loaded once for all tests, because loading takes longer than denoising."""
    options = {"input": None, "output": None, "force": False, "rate": 16_000, "channels": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "Denoiser", loaded)
        denoise.run(model=str(model), **options | flags)


# Training.


def compiled(monkeypatch, **options):
    """Compiles models with other options, because compiling with XLA takes longer than a few batches."""
    for cls in (ka.SpeechDenoiser, ka.SEGAN):
        monkeypatch.setattr(cls, "compile", functools.partialmethod(cls.compile, **options))


def test_from_folders_to_an_export_that_is_the_model(tmp_path, monkeypatch, capsys):
    clean, noise = speech.embedded()
    monkeypatch.setitem(settings.METHODS, "causal", settings.METHODS["causal"] | SMALL)
    for name, value in {"epochs": 2, "batches": 3, "validation": 1}.items():
        monkeypatch.setitem(settings.SHARED, name, value)
    flags = {"noisy_dir": None, "method": "causal", "max_minutes": None, "seed": 0, "strategy": "default"}
    flags |= {"checkpoint_dir": str(tmp_path / "checkpoint"), "export_dir": str(tmp_path / "export")}
    compiled(monkeypatch, jit_compile=False)  # tests/benchmarks/test_audio_denoising.py trains with XLA
    train.run(clean_dir=str(clean), noise_dir=str(noise), **flags | {"max_minutes": 1e-9})
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 3  # time runs out after one epoch
    compiled(monkeypatch, run_eagerly=True)
    train.run(clean_dir=str(clean), noise_dir=str(noise), **flags)  # resumes
    report = json.loads((tmp_path / "report.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == report
    assert report["steps"] == 6 and np.isfinite(report["validation_si_sdr"])
    card = served.Denoiser(tmp_path / "export").card
    assert card["stream"]["frame"] == 64 and card["stream"]["algorithmic_delay_ms"] == 12.0 and card["licence"]


def test_validation_asks_only_windows_with_speech_and_noise():
    clean = np.stack([tone(0.1, 16_000, noise=0.0)[:, 0]] * 3)
    noisy = np.stack([tone(0.1, 16_000)[:, 0]] * 3)
    clean[1], noisy[2] = 0.0, clean[2]  # only noise, and only speech
    passing = types.SimpleNamespace(denoise=lambda x: x)
    found = train.validated(passing, tf.data.Dataset.from_tensors((noisy, clean)))
    assert found["validation_noisy_si_sdr"] == found["validation_si_sdr"] == si_sdr(clean[0], noisy[0])
    found = train.validated(passing, tf.data.Dataset.from_tensors((clean, clean)))  # training is not lost because of it
    assert np.isnan(found["validation_si_sdr"])


def test_a_critic_and_pairs_of_files_train_as_well(tmp_path, monkeypatch):
    for name in "abcdefghijklmnopqrst":
        audio.write(tmp_path / "clean" / f"{name}.wav", tone(0.1, 16_000, noise=0.0), 16_000)
        audio.write(tmp_path / "noisy" / f"{name}.wav", tone(0.1, 16_000), 16_000)
    chosen = settings.of("segan") | {"filters": (2, 4), "kernel_size": 5, "window": 1024, "batch_size": 4, "epochs": 1}
    folders = str(tmp_path / "clean"), None, str(tmp_path / "noisy")
    data, validation = train.windows(*folders, chosen, seed=0)
    compiled(monkeypatch, run_eagerly=True)
    model, _ = train.train(chosen, data, validation, seed=0)
    assert model.terms == ("discrimination", "adversarial", "l1")
    path = train.export(model, chosen, tmp_path / "export", {})
    denoiser = served.Denoiser(pathlib.Path(path).parent)
    assert denoiser.frame is None
    with pytest.raises(ValueError, match="no endpoint 'stream_blocks'"):
        denoiser.stream(1)
    # Whole files are denoised at once instead.
    run_denoise(tmp_path / "export", input=str(tmp_path / "noisy" / "a.wav"), output=str(tmp_path / "a.flac"))
    assert audio.header(tmp_path / "a.flac").frames == 1600


def test_data_that_cannot_be_drawn_from_are_an_error_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setitem(settings.METHODS, "causal", settings.METHODS["causal"] | SMALL)
    for name in "abcd":
        audio.write(tmp_path / "clean" / f"{name}.wav", 1e-4 * tone(0.5, 16_000), 16_000, "FLOAT")
    flags = {"noisy_dir": None, "method": "causal", "max_minutes": None, "seed": 0, "strategy": "default"}
    flags |= {"checkpoint_dir": None, "export_dir": str(tmp_path / "export")}
    with pytest.raises(common.UserError, match=r"^100 crops could not be used.*silent there: below -50 dBFS\.$"):
        train.run(clean_dir=str(tmp_path / "clean"), noise_dir=str(speech.embedded()[1]), **flags)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("clean", None, None), "exactly one of --noise_dir and --noisy_dir"),
        (("clean", "noise", "noisy"), "exactly one of --noise_dir and --noisy_dir"),
        (("nowhere", "noise", None), "nowhere"),
    ],
)
def test_refuses_folders(folders, message):
    with pytest.raises(ValueError, match=message):
        train.windows(*folders, settings.of("causal") | SMALL, seed=0)


# The export.


ALONE = """
import sys, numpy as np, tensorflow as tf
sys.modules["keras_ae"] = None
for method in ("causal", "segan"):
    served = tf.saved_model.load(f"{method}/export/1")
    x, made = np.load("x.npy"), {}
    for rows in (1, 3, 64):
        answer = served.signatures["serving_default"](audio=x[:rows], length=[1000, 400, *[1000] * 62][:rows])
        made[f"audio{rows}"] = answer["audio"]
    if "stream" in served.signatures:
        size = served.signatures["stream"].structured_input_signature[1]["state"].shape[1]
        answer = served.signatures["stream"](frame=x[:, :64], state=np.zeros([len(x), size], "float32"))
        made |= {"frame": answer["frame"], "state": answer["state"]}
    np.savez(f"{method}.npz", **made)
"""


def test_the_exports_answer_without_the_package(export, segan, tmp_path, rng):
    x = 0.1 * rng.normal(size=(64, 1000)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    models = {"causal": export, "segan": segan}
    for method, (path, _) in models.items():
        (tmp_path / method).mkdir()
        (tmp_path / method / "export").symlink_to(path)
    subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, check=True, capture_output=True)
    for method, (path, model) in models.items():
        made, close = np.load(tmp_path / f"{method}.npz"), {"rtol": 1e-5, "atol": 1e-5}
        expected = model.denoise(x)
        expected[1] = np.pad(model.denoise(x[1:2, :400])[0], [0, 600])  # padding changes nothing and stays silent
        for rows in (1, 3, 64):
            np.testing.assert_allclose(made[f"audio{rows}"], expected[:rows], **close)
        weights = sum(4 * np.prod(w.shape) for w in model.generator.weights)
        found = sum(f.stat().st_size for f in (pathlib.Path(serving.newest(path)) / "variables").iterdir())
        assert weights < found < 1.2 * weights + 20_000
    _, model = export
    frame, state = model.generator.process(tf.constant(x[:, :64]), tf.zeros([64, model.generator.state_size]))
    made = np.load(tmp_path / "causal.npz")
    np.testing.assert_allclose(made["frame"], frame, **close)
    np.testing.assert_allclose(made["state"], state, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["export", "segan"])
def test_bad_rows_do_not_harm_their_neighbours(name, request, rng):
    path, model = request.getfixturevalue(name)
    default = loaded(str(path))._denoise
    x = 0.1 * rng.normal(size=(4, 640)).astype("float32")
    broken = x.copy()
    broken[1, 7] = np.nan
    answer = default(audio=broken, length=[640, 640, 641, 0])
    assert answer["valid"].numpy().tolist() == [True, False, False, True]
    np.testing.assert_allclose(answer["audio"][0], model.denoise(x[:1])[0], atol=1e-5)
    assert not answer["audio"].numpy()[1:].any()
    assert default(audio=tf.zeros([2, 0]), length=[0, 0])["audio"].shape == (2, 0)


def test_a_stream_of_frames_is_the_whole_late_by_the_delay(export, rng):
    path, model = export
    stream = loaded(str(path))._model.signatures["stream"]
    card = json.loads((pathlib.Path(serving.newest(path)) / serving.CARD_FILE).read_text())["stream"]
    x = 0.1 * rng.normal(size=(2, 20 * card["frame"])).astype("float32")
    state, frames = np.zeros((2, card["state"]), "float32"), []
    for start in range(0, x.shape[1], card["frame"]):
        answer = stream(frame=x[:, start : start + card["frame"]], state=state)
        state = answer["state"]
        frames.append(answer["frame"])
    made, late = np.concatenate(frames, axis=1), card["delay_samples"]
    np.testing.assert_allclose(made[:, late:], model.denoise(x)[:, :-late], atol=1e-4)
    broken = x[:, : card["frame"]].copy()
    broken[0, 0] = np.inf
    answer = stream(frame=broken, state=state)
    assert answer["valid"].numpy().tolist() == [False, True] and np.isfinite(answer["state"]).all()


def test_pieces_of_any_length_make_the_same_stream(export, rng):
    path, model = export
    x = 0.1 * rng.normal(size=(1000, 2)).astype("float32")
    denoiser = loaded(str(path))
    whole = model.denoise(np.ascontiguousarray(x.T)).T
    for sizes in ([1000], [1] * 7 + [500, 493], [250] * 4):
        blocks = np.split(x, np.cumsum(sizes)[:-1])
        made = np.concatenate(list(denoise.streamed(denoiser, blocks, 2)))
        np.testing.assert_allclose(made, whole, atol=1e-5)


# Files.


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 8_000, 1, "PCM_U8"),
        ("b.wav", 44_100, 2, "PCM_24"),
        ("c.flac", 192_000, 1, "PCM_16"),
        ("d.wav", 16_000, 8, "FLOAT"),
        ("e.ogg", 48_000, 1, "VORBIS"),
        ("f.wav", 16_000, 1, "PCM_32"),
    ],
)
def test_rate_channels_length_and_coding_stay(export, tmp_path, name, rate, channels, subtype):
    import soundfile

    path, _ = export
    x = tone(0.3, rate, channels)
    audio.write(tmp_path / name, x, rate, subtype)
    run_denoise(path, input=str(tmp_path / name), output=str(tmp_path / "out" / name))
    info = soundfile.info(tmp_path / "out" / name)
    assert (info.samplerate, info.channels, info.subtype) == (rate, channels, subtype)
    assert info.frames == audio.header(tmp_path / name).frames


def test_a_model_that_changes_nothing_changes_no_file(tmp_path, rng):
    chosen = settings.of("causal") | {"units": 16, "depth": 1}
    model = train.build(chosen, seed=0)
    weights = [np.zeros_like(w) for w in model.generator.get_weights()]
    model.generator.set_weights(weights)  # a new model starts close to these filters
    path = pathlib.Path(train.export(model, chosen, tmp_path / "model", {})).parent
    for rate in (16_000, 44_100):
        x = tone(1.3, rate, 2, noise=0.0)
        audio.write(tmp_path / "x.wav", x, rate, "FLOAT")
        run_denoise(path, input=str(tmp_path / "x.wav"), output=str(tmp_path / "y.wav"), force=True)
        y, _ = audio.read(tmp_path / "y.wav")
        inside = slice(rate // 20, -rate // 20)  # the onset has a mean, and the resampler's filter reaches the ends
        assert si_sdr(x[inside, 0], y[inside, 0]) > 40
        if rate == 16_000:
            np.testing.assert_allclose(y[inside], x[inside], atol=1e-3)
    # Noise only loses the frames' means, which change slowly; windows leave no clicks, and silence stays silent.
    noise = 0.1 * rng.normal(size=(1, 5000)).astype("float32")
    changed = loaded(str(path)).denoise(noise) - noise
    assert np.abs(changed).max() < 0.03 and np.abs(np.diff(changed)).max() < 1e-3
    assert not loaded(str(path)).denoise(np.zeros((1, 5000), "float32")).any()


def test_a_folder_goes_on_past_bad_files(export, tmp_path, capsys):
    path, _ = export
    folder = tmp_path / "in"
    audio.write(folder / "good.wav", tone(0.2, 16_000), 16_000)
    audio.write(folder / "deep" / "one.wav", np.full((1, 1), 0.1), 16_000)
    (folder / "text.wav").write_text("not audio")
    (folder / "empty.flac").write_bytes(b"")
    (folder / "notes.txt").write_text("not audio")
    (folder / "._good.wav").write_text("not audio")
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    audio.write(folder / "nan.wav", tone(0.2, 16_000), 16_000, "FLOAT")
    content = bytearray((folder / "nan.wav").read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    (folder / "nan.wav").write_bytes(content)
    (folder / "cut.wav").write_bytes((folder / "good.wav").read_bytes()[:3000])
    with pytest.raises(common.SomeFailed, match="5 of 7 recordings were not denoised"):
        run_denoise(path, input=str(folder), output=str(tmp_path / "out"))
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    broken = {"text.wav", "empty.flac", "nan.wav", "cut.wav"}
    assert report["files"] == 2
    others = {"notes.txt": "its name does not end in", "._good.wav": "hidden", "gone.wav": "a broken link"}
    reasons = {pathlib.Path(path).name: reason for path, reason in report["skipped"].items()}
    assert reasons.keys() == {*broken, *others} and all(others[name] in reasons[name] for name in others)
    written = sorted(each.relative_to(tmp_path / "out").as_posix() for each in (tmp_path / "out").rglob("*.wav"))
    assert written == ["deep/one.wav", "good.wav"]
    assert audio.header(tmp_path / "out" / "deep" / "one.wav").frames == 1
    # Nothing is overwritten without --force.
    before = (tmp_path / "out" / "good.wav").stat().st_mtime_ns
    with pytest.raises(common.UserError, match="No file was written; 9 were skipped"):
        run_denoise(path, input=str(folder), output=str(tmp_path / "out"))
    skipped = json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"]
    assert len(skipped) == 9 and sum("exists. Replace it with --force" in reason for reason in skipped.values()) == 2
    assert (tmp_path / "out" / "good.wav").stat().st_mtime_ns == before
    # Nor is a report.json that another program wrote.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_text("precious")
    with pytest.raises(common.UserError, match=r"report.json' exists\. Replace it with --force"):
        run_denoise(path, input=str(folder), output=str(tmp_path / "other"))
    assert (tmp_path / "other" / "report.json").read_text() == "precious"


def test_samples_beyond_full_scale_stay(tmp_path, export):
    path, model = export
    x = 4 * tone(0.3, 16_000)
    audio.write(tmp_path / "loud.wav", x, 16_000, "FLOAT")
    run_denoise(path, input=str(tmp_path / "loud.wav"), output=str(tmp_path / "out.wav"))
    made = np.concatenate(list(audio.blocks(tmp_path / "out.wav", clip=False)))
    assert np.abs(made).max() > 1
    np.testing.assert_allclose(made[:, 0], model.denoise(x.T)[0], atol=1e-4)


def test_a_single_bad_file_is_an_error(export, tmp_path):
    path, _ = export
    (tmp_path / "text.wav").write_text("not audio")
    audio.write(tmp_path / "good.wav", tone(0.1, 16_000), 16_000)
    for flags, message in (
        ({"input": str(tmp_path / "text.wav"), "output": str(tmp_path / "out.wav")}, "it is not one, or is damaged"),
        ({"input": str(tmp_path / "nowhere.wav"), "output": str(tmp_path / "out.wav")}, "does not exist"),
        ({"input": str(tmp_path / "good.wav"), "output": str(tmp_path / "good.wav")}, "the recording itself"),
        ({"input": str(tmp_path / "good.wav"), "output": str(tmp_path / "text.wav")}, "--force"),
    ):
        with pytest.raises(common.UserError, match=message):
            run_denoise(path, **flags)
    assert not (tmp_path / "out.wav").exists()
    with pytest.raises(common.UserError, match="No export found"):
        run_denoise(tmp_path, input=str(tmp_path / "good.wav"), output=str(tmp_path / "out.wav"))


@pytest.mark.parametrize("text", ["{", "[]", '{"rate": "high"}', '{"stream": 5}', '{"stream": {"hop": 64}}'])
def test_a_damaged_card_is_named(export, tmp_path, text):
    shutil.copytree(export[0], tmp_path / "copy")
    card = next((tmp_path / "copy").glob("*/card.json"))
    card.write_text(text)
    with pytest.raises(common.UserError, match=r"card\.json' is damaged"):
        run_denoise(tmp_path / "copy", output=str(tmp_path / "out"))


@pytest.mark.parametrize(
    "change",
    [
        {"rate": float("inf")},
        {"rate": -1},
        {"stream": {"frame": 10**12}},
        {"stream": {"frame": 0}},
        {"stream": {"frame": SMALL["hop"], "delay_samples": 10**12}},
        {"stream": {"frame": SMALL["hop"], "delay_samples": -1}},
    ],
)
def test_a_card_that_does_not_fit_the_model_is_named(export, tmp_path, change):
    shutil.copytree(export[0], tmp_path / "copy")
    card = next((tmp_path / "copy").glob("*/card.json"))
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(common.UserError, match=r"card\.json' is damaged \(.*Export the model again"):
        run_denoise(tmp_path / "copy", output=str(tmp_path / "out"))


def test_recordings_that_cannot_be_opened_count_as_failed(export, tmp_path, capsys):
    audio.write(tmp_path / "in" / "good.wav", tone(0.2, 16_000), 16_000)
    (tmp_path / "in" / "old.mp3").write_bytes(b"ID3")
    os.mkfifo(tmp_path / "in" / "pipe.wav")
    with (
        pytest.warns(UserWarning, match=r"1 \.mp3"),
        pytest.raises(common.SomeFailed, match="2 of 3 recordings were not denoised") as caught,
    ):
        run_denoise(export[0], input=str(tmp_path / "in"), output=str(tmp_path / "out"))
    assert caught.value.exit_code == 2
    skipped = json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"]
    assert [skipped[str(tmp_path / "in" / name)] for name in ("old.mp3", "pipe.wav")] == [
        "its name does not end in a WAV, FLAC or OGG suffix",
        "it is not a regular file",
    ]


def test_a_model_that_sees_the_future_is_served_row_by_row_and_window_by_window(segan, tmp_path, monkeypatch, rng):
    path, _ = segan
    denoiser = loaded(str(path))
    with pytest.raises(common.UserError, match="has no endpoint 'stream_blocks'"):
        run_denoise(path, input="-")
    x = rng.uniform(-0.5, 0.5, (1, 3000)).astype("float32")
    alone = denoiser.denoise(x)
    beside = denoiser._denoise(audio=tf.constant(np.pad(x, [[0, 0], [0, 300]])), length=[3000])["audio"].numpy()
    np.testing.assert_allclose(beside[:, :3000], alone, atol=1e-5)
    assert not beside[:, 3000:].any()
    monkeypatch.setattr(denoise, "_WINDOW", 1024)
    monkeypatch.setattr(denoise, "_MARGIN", 512)  # longer than the inverse of the pre-emphasis reaches
    for sizes in ([3000], [100] * 30, [1, 2999], [1300, 0, 1700]):
        blocks = iter(np.split(x.T, np.cumsum(sizes)[:-1]))
        made = np.concatenate(list(denoise.windowed(denoiser, blocks)))
        np.testing.assert_allclose(made, alone.T, atol=1e-5)


def test_no_stream_answers_what_it_cannot(export, rng):
    path, model = export
    signatures = loaded(str(path))._model.signatures
    stream, blocks = signatures["stream"], signatures["stream_blocks"]
    size, state = model.generator.hop, np.zeros((2, model.generator.state_size), "float32")
    frame = rng.normal(size=(2, size)).astype("float32")
    frame[1] = 3e38
    answer = stream(frame=tf.constant(frame), state=tf.constant(state))
    assert answer["valid"].numpy().tolist() == [True, False]
    assert np.isfinite(answer["frame"]).all() and not answer["state"].numpy()[1].any()
    for wrong in (0, size + 1):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"expected frames of {size} samples"):
            blocks(frame=tf.zeros([1, wrong]), state=tf.constant(state[:1]))
    with pytest.raises(tf.errors.InvalidArgumentError):  # batched as a server would, padded to one length
        blocks(frame=tf.zeros([2, size]), state=tf.constant(state))
    whole = loaded(str(path))._denoise(audio=tf.fill([1, 4 * size], 3e38), length=[4 * size])
    assert not whole["valid"].numpy().any() and not whole["audio"].numpy().any()
    emphasised = ka.SpeechDenoiser(model.generator, preemphasis=0.95)
    with pytest.raises(ValueError, match="expected 0 for a streaming model"):
        served.streaming(emphasised)


def test_no_file_is_lost_to_another(export, tmp_path, capsys):
    path, _ = export
    folder = tmp_path / "in"
    audio.write(folder / "a.wav", tone(0.2, 16_000), 16_000)
    (folder / "a.oga").write_bytes(b"")  # to be written as a WAV file
    whole = (folder / "a.wav").read_bytes()
    # An output folder within the input folder is not read again.
    for _ in range(2):
        with pytest.raises(common.SomeFailed, match="1 of 2"):
            run_denoise(path, input=str(folder), output=str(folder / "clean"), force=True)
        report = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert report["files"] == 1 and len(report["skipped"]) == 1
    assert [each.name for each in (folder / "clean").rglob("*.wav")] == ["a.wav"]
    # A name without a format is a folder, an unknown format an error; the report of another program stays.
    (tmp_path / "report.json").write_text("precious")
    run_denoise(path, input=str(folder / "a.wav"), output=str(tmp_path / "single"))
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (tmp_path / "single" / "a.wav").exists()
    assert report == json.loads((tmp_path / "single" / "report.json").read_text())
    run_denoise(path, input=str(folder / "a.wav"), output=str(tmp_path / "a.wav"))
    shown = capsys.readouterr()
    assert "report.json' exists and was not written by this program" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["files"] == 1
    assert (tmp_path / "report.json").read_text() == "precious"
    (tmp_path / "link.wav").symlink_to(folder / "a.wav")
    for flags, message in (
        ({"output": str(folder / "a.mp3")}, "expected a folder or a .wav, .flac or .ogg file"),
        ({"output": str(tmp_path / "link.wav"), "force": True}, "the recording itself"),
        ({"output": str(folder), "force": True}, "the recording itself"),
    ):
        with pytest.raises(common.UserError, match=message):
            run_denoise(path, input=str(folder / "a.wav"), **flags)
    assert (folder / "a.wav").read_bytes() == whole
    (folder / "a.oga.wav").write_bytes(whole)
    with pytest.raises(common.UserError, match="written to one file"):
        run_denoise(path, input=str(folder), output=str(tmp_path / "twice"))


def test_the_demonstration_replaces_nothing(export, tmp_path):
    path, _ = export
    (tmp_path / "noisy.wav").write_text("precious")
    with pytest.raises(common.UserError, match=r"noisy\.wav.*--force"):
        run_denoise(path, input=None, output=str(tmp_path))
    run_denoise(path, input=None, output=str(tmp_path), force=True)
    assert audio.header(tmp_path / "denoised.wav").rate == 16_000


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_a_pipe_of_any_rate_keeps_the_length_and_the_delay_it_states(export, rate):
    path, _ = export
    denoiser, sink, late = loaded(str(path)), io.BytesIO(), []
    x = np.round(tone(0.5, rate)[:, :1] * 32768).clip(-32768, 32767).astype("<i2")

    class Live(io.RawIOBase):
        """Yields 10 ms at a time; records how many samples have been written at each request."""

        fed = 0

        def read1(self, _):
            late.append(self.fed - len(sink.getvalue()) // 2)
            piece = x[self.fed : self.fed + rate // 100]
            self.fed += len(piece)
            return piece.tobytes()

    denoise.pipe(denoiser, Live(), sink, rate, 1)
    made = np.frombuffer(sink.getvalue(), "<i2")
    assert len(made) == len(x) and np.abs(made).max() > 1000
    delay = denoise.pipe_delay(denoiser, rate)
    assert max(late) / rate * 1000 <= delay <= 64


def test_a_pipe_gives_what_a_file_gives(export):
    path, model = export
    denoiser, x = loaded(str(path)), tone(0.5, 16_000, 2)
    samples = np.round(x * 32768).clip(-32768, 32767).astype("<i2")
    sink = io.BytesIO()
    assert denoise.pipe(denoiser, io.BufferedReader(_Trickle(samples.tobytes())), sink, 16_000, 2) == 0.5
    made = np.frombuffer(sink.getvalue(), "<i2").reshape(-1, 2) / 32768
    expected = model.denoise(np.ascontiguousarray(samples.T / np.float32(32768))).T
    np.testing.assert_allclose(made, expected, atol=1e-4)
    with pytest.raises(ValueError, match="not a whole sample"):
        denoise.pipe(denoiser, io.BufferedReader(_Trickle(b"\0" * 7)), io.BytesIO(), 16_000, 1)


class _Trickle(io.RawIOBase):
    """Delivers a few bytes at a time, which are not whole samples."""

    def __init__(self, data):
        self.data = data

    def readable(self):
        return True

    def readinto(self, buffer):
        piece, self.data = self.data[:701], self.data[701:]
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_trained_model_leaves_no_clicks_where_frames_meet(rng):
    denoiser = served.Denoiser()
    t = np.arange(2 * 16_000) / 16_000
    for x in (0.3 * np.sin(2 * np.pi * 440 * t), 0.1 * rng.normal(size=t.shape)):
        made = np.concatenate(list(denoise.streamed(denoiser, np.split(x.astype("float32")[:, None], 5), 1)))[:, 0]
        steps = np.abs(np.diff(made))[2000:-2000]  # between neighbouring samples
        at_borders = (np.arange(len(steps)) + 2001) % denoiser.frame == 0
        assert 0 < steps[at_borders].max() <= 1.1 * steps[~at_borders].max()


# Evaluation.


def test_figures_of_pairs_with_a_log(export, tmp_path, capsys):
    path, _ = export
    clean, noise = speech.embedded()
    for i, each in enumerate(audio.files(clean)[:2]):
        x, y = evaluate.mixed(each, audio.files(noise)[i], 5.0)
        audio.write(tmp_path / "clean" / f"{i}.wav", x, 16_000)
        audio.write(tmp_path / "noisy" / f"{i}.wav", y, 16_000)
    (tmp_path / "log_testset.txt").write_text("0.wav hum clip 5\n1 rain 7.5\n")
    folders = {"clean_dir": str(tmp_path / "clean"), "noisy_dir": str(tmp_path / "noisy")}
    evaluate.run(model=str(path), output=str(tmp_path / "out"), **folders)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    for name in ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "ssnr", "csig", "cbak", "covl"):
        assert np.isfinite([report[name], report[f"noisy_{name}"], report[f"{name}_standard_error"]]).all()
    assert set(report["methods"]) == {"noisy", "model", "spectral_gating", "wiener"}
    assert set(report["by_snr"]) == {"5.0", "7.5"} and set(report["by_noise"]) == {"hum", "rain"}
    assert (tmp_path / "out" / "denoising.png").stat().st_size > 10_000
    audio.write(tmp_path / "noisy" / "0.wav", np.zeros((100, 1)), 16_000)
    (tmp_path / "clean" / "alone.wav").write_text("not audio")
    (tmp_path / "log_testset.txt").write_text("file noise clip snr\n1 rain 7.5\n")
    with pytest.raises(common.SomeFailed, match="2 of 3 recordings could not be measured"):
        evaluate.run(model=str(path), output=str(tmp_path / "out"), **folders)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["recordings"] == 1 and "one of the two" in report["skipped"]["alone.wav"]
    assert "100 samples" in report["skipped"]["0.wav"] and set(report["by_snr"]) == {"7.5"}
    with pytest.raises(common.UserError, match="together"):
        evaluate.run(model=str(path), output=str(tmp_path / "out"), **folders | {"noisy_dir": None})


# In its own process, because tests import everything. TensorFlow and Keras import some of these packages themselves.
DENOISING = """
import sys
import keras, tensorflow
before = set(sys.modules)
from apps.audio_denoising import denoise
denoise.run(model=sys.argv[1], input=sys.argv[2], output=sys.argv[3], force=False, rate=16_000, channels=1)
from keras_ae import plots
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert {"keras_ae", "soundfile", "soxr"} <= new, new
assert not {"sklearn", "tensorflow_datasets", "tensorflow_probability", "matplotlib"} & new, new
"""


def test_denoising_imports_no_package_that_it_does_not_use(export, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "noisy.wav", tone(0.1, 8000), 8000)
    arguments = [
        sys.executable,
        "-c",
        DENOISING,
        str(export[0]),
        str(tmp_path / "noisy.wav"),
        str(tmp_path / "clean.wav"),
    ]
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-500:]
    assert (tmp_path / "clean.wav").exists()


def test_files_that_a_measure_refuses_are_counted_and_left_out():
    measured = [(2.0, 1.0), (np.nan, 4.0), (3.0, 1.5)]  # all methods on the same recordings
    figures = evaluate.averages([{"model": {"pesq_wb": a}, "noisy": {"pesq_wb": b}} for a, b in measured])
    assert figures["model"]["pesq_wb"] == 2.5 and figures["noisy"]["pesq_wb"] == 1.25
    assert figures["model"]["undefined"] == figures["noisy"]["undefined"] == {"pesq_wb": 1}
    assert figures["model"]["pesq_wb_standard_error"] == pytest.approx(0.5)
