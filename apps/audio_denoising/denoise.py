"""Takes noise out of recordings: a file, a folder, or a live stream on a pipe.

python -m apps.audio_denoising.denoise --input=noisy.flac --output=clean.flac
python -m apps.audio_denoising.denoise --input=recordings --output=cleaned
arecord -f S16_LE -r 16000 -t raw | python -m apps.audio_denoising.denoise --input=- | aplay -f S16_LE -r 16000 -t raw

Rate, channels, length and level of a recording stay. The model works on each channel by itself and at 16 kHz: what is
above 8 kHz is left out. Of a pipe, input and output are samples of 16 bits, little-endian, channels interleaved; what
comes out is late by the delay in the report, which then goes to stderr.
"""

import json
import pathlib
import sys
import time
from collections import Counter

import numpy as np
from absl import flags
from tqdm import tqdm

from apps import common
from apps.audio_denoising import served
from keras_ae.datasets import audio, speech

# Of a file in one go, and of a model that does not stream: the whole.
_SECONDS = 10.0
_DEMONSTRATION_DB = 5.0


def define_flags():
    return {
        "model": flags.DEFINE_string("model", served.EXPORT_DIR, "Export folder of the model; its newest version."),
        "input": flags.DEFINE_string(
            "input",
            None,
            "A file, a folder of files, or - for raw samples on stdin. By default an embedded sentence with noise.",
        ),
        "output": flags.DEFINE_string(
            "output",
            "runs/audio_denoising/denoise",
            "File to write, or the folder for files under the names that they have; stdout for --input=-.",
        ),
        "force": flags.DEFINE_bool("force", False, "Replaces files that exist, which are left alone otherwise."),
        "rate": flags.DEFINE_integer("rate", 16_000, "Hz, of the raw samples of --input=-.", lower_bound=1),
        "channels": flags.DEFINE_integer("channels", 1, "Channels of the raw samples of --input=-.", lower_bound=1),
    }


def run(model, input, output, force, rate, channels):
    """Denoises; prints and writes the report. Arguments: the flags."""
    start = time.perf_counter()
    with common.user_input():
        denoiser = served.Denoiser(model)
    if input == "-":
        with common.user_input():
            seconds = pipe(denoiser, sys.stdin.buffer, sys.stdout.buffer, rate, channels)
        figures = {"seconds_of_audio": seconds, "delay_samples": denoiser.delay, "rate": rate}
        figures |= {"seconds": time.perf_counter() - start}
        print(json.dumps(common.plain(figures)), file=sys.stderr, flush=True)
        return
    folder = common.writable(output if input is None or pathlib.Path(input).is_dir() else pathlib.Path(output).parent)
    with common.user_input():
        jobs = planned(input, pathlib.Path(output), folder)
    skipped, seconds, done = Counter(), 0.0, []
    for path, target in tqdm(jobs, "Denoising", unit=" files", disable=len(jobs) == 1):
        try:
            if target.exists() and not force:
                raise FileExistsError(f"{str(target)!r} exists; --force replaces it.")
            seconds += file(denoiser, path, target, progress=len(jobs) == 1)
            done.append(target)
        except (ValueError, OSError) as error:
            if len(jobs) == 1:
                raise common.UserError(str(error)) from error
            print(f"skipped: {error}", file=sys.stderr)
            skipped["exists" if isinstance(error, FileExistsError) else "not readable"] += 1
    took = time.perf_counter() - start
    figures = {"files": len(done), "skipped": skipped, "seconds_of_audio": seconds, "model": denoiser.path}
    figures |= {"real_time_factor": took / seconds if seconds else None, "seconds": took}
    common.report(figures | {"output": output}, folder)


def planned(input, output, folder):
    """Pairs of a file to read and one to write.

    Raises:
        ValueError: if there is nothing to read, or a file would be written over what is read.
    """
    if input is None:
        return [(demonstration(folder), folder / "denoised.wav")]
    input = pathlib.Path(input)
    if input.is_dir():
        jobs = [(path, output / path.relative_to(input)) for path in audio.files(input)]
    else:
        jobs = [(input, output)]
    for path, target in jobs:
        if path.resolve() == target.resolve():
            raise ValueError(f"--output: {str(target)!r} is the recording itself. Write beside it.")
    # Some formats can be read, but not written.
    return [(path, target if audio.writable(target) else target.with_suffix(".wav")) for path, target in jobs]


def demonstration(folder):
    """Writes an embedded sentence with embedded noise to `folder/noisy.wav`; returns its path."""
    clean, noise = (audio.read(audio.files(each)[0])[0][:, 0] for each in speech.embedded())
    samples = min(len(clean), len(noise))
    noisy = speech.mix(clean[:samples], noise[:samples], _DEMONSTRATION_DB)
    audio.write(folder / "noisy.wav", noisy / max(1.0, np.abs(noisy).max()), 16_000)
    return folder / "noisy.wav"


def file(denoiser, path, target, progress):
    """Denoises one file to another, in memory that does not grow with its length; returns its seconds."""
    header = audio.header(path)
    seconds = header.frames / header.rate
    with tqdm(total=seconds, unit=" s", disable=not progress) as bar:

        def counted(blocks):
            for block in blocks:
                bar.update(len(block) / denoiser.rate)
                yield block

        if denoiser.frame is None:
            noisy, _ = audio.read(path, rate=denoiser.rate)
            clean = iter([denoiser.denoise(np.ascontiguousarray(noisy.T)).T])
        else:
            clean = streamed(denoiser, audio.blocks(path, _SECONDS, rate=denoiser.rate), header.channels)
        clean = audio.resample_blocks(counted(clean), denoiser.rate, header.rate, header.frames)
        audio.write(target, clean, header.rate, audio.subtype(path, target))
    return seconds


def streamed(denoiser, blocks, channels):
    """Clean blocks `(t, C)` of noisy ones, together as long as these: the stream's delay is taken out."""
    stream, late, left = denoiser.stream(channels), denoiser.delay, 0

    def noisy():
        nonlocal left
        for block in blocks:
            left += len(block)
            yield block
        # Silence behind the last block brings out what is still inside.
        yield np.zeros((denoiser.delay + denoiser.frame, channels), "float32")

    for block in noisy():
        made = stream.feed(np.ascontiguousarray(block.T)).T
        made, late = made[late:], max(0, late - len(made))
        made = made[:left]
        left -= len(made)
        if len(made):
            yield made


def pipe(denoiser, source, sink, rate, channels):
    """Denoises raw samples from one binary stream to another as they come; returns their seconds.

    Raises:
        ValueError: if the rate is none that audio has, the model does not stream, or the last sample is cut in two.
    """
    audio.check_rate(rate)
    width, rest, frames = 2 * channels, b"", 0

    def blocks():
        nonlocal rest, frames
        while data := source.read1(1 << 16):
            data = rest + data
            whole = len(data) // width * width
            data, rest = data[:whole], data[whole:]
            frames += whole // width
            if whole:
                yield (np.frombuffer(data, "<i2").reshape(-1, channels) / np.float32(1 << 15)).astype("float32")

    noisy = audio.resample_blocks(blocks(), rate, denoiser.rate)
    for block in audio.resample_blocks(streamed(denoiser, noisy, channels), denoiser.rate, rate):
        samples = np.clip(np.round(block * (1 << 15)), -(1 << 15), (1 << 15) - 1)
        sink.write(samples.astype("<i2").tobytes())
        sink.flush()
    if rest:
        raise ValueError(
            f"--input=-: the last {len(rest)} bytes are no whole sample of {channels} channels of 16 bits."
        )
    return frames / rate


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
