"""The loop over epochs: what validation and evaluation read, epoch after epoch."""

import itertools
import warnings

import keras
import numpy as np
import pytest

import keras_ae as ka

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")


@pytest.fixture
def model():
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    model = ka.Autoencoder(encoder, decoder, seed=0)
    model.compile("sgd", run_eagerly=True)
    return model


def batches(x=X, size=16):
    return (x[i : i + size] for i in range(0, len(x), size))


def reused(x=X, size=16):
    """Yields the same array again and again, as some readers do."""
    buffer = np.empty((size, x.shape[1]), x.dtype)
    for batch in batches(x, size):
        buffer[:] = batch
        yield buffer


@pytest.mark.parametrize("source", [batches, reused])
def test_a_generator_validates_every_epoch(model, source):
    history = model.fit(X, epochs=3, validation_data=source(), verbose=0).history
    assert len(history["val_loss"]) == 3
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, verbose=0, return_dict=True)["loss"], rel=1e-5)


def test_an_endless_generator_validates_on_the_same_batches(model):
    endless = itertools.cycle(list(batches()))
    validation = (batch for batch in endless)
    history = model.fit(X, epochs=3, validation_data=validation, validation_steps=2, verbose=0).history
    expected = model.evaluate(X[:32], verbose=0, return_dict=True)["loss"]
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)


def test_a_generator_that_ends_early_is_not_evaluated_silently(model):
    with pytest.warns(UserWarning, match="x ended after 3 of 9 steps"):
        found = model.evaluate(batches(), steps=9, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(model.evaluate(X, verbose=0, return_dict=True)["loss"], rel=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(batches(), steps=3, verbose=0)
