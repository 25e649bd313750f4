"""Tests that every model must pass. A new model adds one line to MODELS."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka

SHAPE, D, CLASSES, SEED = (6, 5, 1), 3, 2, 0


def networks(parameters, raw=1, dropout=0.0, condition=None):
    options = {"hidden": (16,), "condition_shape": condition}
    encoder = ka.networks.mlp_encoder(SHAPE, D, parameters=parameters, activation="tanh", **options)
    if dropout:
        inputs = keras.Input(SHAPE)
        encoder = keras.Model(inputs, encoder(keras.layers.Dropout(dropout)(inputs)))
    shape = (*SHAPE, 256) if raw == 256 else SHAPE
    return encoder, ka.networks.mlp_decoder(D, shape, parameters=1 if raw == 256 else raw, **options)


def autoencoder(likelihood="gaussian", raw=1, **kwargs):
    return ka.Autoencoder(*networks(1, raw), likelihood, seed=1, **kwargs)


def tied():
    return ka.networks.chain(SHAPE, (D,), code_activation="sigmoid", tied=True)


def vae(likelihood="bernoulli", raw=1, dropout=0.0, **kwargs):
    return ka.VAE(*networks(2, raw, dropout), likelihood, seed=1, **kwargs)


def two_layers(model_class, **kwargs):
    encoders = [ka.networks.mlp_encoder(shape, D, (16,), parameters=2) for shape in (SHAPE, (D,))]
    decoders = [ka.networks.mlp_decoder(D, shape, (16,), parameters=k) for shape, k in ((SHAPE, 1), ((D,), 2))]
    return model_class(encoders, decoders, seed=1, **kwargs)


def flow_posterior():
    posterior = ka.posteriors.InverseAutoregressive(D, context=4, hidden=(8,))
    encoder = ka.networks.mlp_encoder(SHAPE, posterior.parameters_for(D), (16,))
    return ka.VAE(encoder, ka.networks.mlp_decoder(D, SHAPE, (16,)), posterior=posterior, seed=1)


def full_covariance():
    encoder = ka.networks.mlp_encoder(SHAPE, 9, (16,))
    return ka.VAE(encoder, ka.networks.mlp_decoder(D, SHAPE, (16,)), posterior="full_covariance", seed=1)


def m2(shape=SHAPE, likelihood="bernoulli"):
    encoder = ka.networks.mlp_encoder(shape, D, (16,), parameters=2, condition_shape=(CLASSES,))
    decoder = ka.networks.mlp_decoder(D, shape, (16,), condition_shape=(CLASSES,))
    return ka.M2(encoder, decoder, ka.networks.mlp_encoder(shape, CLASSES, (16,)), CLASSES, likelihood, seed=1)


def m1m2():
    m1 = ka.M1(*networks(2), seed=1)
    m1.trainable = False
    return ka.M1M2(m1, m2((2,), "gaussian"), units=[0, 2])


def critic(size=D, **kwargs):
    return ka.networks.code_critic(size, (8,), **kwargs)


def planar(parameters=1, noise=None, size=2, **kwargs):
    """Networks of codes of size 2, and a critic of them."""
    encoder = ka.networks.mlp_encoder(SHAPE, size, (16,), parameters, "tanh", noise)
    return encoder, ka.networks.mlp_decoder(2, SHAPE, (16,)), critic(2, **kwargs)


def aae():
    options = {"posterior": "universal", "smoothing": 0.1, "instance_noise": 0.1, "prior": "swiss_roll"}
    return ka.AAE(*planar(noise=(4,), spectral_normalization=True), **options, seed=1)


def aae_labels():
    return ka.AAE(*planar(condition_shape=(3,)), prior=ka.priors.Ring(components=2), label_critic=True, seed=1)


def avb():
    encoder = ka.networks.mlp_encoder(SHAPE, D, (16,), condition_shape=(4,))
    decoder, contrast = ka.networks.mlp_decoder(D, SHAPE, (16,)), ka.networks.mlp_encoder(SHAPE, D, (16,), 2)
    return ka.AVB(encoder, decoder, critic(condition_shape=SHAPE), contrast=contrast, seed=1)


def semi_supervised_aae():
    encoder = ka.networks.mlp_encoder(SHAPE, D + CLASSES, (16,))
    decoder = ka.networks.mlp_decoder(D + CLASSES, SHAPE, (16,))
    return ka.SemiSupervisedAAE(encoder, decoder, critic(), critic(CLASSES), CLASSES, seed=1)


def conditional_aae():
    decoder = ka.networks.mlp_decoder(D, SHAPE, (16,), condition_shape=(CLASSES,))
    return ka.ConditionalAAE(networks(1)[0], decoder, critic(), num_classes=CLASSES, seed=1)


def sketch_vae(cell="lstm", num_classes=None, **kwargs):
    encoder = ka.networks.StrokeEncoder(D, 4, cell=cell, dropout=0.1)
    decoder = ka.networks.StrokeDecoder(D, 6, 2, cell, max_length=7, num_classes=num_classes)
    return ka.SketchVAE(encoder, decoder, num_classes=num_classes, seed=1, **kwargs)


MODELS = {
    "Autoencoder": autoencoder,
    "LinearAutoencoder": lambda: ka.LinearAutoencoder(SHAPE, D, seed=1),
    "DenoisingAutoencoder": lambda: ka.DenoisingAutoencoder(
        *networks(1), ka.layers.SaltAndPepperNoise(0.3), "bernoulli", emphasis=(1.0, 0.5), seed=1
    ),
    "SparseAutoencoder": lambda: ka.SparseAutoencoder(*tied(), "bernoulli", sparsity="kl", seed=1),
    "SparseAutoencoder-k": lambda: ka.SparseAutoencoder(*networks(1), sparsity="k", k=2, seed=1),
    "ContractiveAutoencoder": lambda: ka.ContractiveAutoencoder(*tied(), "bernoulli", hessian=0.1, seed=1),
    "ContractiveAutoencoder-deep": lambda: ka.ContractiveAutoencoder(
        *networks(1), penalty="projection", num_samples=2, hessian=0.1, seed=1
    ),
    "VAE": vae,
    "VAE-dropout-free-bits": lambda: vae("gaussian_per_dimension", raw=2, dropout=0.3, free_bits=0.1),
    "VAE-categorical": lambda: vae("categorical", raw=256),
    "VAE-full-covariance": full_covariance,
    "VAE-flow-posterior": flow_posterior,
    "VAE-two-layers": lambda: two_layers(ka.VAE, beta=0.5, num_samples=3),
    "IWAE": lambda: ka.IWAE(*networks(2), importance_samples=3, num_samples=2, seed=1),
    "IWAE-reparameterised": lambda: ka.IWAE(*networks(2), gradient="reparameterised", prior="mixture", seed=1),
    "IWAE-two-layers": lambda: two_layers(ka.IWAE, importance_samples=3),
    "BetaVAE": lambda: ka.BetaVAE(*networks(2), beta=10.0, capacity=1.0, seed=1),
    "BetaTCVAE": lambda: ka.BetaTCVAE(*networks(2), rows=48, seed=1),
    "CVAE": lambda: ka.CVAE(*networks(2, condition=(CLASSES,)), num_classes=CLASSES, seed=1),
    "CVAE-prior-network": lambda: ka.CVAE(
        *networks(2, condition=(4,)), prior_network=ka.networks.mlp_encoder((4,), D, (8,), parameters=2), seed=1
    ),
    "M1": lambda: ka.M1(*networks(2), "gaussian_learned_scale", seed=1),
    "M2": m2,
    "M1M2": m1m2,
    "SemanticHashing": lambda: ka.SemanticHashing(*networks(1), "bernoulli", seed=1),
    "SemanticHashing-mixture-prior": lambda: ka.SemanticHashing(
        *networks(1), "bernoulli", ka.priors.BernoulliMixture(D), contrast_weight=0.0, relaxation="logistic", seed=1
    ),
    "VDSH": lambda: ka.VDSH(*networks(2), "bernoulli", seed=1),
    "DynamicAutoencoder": lambda: ka.DynamicAutoencoder(*networks(1), "bernoulli", seed=1),
    "AAE": aae,
    "AAE-labels": aae_labels,
    "ConditionalAAE": conditional_aae,
    "SemiSupervisedAAE": semi_supervised_aae,
    "ClusterHeadAAE": lambda: ka.ClusterHeadAAE(*planar(size=2 + CLASSES), critic(CLASSES), CLASSES, seed=1),
    "WAE": lambda: ka.WAE(*networks(1), seed=1),
    "WAE-critic": lambda: ka.WAE(*networks(2), critic(), posterior="diagonal", seed=1),
    "InfoVAE": lambda: ka.InfoVAE(*networks(2), seed=1),
    "AVB": avb,
    "FactorVAE": lambda: ka.FactorVAE(*networks(2), critic(), seed=1),
    "SketchVAE": lambda: sketch_vae(scale=2.0, beta=0.5, kl_floor=0.5),
    "SketchVAE-classes": lambda: sketch_vae("layer_norm", CLASSES),
}
# The loop is the same for all models. These differ in what a step needs: conditions, labels, noise, dropout.
LOOPED = ["Autoencoder", "VAE-dropout-free-bits", "IWAE", "BetaVAE", "CVAE", "M1M2", "SemanticHashing", "VDSH"]
LOOPED += ["AAE-labels", "AVB", "SketchVAE"]
# Models of several players.
PLAYERS = ["AAE-labels", "ConditionalAAE", "SemiSupervisedAAE", "ClusterHeadAAE", "WAE-critic", "AVB", "FactorVAE"]
# Without graphs, because a few steps take less time than compiling.
COMPILE = {"optimizer": "adam", "run_eagerly": True}


class Made:
    """The model of a configuration, with the values that its variables had at first.

    All tests share it, so its networks are built, its methods traced and its optimizer's slots created once.
    """

    def __init__(self, model):
        self.model, self.optimizers = model, {}
        self.weights, self.slots = self._values(model.variables), []

    @staticmethod
    def _values(variables):
        return [(variable, variable.numpy()) for variable in variables]

    def restore_weights(self):
        for variable, value in self.weights:
            variable.assign(value)

    def restore(self):
        """Gives all variables their first values, and the model the settings of `compile` that the tests share."""
        self.restore_weights()
        if self.model.compiled and self.model.optimizers is self.optimizers:
            for variable, value in self.slots:
                variable.assign(value)
            return
        self.model.compile(**COMPILE)
        self.optimizers = self.model.optimizers
        self.slots = self._values(v for each in self.optimizers.values() for v in each.variables)


@pytest.fixture(scope="module", params=MODELS)
def made(request):
    keras.utils.set_random_seed(SEED)
    return Made(MODELS[request.param]())


@pytest.fixture
def model(made):
    made.restore()
    return made.model


def drawings(rows):
    """Drawings of 2 to 6 points, stroke-5."""
    x = np.zeros((rows, 7, 5), "float32")
    ends = 2 + np.arange(rows) % 5
    x[..., :2] = np.random.default_rng(0).normal(size=(rows, 7, 2))
    x[..., 2] = 1.0
    x[np.arange(7) >= ends[:, None]] = (0, 0, 0, 0, 1)
    return x


def shape_of(model):
    """Shape of what a model decodes."""
    return (model.decoder.max_length, 5) if isinstance(model, ka.SketchVAE) else SHAPE


def data(model, rows=48):
    """The arguments of `fit` and the methods, `(x,)` or `(x, y)`."""
    if isinstance(model, ka.SketchVAE):
        return (drawings(rows), np.arange(rows) % CLASSES)[: 1 + model.conditional]
    x = np.random.default_rng(0).random((rows, *SHAPE))
    x = (x * 255).astype("uint8") if model.input_dtype == "uint8" else (x > 0.5).astype("float32")
    if not model.conditional:
        return (x,)
    if model.num_classes:
        return x, np.arange(rows) % model.num_classes
    return x, np.random.default_rng(1).normal(size=(rows, *model.condition_shape)).astype("float32")


def fitted(model, rows=48):
    """The arguments of `fit`, which takes labels that no method takes."""
    x = data(model, rows)
    return x if model.conditional or not model.num_classes else (*x, np.arange(rows) % (model.num_classes + 1) - 1)


def whole(model, rows=48):
    """The input of the model's `call`."""
    found = data(model, rows)
    return found if model.conditional else found[0]


