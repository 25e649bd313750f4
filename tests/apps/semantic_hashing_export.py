"""An export with the signatures of a semantic hashing model, but without training, for tests of the programs."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from keras_ae import serving

VOCABULARY = 512  # hash buckets


class _Hashing(tf.Module):
    """Random hyperplanes on hashed word counts; words of ASCII letters are its vocabulary."""

    def __init__(self, bits, seed):
        super().__init__()
        planes = np.random.default_rng(seed).standard_normal((VOCABULARY, bits))
        self.planes = tf.Variable(planes, dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def features(self, text):
        words = tf.strings.split(tf.strings.regex_replace(tf.strings.lower(text), "[^a-z]+", " "))
        buckets = words.with_values(tf.strings.to_hash_bucket_fast(words.values, VOCABULARY))
        rows = tf.stack([buckets.value_rowids(), buckets.values], axis=1)
        counts = tf.scatter_nd(rows, tf.ones_like(buckets.values), [tf.size(text, tf.int64), VOCABULARY])
        x = tf.math.l2_normalize(tf.cast(counts, tf.float32), axis=1)
        return {"x": x, "valid": words.row_lengths() > 0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def encode(self, text):
        features = self.features(text)
        probabilities = tf.sigmoid(features["x"] @ self.planes)
        bits = tf.cast(probabilities > 0.5, tf.uint8)
        octets = tf.reshape(bits, [-1, self.planes.shape[1] // 8, 8])
        code = tf.reduce_sum(octets * tf.constant(1 << np.arange(7, -1, -1), tf.uint8), axis=2)
        return {"code": code, "probabilities": probabilities, "valid": features["valid"]}


def write(directory, bits=32, seed=0):
    """Writes version 1 of an export to `directory` and returns `directory`; each seed gives a different model."""
    module = _Hashing(bits, seed)
    path = pathlib.Path(directory) / "1"
    tf.saved_model.save(module, str(path), {"serving_default": module.encode, "features": module.features})
    (path / serving.CARD_FILE).write_text(json.dumps({"bits": bits, "data": "none"}), encoding="utf-8")
    return directory
