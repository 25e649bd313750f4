"""Layer-wise pretraining: each stage is an autoencoder of the one before, and the layers are the model's own."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae import pretraining
from keras_ae.losses import jacobian

SHAPE = (4, 2)


@pytest.fixture(autouse=True)
def _eagerly(monkeypatch):
    compile_model = ka.ObjectiveModel.compile
    monkeypatch.setattr(
        ka.ObjectiveModel, "compile", lambda self, *args, **kwargs: compile_model(self, *args, run_eagerly=True)
    )


@pytest.fixture
def stages(monkeypatch):
    """The models of all stages, and the data that each was trained on."""
    seen = []
    fit = ka.ObjectiveModel.fit

    def recorded(self, x, *args, **kwargs):
        rows = np.concatenate([np.asarray(batch) for batch in x]) if isinstance(x, tf.data.Dataset) else np.asarray(x)
        seen.append((self, rows))
        return fit(self, x, *args, **kwargs)

    monkeypatch.setattr(ka.ObjectiveModel, "fit", recorded)
    return seen


@pytest.fixture
def x(rng):
    return rng.random((40, *SHAPE)).astype("float32")


def deep(model_class=ka.Autoencoder, tied=False, activation="sigmoid", **kwargs):
    networks = ka.networks.chain(SHAPE, (6, 5, 3), activation, tied=tied)
    return model_class(*networks, likelihood="bernoulli", seed=0, **kwargs)


def dense(network):
    return [layer for layer in network.layers if layer.weights]


@pytest.mark.parametrize("tied", [False, True])
def test_stages_train_the_models_own_layers_on_the_codes_below(x, stages, tied):
    model = deep(tied=tied)
    before = [layer.get_weights() for layer in (*dense(model.encoder), *dense(model.decoder))]
    histories = ka.pretrain(model, x, epochs=2, batch_size=40, verbose=0)
    assert [len(history.epoch) for history in histories] == [2, 2, 2]
    after = [layer.get_weights() for layer in (*dense(model.encoder), *dense(model.decoder))]
    assert all(np.any(a != b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))

    # Later stages leave earlier layers alone, so each saw the codes of the layers below.
    h = x.reshape(40, -1)
    for (stage, rows), layer in zip(stages, dense(model.encoder), strict=True):
        np.testing.assert_allclose(rows.reshape(40, -1), h, atol=1e-5)
        h = layer(h).numpy()
        assert type(stage) is ka.Autoencoder and type(stage._likelihood).__name__ == "Bernoulli"
        np.testing.assert_allclose(stage.encode(rows), h, atol=1e-5)
        assert stage.get_config()["seed"] == 0  # the model's
    assert [layer.activation.__name__ for layer in dense(model.decoder)] == ["sigmoid", "sigmoid", "linear"]


def test_pretraining_lowers_the_loss_and_the_model_then_trains(x, tmp_path):
    losses = []
    for epochs in (0, 15):
        keras.utils.set_random_seed(0)
        model = deep(activation="tanh")
        if epochs:
            optimizer = keras.optimizers.Adam(0.03)
            ka.pretrain(model, x, epochs, 40, optimizer=optimizer, verbose=0)
            assert int(optimizer.iterations) == 0  # copies were used
        model.compile("adam")
        losses.append(model.evaluate(x, verbose=0, return_dict=True)["loss"])
    assert losses[1] < losses[0] - 0.05
    model.fit(x, verbose=0)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "m.keras").encode(x), model.encode(x))


def test_activations_without_a_sigmoid_are_reconstructed_by_least_squares(x, stages):
    ka.pretrain(deep(activation="relu"), x, 1, 40, verbose=0)
    assert [type(stage._likelihood).__name__ for stage, _ in stages] == ["Bernoulli", "Gaussian", "Gaussian"]


def test_stages_are_of_the_models_kind_or_of_the_one_given(x, stages):
    noise = ka.layers.MaskingNoise(0.3)
    ka.pretrain(deep(ka.DenoisingAutoencoder, corruption=noise, emphasis=(1, 0.5)), x, 1, 40, verbose=0)
    ka.pretrain(deep(ka.ContractiveAutoencoder, weight=0.7), x, 1, 40, verbose=0)
    kinds = [type(stage).__name__ for stage, _ in stages]
    assert kinds == ["DenoisingAutoencoder"] * 3 + ["ContractiveAutoencoder"] * 3
    assert all(stage.corruption is noise and stage.emphasis == (1, 0.5) for stage, _ in stages[:3])
    assert all(stage.weight == pytest.approx(0.7) for stage, _ in stages[3:])
    assert all(jacobian.one_layer(stage.encoder) for stage, _ in stages[3:])
    stages.clear()
    make = functools.partial(ka.SparseAutoencoder, sparsity="k", k=2)
    ka.pretrain(deep(), x, 1, 40, autoencoder=make, verbose=0)
    assert [stage.k for stage, _ in stages] == [2, 2, 2]


def test_a_data_set_gives_what_arrays_give(x, stages):
    weights = []
    for data in (x, tf.data.Dataset.from_tensor_slices((x, np.arange(40))).batch(10)):
        keras.utils.set_random_seed(0)
        model = deep()
        # One full batch an epoch, since only arrays are shuffled.
        data = data.unbatch().batch(40) if isinstance(data, tf.data.Dataset) else data
        ka.pretrain(model, data, 2, batch_size=None if isinstance(data, tf.data.Dataset) else 40, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    with pytest.raises(ValueError, match="x: every stage reads it several times"):
        ka.pretrain(deep(), (batch for batch in [x]), 1, verbose=0)


def test_the_code_of_a_model_with_a_posterior_is_its_mean(x, stages):
    encoder, decoder = ka.networks.chain(SHAPE, (6, 3))
    model = ka.SemanticHashing(encoder, decoder, "bernoulli", contrast_weight=0.0)
    ka.pretrain(model, x, 1, 40, verbose=0)
    last, rows = stages[-1]
    np.testing.assert_allclose(last.encode(rows), model.encode(x), atol=1e-5)
    encoder = ka.networks.mlp_encoder(SHAPE, 3, (6,), parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(3, SHAPE, (6,)))
    stages.clear()
    ka.pretrain(model, x, 1, 40, verbose=0)
    np.testing.assert_allclose(stages[-1][0].encode(stages[-1][1]), model.encode(x), atol=1e-5)


def test_convolutional_networks_are_pretrained(rng):
    x = rng.random((20, 8, 8, 1)).astype("float32")
    networks = ka.networks.conv_encoder((8, 8, 1), 3, (4, 6)), ka.networks.conv_decoder(3, (8, 8, 1), (6, 4))
    model = ka.Autoencoder(*networks)
    assert len(ka.pretrain(model, x, 1, 40, verbose=0)) == 3
    assert len(ka.pretrain(networks[0], x, 1, 40, verbose=0)) == 3


def test_a_classifier_is_pretrained_and_fine_tuned(rng):
    # Two groups of rows: the labels follow from the larger variance, as pretraining finds without them.
    y = np.arange(200) % 2
    x = (y[:, None] * np.ones(8) * 0.8 + 0.1 * rng.random((200, 8))).reshape(200, *SHAPE).astype("float32")
    encoder, _ = ka.networks.chain(SHAPE, (6, 4), code_activation="sigmoid")
    make = functools.partial(ka.DenoisingAutoencoder, corruption=ka.layers.MaskingNoise(0.25))
    for network, stages in ((encoder, None), (ka.networks.classifier(encoder, 2), 2)):
        before = [layer.get_weights() for layer in dense(encoder)]
        top = [layer.get_weights() for layer in network.layers[-1:]]
        ka.pretrain(network, x, 1, 100, autoencoder=make, likelihood="bernoulli", stages=stages, verbose=0)
        for layer, old in zip(dense(encoder), before, strict=True):
            assert all(np.any(a != b) for a, b in zip(old, layer.get_weights(), strict=True))
        if stages:
            np.testing.assert_array_equal(network.layers[-1].get_weights()[0], top[0][0])
    classifier = ka.networks.classifier(encoder, 2)
    classifier.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    classifier.fit(x, y, epochs=10, verbose=0)
    assert classifier.evaluate(x, y, verbose=0)[1] > 0.95


def test_temporary_decoders_are_tied_where_they_can_be():
    encoder, _ = ka.networks.chain(SHAPE, (6, 4))
    pairs, _ = pretraining._pairs(encoder, "gaussian")
    for down, up in pairs:
        assert up.layers[0].dense is down.layers[down.main]
        assert up.output_shape == down.input_shape
    assert [up.layers[0].activation.__name__ for _, up in pairs] == ["linear", "sigmoid"]  # of the stage's input


def test_the_activation_is_restored_after_an_error(x):
    model = deep()
    with pytest.raises(ValueError, match="broken"):
        ka.pretrain(model, x, 1, verbose=0, callbacks=[Broken()])
    assert [layer.activation.__name__ for layer in dense(model.decoder)] == ["sigmoid", "sigmoid", "linear"]


class Broken(keras.callbacks.Callback):
    """Raises an error in the second stage."""

    stages = 0

    def on_train_begin(self, logs=None):
        self.stages += 1
        if self.stages == 2:
            raise ValueError("broken")


def branched():
    x = keras.Input(SHAPE)
    h = keras.layers.Flatten()(x)
    encoder = keras.Model(x, keras.layers.Concatenate()([keras.layers.Dense(2)(h), keras.layers.Dense(1)(h)]))
    return ka.Autoencoder(encoder, ka.networks.mlp_decoder(3, SHAPE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (branched, "encoder: expected a chain of layers, one after another, which can be split"),
        (lambda: ka.Autoencoder(ka.networks.mlp_encoder(SHAPE, 3, (6,)), ka.networks.mlp_decoder(3, SHAPE, (5,))),
         "model: expected a decoder whose layers mirror"),
        (lambda: ka.Autoencoder(ka.networks.mlp_encoder(SHAPE, 3, (6,)), ka.networks.mlp_decoder(3, SHAPE, ())),
         "model: expected a decoder whose layers mirror"),
        (lambda: ka.Autoencoder(ka.networks.mlp_encoder(SHAPE, 3), None), "model: .* has no decoder"),
        (lambda: "encoder", "model: expected a Keras model; received str"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_pretrained_are_refused(make, message, x):
    with pytest.raises(ValueError, match=message):
        ka.pretrain(make(), x, 1)


def test_the_number_of_stages_is_checked(x, stages):
    ka.pretrain(deep(), x, 1, stages=2, verbose=0)
    assert len(stages) == 2
    with pytest.raises(ValueError, match="stages: expected a whole number, 1 to 3"):
        ka.pretrain(deep(), x, 1, stages=4)
