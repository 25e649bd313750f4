"""Removes noise from recordings: a file, a folder, or a live stream on a pipe.

keras-ae denoise --input=noisy.flac --output=clean.flac
keras-ae denoise --input=recordings --output=cleaned
arecord -f S16_LE -r 16000 -t raw | keras-ae denoise --input=- | aplay -f S16_LE -r 16000 -t raw

The sample rate, channels, length and level of a recording are preserved. The model processes each channel separately
at 16 kHz, so frequencies above 8 kHz are lost. Existing files are only replaced with --force. For a folder, the report
lists the skipped files with reasons, and the exit code is 2 if any recording was skipped. `report.json` is written to
the output folder, unless another program's file of that name is there.

On a pipe, input and output are 16-bit little-endian samples with interleaved channels, and equal in number. The first
line on stderr states the maximum delay of the output; the report goes to stderr too.
"""

import itertools
import json
import pathlib
import sys
import time

import numpy as np
from absl import flags

from keras_ae.datasets import audio, speech
from keras_ae.utils import files, plain

from .. import common
from ..progress import progress_bar
from . import served

OUTPUT = "runs/audio_denoising/denoise"
# Length of the blocks in which a file is read.
_SECONDS = 10.0
# Samples in a window of a model that cannot stream, and in the margin on either side. The receptive field of SEGAN's
# eleven layers is 62,000 samples, and both sizes are multiples of their stride.
_WINDOW, _MARGIN = 2**18, 2**16
_DEMONSTRATION_DB = 5.0
# Identifies a report of this app.
_REPORT = '"real_time_factor"'
_HIDDEN = "it is hidden"


def define_flags():
    return {
        "model": common.define_model("that denoises"),
        "input": flags.DEFINE_string(
            "input",
            None,
            "A file, a folder of files, or - for raw samples on stdin. By default, an embedded sentence with noise.",
        ),
        "output": flags.DEFINE_string(
            "output",
            None,
            f"File to write (.wav, .flac or .ogg), or a folder, where files keep their names; by default {OUTPUT}. Not "
            "allowed with --input=-, which writes to stdout.",
        ),
        "force": flags.DEFINE_bool("force", False, "Replace existing files; otherwise they are kept."),
        "rate": flags.DEFINE_integer("rate", 16_000, "Sample rate of --input=-, in Hz.", *audio.RATES),
        "channels": flags.DEFINE_integer(
            "channels", 1, "Channels in the raw samples of --input=-.", 1, audio.MAX_CHANNELS
        ),
    }


def run(model, input, output, force, rate, channels):
    """Denoises; prints and writes the report. Arguments: the flags."""
    common.require("soundfile", "soxr")
    with common.user_input():
        denoiser = served.Denoiser(model)
    start = time.perf_counter()
    if input == "-":
        if output is not None:
            raise common.UserError(f"--output: expected none, as --input=- writes to stdout; received {output!r}.")
        with common.user_input():
            stream = {"rate": rate, "channels": channels, "delay_ms": pipe_delay(denoiser, rate)}
            print(json.dumps(stream), file=sys.stderr, flush=True)
            seconds = pipe(denoiser, sys.stdin.buffer, sys.stdout.buffer, rate, channels)
        figures = stream | {"seconds_of_audio": seconds, "seconds": time.perf_counter() - start}
        print(json.dumps(plain.json_values(figures)), file=sys.stderr, flush=True)
        return
    output = output or OUTPUT
    with common.user_input():
        jobs = planned(input, pathlib.Path(output))
        for folder in sorted({target.parent for _, target in jobs}):
            common.writable(folder)
        if input is None:
            demonstration(jobs[0][0], force)
    is_folder = input is not None and pathlib.Path(input).is_dir()
    skipped, lost = {}, []
    summary = pathlib.Path(output if is_folder else jobs[0][1].parent) / "report.json"
    with common.user_input():
        is_foreign = summary.exists() and _REPORT not in summary.read_text(errors="replace")
        if is_folder:
            skipped = not_read(input, output)
            lost = [path for path, reason in skipped.items() if audio.is_named(path) and reason != _HIDDEN]
            if is_foreign:
                check_new(summary, force)
    seconds, done = 0.0, []
    for path, target in progress_bar(jobs, "Denoising", unit=" files", disable=not is_folder):
        try:
            check_new(target, force)
            seconds += file(denoiser, path, target, progress=not is_folder)
            done.append(target)
        except (ValueError, OSError) as error:
            if not is_folder:
                raise common.UserError(str(error)) from error
            print(f"skipped: {error}", file=sys.stderr)
            skipped[str(path)] = str(error)
    took = time.perf_counter() - start
    figures = {"files": len(done), "skipped": skipped, "seconds_of_audio": seconds, "model": denoiser.path}
    figures |= {"real_time_factor": took / seconds if seconds else None, "seconds": took, "output": output}
    if is_foreign and not force:
        print(f"not written: {str(summary)!r} exists and was not written by this program.", file=sys.stderr)
        print(json.dumps(plain.json_values(figures)), flush=True)
    else:
        common.report(figures, summary.parent)
    if not done:
        raise common.UserError(f"No file was written; {len(skipped)} were skipped.")
    if failed := len(jobs) - len(done) + len(lost):
        raise common.SomeFailed(f"{failed} of {len(jobs) + len(lost)} recordings were not denoised.")


