"""A wrapper around the exported model for the scripts that use it: texts in, codes out."""

import hashlib

import numpy as np
import tensorflow as tf

from keras_ae import serving

EXPORT_DIR = "runs/semantic_hashing/export"
BATCH = 256  # documents
BATCH_CHARACTERS = 2**24  # limits batches of long documents: the graph holds several copies of a batch


class Encoder:
    """The newest SavedModel of an export folder.

    Args:
        export_dir: path of the folder whose subfolders are the versions; by default, that of keras_ae's own model.

    Attributes:
        path: path of the version.
        bits: int, length of a code.
        card: dict, the model card; empty if there is none.
        fingerprint: str, SHA-256 of the graph, the weights and the vocabulary. Codes of models with the same
            fingerprint are comparable. A copy of a model has the same one; the card does not affect it.

    Raises:
        ValueError: if the folder has no version, or it is not a semantic hashing model.

    Example:

        encoder = Encoder()
        codes, probabilities, valid = encoder.encode(["A text.", ""])    # (2, 4) uint8, (2, 32) float32, [True, False]
    """

    def __init__(self, export_dir=None):
        export_dir = export_dir or serving.pretrained("semantic_hashing")
        self.path, self._model, self.card = serving.load(export_dir)
        self._encode = self._signature("serving_default", {"code", "probabilities", "valid"})
        self._features = self._signature("features", {"x", "valid"})
        self.bits = self._encode.structured_outputs["probabilities"].shape[-1]
        self.fingerprint = _fingerprint(self.path)

    def encode(self, texts):
        """Encodes texts, in batches.

            code = packbits(probabilities > 1/2)

        Args:
            texts: list of str, of any length.

        Returns:
            codes, uint8 `(N, bits / 8)`, bits packed as by `np.packbits`; probabilities of a 1, float32
            `(N, bits)`; valid, bool `(N,)`, False for a text without a word from the vocabulary.
        """
        return self._call(self._encode, texts, {"code": np.uint8, "probabilities": np.float32, "valid": bool})

    def features(self, texts):
        """Returns the TF-IDF of texts, float32 `(N, V)`: rows of unit L2 norm, or zero if no word is known."""
        return self._call(self._features, texts, {"x": np.float32})[0]

    def _signature(self, name, outputs):
        signature = self._model.signatures.get(name)
        if signature is None or not outputs <= set(signature.structured_outputs):
            raise ValueError(
                f"{str(self.path)!r} is not a semantic hashing model: expected the signature {name!r} with the outputs "
                f"{sorted(outputs)}; it has {sorted(self._model.signatures)}."
            )
        return signature

    def _call(self, signature, texts, outputs):
        # JSON allows unpaired surrogates, UTF-8 does not.
        made = [
            signature(text=tf.constant([text.encode("utf-8", "replace") for text in batch])) for batch in batches(texts)
        ]
        widths = {name: signature.structured_outputs[name].shape[1:] for name in outputs}
        none = {name: np.zeros((0, *widths[name]), dtype) for name, dtype in outputs.items()}
        return tuple(np.concatenate([none[name], *(each[name].numpy() for each in made)]) for name in outputs)


def batches(items, text=str):
    """Yields lists of at most `BATCH` items and `BATCH_CHARACTERS` characters; one longer item is a batch of its own.

    Args:
        items: iterable.
        text: function from an item to its str.
    """
    batch, characters = [], 0
    for item in items:
        size = len(text(item))
        if batch and (len(batch) == BATCH or characters + size > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(item)
        characters += size
    if batch:
        yield batch


def _fingerprint(path):
    digest = hashlib.sha256()
    parts = [path / "saved_model.pb", *sorted((path / "variables").glob("*")), *sorted((path / "assets").glob("*"))]
    for part in parts:
        with open(part, "rb") as file:
            # Hash fixed-length digests, so that moving bytes from one file to the next changes the result.
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