def moved(model):
    """The variables that training changes; for `M1M2`, those of M2."""
    return [v for each in model.objectives().values() for n in each.networks for v in n.trainable_variables]


def test_fit_logs_every_term_and_their_weighted_sum_and_moves_every_variable(model):
    before = [v.numpy() for v in moved(model)]
    history = model.fit(*fitted(model), batch_size=24, validation_data=fitted(model, 20), verbose=0).history
    names = {"loss", *model.terms}
    assert set(history) == names | {f"val_{name}" for name in names}
    for variable, old in zip(moved(model), before, strict=True):
        assert np.abs(variable.numpy() - old).max() > 0, variable.path
    assert int(model.optimizer.iterations) == 2
    # The loss is that of the last player.
    player, objective = list(model.objectives().items())[-1]
    own = [name for name in model.terms if model._objectives_of_terms[name] == player]
    expected = sum(float(objective.weights.get(name, 1.0)) * history[f"val_{name}"][0] for name in own)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("made", PLAYERS, indirect=True)
def test_each_player_moves_only_its_own_networks(made):
    model = made.model
    for name, player in model.objectives().items():
        made.restore_weights()
        still = {each: keras.optimizers.SGD(0.0) for each in model.objectives()}
        model.compile(still | {name: keras.optimizers.SGD(0.1)}, run_eagerly=True)
        model.train_on_batch(*fitted(model))
        own = {id(v) for network in player.networks for v in network.trainable_variables}
        trained = {id(v) for v in model.trainable_variables}
        for variable, value in made.weights:
            if id(variable) in trained and "spectral" not in variable.path:  # which a critic's update rescales
                assert (np.abs(variable - value).max() > 0) == (id(variable) in own), (name, variable.path)


