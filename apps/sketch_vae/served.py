"""The endpoints of an exported model of drawings, and a wrapper for scripts that use it."""

import numpy as np
import tensorflow as tf

from keras_ae import serving
from keras_ae.datasets import sketches
from keras_ae.distributions import sampling, strokes
from keras_ae.losses import divergences
from keras_ae.models.base.drawing import rest

EXPORT_DIR = "runs/sketch_vae/export"
SUFFIXES = (".npz", ".svg", ".ndjson")


def endpoints(model):
    """Returns the endpoints of a `SketchVAE`, `serving_default` first.

    | endpoint | inputs | outputs |
    |---|---|---|
    | `serving_default` | `z` float32 [B, Nz], `temperature` [B], `seed` int64 [B] | `strokes` [B, Tmax, 5], `length`
    int32 [B], `valid` | | `encode` | `strokes` float32 [B, T, 5], `length` int32 [B] | `z`, `valid` |
    | `complete` | `strokes`, `length`, `temperature`, `seed` | `strokes`, what is added, `length`, `valid` |
    | `sample` | `temperature`, `seed` | `strokes`, `length`, `valid`, with z from the prior |
    | `score` | `strokes`, `length`, `seed` | nats: `offsets`, `pen`, `end`, `kl`, float32 [B]; `valid`; z from q(z
    given x) |

    A model of classes takes their number, `condition` int64 [B], too; one without an encoder has no `encode`, and z of
    size 0. Rows of `strokes` from `length` on count for nothing. A row is invalid if z, a temperature, a length or a
    drawing is, and its drawing is then empty.
    """
    specs = {
        "z": tf.TensorSpec([None, model.latent_dim], tf.float32, name="z"),
        "strokes": tf.TensorSpec([None, None, strokes.WIDTH], tf.float32, name="strokes"),
        "length": tf.TensorSpec([None], tf.int32, name="length"),
        "temperature": tf.TensorSpec([None], tf.float32, name="temperature"),
        "seed": tf.TensorSpec([None], tf.int64, name="seed"),
        "condition": tf.TensorSpec([None], tf.int64, name="condition"),
    }
    example = {
        **{"z": np.zeros([1, model.latent_dim]), "strokes": [[[1.0, 0.0, 1.0, 0.0, 0.0]]], "length": [1]},
        **{"temperature": [0.5], "seed": [0], "condition": [0]},
    }

    def endpoint(function, *names):
        names = [*names, *(["condition"] if model.conditional else [])]
        return serving.Endpoint(function, [specs[name] for name in names], {name: example[name] for name in names})

    def good_of(given):
        good = tf.fill(tf.shape(next(iter(given.values())))[:1], True)
        if "temperature" in given:
            good &= tf.math.is_finite(given["temperature"]) & (given["temperature"] >= 0)
        if "z" in given:
            good &= serving.finite(given["z"])
        if "condition" in given:
            good &= model.y_role.valid(given["condition"])
        return good

    def drawn(z, good, given, begun=None, points=None):
        y = tf.where(good, given["condition"], 0) if model.conditional else None
        z, t = tf.where(good[:, None], z, 0.0), tf.where(good, given["temperature"], 0.0)
        made, length = model.generate(z, given["seed"], t, y, begun)
        if begun is not None:
            made, length = rest(made, points), length - points
        good &= serving.finite(made)
        length = tf.where(good, length, 0)
        inside = tf.sequence_mask(length, tf.shape(made)[1])[..., None]
        return {"strokes": tf.where(inside, made, tf.constant(strokes.END)), "length": length, "valid": good}

    def padded(given):
        x, length = given["strokes"], given["length"]
        good = (length >= 1) & (length <= tf.shape(x)[1])
        x = tf.where(tf.sequence_mask(length, tf.shape(x)[1])[..., None], x, tf.constant(strokes.END))
        good &= model.valid(x)
        dot = tf.constant([[[0.0, 0.0, 1.0, 0.0, 0.0]]])
        begin = tf.concat([dot, tf.ones_like(x[:1, 1:]) * tf.constant(strokes.END)], axis=1)
        return tf.where(good[:, None, None], x, begin), good

    def generate(*inputs):
        given = dict(zip(["z", "temperature", "seed", "condition"], inputs, strict=False))
        return drawn(given["z"], good_of(given), given)

    def encode(*inputs):
        given = dict(zip(["strokes", "length", "condition"], inputs, strict=False))
        x, good = padded(given)
        good &= good_of(given)
        z = model.codes_of(x, *([given["condition"]] if model.conditional else []))
        good &= serving.finite(z)
        return {"z": tf.where(good[:, None], z, 0.0), "valid": good}

    def complete(*inputs):
        given = dict(zip(["strokes", "length", "temperature", "seed", "condition"], inputs, strict=False))
        x, good = padded(given)
        good &= good_of(given)
        z = model.codes_of(x, *([given["condition"]] if model.conditional else []))
        return drawn(z, good, given, x, strokes.lengths(x))

    def sample(*inputs):
        given = dict(zip(["temperature", "seed", "condition"], inputs, strict=False))
        rows = tf.shape(given["seed"])[0]
        z = sampling.draw_rows(model.prior, given["seed"]) if model.encoder is not None else tf.zeros([rows, 0])
        return drawn(z, good_of(given), given)

    def score(*inputs):
        given = dict(zip(["strokes", "length", "seed", "condition"], inputs, strict=False))
        x, good = padded(given)
        good &= good_of(given)
        y = [given["condition"]] if model.conditional else []
        if model.encoder is None:
            z, kl = model.codes_of(x), tf.zeros(tf.shape(good))
        else:
            q = model.posterior(x)
            z, kl = sampling.draw_rows(q, given["seed"]), divergences.kl(q, model.prior, None)
        terms = [tf.reduce_sum(term, axis=0) for term in model.likelihood(z, *y).row_terms(x)]
        named = dict(zip(["offsets", "pen", "end", "kl"], [*terms, kl], strict=True))
        good &= tf.reduce_all([tf.math.is_finite(each) for each in named.values()], axis=0)
        return {name: tf.where(good, each, 0.0) for name, each in named.items()} | {"valid": good}

    made = {"serving_default": endpoint(generate, "z", "temperature", "seed")}
    if model.encoder is not None:
        made["encode"] = endpoint(encode, "strokes", "length")
    made["complete"] = endpoint(complete, "strokes", "length", "temperature", "seed")
    made["sample"] = endpoint(sample, "temperature", "seed")
    made["score"] = endpoint(score, "strokes", "length", "seed")
    return made


