"""Speech denoising on held-out recordings: `python -m benchmarks.audio_denoising --data=<folder>`.

The folder contains `clean_trainset` and `noise_trainset` for training, and the pairs `clean_testset_wav` and
`noisy_testset_wav`, which were used neither in training nor to choose settings.

1. Runs the app's `train`, for the minutes of CPU time in `METHODS`, and `evaluate`, for the default and for SEGAN.
2. Clean input: PESQ of the output for the clean test recordings, with the input as the reference.
3. Speed on one core: real-time factor on whole recordings and frame by frame.
4. Memory: the difference between the peaks of `denoise` on an hour and on a minute of sound.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import functools
import json
import os
import pathlib
import resource
import shutil
import tempfile
import time

import numpy as np

from apps import common
from apps.audio_denoising import evaluate, served, settings, train
from benchmarks import options, results, runs
from keras_ae import serving
from keras_ae.datasets import audio
from keras_ae.datasets import speech as speech_data
from keras_ae.evaluation import speech
from keras_ae.utils import files

METHODS = {"causal": 80.0, "segan": 80.0}  # minutes of CPU time divided by the number of cores
CLAIMS = {"causal": "the default, causal", "segan": "SEGAN, a quarter of the paper's width"}
BESIDE = {"noisy": "noisy speech", "wiener": "Wiener filter", "spectral_gating": "spectral gating"}
METRICS = {
    "pesq_wb": ("PESQ, wide band", 2.00, 2.3),
    "stoi": ("STOI", 0.925, 0.945),
    "si_sdr": ("SI-SDR, dB", 13.5, 15.5),
    "pesq_nb": ("PESQ, narrow band", None, None),
    "ssnr": ("segmental SNR, dB", None, None),
    "csig": ("CSIG", None, None),
    "cbak": ("CBAK", None, None),
    "covl": ("COVL", None, None),
}
LIMITS = (
    "Speech of a few speakers in four languages, eight kinds of noise and synthetic ones; 16 kHz. Music, far or "
    "overlapping speakers and echo were not trained on. It may remove parts of voices that are unlike those in "
    "training."
)
LICENCE = "trained on Asterisk core sounds, CC BY-SA 3.0, and noise of ESC-10 (Piczak 2015), CC BY 3.0"
DOCS = results.DOCS
COMMAND = "python -m benchmarks.audio_denoising --data=speech"
RATE, SECONDS = 16_000, 60
LENGTHS = (3600, 60)  # seconds of sound for the memory comparison
CHANGES = {}  # to the default settings
SMOKE = {
    "METHODS": {"causal": 80.0},
    "CHANGES": {
        **{"frame": 128, "hop": 64, "units": 8, "depth": 1, "taps": 2, "window": 4096, "batch_size": 2},
        **{"epochs": 1, "batches": 2, "validation": 1},
    },
    "SECONDS": 12,
    "LENGTHS": (20, 10),
}


def measure(method, folder):
    """Runs the app's `train` and `evaluate`; returns their reports, and the PESQ of clean speech after denoising."""
    data = pathlib.Path(options.data("spoken"))
    minutes = options.minutes(METHODS[method])

    def trained(own):
        flags = {"clean_dir": str(data / "clean_trainset"), "noise_dir": str(data / "noise_trainset"), "method": method}
        flags |= {"max_minutes": minutes, "export_dir": str(own / "export"), "checkpoint_dir": str(own / "checkpoint")}
        runs.apart(train_for_processor_time, flags | {"seed": options.SEED.value}, CHANGES)
        return json.loads((own / "report.json").read_text())

    found = {"train": runs.kept(folder, "training", trained, {"minutes": minutes})}
    flags = {"clean_dir": str(data / "clean_testset_wav"), "noisy_dir": str(data / "noisy_testset_wav")}
    evaluate.run(model=str(export(folder)), output=str(folder / "evaluate"), **flags)
    found["evaluate"] = json.loads((folder / "evaluate" / "report.json").read_text())
    found["evaluate"].pop("each")
    denoiser, scores, start = served.Denoiser(export(folder)), [], time.perf_counter()
    for path in audio.files(data / "clean_testset_wav"):
        clean = audio.read(path, rate=RATE)[0].mean(axis=1)
        scores.append(speech.pesq_wb(clean, denoiser.denoise(clean[None])[0]))
    return found | {"clean": scores, "clean_seconds": time.perf_counter() - start}