def test_networks_are_those_that_train(model):
    trained = {id(v) for v in moved(model)}
    assert {id(v) for network in model.networks for v in network.trainable_variables} >= trained
    assert not trained - {id(v) for v in model.trainable_variables}


def test_shapes_and_agreement_of_the_methods(model):
    model.compile("sgd", jit_compile=False)  # so that `predict` builds its graph
    x, *y = data(model, 37)
    z = model.encode(x, *y, batch_size=16)
    assert z.shape == (37, model.latent_dim) and z.dtype == np.float32
    images = model.reconstruct(x, *y)
    np.testing.assert_allclose(model.posterior(x, *y).mean(), z, atol=1e-5)
    np.testing.assert_allclose(model.decode(z, *y), images, atol=1e-5)
    if model.conditional or "classifier" not in model.parts:  # which predicts classes
        np.testing.assert_allclose(model.predict(whole(model, 37), verbose=0), images, atol=1e-5)
    np.testing.assert_allclose(model(whole(model, 37)), images, atol=1e-5)
    assert images.shape == (37, *shape_of(model))
    assert tuple(model.likelihood(z, *y).event_shape) == model.target_shape
    assert model.posterior(x, *y).event_shape == (model.latent_dim,)
    assert np.isfinite(model.likelihood(z, *y).log_prob(x)).all()


