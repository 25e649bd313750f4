"""Raw text to rows of word weights, in the TensorFlow graph."""

import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

# Text beyond this adds little to a bag of words; the limit keeps a hostile document from blocking a server.
MAX_BYTES = 2**20


@keras.saving.register_keras_serializable("keras_ae")
def separate_words(text: tf.Tensor) -> tf.Tensor:
    """Lower-cases text and replaces each run of characters other than letters and digits with one space.

    Invalid UTF-8 becomes U+FFFD, then a space. Only the first `MAX_BYTES` bytes of a text are read.

    Args:
        text: strings of any shape.

    Returns:
        strings of the same shape.

    Example: `separate_words(tf.constant(["The shuttle, again!"]))    # [b"the shuttle again "]`

    See also: `TfIdf`, which splits and counts these words.
    """
    text = tf.strings.substr(text, 0, MAX_BYTES)
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=True)
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.regex_replace(text, r"[^\p{L}\p{N}]+", " ")


@keras.saving.register_keras_serializable("keras_ae")
class TfIdf(keras.layers.Layer):
    """Converts texts to rows of TF-IDF weights with unit length.

        x_w = (1 + log n_w) idf_w / norm,    idf_w = 1 + log((1 + N) / (1 + df_w)),    norm = sqrt(sum_w (...)^2)

    n_w is the count of word w in a text, df_w the number of the N texts that contain it, as in scikit-learn's
    TfidfVectorizer with `sublinear_tf`. A word is a run of two or more letters or digits. A text without known words
    becomes a row of zeros.

    Args:
        vocabulary: list of words, or path to a text file with one word per line, which is exported as an asset.
        idf: list of the words' IDF weights, in the same order.

    Call with strings `(B,)`; returns float32 `(B, len(vocabulary))`.

    Raises:
        ValueError: if `vocabulary` and `idf` differ in length.

    Example:

        features = ka.layers.TfIdf.of(documents, max_words=10_000)
        x = features(tf.constant(["the shuttle reached its orbit"]))    # (1, 10000)

    Source: Salton & Buckley 1988. See also: scikit-learn's TfidfVectorizer, outside the graph.
    """

    def __init__(self, vocabulary: Sequence[str] | str | os.PathLike[str], idf: Iterable[float], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32"} | kwargs)
        source: str | list[str]
        if isinstance(vocabulary, str | os.PathLike):
            source = str(vocabulary)
            words = pathlib.Path(vocabulary).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        else:
            source = words = list(vocabulary)
        self.vocabulary, self.idf = words, [float(weight) for weight in idf]
        if len(self.vocabulary) != len(self.idf):
            raise ValueError(
                f"idf: expected one weight for each of the {len(self.vocabulary)} words of the vocabulary, "
                f"received {len(self.idf)}."
            )
        self.tokens = keras.layers.TextVectorization(
            standardize=separate_words,
            split="whitespace",
            ragged=True,
            vocabulary=source,
        )
        self.built = True

    @classmethod
    def of(
        cls,
        texts: Iterable[str],
        max_words: int = 10_000,
        min_df: int = 3,
        stop_words: str | Sequence[str] | None = "english",
    ) -> Self:
        """Creates the layer with the vocabulary and weights of `texts`, an iterable of str, which is read once.

        Keeps the `max_words` most frequent words that occur in at least `min_df` texts and are not in `stop_words` (as
        in scikit-learn).

        Raises:
            ValueError: if no words remain.
        """
        from sklearn.feature_extraction.text import CountVectorizer

        pattern = r"[^\W_]{2,}"
        analyse = CountVectorizer(stop_words=stop_words, token_pattern=pattern).build_analyzer()
        n = 0
        count: Counter[str] = Counter()
        frequency: Counter[str] = Counter()
        for text in texts:
            words = Counter(analyse(text[:MAX_BYTES]))
            count.update(words)
            frequency.update(words.keys())
            n += 1
        known = [word for word in count if frequency[word] >= min_df]
        if not known:
            raise ValueError(
                f"No word is in {min_df} or more of the {n} texts: expected a larger corpus, or a lower min_df."
            )
        # Break ties alphabetically, so that equal corpora give equal vocabularies.
        kept = sorted(sorted(known, key=lambda word: (-count[word], word))[:max_words])
        return cls(kept, [1 + np.log((1 + n) / (1 + frequency[word])) for word in kept])

    def call(self, text: tf.Tensor) -> tf.Tensor:
        tokens = self.tokens(text)  # ragged (B, words); 0 is padding, 1 is unknown
        size = len(self.vocabulary) + 2
        counts = tf.math.bincount(tokens, axis=-1, minlength=size, maxlength=size, dtype=tf.float32)
        counts = tf.ensure_shape(counts, [None, size])[:, 2:]
        weights = tf.where(counts > 0, 1 + tf.math.log(tf.maximum(counts, 1.0)), 0.0) * tf.constant(self.idf)
        return tf.math.l2_normalize(weights, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape, len(self.vocabulary))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"vocabulary": self.vocabulary, "idf": self.idf}