def export(folder):
    """Returns the path of the export in a method's run folder."""
    return folder / "training" / "export"


def train_for_processor_time(flags, changes):
    """Runs the app's `train` with changed settings and `runs.ProcessorTime` minutes; needs its own process."""
    settings.METHODS[flags["method"]] |= changes
    common.TimeBudget.clock = staticmethod(runs.ProcessorTime.clock)
    train.run(**{"noisy_dir": None, "strategy": "default"} | flags)


def one_core(function, *arguments):
    return runs.apart(function, *arguments, cores={0})


def real_time_factors(export, length=SECONDS):
    """Returns the real-time factors: for `length` seconds at once, and for 10 s as a stream, frame by frame."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    denoiser = served.Denoiser(export)
    x = 0.1 * np.random.default_rng(0).normal(size=(1, length * RATE)).astype("float32")
    denoiser.denoise(x)
    start = time.perf_counter()
    denoiser.denoise(x)
    factors = {"offline": (time.perf_counter() - start) / length}
    stream = tf.saved_model.load(str(denoiser.path)).signatures["stream"]
    state = tf.zeros([1, denoiser.card["stream"]["state"]])
    frames = np.split(x[:, : 10 * RATE // denoiser.frame * denoiser.frame], 10 * RATE // denoiser.frame, axis=1)
    for i, frame in enumerate(frames):
        if i == 1:  # the first call traces
            start = time.perf_counter()
        state = stream(frame=tf.constant(frame), state=state)["state"]
    seconds = time.perf_counter() - start
    return factors | {"stream": seconds / ((len(frames) - 1) * denoiser.frame / RATE)}


def memory(export, seconds):
    """Returns the peak memory in bytes of this process after it denoises a file of the given length in seconds."""
    from apps.audio_denoising import denoise

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        blocks = (0.1 * rng.normal(size=(RATE * 10, 1)).astype("float32") for _ in range(seconds // 10))
        audio.write(folder / "long.wav", blocks, RATE)
        denoise.file(served.Denoiser(export), folder / "long.wav", folder / "clean.wav", progress=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def speed(export):
    start = time.perf_counter()
    longest, short = (one_core(memory, export, seconds) for seconds in LENGTHS)
    figures = one_core(real_time_factors, export, SECONDS) | {"hour_over_minute_bytes": longest - short}
    return figures | {"seconds": time.perf_counter() - start}


def rows(reports, figures):
    """Returns the rows of the table, from the reports by method and the results of `speed`."""
    made = []
    for method, report in reports.items():
        evaluated, seconds = report["evaluate"], report["train"]["train_seconds"]
        shared = {"seeds": [report["train"]["seed"]], "command": COMMAND, "seconds": seconds}
        shared |= {"date": report["date"], "versions": report["versions"], "better": "higher"}
        data = f"{evaluated['recordings']} test recordings"
        ways = {"model": CLAIMS[method]} | (BESIDE if method == "causal" else {})
        for way, claim in ways.items():
            for name, (metric, required, target) in METRICS.items():
                each = {"claim": claim, "data": data, "metric": metric, "ours": evaluated["methods"][way][name]}
                each |= {"standard_error": evaluated["methods"][way][f"{name}_standard_error"]}
                marks = {"required": required, "target": target} if way == "model" and method == "causal" else {}
                made.append(results.row(**each, **marks, **shared))
        for way in ("wiener", "spectral_gating"):
            for name in (name for name, (_, required, _) in METRICS.items() if required):
                gain = evaluated["methods"]["model"][name] - evaluated["methods"][way][name]
                beside = f"the {BESIDE[way]}" if way == "wiener" else BESIDE[way]
                each = {"claim": f"{CLAIMS[method]}: gain over {beside}", "data": data, "ours": gain}
                each |= {"metric": METRICS[name][0], "required": 0.0 if method == "causal" else None}
                made.append(results.row(**each, **shared))
        each = {"claim": f"{CLAIMS[method]}: training", "data": "clean_trainset, noise_trainset"}
        each |= {"metric": "minutes on two cores"}
        made.append(results.row(**each, ours=seconds / 60, required=90.0, **shared | {"better": "lower"}))
    report = reports["causal"]
    shared = {"seeds": [report["train"]["seed"]], "command": COMMAND, "seconds": report["clean_seconds"]}
    shared |= {"date": report["date"], "versions": report["versions"]}
    scores = np.array(report["clean"])
    each = {"claim": f"{CLAIMS['causal']}: clean speech in", "metric": "PESQ, wide band", "better": "higher"}
    each |= {"data": f"{len(scores)} clean test recordings", "required": 3.5, "ours": scores.mean()}
    made.append(results.row(**each, standard_error=scores.std(ddof=1) / np.sqrt(len(scores)), **shared))
    noise, shared = f"{SECONDS} s of noise, one core", shared | {"better": "lower", "seconds": figures["seconds"]}
    for claim, key, required in (("whole recordings", "offline", 0.10), ("frame by frame", "stream", 0.25)):
        each = {
            "claim": f"{CLAIMS['causal']}: {claim}",
            "data": noise,
            "metric": "real-time factor",
            "required": required,
        }
        made.append(results.row(**each, ours=figures[key], **shared))
    each = {
        "claim": "denoise: extra peak memory for one hour compared with one minute",
        "data": "noise, 16 kHz",
        "required": 50.0,
    }
    made.append(results.row(**each, metric="MB", ours=figures["hour_over_minute_bytes"] / 1e6, **shared))
    return made


def page(evaluated):
    """Returns a Markdown page with the default's results by noise and by SNR."""
    lines = [
        "# Speech denoising by noise and by SNR",
        "",
        f"The {evaluated['recordings']} test recordings, noisy and denoised; means ± standard errors. Written by",
        f"`{COMMAND} --publish`.",
    ]
    columns = ("pesq_wb", "stoi", "si_sdr")
    for label, groups in (("noise", evaluated["by_noise"]), ("SNR, dB", evaluated["by_snr"])):
        head = [label, "recordings", *(f"{METRICS[name][0]}, {of}" for name in columns for of in ("noisy", "denoised"))]
        lines += ["", f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
        for value, group in sorted(groups.items(), key=lambda item: (_number(item[0]), item[0])):
            cells = [
                f"{group[way][name]:.3f} ± {group[way][f'{name}_standard_error']:.3f}"
                for name in columns
                for way in ("noisy", "model")
            ]
            lines.append(f"| {value.replace('_', ' ')} | {group['recordings']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _number(text):
    try:
        return float(text)
    except ValueError:
        return 0.0


def main(_):
    folder, reports = options.runs("audio_denoising"), {}
    for method in options.only(METHODS):
        of = settings.of(method) | {"augmentation": speech_data.AUGMENTATION, "seed": options.SEED.value}
        of |= {"minutes": options.minutes(METHODS[method])}
        reports[method] = runs.kept(folder, method, functools.partial(measure, method), of)
    if len(reports) < len(METHODS):
        return
    best = export(folder / "causal")
    of = {"model": str(serving.newest(best)), "written": os.path.getmtime(serving.newest(best))}
    figures = runs.kept(folder, "speed", lambda _: speed(str(best)), of)
    results.write("audio_denoising", rows(reports, figures))
    if options.publish():
        evaluated = reports["causal"]["evaluate"]
        files.write_text(DOCS / "audio_denoising.md", page(evaluated))
        shutil.copy(folder / "causal" / "evaluate" / "denoising.png", DOCS / "audio_denoising.png")
        numbers = {name: evaluated[name] for metric in METRICS for name in (metric, f"{metric}_standard_error")}
        target = results.SAVED_MODELS / "audio_denoising" / "1"
        runs.publish(best, target, numbers, command=f"{COMMAND} --publish", limits=LIMITS, licence=LICENCE)


if __name__ == "__main__":
    options.run(main)