def test_data_sets_give_what_arrays_give(model):
    x = data(model, 20)
    batches = tf.data.Dataset.from_tensor_slices((*x, np.arange(20))).batch(7)
    np.testing.assert_allclose(model.encode(batches), model.encode(*x), atol=1e-5)
    np.testing.assert_allclose(model.score(batches, seed=2), model.score(*x, seed=2), rtol=1e-5)


def test_methods_work_inside_a_graph(model):
    x = data(model, 5)
    inside = tf.function(lambda *x: model.reconstruct(*x), autograph=False)(*map(tf.constant, x))
    assert tf.is_tensor(inside)
    np.testing.assert_allclose(inside, model.reconstruct(*x), atol=1e-5)


def test_going_on_after_loading_equals_never_having_stopped(model, tmp_path):
    x = fitted(model)
    model.train_on_batch(*(column[:24] for column in x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    batch = [column[24:] for column in x]
    assert model.train_on_batch(*batch) == loaded.train_on_batch(*batch)
    for mine, its in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_weights_round_trip(model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    before = model.encode(*data(model))
    for variable in model.weights:
        variable.assign(2 * variable + 1)
    assert np.abs(model.encode(*data(model)) - before).max() > 0
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model.encode(*data(model)), before)


def test_same_seed_same_numbers(model, request):
    keras.utils.set_random_seed(SEED)
    again = MODELS[request.node.callspec.params["made"]]()
    again.compile("sgd", run_eagerly=True)
    model.compile("sgd", run_eagerly=True)
    for each in (model, again):
        each.train_on_batch(*fitted(each))
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_score_depends_on_the_row_and_its_seed_only(model):
    x = data(model, 9)
    every = model.score(*x, seed=5)
    np.testing.assert_allclose(model.score(*(column[3:4] for column in x), seed=8), every[3:4], rtol=1e-5)
    assert every.shape == (9,)


def test_samples_depend_on_their_own_seed_only(model):
    if not hasattr(model, "sample"):
        pytest.skip("a model without a prior does not sample")
    y = data(model, 7)[1:]
    every = model.sample(7, *y, seed=3)
    assert every.shape == (7, *shape_of(model))
    np.testing.assert_allclose(model.sample(2, *(column[2:4] for column in y), seed=5), every[2:4], atol=1e-5)
    assert np.ptp(every[::2], axis=0).max() > 0  # rows of one label


@pytest.mark.parametrize("made", LOOPED, indirect=True)
def test_a_run_in_one_call_equals_a_run_step_by_step(made):
    # 40 rows in batches of 16: two steps in one execution and a smaller last batch.
    # training/test_model.py does the same under XLA.
    model = made.model
    x = fitted(model, 40)
    weights, histories = [], []
    for options in ({"jit_compile": False}, {"run_eagerly": True}):
        made.restore_weights()
        model.compile(keras.optimizers.SGD(0.01), **options)
        histories.append(model.fit(*x, batch_size=16, shuffle=False, verbose=0).history)
        weights.append(model.get_weights())
        assert int(model.optimizer.iterations) == 3
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4)


def test_refuses_data_that_do_not_suit(model):
    x, *y = data(model)
    bad = x.astype("float32")
    bad.reshape(len(bad), -1)[3, 0] = np.nan
    wide = np.repeat(x, 3, -1)
    cases = {
        "NaN or infinity": bad,
        re.escape(f"shape {model.event_shape}, received {x.shape[1:-1]}"): x[..., 0],
        re.escape(f"received {wide.shape[1:]}"): wide,
        "empty": x[:0],
    }
    for message, rows in cases.items():
        with pytest.raises(ValueError, match=message):
            model.fit(rows, *y, verbose=0)
        with pytest.raises(ValueError, match=message):
            model.fit(tf.data.Dataset.from_tensors((rows, *y) if y else rows), verbose=0)
    with pytest.raises(ValueError, match="empty"):
        model.fit(tf.data.Dataset.from_tensor_slices(x[:0]).batch(4), verbose=0)
    with pytest.raises(ValueError, match="NaN"):
        model.train_on_batch(bad, *y)
    with pytest.raises(ValueError, match="NaN"):
        model.encode(bad, *y)
    with pytest.raises(ValueError, match=rf"z: expected rows of shape \({model.latent_dim},\), received \(40,\)"):
        model.decode(np.zeros((len(x), 40)), *y)
    with pytest.raises(ValueError, match="expected rows of shape"):
        model.fit(*fitted(model), validation_data=(x[..., 0], *y), verbose=0)


def test_refuses_conditions_that_do_not_suit(model):
    x, *y = data(model)
    if not model.conditional:
        # Labels, or labels out of range where rows may have some.
        for labels in (np.full(len(x), model.num_classes or 0), [model.num_classes or 0] * len(x)):
            with pytest.raises(ValueError, match="labels"):
                model.fit(x, labels, verbose=0)
        with pytest.raises(ValueError, match="not conditional"):
            model.encode(x, np.zeros(len(x), int))
        return
    with pytest.raises(ValueError, match="y: "):
        model.fit(x, verbose=0)
    with pytest.raises(ValueError, match="conditional"):
        model.encode(x)
    with pytest.raises(ValueError, match=r"y: expected .* \(47"):
        model.fit(x, y[0][1:], verbose=0)
    wrong = np.full(len(x), CLASSES) if model.num_classes else np.zeros((len(x), 9))
    for use in (model.fit, model.encode):
        with pytest.raises(ValueError, match=r"expected labels 0 to 1.*received 2|shape \(4,\), received \(9,\)"):
            use(x, wrong)
