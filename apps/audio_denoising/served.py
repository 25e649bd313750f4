"""The endpoints of an exported model, and a wrapper for scripts that use it: noisy speech in, clean speech out."""

import numpy as np
import tensorflow as tf

from keras_ae import serving
from keras_ae.datasets import audio

EXPORT_DIR = "runs/audio_denoising/export"


def denoising(model):
    """Returns the function of `serving_default`: audio `(B, T)` and lengths `(B,)` to audio `(B, T)` and valid `(B,)`.

    Samples beyond a row's length are treated as silence, and are silent in the output. A row is invalid, and its output
    silent, if it has NaN, infinity or an impossible length, or if its output would not be finite.
    """

    def one(row):
        audio, length = row
        # At least one sample: strided layers fail on an empty row, and the whole batch fails with them.
        clean = model.call(tf.pad(audio, [[0, 1]])[None, : tf.maximum(length, 1)])[0, :length]
        return tf.pad(clean, [[0, tf.size(audio) - length]])

    def denoise(audio, length):
        size = tf.shape(audio)[1]
        inside = tf.sequence_mask(length, size)
        audio = tf.where(inside, audio, 0.0)
        valid = serving.finite(audio) & (length >= 0) & (length <= size)
        audio = tf.where(valid[:, None], audio, 0.0)
        if hasattr(model.generator, "process"):
            clean = model.call(audio)
        else:  # not causal: padding would change a row's output, so process row by row
            lengths = tf.where(valid, length, 0)
            clean = tf.map_fn(one, (audio, lengths), fn_output_signature=tf.TensorSpec([None], tf.float32))
        valid &= serving.finite(clean)
        return {"audio": tf.where(inside & valid[:, None], clean, 0.0), "valid": valid}

    return denoise


def streaming(model):
    """Returns the function of `stream`: frame `(B, N)` and state `(B, S)` to the delayed clean frame and the new state.

    The output lags by `delay_samples`. `stream_blocks` uses the same function, with any number of frames in N: this
    needs fewer calls when latency does not matter. It takes one row: a server that pads rows of different lengths would
    leave them in the state that follows silence.

    A frame with NaN or infinity is processed as silence. A state that is not finite, or would become so, is reset to
    zeros.

    Raises:
        ValueError: if the model uses pre-emphasis, which the state does not cover.
    """
    if model.preemphasis:
        raise ValueError(f"preemphasis: expected 0 for a streaming model; received {model.preemphasis}.")
    hop = model.generator.hop

    def stream(frame, state):
        size = tf.shape(frame)[1]
        whole = tf.debugging.Assert((size > 0) & (size % hop == 0), [f"frame: expected frames of {hop} samples", size])
        valid, known = serving.finite(frame), serving.finite(state)
        with tf.control_dependencies([whole]):
            frame = tf.where(valid[:, None], frame, 0.0)
        made, state = model.generator.process(frame, tf.where(known[:, None], state, 0.0))
        valid &= known & serving.finite(made) & serving.finite(state)
        finite = (serving.finite(made) & serving.finite(state))[:, None]
        return {"frame": tf.where(finite, made, 0.0), "state": tf.where(finite, state, 0.0), "valid": valid}

    return stream


class Denoiser:
    """The newest SavedModel of an export folder.

    Args:
        export_dir: path of the folder whose sub-folders are the versions; by default, the model shipped with keras_ae.

    Attributes:
        path: path of the version.
        rate: int, sample rate of input and output in Hz.
        card: dict, the model card.
        frame: int, samples per frame of a stream; None if the model cannot stream.
        delay: int, delay of a stream in samples.

    Raises:
        ValueError: if the folder has no version, or the version is not a denoising model.

    Example:

        denoiser = Denoiser()
        clean = denoiser.denoise(noisy)    # both (C, T), one row per channel
    """

    def __init__(self, export_dir=None):
        export_dir = export_dir or serving.pretrained("audio_denoising")
        if not serving.versions(export_dir):
            raise ValueError(
                f"No export found under {str(export_dir)!r}. Make one with `keras-ae audio_denoising train`, or omit "
                "--model to use the model shipped with keras_ae."
            )
        self.path, self._model, self.card = serving.load(export_dir)
        self._denoise = self._model.signatures.get("serving_default")
        if self._denoise is None or set(self._denoise.structured_outputs) != {"audio", "valid"}:
            raise ValueError(f"{str(self.path)!r} is not an audio_denoising model: it has no audio output.")
        self._stream = self._model.signatures.get("stream_blocks")
        stream = self.card.get("stream", {})
        try:
            self.rate = audio.check_rate(self.card.get("rate", 16_000))
            self.delay, self.frame = int(stream.get("delay_samples", 0)), int(stream["frame"]) if stream else None
            if not 0 <= self.delay <= self.rate:
                raise ValueError(f"a delay of {self.delay} samples")
            inputs = self._model.signatures["stream"].structured_input_signature[1] if stream else {}
            if stream and self.frame != inputs["frame"].shape[1]:
                raise ValueError(f"the model has no frames of {self.frame} samples")
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            path = str(self.path / serving.CARD_FILE)
            raise ValueError(f"{path!r} is damaged ({error}). Export the model again.") from error

    def denoise(self, audio):
        """Returns the clean speech `(C, T)` of float32 rows `(C, T)`, all at once, so memory limits T."""
        length = tf.fill([audio.shape[0]], audio.shape[1])
        return self._denoise(audio=tf.constant(audio), length=length)["audio"].numpy()

    def check_streams(self):
        """Raises a `ValueError` unless the model can stream."""
        if self._stream is None:
            raise ValueError(
                f"{str(self.path)!r} has no endpoint 'stream_blocks': the model is not causal, so it cannot stream. "
                "Denoise files instead."
            )

    def stream(self, channels):
        """Returns a `Stream` with the given number of channels.

        Raises:
            ValueError: if the model cannot stream.
        """
        self.check_streams()
        size = self._stream.structured_input_signature[1]["state"].shape[1]
        return Stream(self._stream, channels, self.frame, size)


class Stream:
    """Feeds a stream in pieces of any length. The output lags by the delay and by any incomplete frame."""

    def __init__(self, function, channels, frame, state):
        self._function, self._frame = function, frame
        self._states = [tf.zeros([1, state])] * channels
        self._rest = np.zeros((channels, 0), "float32")

    def feed(self, audio):
        """Takes float32 rows `(C, t)` and returns the clean samples that are ready, `(C, k * frame)`."""
        audio = np.concatenate([self._rest, audio], axis=1)
        whole = audio.shape[1] // self._frame * self._frame
        self._rest = audio[:, whole:]
        if not whole:
            return audio[:, :0]
        rows = tf.split(audio[:, :whole], len(audio))
        answers = [self._function(frame=row, state=state) for row, state in zip(rows, self._states, strict=True)]
        self._states = [answer["state"] for answer in answers]
        return np.concatenate([answer["frame"] for answer in answers])
