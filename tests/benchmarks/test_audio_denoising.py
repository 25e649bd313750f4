"""The tables of the speech denoising benchmark, and its measures of speed and memory, on a small model."""

import pathlib
import shutil

import pytest
from absl import flags
from absl.testing import flagsaver

from apps import common
from apps.audio_denoising import evaluate, served, settings, train
from benchmarks import audio_denoising as benchmark
from keras_ae.datasets import audio, speech

VERSIONED = {"date": "2026-01-02", "versions": {"python": "3.11"}}


def test_rows_hold_the_default_to_its_marks_and_nothing_else():
    figures = {key: 2.0 for name in benchmark.METRICS for key in (name, f"{name}_standard_error")}
    evaluated = {"recordings": 80, "methods": dict.fromkeys(("model", *benchmark.BESIDE), figures)}
    report = {
        "evaluate": evaluated,
        "train": {"train_seconds": 60.0, "seed": 0},
        "clean": [3.0, 4.0],
        "clean_seconds": 5.0,
    }
    report |= VERSIONED
    speed = {"offline": 0.01, "stream": 0.1, "hour_over_minute_bytes": 2e6, "seconds": 7.0}
    made = benchmark.rows(dict.fromkeys(benchmark.METHODS, report), speed)
    rows = {(row["claim"], row["metric"]): row for row in made}
    assert len(rows) == len(made)
    assert rows["the default, causal", "PESQ, wide band"]["required"] == 2.0
    assert rows["SEGAN, a quarter of the paper's width", "PESQ, wide band"]["required"] is None
    assert rows["Wiener filter", "STOI"]["ours"] == 2.0
    gain = rows["the default, causal: gain over the Wiener filter", "STOI"]
    assert gain["ours"] == gain["required"] == 0.0
    clean = rows["the default, causal: clean speech in", "PESQ, wide band"]
    assert clean["ours"] == 3.5 and clean["standard_error"] == pytest.approx(0.5)
    assert rows["the default, causal: training", "minutes on two cores"]["ours"] == 1.0


def test_the_page_orders_groups_and_shows_before_and_after():
    figures = {"pesq_wb": 1.5, "stoi": 0.9, "si_sdr": 10.0}
    figures |= {f"{name}_standard_error": 0.125 for name in figures}
    group = {"recordings": 20, "noisy": figures, "model": figures | {"pesq_wb": 2.5}}
    by_snr = {"17.5": group, "2.5": group, "7.5": group}
    made = benchmark.page({"recordings": 80, "by_noise": {"crying_baby": group}, "by_snr": by_snr})
    rows = [line for line in made.splitlines() if line.startswith("| ")]
    first = [row.strip("| ").split(" | ")[0] for row in rows]
    assert first == ["noise", "crying baby", "SNR, dB", "2.5", "7.5", "17.5"]
    assert "| 20 | 1.500 ± 0.125 | 2.500 ± 0.125 | 0.900 ± 0.125 |" in rows[1]
    assert {row.count("|") for row in rows} == {9}


def test_a_run_trains_once_and_measures_what_it_trained(tmp_path, monkeypatch):
    small = {"frame": 128, "hop": 64, "units": 8, "depth": 1, "taps": 2, "window": 4096, "batch_size": 2}
    monkeypatch.setitem(settings.METHODS, "causal", settings.METHODS["causal"] | small)
    for name, value in {"epochs": 1, "batches": 2, "validation": 1}.items():
        monkeypatch.setitem(settings.SHARED, name, value)
    monkeypatch.setattr(common.TimeBudget, "clock", common.TimeBudget.clock)  # restored afterwards
    monkeypatch.setattr(benchmark.runs, "apart", lambda function, *arguments, cores=None: function(*arguments))
    clean, noise = speech.embedded()
    data = tmp_path / "data"
    shutil.copytree(clean, data / "clean_trainset")
    shutil.copytree(noise, data / "noise_trainset")
    x, y = evaluate.mixed(audio.files(clean)[0], audio.files(noise)[0], 5.0)
    audio.write(data / "clean_testset_wav" / "a.wav", x, 16_000)
    audio.write(data / "noisy_testset_wav" / "a.wav", y, 16_000)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    with flagsaver.flagsaver(data=str(data), minutes=1.0):
        found = benchmark.measure("causal", tmp_path / "run")
        monkeypatch.setattr(benchmark.train, "run", None)  # must not be called again
        again = benchmark.measure("causal", tmp_path / "run")
    assert found["train"]["steps"] == 2 and len(found["clean"]) == 1 and found["clean"] == again["clean"]
    assert found["evaluate"]["recordings"] == 1 and again["train"] == found["train"]
    assert served.Denoiser(benchmark.export(tmp_path / "run")).frame == 64


def speed_and_memory(export):
    """Measures an export in one process; the memory peak of a process never falls."""
    factors = benchmark.real_time_factors(export)
    return factors, [benchmark.memory(export, seconds) for seconds in (20, 320)]


@pytest.mark.processes
def test_speed_and_memory_are_those_of_an_export(tmp_path):
    chosen = settings.of("causal") | {"units": 8, "depth": 1}
    export = str(pathlib.Path(train.export(train.build(chosen, 0), chosen, tmp_path, {})).parent)
    factors, (short, long) = benchmark.one_core(speed_and_memory, export)
    assert set(factors) == {"offline", "stream"}
    # Five more minutes of samples take 19 MB each for input and output, so keeping them in memory would show.
    assert long - short < 15e6