def not_read(input, output):
    """Returns `{path: reason}` for each file below a folder that is skipped because `audio.files` does not list it."""
    inside = _inside(input, output)
    others = set(pathlib.Path(input).rglob("*")) - set(audio.files(input))
    reasons = {}
    for path in sorted(path for path in others if not inside(path)):
        if path.is_symlink() and not path.exists():
            reasons[str(path)] = "it is a broken link"
        elif files.is_regular(path):
            is_hidden = any(part.startswith(".") for part in path.relative_to(input).parts)
            reasons[str(path)] = _HIDDEN if is_hidden else "its name does not end in a WAV, FLAC or OGG suffix"
        elif not path.is_dir():
            reasons[str(path)] = "it is not a regular file"
    return reasons


def _inside(input, output):
    """Returns a function that tells whether a path is in an output folder inside the input, so from an earlier run."""
    input, output = pathlib.Path(input).resolve(), pathlib.Path(output).resolve()
    within = output != input and output.is_relative_to(input)
    return lambda path: within and path.resolve().is_relative_to(output)


def check_new(path, force):
    """Raises a `FileExistsError` if the file exists, unless `force` allows replacing it."""
    if path.exists() and not force:
        raise FileExistsError(f"{str(path)!r} exists. Replace it with --force.")


def planned(input, output):
    """Returns pairs (file to read, file to write).

    Raises:
        FileNotFoundError: if the input does not exist.
        ValueError: if there is nothing to read, the format cannot be written, an input would be overwritten, or two
            inputs would be written to the same file.
    """
    if input is None:
        return [(output / "noisy.wav", output / "denoised.wav")]
    input = pathlib.Path(input)
    if not input.exists():
        raise FileNotFoundError(f"{str(input)!r} does not exist.")
    if input.is_dir():
        inside = _inside(input, output)
        jobs = [(path, output / path.relative_to(input)) for path in audio.files(input) if not inside(path)]
    elif output.is_dir() or not output.suffix:
        jobs = [(input, output / input.name)]
    elif audio.writable(output):
        jobs = [(input, output)]
    else:
        raise ValueError(f"--output: expected a folder or a .wav, .flac or .ogg file; received {str(output)!r}.")
    # Some formats can be read but not written.
    jobs = [
        (path, target if audio.writable(target) else target.with_name(f"{target.name}.wav")) for path, target in jobs
    ]
    read = {path.resolve() for path, _ in jobs}
    for path, target in jobs:
        if target.resolve() in read or (target.exists() and path.exists() and target.samefile(path)):
            raise ValueError(f"--output: {str(target)!r} is the recording itself. Choose another name or folder.")
    if len({target for _, target in jobs}) < len(jobs):
        raise ValueError(f"--input: several files of {str(input)!r} would be written to one file. Rename them.")
    return jobs


def demonstration(path, force):
    """Writes an embedded sentence with embedded noise to `path`."""
    check_new(path, force)
    clean, noise = (audio.read(audio.files(each)[0])[0][:, 0] for each in speech.embedded())
    samples = min(len(clean), len(noise))
    noisy = speech.mix(clean[:samples], noise[:samples], _DEMONSTRATION_DB)
    audio.write(path, noisy / max(1.0, np.abs(noisy).max()), 16_000)


