"""Recurrent cells: against Keras, against the definition step by step, and their gradients against TensorFlow's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ae.layers import cells

T, B, D, Z, H = 5, 3, 4, 2, 6


def made(name, **options):
    keras.utils.set_random_seed(1)
    small = {"hyper_units": 4, "embedding": 2} if name == "hyper" else {}
    cell = cells.CELLS[name](H, **small, **options)
    cell.build((None, None, D), (None, Z))
    rng = np.random.default_rng(2)
    cell.set_weights([w + 0.2 * rng.normal(size=w.shape) for w in cell.get_weights()])
    return cell


def inputs(cell):
    rng = np.random.default_rng(3)
    start = [rng.normal(size=(B, size)) for size in cell.state_sizes]
    return [tf.constant(each, tf.float32) for each in (rng.normal(size=(T, B, D)), rng.normal(size=(B, Z)), *start)]


def stepwise(cell, x, context, *state):
    outputs, products = [], cell.products(context)
    for t in range(T):
        h, state = cell.one(x[t], products, state)
        outputs.append(h)
    return tf.stack(outputs)


def test_lstm_is_that_of_keras(rng):
    cell = made("lstm")
    x, context, h, c = inputs(cell)
    theirs = keras.layers.LSTM(H, return_sequences=True, unit_forget_bias=False)
    both = tf.concat([tf.transpose(x, [1, 0, 2]), tf.repeat(context[:, None], T, axis=1)], axis=-1)
    theirs.build(both.shape)

    def reordered(w):  # Keras has i, f, g, o
        i, g, f, o = np.split(w, 4, axis=-1)
        return np.concatenate([i, f, g, o], axis=-1)

    kernel, context_kernel, bias, recurrent = (
        each.numpy() for each in (cell.kernel, cell.context_kernel, cell.bias, cell.recurrent_kernels[0])
    )
    bias[2 * H : 3 * H] += 1.0
    theirs.set_weights([reordered(w) for w in (np.concatenate([kernel, context_kernel]), recurrent, bias)])
    expected = theirs(both, initial_state=[h, c])
    np.testing.assert_allclose(tf.transpose(cell(x, context, (h, c)), [1, 0, 2]), expected, atol=1e-5)


@pytest.mark.parametrize("name", cells.CELLS)
def test_sequences_and_single_steps_agree_in_values_and_gradients(name):
    cell = made(name)
    given = inputs(cell)
    results = []
    for run in (lambda x, z, s, c: cell(x, z, (s, c)), lambda x, z, s, c: stepwise(cell, x, z, s, c)):
        with tf.GradientTape() as tape:
            tape.watch(given)
            h = run(*given)
            loss = tf.reduce_sum(tf.sin(3 * h))
        results.append([h, *tape.gradient(loss, [*given, *cell.trainable_variables])])
    assert len(results[0]) == 1 + 4 + len(cell.trainable_variables)
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)
        assert np.abs(one).max() > 0


def test_gradients_are_the_same_in_a_graph():
    cell = made("layer_norm", dropout=0.5)
    x, context, *_ = inputs(cell)

    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(cell(x, context, seed=tf.constant([1, 2])) ** 2)
        return tape.gradient(loss, cell.trainable_variables)

    graph = tf.function(gradients, autograph=False, input_signature=[tf.TensorSpec([None, None, D])])
    for one, two in zip(gradients(x), graph(x), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_dropout_acts_on_candidates_in_training_only():
    cell = made("lstm", dropout=0.25)
    x, context, *_ = inputs(cell)
    still = cell(x, context)
    assert np.abs(cell(x, context, seed=tf.constant([0, 1])) - still).max() > 0.01
    np.testing.assert_array_equal(cell(x, context), still)
    factors = cells._kept(tf.constant([40, 50, 25]), 0.25, tf.constant([0, 1])).numpy()
    assert set(np.unique(factors).tolist()) == {0.0, np.float32(4 / 3)}
    assert factors.mean() == pytest.approx(1.0, abs=4 * np.sqrt(1 / 3 / factors.size))


def test_a_layer_normalised_gate_ignores_the_scale_of_its_products():
    cell = made("layer_norm")
    c = tf.zeros([B, H])
    total = tf.random.stateless_normal([B, 4 * H], [0, 1]) * 100.0
    params = [tf.convert_to_tensor(w) for w in cell.params]
    one, two = (cell.step(k * total, tf.zeros_like(total), c, params, None)[0] for k in (1.0, 7.0))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_new_hyper_lstm_scales_all_alike():
    # Its scales begin near 1/10, so that it is a layer-normalised LSTM.
    keras.utils.set_random_seed(0)
    hyper, plain = cells.HyperLSTM(H, hyper_units=4, embedding=2), cells.LayerNormLSTM(H)
    for cell in (hyper, plain):
        cell.build((None, None, D), (None, Z))
    a, c = 100 * tf.random.stateless_normal([B, 4 * H], [0, 1]), tf.random.stateless_normal([B, H], [0, 2])
    plain.gains.assign(tf.ones_like(plain.gains))
    wide = tf.pad(a, [[0, 0], [0, 16]]), tf.zeros([B, 4 * H + 16]), tf.pad(c, [[0, 0], [0, 4]])
    found = hyper.step(*wide, [tf.convert_to_tensor(w) for w in hyper.params], None)[0][:, :H]
    expected = plain.step(a, tf.zeros_like(a), c, [tf.convert_to_tensor(w) for w in plain.params], None)[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_cell_needs_no_context():
    cell = cells.LSTM(H)
    cell.build((None, None, D), (None, 0))
    assert cell(tf.ones([T, B, D]), tf.zeros([B, 0])).shape == (T, B, H)
    again = cells.LSTM.from_config(cell.get_config())
    assert (again.units, again.dropout) == (H, 0.0)
    with pytest.raises(ValueError, match="dropout: expected less than 1"):
        cells.LSTM(H, dropout=1.0)
