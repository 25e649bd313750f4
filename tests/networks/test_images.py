"""Networks: shapes for any size and number of channels; every variable is used."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ae.networks import images

PAIRS = {
    "mlp": (images.mlp_encoder, images.mlp_decoder),
    "conv": (images.conv_encoder, images.conv_decoder),
    "residual": (images.residual_encoder, images.residual_decoder),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (28, 28, 1), (13, 7, 3), (5, 64, 2), (20, 1), (13, 3), (4, 4, 4, 1), (5, 7, 6, 2)]
)
@pytest.mark.parametrize("parameters", [1, 2])
def test_shapes(kind, shape, parameters):
    encoder, decoder = PAIRS[kind]
    assert encoder(shape, 3, parameters=parameters).output_shape == (None, 3 * parameters)
    out = decoder(3, shape, parameters=parameters).output_shape
    assert out == (None, *shape[:-1], shape[-1] * parameters)


@pytest.mark.parametrize("kind", PAIRS)
def test_levels_of_a_categorical_likelihood(kind):
    decoder = PAIRS[kind][1]
    assert decoder(3, (9, 6, 2, 256)).output_shape == (None, 9, 6, 2, 256)
    for shape in [(9, 6, 2), (20, 1), (3, 3, 3, 1)]:
        assert decoder(3, shape, levels=256).output_shape == (None, *shape, 256)
    assert decoder(3, (9, 6, 2), levels=4).output_shape == (None, 9, 6, 2, 4)
    # Four axes without 256 are a volume, and 256 channels of an image are channels.
    assert decoder(3, (4, 4, 4, 2), parameters=2).output_shape == (None, 4, 4, 4, 4)
    assert decoder(3, (4, 4, 256), parameters=2).output_shape == (None, 4, 4, 512)
    for shape, levels in [((4, 4, 1), 256), ((4, 4, 1, 256), None)]:
        with pytest.raises(ValueError, match=r"parameters: expected 1 with levels=256.*received 2"):
            decoder(3, shape, parameters=2, levels=levels)
    with pytest.raises(ValueError, match="levels: expected two or more"):
        decoder(3, (4, 4, 1), levels=1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_of_any_rank_see_the_same(rank, rng):
    """A series gives the same result as an image of one row or a volume one cell wide, with the same weights."""
    encoder = images.conv_encoder((9,) * rank + (2,), 3, filters=(4, 4), kernel_size=1)
    row = images.conv_encoder((9, 2), 3, filters=(4, 4), kernel_size=1)
    # A kernel of one only sees every second position, so an image that is constant along the other axes gives the same.
    x = rng.random((2, 9, 2)).astype("float32")
    spread = x.reshape(2, 9, *(1,) * (rank - 1), 2) * np.ones((1, 9, *(9,) * (rank - 1), 1), "float32")
    convs = [[layer for layer in net.layers if "conv" in layer.name] for net in (encoder, row)]
    for ours, theirs in zip(*convs, strict=True):
        kernel, bias = theirs.get_weights()
        ours.set_weights([kernel.reshape(ours.kernel.shape), bias])
    ends = [keras.Model(net.inputs, nets[-1].output) for net, nets in zip((encoder, row), convs, strict=True)]
    seen = np.asarray(ends[0](spread))
    np.testing.assert_allclose(seen.reshape(2, 3, -1, 4)[:, :, 0], ends[1](x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen.reshape(2, 3, -1, 4)[:, :, -1], ends[1](x), rtol=1e-5, atol=1e-6)


CONVOLUTIONAL = ["conv", "residual"]


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("shape", [(13, 2), (13, 9, 2), (5, 6, 7, 1)])
def test_conditions_join_at_any_rank(kind, shape, rng):
    encoder, decoder = PAIRS[kind]
    encoder = encoder(shape, 3, condition_shape=4)
    decoder = decoder(3, shape, condition_shape=[4])
    x, y = rng.random((2, *shape)).astype("float32"), np.eye(4, dtype="float32")[:2]
    z = np.asarray(encoder([x, y]))
    assert z.shape == (2, 3) and decoder([z, y]).shape == (2, *shape)
    assert np.abs(encoder([x, y[::-1]]) - z).max() > 0
    assert np.abs(decoder([z, y[::-1]]) - decoder([z, y])).max() > 0


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    ("shape", "code"),
    [((28, 28, 1), (7, 7, 2)), ((13, 9, 3), (4, 3, 2)), ((21, 1), (6, 5)), ((5, 8, 8, 1), (2, 2, 2, 3))],
)
def test_codes_may_be_maps(kind, shape, code, rng):
    encoder, decoder = PAIRS[kind]
    options = {"condition_shape": (3,), "hidden": (6,)}
    plain = encoder(shape, code, parameters=2), decoder(code, shape, parameters=2)
    assert plain[0].output_shape == (None, *code[:-1], 2 * code[-1])
    assert plain[1].input_shape == (None, *code) and plain[1].output_shape == (None, *shape[:-1], 2 * shape[-1])
    encoder, decoder = encoder(shape, list(code), **options), decoder(list(code), shape, **options)
    x, y = rng.random((2, *shape)).astype("float32"), np.eye(3, dtype="float32")[:2]
    z = np.asarray(encoder([x, y]))
    assert z.shape == (2, *code) and decoder([z, y]).shape == (2, *shape)
    assert np.abs(encoder([x, y[::-1]]) - z).max() > 0


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_a_map_is_local(kind, rng):
    """One corner of the code does not see the opposite corner of the image: kernels of three reach 1 + 2 + 4 pixels."""
    encoder = PAIRS[kind][0]((32, 32, 1), (16, 16, 2), filters=4)
    x = rng.random((1, 32, 32, 1)).astype("float32")
    changed = x.copy()
    changed[:, 16:, 16:] = 0
    seen = np.abs(np.asarray(encoder(x)) - np.asarray(encoder(changed))).max(axis=(0, 3))
    assert seen[12:, 12:].max() > 0 and seen[:4, :4].max() == 0


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_maps_of_the_wrong_size_say_which_size_it_is(kind):
    encoder, decoder = PAIRS[kind]
    for make in (lambda: encoder((28, 28, 1), (4, 4, 2)), lambda: decoder((4, 4, 2), (28, 28, 1))):
        with pytest.raises(ValueError, match=r"latent_dim: 2 stages .* \(28, 28, 1\) to a code of \(7, 7, C\)"):
            make()
    with pytest.raises(ValueError, match=r"latent_dim: .*\(7, C\)"):
        encoder((28, 1), (7, 7, 2))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("shape", [(9, 2), (9, 6, 2), (3, 5, 4, 1)])
def test_the_global_order_of_axes_does_not_matter(kind, shape, rng):
    encoder, decoder = PAIRS[kind]
    x, z = rng.random((2, *shape)).astype("float32"), rng.random((2, 3)).astype("float32")

    def outputs():
        keras.utils.set_random_seed(1)
        nets = encoder(shape, 3, condition_shape=(2, 2, 1)), decoder(3, shape, condition_shape=(2, 2, 1))
        y = np.arange(8, dtype="float32").reshape(2, 2, 2, 1)
        return [np.asarray(net([each, y])) for net, each in zip(nets, (x, z), strict=True)]

    expected = outputs()
    keras.config.set_image_data_format("channels_first")
    try:
        for ours, theirs in zip(outputs(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("kind", PAIRS)
def test_numbers_of_any_kind_and_lists_are_taken(kind):
    encoder, decoder = PAIRS[kind]
    stages = {} if kind == "mlp" else {"filters": np.int64(4)}
    net = encoder([8, 8, np.int32(1)], np.int64(2), hidden=16, parameters=np.int8(2), **stages)
    assert net.output_shape == (None, 4)
    assert [layer.units for layer in net.layers if isinstance(layer, keras.layers.Dense)] == [16, 4]
    net = decoder(np.int64(2), np.array([8, 8, 1]), hidden=np.array([16]), **stages)
    assert net.output_shape == (None, 8, 8, 1)
    if stages:
        assert decoder(2, (8, 8, 1), filters=[4, 4]).output_shape == (None, 8, 8, 1)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("latent_dim", 0),
        ("latent_dim", "2"),
        ("latent_dim", 2.5),
        ("latent_dim", None),
        ("shape", (8, None, 1)),
        ("shape", (8, -8, 1)),
        ("shape", ()),
        ("hidden", (16, 0)),
        ("hidden", None),
        ("hidden", "64"),
        ("parameters", 0),
        ("parameters", 1.5),
        ("activation", "relo"),
        ("condition_shape", (0,)),
        ("filters", ()),
        ("filters", -4),
        ("kernel_size", 0),
        ("kernel_size", (3, 3, 3)),
        ("levels", 1.5),
    ],
)
def test_wrong_arguments_are_named(kind, argument, value):
    for make, name in zip(PAIRS[kind], ("input_shape", "output_shape"), strict=True):
        named = name if argument == "shape" else argument
        if named not in inspect.signature(make).parameters:
            continue
        with pytest.raises(ValueError, match=f"^{named}: expected"):
            make(**({name: (8, 8, 1), "latent_dim": 2} | {named: value}))


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_convolutions_need_channels(kind):
    encoder, decoder = PAIRS[kind]
    with pytest.raises(ValueError, match=r"input_shape: expected \(T, C\), \(H, W, C\)"):
        encoder(784, 2)
    with pytest.raises(ValueError, match=r"output_shape: expected \(T, C\), \(H, W, C\)"):
        decoder(2, (2, 2, 2, 2, 1))


@pytest.mark.parametrize("shape", [(13, 2), (9, 9, 2), (5, 3, 4, 1)])
@pytest.mark.parametrize("kind", PAIRS)
def test_every_variable_gets_a_gradient(kind, shape, rng):
    encoder, decoder = (
        make(*a, activation="tanh") for make, a in zip(PAIRS[kind], [(shape, 3), (3, shape)], strict=True)
    )
    x = rng.random((4, *shape)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((decoder(encoder(x)) - x) ** 2)
    variables = encoder.trainable_variables + decoder.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None and np.abs(gradient).max() > 0, variable.path


def test_hidden_layers_and_activation_are_as_told():
    encoder = images.mlp_encoder((4, 4, 1), 2, hidden=(7, 5), activation="tanh")
    dense = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [7, 5, 2]
    assert [layer.activation.__name__ for layer in dense] == ["tanh", "tanh", "linear"]
