"""Evaluates a denoising model on pairs of recordings, next to two classical methods.

keras-ae audio_denoising evaluate
keras-ae audio_denoising evaluate --clean_dir=clean_testset_wav --noisy_dir=noisy_testset_wav

Recordings are averaged over channels and compared at 16 kHz. If a file `log_testset.txt` next to the folders lists the
noise and SNR of each recording, as in VoiceBank-DEMAND, the report also has results for each noise and SNR.
"""

import contextlib
import functools
import pathlib
import sys
import time
from collections import defaultdict

import numpy as np
from absl import flags

from keras_ae import plots
from keras_ae.datasets import audio, speech
from keras_ae.evaluation.speech import measures

from .. import common
from ..progress import progress_bar
from . import baselines, served

RATE = 16_000
# SNRs in dB at which each held-out embedded sentence is mixed with each held-out noise.
EMBEDDED_DB = (2.5, 7.5, 12.5, 17.5)
# The figure shows the first recording of at least this length.
_SHOWN_SECONDS = 1.0


def define_flags():
    return {
        "model": common.define_model("that is measured"),
        "clean_dir": flags.DEFINE_string(
            "clean_dir", None, "Clean recordings. By default, the embedded ones that `train` holds out, with noise."
        ),
        "noisy_dir": flags.DEFINE_string("noisy_dir", None, "The same recordings with noise, under the same names."),
        "output": flags.DEFINE_string(
            "output", "runs/audio_denoising/evaluate", "Folder for report.json and the figure, separate from the model."
        ),
    }


def run(model, clean_dir, noisy_dir, output):
    """Evaluates the model, draws the figure, and prints and writes the report. Arguments: the flags."""
    start = time.perf_counter()
    common.require("matplotlib", "noisereduce", "pesq", "pystoi", "soundfile", "soxr")
    folder = common.writable(output)
    with common.user_input():
        denoiser = served.Denoiser(model)
        data = embedded() if clean_dir is None and noisy_dir is None else recordings(clean_dir, noisy_dir)
    ways = {
        "noisy": lambda noisy: noisy,
        "model": lambda noisy: denoiser.denoise(noisy[None])[0],
        "spectral_gating": lambda noisy: baselines.spectral_gating(noisy, RATE),
        "wiener": lambda noisy: baselines.wiener(noisy, RATE),
    }
    found, shown, skipped = [], None, {}
    for name, load, labels in progress_bar(data, "Measuring", unit=" recordings"):
        try:
            clean, noisy = load()
            made = {way: process(noisy) for way, process in ways.items()}
            each = {way: measures(clean, processed, RATE) for way, processed in made.items()}
        except (ValueError, OSError) as error:
            skipped[name] = str(error)
            print(f"skipped: {name}: {error}", file=sys.stderr)
            continue
        found.append({"recording": name, **labels, "measures": each})
        if shown is None and len(clean) >= _SHOWN_SECONDS * RATE:
            shown = {"clean": clean, "noisy": noisy, "denoised": made["model"]}
    if not found:
        raise common.UserError(f"No recording could be measured: {skipped}.")
    methods = averages([each["measures"] for each in found])
    figures = methods["model"] | {f"noisy_{name}": value for name, value in methods["noisy"].items()}
    figures |= {"methods": methods, "by_noise": grouped(found, "noise"), "by_snr": grouped(found, "snr")}
    print(f"{len(found)} recordings\n{table(methods)}", file=sys.stderr)
    figures |= {"recordings": len(found), "skipped": skipped, "each": found}
    figures |= {"model": denoiser.path}
    common.keep(figures, folder)
    path = folder / "denoising.png"
    if shown:
        common.save_figure(plots.spectrograms(shown, RATE), path)
    common.report(figures | {"figure": shown and path, "seconds": time.perf_counter() - start}, folder)
    if skipped:
        raise common.SomeFailed(f"{len(skipped)} of {len(data)} recordings could not be measured.")


