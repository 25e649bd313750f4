"""Models that tests share come back as they were at first."""

import keras
import numpy as np

import keras_ae as ka
from tests import reuse

X = np.random.default_rng(0).random((8, 3)).astype("float32")


@reuse.reused
def vae(beta=1.0, metrics=None):
    networks = ka.networks.mlp_encoder((3,), 2, (4,), parameters=2), ka.networks.mlp_decoder(2, (3,), (4,))
    model = ka.VAE(*networks, beta=beta)
    model.compile("adam", metrics=metrics, run_eagerly=True)
    return model


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [variable.numpy() for variable in variables]


def test_later_tests_get_the_same_models_as_they_were_at_first():
    reuse.begin()
    models = [vae(), vae(), vae(0.5)]
    before = [state(model) for model in models]
    assert len({id(model) for model in models}) == 3
    kernels = [model.encoder.trainable_variables[0].numpy() for model in models]
    assert np.abs(kernels[0] - kernels[1]).max() > 0  # two models of one test differ
    for model in models:
        model.beta = 3.0
        model.fit(X, verbose=0)
    reuse.begin()
    again = [vae(), vae(), vae(0.5)]
    assert [id(model) for model in again] == [id(model) for model in models]
    assert [model.beta for model in again] == [1.0, 1.0, 0.5]
    for model, expected in zip(again, before, strict=True):
        for one, two in zip(state(model), expected, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_model_that_a_test_changed_is_replaced():
    for change in (
        lambda model: model.compile("adam", run_eagerly=True),
        lambda model: setattr(model.encoder, "trainable", False),
        lambda model: setattr(model, "run_eagerly", False),
    ):
        reuse.begin()
        model = vae()
        change(model)
        reuse.begin()
        assert vae() is not model


def test_models_of_objects_are_new():
    reuse.begin()
    metric = keras.metrics.MeanSquaredError()
    model = vae(metrics=[metric])
    reuse.begin()
    assert vae(metrics=[metric]) is not model
