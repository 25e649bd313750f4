"""The endpoints of an exported model, and the model as the scripts that use it see it: noisy speech in, clean out."""

import numpy as np
import tensorflow as tf

from keras_ae import serving

EXPORT_DIR = "runs/audio_denoising/export"


def denoising(model):
    """The function of `serving_default`: audio `(B, T)` and lengths `(B,)` to audio `(B, T)` and which rows are valid.

    What lies beyond a row's length counts as silence, and is silence in the answer; a row with NaN, infinity or an
    impossible length, or whose answer would not be finite, is answered with silence.
    """

    def one(row):
        audio, length = row
        # One sample at least: strided layers fail at none, and with them the whole batch.
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
        else:  # it sees the future, and would see whether silence follows or nothing: row by row
            lengths = tf.where(valid, length, 0)
            clean = tf.map_fn(one, (audio, lengths), fn_output_signature=tf.TensorSpec([None], tf.float32))
        valid &= serving.finite(clean)
        return {"audio": tf.where(inside & valid[:, None], clean, 0.0), "valid": valid}

    return denoise


def streaming(model):
    """The function of `stream`: a frame `(B, N)` and a state `(B, S)` to the frame `delay_samples` late, and a state.

    That of `stream_blocks`, too, where N may be any number of frames: fewer calls, where nobody waits for them. It
    takes one row: a server that fills up rows of different lengths would leave them in states of silence.

    A frame with NaN or infinity is answered as silence would be; a broken state begins anew, from zeros, and so does
    one that is about to break.

    Raises:
        ValueError: if the model emphasises its input, for which a state has no place.
    """
    if model.preemphasis:
        raise ValueError(f"preemphasis: a model that streams has none; received {model.preemphasis}.")
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
        export_dir: path of the folder whose sub-folders are the versions; by default that of keras_ae's own model.

    Attributes:
        path: of the version.
        rate: int, Hz, of what goes in and comes out.
        card: dict, the model's card.
        frame: int, samples of a frame of a stream; None for a model that does not stream.
        delay: int, samples by which a stream is late.

    Raises:
        ValueError: if the folder holds no version, or what it holds is no denoising model.

    Example:

        denoiser = Denoiser()
        clean = denoiser.denoise(noisy)    # (C, T) both, a row a channel
    """

    def __init__(self, export_dir=None):
        export_dir = export_dir or serving.pretrained("audio_denoising")
        if not serving.versions(export_dir):
            raise ValueError(
                f"No export found under {str(export_dir)!r}: `keras-ae audio_denoising train` makes one, and without "
                "--model the one of keras_ae itself is used."
            )
        self.path, self._model, self.card = serving.load(export_dir)
        self._denoise = self._model.signatures.get("serving_default")
        if self._denoise is None or set(self._denoise.structured_outputs) != {"audio", "valid"}:
            raise ValueError(f"{str(self.path)!r} is no model of audio_denoising: it makes no audio.")
        self._stream = self._model.signatures.get("stream_blocks")
        stream = self.card.get("stream", {})
        try:
            self.rate, self.delay = int(self.card.get("rate", 16_000)), int(stream.get("delay_samples", 0))
            self.frame = int(stream["frame"]) if stream else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{str(self.path / serving.CARD_FILE)!r} is damaged. Export the model again.") from error

    def denoise(self, audio):
        """Clean speech of float32 rows `(C, T)`, `(C, T)`; at once, so T is bounded by memory."""
        length = tf.fill([audio.shape[0]], audio.shape[1])
        return self._denoise(audio=tf.constant(audio), length=length)["audio"].numpy()

    def check_streams(self):
        """Raises a `ValueError` unless the model goes on from a state."""
        if self._stream is None:
            raise ValueError(
                f"{str(self.path)!r} has no endpoint 'stream_blocks': it sees the future of what it cleans."
            )

    def stream(self, channels):
        """A `Stream` of a number of channels.

        Raises:
            ValueError: if the model does not stream.
        """
        self.check_streams()
        size = self._stream.structured_input_signature[1]["state"].shape[1]
        return Stream(self._stream, channels, self.frame, size)


class Stream:
    """Feeds a stream in pieces of any length: what comes out lags behind, by the delay and what fills no frame yet."""

    def __init__(self, function, channels, frame, state):
        self._function, self._frame = function, frame
        self._states = [tf.zeros([1, state])] * channels
        self._rest = np.zeros((channels, 0), "float32")

    def feed(self, audio):
        """The clean samples that are ready after float32 rows `(C, t)`: `(C, k frame)`."""
        audio = np.concatenate([self._rest, audio], axis=1)
        whole = audio.shape[1] // self._frame * self._frame
        self._rest = audio[:, whole:]
        if not whole:
            return audio[:, :0]
        rows = tf.split(audio[:, :whole], len(audio))
        answers = [self._function(frame=row, state=state) for row, state in zip(rows, self._states, strict=True)]
        self._states = [answer["state"] for answer in answers]
        return np.concatenate([answer["frame"] for answer in answers])