def recordings(clean_dir, noisy_dir):
    """Returns triples (name, function that reads (clean, noisy) `(T,)` at 16 kHz, labels `{"noise": ..., "snr": ...}`).

    The function raises a `ValueError` if a file has no counterpart of the same name, or cannot be read.

    Raises:
        ValueError: if a folder is missing, or no file has a counterpart.
    """
    if clean_dir is None or noisy_dir is None:
        raise ValueError("Expected --clean_dir and --noisy_dir together, or neither.")
    labels = logged(pathlib.Path(noisy_dir).resolve().parent / "log_testset.txt")
    clean, noisy = (
        {path.relative_to(each).as_posix(): path for path in audio.files(each)} for each in (clean_dir, noisy_dir)
    )
    if not clean.keys() & noisy.keys():
        raise ValueError(f"--clean_dir and --noisy_dir: {clean_dir!r} and {noisy_dir!r} have no file names in common.")

    def load(name):
        if name not in clean or name not in noisy:
            raise ValueError(f"{name!r} is in only one of the two folders.")
        pair = mono(clean[name]), mono(noisy[name])
        if len(pair[0]) != len(pair[1]):
            raise ValueError(f"{name!r}: clean and noisy have {len(pair[0])} and {len(pair[1])} samples at {RATE} Hz.")
        return pair

    names = sorted(clean.keys() | noisy.keys())
    return [(name, functools.partial(load, name), labels.get(pathlib.PurePath(name).stem, {})) for name in names]


def logged(path):
    """Returns the noise and SNR by recording from a log with lines `name noise ... snr`; empty if there is no log."""
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # a heading or an unrelated line
            name, noise, *_, snr = line.split()
            found[pathlib.Path(name).stem] = {"noise": noise, "snr": float(snr)}
    return found


def embedded():
    """Like `recordings`, for every combination of held-out embedded sentence, held-out noise and SNR."""
    clean, noise = ([f for f in audio.files(each) if speech.is_validation(f.name)] for each in speech.embedded())
    return [
        (f"{a.stem}, {b.stem}, {snr} dB", functools.partial(mixed, a, b, snr), {"noise": b.stem, "snr": snr})
        for a in clean
        for b in noise
        for snr in EMBEDDED_DB
    ]


def mixed(clean, noise, snr):
    """Mixes two files at an SNR in dB; returns (clean, noisy) `(T,)`, scaled down if the mixture would clip."""
    clean, noise = mono(clean), mono(noise)
    noisy = speech.mix(clean, np.resize(noise, clean.shape), snr)
    peak = max(1.0, np.abs(noisy).max())
    return clean / peak, noisy / peak


def mono(path):
    """Reads a file at 16 kHz and returns the mean of its channels, float32 `(T,)`."""
    return np.ascontiguousarray(audio.read(path, rate=RATE)[0].mean(axis=1))


def averages(measured):
    """Returns means and standard errors by method, over the recordings where a measure is defined for every method.

    Args:
        measured: list of `{method: {measure: float}}`, one per recording.

    Returns:
        `{method: {measure: mean, measure_standard_error: ...}}`; `undefined` counts the recordings left out.
    """
    found = {way: {"undefined": {}} for way in measured[0]}
    for name in next(iter(measured[0].values())):
        values = np.array([[each[way][name] for way in found] for each in measured], dtype="float64")  # (N, methods)
        defined = values[~np.isnan(values).any(axis=1)]
        for way, column in zip(found, defined.T, strict=True):
            figures, n = found[way], len(column)
            figures[name] = column.mean() if n else np.nan
            figures[f"{name}_standard_error"] = column.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
            if n < len(measured):
                figures["undefined"][name] = len(measured) - n
    return found


def grouped(found, label):
    """Returns `averages` of the noisy recordings and of the model's output, by the values of a label."""
    groups = defaultdict(list)
    for each in found:
        if label in each:
            groups[str(each[label])].append({way: each["measures"][way] for way in ("noisy", "model")})
    return {value: {"recordings": len(group)} | averages(group) for value, group in sorted(groups.items())}


def table(methods):
    """Formats the results as text, one row per method."""
    names = [name for name in methods["noisy"] if f"{name}_standard_error" in methods["noisy"]]
    lines = ["".join([f"{'':16}", *(f"{name:>17}" for name in names)])]
    for way, figures in methods.items():
        cells = (f"{figures[name]:9.3f} ± {figures[f'{name}_standard_error']:5.3f}" for name in names)
        lines.append("".join([f"{way:16}", *(f"{cell:>17}" for cell in cells)]))
    return "\n".join(lines)


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
