"""The user's path: from a folder of texts to a SavedModel that hashes raw text."""

import functools
import itertools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

import keras_ae as ka
from apps import common
from apps.semantic_hashing import networks, served, settings, train
from keras_ae.datasets import text

SUBJECTS = {
    "space": "orbit shuttle moon rocket launch nasa satellite probe mission lunar",
    "hockey": "goal team puck ice playoff season goalie league player score",
    "medicine": "doctor patient disease drug treatment symptom clinical dose medicine infection",
}
BITS = 16


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of `label/document` files, 60 documents per subject."""
    folder, rng = tmp_path_factory.mktemp("data") / "corpus", np.random.default_rng(0)
    for label, words in SUBJECTS.items():
        (folder / label).mkdir(parents=True)
        for i in range(60):
            chosen = rng.choice(words.split(), 8)
            (folder / label / str(i)).write_text(" ".join(["the", *chosen, f"unique{label}{i}"]))
    (folder / "space" / "picture").write_bytes(bytes(range(256)) * 8)
    return folder


@pytest.fixture
def quick(monkeypatch):
    # The real settings would take a quarter of an hour.
    monkeypatch.setitem(settings.SHARED, "epochs", 40)
    monkeypatch.setitem(settings.SHARED, "hidden", (64,))
    monkeypatch.setitem(settings.SHARED, "batch_size", 32)


def run(corpus, folder, **changed):
    arguments = {"data": str(corpus), "text_column": "text", "bits": BITS, "method": "semantic_hashing"}
    arguments |= {"all_documents": False, "max_minutes": None, "export_dir": str(folder / "export"), "seed": 0}
    arguments |= {"strategy": "default", "checkpoint_dir": None}
    train.run(**arguments | changed)
    return json.loads((folder / "report.json").read_text())


def test_from_a_folder_of_texts_to_codes_of_raw_text(corpus, tmp_path, quick, capsys):
    report = run(corpus, tmp_path)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == report
    kept = [each for each in text.Documents(corpus) if not text.is_query(each.id)]
    assert (report["documents"], report["skipped"]) == (len(kept), {"binary": 1})
    encoder = served.Encoder(tmp_path / "export")
    assert encoder.bits == encoder.card["bits"] == BITS
    assert encoder.card["data"] == "corpus" and encoder.card["licence"]
    queries = [each for each in text.Documents(corpus) if text.is_query(each.id)]
    codes, _, valid = encoder.encode([each.text for each in (*kept, *queries)])
    assert valid.all()
    signs = 2.0 * np.unpackbits(codes, axis=1) - 1
    likeness = signs[len(kept) :] @ signs[: len(kept)].T
    same = np.array([[q.label == d.label for d in kept] for q in queries])
    nearest = np.argsort(-likeness, axis=1)[:, :10]
    assert np.take_along_axis(same, nearest, 1).mean() > 0.95


def test_the_export_agrees_with_the_model_and_stands_hostile_text(corpus, tmp_path):
    texts = [each.text for each in text.Documents(corpus)]
    features = ka.layers.TfIdf.of(texts, 1000, 1)
    x = train.rows(features, texts)
    model = networks.build(settings.of("semantic_hashing"), x, BITS, seed=0)
    path = pathlib.Path(train.export(model, features, tmp_path, {"bits": BITS}))
    encoder = served.Encoder(tmp_path)
    codes, probabilities, valid = encoder.encode(texts)
    expected = model.encode(x.toarray())
    # Weights are stored with 11 bits of mantissa.
    np.testing.assert_allclose(probabilities, expected, atol=5e-3)
    clear = np.abs(expected - 0.5) > 5e-3
    assert ((np.unpackbits(codes, axis=1) == (expected > 0.5)) | ~clear).all()
    np.testing.assert_allclose(encoder.features(texts), x.toarray(), atol=1e-6)
    assert valid.all()
    assert (path / "assets" / "vocabulary.txt").read_text().split() == features.vocabulary
    weights = sum(v.numpy().size for v in model.encoder.weights if v.dtype == "float32")
    assert sum(f.stat().st_size for f in (path / "variables").iterdir()) < 2.2 * weights + 10_000
    served_model = tf.saved_model.load(str(path))
    hostile = tf.constant([b"", b"\xff\x00\xfe", b"zzz" * 10**6, texts[0].encode()])
    answer = served_model.signatures["serving_default"](text=hostile)
    np.testing.assert_array_equal(answer["valid"], [False, False, False, True])
    np.testing.assert_array_equal(answer["code"][3], codes[0])
    assert np.isfinite(answer["probabilities"]).all()


@pytest.fixture(scope="module")
def small_rows(corpus):
    texts = [each.text for each in text.Documents(corpus)]
    return train.rows(ka.layers.TfIdf.of(texts, 60, 1), texts)


def compiled(monkeypatch, **options):
    """Compiles models with other options, because compiling with XLA takes longer than a few steps."""
    for cls in (ka.Autoencoder, ka.SemanticHashing):
        monkeypatch.setattr(cls, "compile", functools.partialmethod(cls.compile, **options))


def loss(model, x):
    model.run_eagerly = True  # a single batch needs no graph
    return model.evaluate(x.toarray(), batch_size=len(x.toarray()), return_dict=True, verbose=0)["reconstruction"]


@pytest.mark.parametrize("method", [name for name in settings.METHODS if name != "semantic_hashing"])
def test_the_published_methods_learn(small_rows, method):
    changed = {"hidden": (64,), "batch_size": 32, "pretrain": 0, "learning_rate": 1e-2}
    models = [train.train(settings.of(method, epochs=n, **changed), small_rows, BITS, seed=0)[0] for n in (0, 12)]
    before, model = models
    assert loss(model, small_rows) < 0.97 * loss(before, small_rows)
    if method == "vdsh":
        ones = np.unpackbits(model.hash(small_rows.toarray()), axis=1).mean(0)
        np.testing.assert_allclose(ones, 0.5, atol=0.02)


def test_pretraining_lowers_the_loss_of_the_deep_model(small_rows, monkeypatch):
    losses = []
    compiled(monkeypatch, jit_compile=False)
    for epochs in (0, 10):
        chosen = settings.of("salakhutdinov_hinton", hidden=(32, 24), batch_size=16, pretrain=epochs, epochs=0)
        model, _ = train.train(chosen, small_rows, BITS, seed=0)
        losses.append(loss(model, small_rows))
    assert losses[1] < 0.97 * losses[0]


def test_changes_of_settings_leave_the_record_alone():
    record = settings.of("pairrec")
    changed = settings.of("pairrec", epochs=1, arguments={"beta": 0.5})
    assert changed == record | {"epochs": 1, "arguments": {"contrast_weight": 0.0, "beta": 0.5}}
    assert settings.of("pairrec") == record and record["epochs"] > 1 and "beta" not in record["arguments"]


def test_a_larger_corpus_is_sampled_evenly(corpus):
    documents = list(text.Documents(corpus))
    texts, read = train.sample(documents, 50, True, seed=1)
    assert read == 180 and len(texts) == len(set(texts)) == 50
    places = np.array([[each.text for each in documents].index(t) for t in texts])
    assert 60 < places.mean() < 120
    assert train.sample(documents, 1000, True, seed=1)[1] == len(documents)
    assert train.sample(documents, 1000, False, seed=1)[1] == sum(not text.is_query(d.id) for d in documents)


def test_rows_are_those_of_the_texts_known_words_or_not():
    features = ka.layers.TfIdf(["orbit", "puck"], [1.0, 1.0])
    x = train.rows(features, ["orbit", "", "unknown", "puck orbit", "\ud800 puck"])
    assert sparse.issparse(x)
    np.testing.assert_allclose(x.toarray(), [[1, 0], [0, 0], [0, 0], [0.5**0.5] * 2, [0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bits": 12}, "multiple of 8"),
        ({"data": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"strategy": "no such"}, "no such"),
    ],
)
def test_refuses_what_cannot_be_used(corpus, tmp_path, changed, message):
    with pytest.raises(common.UserError, match=message):
        run(corpus, tmp_path, **changed)
    assert not list(tmp_path.glob("export/*"))


def test_one_document_is_not_enough(tmp_path):
    (tmp_path / "one.jsonl").write_text('{"text": "orbit"}\n')
    with pytest.raises(common.UserError, match="two documents"):
        run(tmp_path / "one.jsonl", tmp_path, all_documents=True)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["orbit moon", "1 2 3", "4 5 6"], "at least two usable documents and words"),
        (["the of and"] * 5, "No word is in"),
    ],
)
def test_documents_without_words_are_too_few(tmp_path, texts, message):
    (tmp_path / "some.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    with pytest.raises(common.UserError, match=message):
        run(tmp_path / "some.jsonl", tmp_path, all_documents=True)


def test_time_that_ends_during_pretraining_leaves_a_model(small_rows, monkeypatch):
    # Each reading of the clock takes a second; without a budget, training would take days.
    monkeypatch.setattr(common.TimeBudget, "clock", staticmethod(itertools.count().__next__))
    compiled(monkeypatch, run_eagerly=True)
    chosen = settings.of("salakhutdinov_hinton", hidden=(16, 8), batch_size=16, pretrain=10_000, epochs=10_000)
    model, _ = train.train(chosen, small_rows, BITS, seed=0, max_minutes=0.1)
    assert model.hash(small_rows[:3].toarray()).shape == (3, BITS // 8)


def test_the_export_answers_without_the_package(corpus, tmp_path):
    texts = [each.text for each in text.Documents(corpus)][:40]
    features = ka.layers.TfIdf.of(texts, 1000, 1)
    model = networks.build(settings.of("semantic_hashing"), train.rows(features, texts), BITS, seed=0)
    path = train.export(model, features, tmp_path, {"bits": BITS})
    code = (
        "import sys, json, numpy as np, tensorflow as tf\n"
        "sys.modules['keras_ae'] = None\n"
        "encode = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "texts = json.loads(sys.argv[2])\n"
        "parts = [encode(text=texts[i:j])['code'] for i, j in ((0, 1), (1, 4), (4, 40))]\n"
        "np.save(sys.argv[3], np.concatenate(parts))\n"
    )
    command = [sys.executable, "-c", code, path, json.dumps(texts), str(tmp_path / "codes.npy")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    expected, _, _ = served.Encoder(tmp_path).encode(texts)
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), expected)
