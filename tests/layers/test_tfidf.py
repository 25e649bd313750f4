"""TF-IDF inside the graph, compared with scikit-learn, and on unusual texts."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import TfidfVectorizer

import keras_ae as ka
from keras_ae.layers.tfidf import MAX_BYTES, TfIdf

CORPUS = [
    "The shuttle reached its orbit; the crew opened the bay doors.",
    "Orbit, orbit, orbit! A shuttle in ORBIT.",
    "Bay doors of a garage: the doors were painted, in the bay.",
    "Crème brûlée, garage music and the shuttle-bus 42.",
]


def layer():
    return TfIdf.of(CORPUS, min_df=1)


def test_agrees_with_scikit_learn():
    features = layer()
    expected = TfidfVectorizer(sublinear_tf=True, stop_words="english", token_pattern=r"[^\W_]{2,}").fit(CORPUS)
    assert features.vocabulary == sorted(expected.vocabulary_)
    assert "brûlée" in features.vocabulary
    texts = [*CORPUS, "An unknown garage."]
    np.testing.assert_allclose(features(tf.constant(texts)), expected.transform(texts).toarray(), atol=1e-6)


def test_the_vocabulary_is_the_most_frequent_words_of_enough_texts():
    assert TfIdf.of(CORPUS, max_words=2, min_df=1).vocabulary == [
        "bay",
        "orbit",
    ]  # bay, doors and shuttle are equally frequent
    assert TfIdf.of(CORPUS, min_df=3).vocabulary == ["shuttle"]
    with pytest.raises(ValueError, match="No word is in 5 or more of the 4 texts"):
        TfIdf.of(CORPUS, min_df=5)


def test_hostile_texts_are_rows_like_others():
    features = layer()
    hostile = [
        b"",
        b"   \n\t",
        b"zzzz qqqq",
        b"\x00shuttle\x00orbit\x00",
        b"\xff\xfe shuttle \xc3\x28 orbit",
        "shuttle\u2028orbit \U0001f680".encode(),
        b"x" * (2 * MAX_BYTES),
        b"orbit " * (2**22 // 6) + b"garage",
    ]
    x = features(tf.constant(hostile)).numpy()
    clean = features(tf.constant(["shuttle orbit"])).numpy()[0]
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x[:3], 0)
    np.testing.assert_allclose(x[3:6], np.tile(clean, (3, 1)), atol=1e-6)
    np.testing.assert_array_equal(x[6], 0)
    assert x[7, features.vocabulary.index("orbit")] == pytest.approx(1)  # text after the first MiB is not read


def test_saves_and_loads_within_a_model(tmp_path):
    features = layer()
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, features(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(tf.constant(CORPUS)), features(tf.constant(CORPUS)))


def test_refuses_weights_that_are_not_those_of_the_words():
    with pytest.raises(ValueError, match="each of the 2 words"):
        ka.layers.TfIdf(["a", "b"], [1.0])


def test_a_vocabulary_file_may_end_with_a_newline(tmp_path):
    (tmp_path / "words.txt").write_text("orbit\npuck\n")
    assert TfIdf(tmp_path / "words.txt", [1.0, 2.0]).vocabulary == ["orbit", "puck"]
