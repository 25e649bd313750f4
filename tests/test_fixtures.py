"""Files of released versions still load, give the same answers, and continue training where they stopped."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae  # noqa: F401 (all that a user imports before loading)
from keras_ae.utils import batching

FOLDER = pathlib.Path(__file__).parent / "fixtures" / "v0_1"
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
ANSWERS = {
    "encode": lambda model, x, y: model.encode(x, *y),
    "reconstruct": lambda model, x, y: model.reconstruct(x, *y),
    "score": lambda model, x, y: model.score(x, *y, seed=3),
    "sample": lambda model, x, y: model.sample(4, *(each[:4] for each in y), seed=5),
    "log_prob": lambda model, x, y: model.log_prob(x, *y, num_samples=8, seed=7),
    "predict_proba": lambda model, x, y: model.predict_proba(x),
    "probabilities": lambda model, x, y: model.probabilities(x),
    "denoise": lambda model, x, y: model.denoise(x),
    "predict": lambda model, x, y: model.predict(tf.constant(x), verbose=0),
}


def read(path):
    """`{model: {key: array}}` of a file whose arrays are named `model/key`."""
    found = {}
    with np.load(path) as arrays:
        for key, array in arrays.items():
            name, part = key.split("/", 1)
            found.setdefault(name, {})[part] = array
    return found


EXPECTED = read(FOLDER / "expected.npz")


def test_every_file_has_stored_answers():
    assert {path.stem for path in FOLDER.glob("*.keras")} == set(EXPECTED) - {"export"}


@pytest.fixture
def eager(monkeypatch):
    """Methods run without graphs, because tracing takes longer than computing a few rows."""

    def call(model, method, signature, tensors, options, rows):
        if "seed" in signature.parameters:
            seed = options.get("seed", signature.parameters["seed"].default)
            options = options | {"seed": tf.constant(seed + rows, tf.int64)}
        with model.averaged():
            return method(model, **tensors, **options)

    monkeypatch.setattr(batching, "_call", call)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "export"])
def test_a_stored_model_answers_and_trains_on_as_it_did(name):
    # One test for both, because loading takes as long as each of them.
    stored, model = EXPECTED[name], keras.saving.load_model(FOLDER / f"{name}.keras")
    y = [stored["y"]] if "y" in stored else []
    asked = ANSWERS.keys() & stored.keys()
    assert asked
    for key in asked:
        np.testing.assert_allclose(ANSWERS[key](model, stored["x"], y), stored[key], **CLOSE, err_msg=key)
    # In version 0.1, each player of a SEGAN drew its own noise; now they share one draw.
    if "loss" in stored and name != "SEGAN":
        check_training(model, stored)


def check_training(model, stored):
    """One more step gives the stored weights: the optimizer and the seeds continue where they stopped."""
    batch = [stored[key] for key in ("batch_x", "batch_y") if key in stored]
    model.run_eagerly, model.jit_compile = True, False  # one step runs sooner than it compiles
    logs = model.train_on_batch(*batch, return_dict=True)
    np.testing.assert_allclose(logs["loss"], stored["loss"], rtol=1e-4)
    left = model.get_weights()
    for key in stored:
        if key.startswith("weight_"):
            # A file identifies weights by path, not by their position in get_weights().
            distances = [np.abs(w - stored[key]).max() if w.shape == stored[key].shape else np.inf for w in left]
            nearest = np.argmin(distances)
            assert distances[nearest] < 1e-4, key
            del left[nearest]
    assert not left


def test_a_stored_export_answers_as_it_did():
    stored = EXPECTED["export"]
    served = tf.saved_model.load(str(FOLDER / "export" / "1"))
    assert set(served.signatures) == {"serving_default", "encode", "reconstruct", "decode", "score", "sample"}
    for name in set(served.signatures) - {"serving_default"}:
        signature = served.signatures[name]
        inputs = {key: tf.constant(stored[key]) for key in signature.structured_input_signature[1]}
        outputs = signature(**inputs)
        assert set(outputs) == {key.split("/")[1] for key in stored if key.startswith(f"{name}/")}
        for key, value in outputs.items():
            np.testing.assert_allclose(value, stored[f"{name}/{key}"], **CLOSE, err_msg=f"{name}/{key}")
