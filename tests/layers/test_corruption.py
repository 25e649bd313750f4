"""Corruptions: what they change, how often, and when."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka

LAYERS = {
    "masking": lambda rate: ka.layers.MaskingNoise(rate, seed=0),
    "salt-and-pepper": lambda rate: ka.layers.SaltAndPepperNoise(rate, seed=0),
}


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_masking_sets_a_share_of_the_values_to_zero_and_keeps_the_others(rate):
    x = tf.fill([200, 50], 0.7)
    out = ka.layers.MaskingNoise(rate, seed=0)(x, training=True).numpy()
    assert set(np.unique(out)) <= {0.0, np.float32(0.7)}
    # Five standard errors of a share of 10,000 values.
    assert abs((out == 0).mean() - rate) <= 5 * (rate * (1 - rate) / 10_000) ** 0.5


def test_salt_and_pepper_are_equally_frequent():
    x = tf.fill([200, 50], 0.7)
    out = ka.layers.SaltAndPepperNoise(0.4, low=-1.0, high=2.0, seed=0)(x, training=True).numpy()
    assert set(np.unique(out)) == {-1.0, np.float32(0.7), 2.0}
    for value in (-1.0, 2.0):
        assert abs((out == value).mean() - 0.2) < 5 * (0.2 * 0.8 / 10_000) ** 0.5


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_draws_are_new_each_time_and_equal_for_equal_seeds(make):
    x = tf.ones([8, 20]) / 2
    first, other = make(0.5), make(0.5)
    drawn = [first(x, training=True).numpy() for _ in range(2)]
    assert np.any(drawn[0] != drawn[1])
    np.testing.assert_array_equal(drawn[0], other(x, training=True))
    np.testing.assert_array_equal(first(x), x)  # not in training


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_corruption_is_a_layer_like_others(make, tmp_path):
    layer = make(0.25)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    network = keras.Sequential([keras.Input((4, 3)), layer, keras.layers.Dense(2)])
    assert network.output_shape == (None, 4, 2)
    network.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded(tf.ones([2, 4, 3])), network(tf.ones([2, 4, 3])))
    half = layer(tf.ones([2, 4], "float16"), training=True)
    assert half.dtype == "float32"  # the layer's own dtype


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a lot", True])
def test_rates_out_of_range_are_refused(rate):
    for make in LAYERS.values():
        with pytest.raises(ValueError, match="rate: expected a number from 0 to 1"):
            make(rate)


def test_a_range_without_width_is_refused():
    with pytest.raises(ValueError, match="low and high"):
        ka.layers.SaltAndPepperNoise(0.1, low=1.0, high=1.0)
    for wrong in (None, "white", float("inf")):
        with pytest.raises(ValueError, match="high: expected a finite number"):
            ka.layers.SaltAndPepperNoise(0.1, high=wrong)