def file(denoiser, path, target, progress):
    """Denoises one file to another and returns its length in seconds. Memory use does not depend on the length."""
    header = audio.header(path)
    seconds = header.frames / header.rate
    with progress_bar(total=seconds, unit=" s", disable=not progress) as bar:

        def counted(blocks):
            for block in blocks:
                bar.update(min(len(block) / denoiser.rate, bar.total - bar.n))  # resampling may make it slightly longer
                yield block

        noisy = audio.blocks(path, _SECONDS, rate=denoiser.rate, clip=False)
        clean = windowed(denoiser, noisy) if denoiser.frame is None else streamed(denoiser, noisy, header.channels)
        clean = audio.resample_blocks(counted(clean), denoiser.rate, header.rate, header.frames)
        audio.write(target, clean, header.rate, audio.subtype(path, target), header.frames)
    return seconds


def streamed(denoiser, blocks, channels):
    """Yields clean blocks `(t, C)` of noisy ones, of the same total length: the stream's delay is removed."""
    stream, late, left = denoiser.stream(channels), denoiser.delay, 0

    def noisy():
        nonlocal left
        for block in blocks:
            left += len(block)
            yield block
        # Silence after the last block flushes the samples that are still in the stream.
        yield np.zeros((denoiser.delay + denoiser.frame, channels), "float32")

    for block in noisy():
        made = stream.feed(np.ascontiguousarray(block.T)).T
        made, late = made[late:], max(0, late - len(made))
        made = made[:left]
        left -= len(made)
        if len(made):
            yield made


def windowed(denoiser, blocks):
    """Yields clean blocks `(t, C)` of noisy ones from a non-causal model, window by window with a margin."""
    x, before = next(blocks), 0
    for block in itertools.chain(blocks, [None]):
        x = x if block is None else np.concatenate([x, block])
        while len(x) >= before + _WINDOW + _MARGIN or (block is None and len(x) > before):
            made = denoiser.denoise(np.ascontiguousarray(x[: before + _WINDOW + _MARGIN].T)).T
            yield made[before : before + _WINDOW]
            x, before = x[max(0, before + _WINDOW - _MARGIN) :], _MARGIN


def pipe_delay(denoiser, rate):
    """Returns the maximum delay of `pipe` in milliseconds: frame, model delay, and resampling before and after.

    Raises:
        ValueError: as in `pipe`, except for an incomplete last sample.
    """
    denoiser.check_streams()
    resampling = 2 * audio.prompt_delay(rate, denoiser.rate)
    return 1000 * ((denoiser.frame + denoiser.delay) / denoiser.rate + resampling)


def pipe(denoiser, source, sink, rate, channels):
    """Denoises raw samples from one binary stream to another as they arrive; returns their length in seconds.

    Writes as many samples as it reads.

    Raises:
        ValueError: if the model cannot stream, the rate is invalid or its ratio to the model's rate is too slow to
            resample live (`audio.prompt_delay`), or the last sample is incomplete.
    """
    pipe_delay(denoiser, rate)
    width, rest, frames, written = 2 * channels, b"", 0, 0

    def blocks():
        nonlocal rest, frames
        while data := source.read1(1 << 16):
            data = rest + data
            whole = len(data) // width * width
            data, rest = data[:whole], data[whole:]
            frames += whole // width
            if whole:
                yield (np.frombuffer(data, "<i2").reshape(-1, channels) / np.float32(1 << 15)).astype("float32")

    noisy = audio.resample_blocks(blocks(), rate, denoiser.rate, prompt=True)
    clean = audio.resample_blocks(streamed(denoiser, noisy, channels), denoiser.rate, rate, prompt=True)
    for block in clean:
        block = block[: frames - written]  # rounding twice may give one sample too many or too few
        written += len(block)
        samples = np.clip(np.round(block * (1 << 15)), -(1 << 15), (1 << 15) - 1)
        sink.write(samples.astype("<i2").tobytes())
        sink.flush()
    sink.write(bytes(width * (frames - written)))
    sink.flush()
    if rest:
        raise ValueError(
            f"--input=-: the last {len(rest)} bytes are not a whole sample of {channels} channels of 16 bits. Check "
            "--channels."
        )
    return frames / rate


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
