"""A batch that training cannot learn from changes nothing: no weight, no optimizer state, no random state."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from tests.models import players
from tests.numerics import multiplies_half_precision

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")
BAD = X.copy()
BAD[40, 2] = np.nan  # the third of three batches


def batches(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(16)


def dense(inputs, outputs, normalised=False):
    layers = [keras.layers.BatchNormalization()] if normalised else []
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(5), *layers, keras.layers.Dense(outputs)])


def vae():
    return ka.VAE(dense(6, 4, normalised=True), dense(2, 6), "gaussian", seed=0)


def began():
    return players.BEGAN(dense(2, 6, normalised=True), dense(6, 6), seed=0)


def vae_gan():
    return players.VAEGAN(dense(6, 4, normalised=True), dense(2, 6), dense(6, 1), seed=0)


def with_everything():
    """An optimizer whose step changes more than weights and slots: decay, averages and accumulated gradients."""
    return keras.optimizers.Adam(0.01, weight_decay=0.1, use_ema=True, gradient_accumulation_steps=2)


def state(model):
    """All variables of the model and its optimizers, the random state included."""
    return [*model.variables, *(v for optimizer in model.optimizers.values() for v in optimizer.variables)]


def values(variables):
    return [variable.numpy().copy() for variable in variables]


def assert_equal(variables, expected):
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


def check_the_third_batch_changes_nothing(model, step=3):
    start = values(state(model))
    model.fit(batches(X).take(2), verbose=0)
    after_two = values(state(model))
    for variable, value in zip(state(model), start, strict=True):
        variable.assign(value)
    with pytest.raises(FloatingPointError, match=rf"at step {step} of .*The weights are those of the previous step"):
        model.fit(batches(BAD), verbose=0)
    assert_equal(state(model), after_two)


@pytest.mark.parametrize(
    ("made", "how"),
    [
        (vae, {"jit_compile": True, "steps_per_execution": 1}),
        (vae, {"jit_compile": False}),
        (vae, {"run_eagerly": True}),
        (began, {"run_eagerly": True}),  # acts after the step
        (vae_gan, {"run_eagerly": True}),
    ],
)
def test_a_bad_batch_changes_nothing(made, how):
    model = made()
    model.compile(with_everything(), **how)
    check_the_third_batch_changes_nothing(model)


def test_a_bad_batch_changes_nothing_within_a_compiled_loop():
    model = began()
    model.compile(keras.optimizers.Adam(0.01, weight_decay=0.1, use_ema=True), jit_compile=True)
    check_the_third_batch_changes_nothing(model)


@multiplies_half_precision
def test_a_bad_batch_does_not_lower_the_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = vae()
        model.compile("adam", run_eagerly=True)
        # Updates are counted. The first two only lower the scale, because gradients times 32,768 overflow.
        check_the_third_batch_changes_nothing(model, step=1)
    finally:
        keras.config.set_dtype_policy("float32")


def test_no_player_moves_if_any_batch_of_a_step_is_bad():
    model = players.AAE(dense(6, 2), dense(2, 6), dense(2, 1), 3, seed=0)
    model.compile("sgd", run_eagerly=True)
    before = values(state(model))
    with pytest.raises(FloatingPointError):
        model.fit(batches(BAD), verbose=0)  # one step of three batches, the last of which is bad
    assert_equal(state(model), before)


def conditional(kind, **options):
    networks = [
        ka.networks.mlp_encoder((6,), 2, (4,), parameters=2, condition_shape=(3,)),
        ka.networks.mlp_decoder(2, (6,), (4,), condition_shape=(3,)),
    ]
    networks += [ka.networks.mlp_encoder((6,), 3, (4,))] if kind is ka.M2 else []
    return kind(*networks, num_classes=3, seed=0, **options)


PIXELS = (X > 0).astype("float32")
LATER = np.concatenate([PIXELS[:32], 255 * PIXELS[32:]])  # the third of three batches
NEGATIVE = np.concatenate([PIXELS[:32], -PIXELS[32:]])
Y = np.arange(48) % 3
BEYOND = {
    "target": (lambda: ka.Autoencoder(dense(6, 2), dense(2, 6), "bernoulli", seed=0), (LATER,)),
    "input, with a target": (lambda: ka.Autoencoder(dense(6, 2), dense(2, 6), "bernoulli", seed=0), (LATER, PIXELS)),
    "neighbour": (lambda: ka.SemanticHashing(dense(6, 2), dense(2, 6), seed=0), (NEGATIVE, PIXELS)),
    "condition": (lambda: conditional(ka.CVAE), (LATER, Y)),
    "partial labels": (lambda: conditional(ka.M2), (LATER, Y)),
}
HOW = {"eager": {"run_eagerly": True}, "compiled": {"jit_compile": False}, "XLA": {"jit_compile": True}}


@pytest.mark.parametrize(
    ("name", "how"), [*((name, "eager") for name in BEYOND), ("target", "compiled"), ("target", "XLA")]
)
def test_values_beyond_the_range_of_the_likelihood_stop_training_at_a_later_batch(name, how):
    made, columns = BEYOND[name]
    model, after = made(), made()
    for each in (model, after):
        keras.utils.set_random_seed(0)
        each.compile("sgd", **HOW[how])
    after.set_weights(model.get_weights())
    rows = tf.data.Dataset.from_tensor_slices(columns).batch(16)
    after.fit(rows.take(2), verbose=0)
    with pytest.raises(
        FloatingPointError, match=r"step 3 .*most likely first: rows with NaN, or with values or labels"
    ):
        model.fit(rows, verbose=0)
    for one, two in zip(model.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


def test_rows_of_arrays_are_not_checked_again_in_every_step(monkeypatch):
    model = BEYOND["target"][0]()
    model.compile("sgd", jit_compile=False)
    tested = []
    monkeypatch.setattr(model, "in_range", lambda x, slack=False: tested.append(x) or tf.constant(True))
    model.fit(PIXELS, batch_size=16, verbose=0)
    assert not tested
    model.fit(batches(PIXELS), verbose=0)
    assert tested


class Norm(ka.ObjectiveModel):
    """At 0, the gradient of a norm is NaN, but its value is not."""

    terms = ("norm",)

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def objectives(self):
        return {"network": ka.Objective(self.norm, [self.network])}

    def norm(self, x, y, training):
        return {"norm": tf.norm(self.network(x), axis=-1)}


def test_weights_spoilt_by_a_gradient_are_noticed_though_the_loss_is_finite():
    model = Norm(keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, kernel_initializer="zeros")]))
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(FloatingPointError, match=r"after epoch 1 of Norm: the losses are finite, but .*kernel"):
        model.fit(X, batch_size=48, verbose=0)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    with pytest.raises(FloatingPointError, match=r"at step 2 of Norm: the losses are finite, but .*kernel"):
        model.train_on_batch(X)


@pytest.mark.parametrize("shared", [False, True])
def test_losses_that_calls_add_count_in_training_as_in_evaluation(shared):
    class Pair(ka.ObjectiveModel):
        terms = ("first", "second")

        def objectives(self):
            first, second = self.networks
            return {"first": ka.Objective(self.of_first, [first]), "second": ka.Objective(self.of_second, [second])}

        def of_first(self, x, y, training, z=None):
            return {"first": tf.reduce_sum(self.networks[0](x) ** 2, axis=-1)}

        def of_second(self, x, y, training, z=None):
            return {"second": tf.reduce_sum((self.networks[1](x) if z is None else z) ** 2, axis=-1)}

    if shared:
        Pair.shared_pass = lambda self, x, y, training: self.networks[1](x)
    model = Pair(seed=0)
    model.networks = [
        dense(6, 2),
        keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, activity_regularizer="l2")]),
    ]
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.train_on_batch(X, return_dict=True)
    added = 0.01 * np.sum(model.networks[1](X).numpy() ** 2) / len(X)
    assert logs["loss"] - logs["second"] == pytest.approx(added, rel=1e-3)
    assert model.test_on_batch(X, return_dict=True) == pytest.approx(logs, rel=1e-5)