class Artist:
    """The newest version of an exported model of drawings, with methods on stroke-3.

    Args:
        export_dir: path of the export folder; None for keras_ae's own model.

    Attributes:
        card: dict, the model card.
        max_length: int, points of its longest drawing.
        extent: float, the larger side of a usual drawing of its training data.
        classes: list of names; empty if the model has no classes.
        has_codes: bool, False for a decoder alone.

    Raises:
        ValueError: if the folder has no version, or the version is not a model of drawings.

    Example:

        artist = Artist()
        artist.sample(4, temperature=0.5, seed=0)    # four arrays (n, 3)
    """

    def __init__(self, export_dir=None):
        export_dir = export_dir or serving.pretrained("sketch_vae")
        if not serving.versions(export_dir):
            raise ValueError(
                f"No export found under {str(export_dir)!r}. Make one with `keras-ae sketch_vae train`, or omit "
                "--model to use the model shipped with keras_ae."
            )
        self.path, self._model, self.card = serving.load(export_dir)
        default = self._model.signatures.get("serving_default")
        if default is None or set(default.structured_outputs) != {"strokes", "length", "valid"}:
            raise ValueError(f"{str(self.path)!r} is not a sketch_vae model: it has no strokes output.")
        try:
            self.max_length, self.extent = int(self.card["max_length"]), float(self.card["extent"])
            self.classes = list(self.card.get("classes", []))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{str(self.path / serving.CARD_FILE)!r} is damaged. Export the model again.") from error
        self.has_codes = "encode" in self._model.signatures

    def _call(self, endpoint, label=None, **inputs):
        rows = len(next(iter(inputs.values())))
        if self.classes:
            inputs["condition"] = tf.fill([rows], tf.constant(label or 0, tf.int64))
        return self._model.signatures[endpoint](**{name: tf.convert_to_tensor(x) for name, x in inputs.items()})

    def _drawings(self, found):
        return sketches.to_strokes3(found["strokes"].numpy())

    @staticmethod
    def _noise(rows, temperature, seed):
        if not temperature >= 0 or not np.isfinite(temperature):
            raise ValueError(f"temperature: expected a finite number, 0 or more; received {temperature}.")
        return {
            "temperature": np.full(rows, temperature, "float32"),
            "seed": np.int64(seed) + np.arange(rows, dtype="int64"),
        }

    def _given(self, drawings):
        x = sketches.to_strokes5(drawings)
        longest = max(map(len, drawings))
        if longest > self.max_length:
            raise ValueError(f"A drawing has {longest} points; the model takes at most {self.max_length}.")
        return {"strokes": x, "length": np.array([len(each) for each in drawings], "int32")}

    @property
    def latent_dim(self):
        """Size of a code, 0 for a decoder alone."""
        return self._model.signatures["serving_default"].structured_input_signature[1]["z"].shape[1]

    def score(self, **inputs):
        """The endpoint `score`, for `measures.scores`."""
        return self._model.signatures["score"](**{name: tf.convert_to_tensor(x) for name, x in inputs.items()})

    def encode(self, drawings, label=None):
        """The codes `(N, Nz)` of drawings in stroke-3, in the model's units."""
        if not self.has_codes:
            raise ValueError(f"{str(self.path)!r} is a decoder alone: it has no codes. It can sample and complete.")
        found = self._call("encode", label, **self._given(drawings))
        if not found["valid"].numpy().all():
            wrong = int(np.flatnonzero(~found["valid"].numpy())[0])
            raise ValueError(f"Drawing {wrong} cannot be encoded: its offsets are out of the model's scale.")
        return found["z"].numpy()

    def decode(self, z, temperature, seed=0, label=None):
        """Drawings of codes, one for each; row i depends on `seed + i`."""
        z = np.asarray(z, "float32")
        return self._drawings(self._call("serving_default", label, z=z, **self._noise(len(z), temperature, seed)))

    def sample(self, n, temperature, seed=0, label=None):
        """n new drawings."""
        return self._drawings(self._call("sample", label, **self._noise(n, temperature, seed)))

    def complete(self, drawings, temperature, seed=0, label=None):
        """What the model adds to drawings."""
        noise = self._noise(len(drawings), temperature, seed)
        return self._drawings(self._call("complete", label, **self._given(drawings), **noise))
