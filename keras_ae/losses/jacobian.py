"""Penalties on the Jacobian J = dh/dx of an encoder h(x): its squared Frobenius norm, exactly or estimated."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_ae.networks.chains import encoder_stages, last_activation, layers_of
from keras_ae.typing import Activation, Network

# The derivative of an activation as a function of its value h.
_DERIVATIVES = {
    keras.activations.sigmoid: lambda h: h * (1 - h),
    keras.activations.tanh: lambda h: 1 - h**2,
    keras.activations.relu: lambda h: tf.cast(h > 0, h.dtype),
    keras.activations.linear: tf.ones_like,
}


def squared_norm(network: Network, x: tf.Tensor) -> tf.Tensor:
    """The squared Frobenius norm of a network's Jacobian at each row, exactly: `(B,)`.

        |J|^2 = sum_j sum_i (dh_j / dx_i)^2

    One Dense layer with a sigmoid, tanh, ReLU or no activation has a closed form, `slopes`. Other networks are
    evaluated once for each of the k units of h, so use `projections` where k is large.

    Args:
        network: Keras model from x to h `(B, ...)`, called without dropout.
        x: float32 `(B, ...)`.

    Example: `squared_norm(encoder, x[:8])    # (8,)`

    Source: Rifai 2011, equations 2 and 3. See also: `ContractiveAutoencoder`, which penalises it.
    """
    layer = one_layer(network)
    if layer is not None:
        h = tf.reshape(tf.cast(network(x), tf.float32), [tf.shape(x)[0], -1])
        return squares(slopes(h, layer.kernel, last_activation(layers_of(network))))
    h = network(x[:1])
    return squares(vector_products(network, x, units(tf.shape(x)[0], tf.size(h))))


def one_layer(network: Network) -> keras.layers.Dense | None:
    """Returns the Dense layer of a network that consists of one, if `slopes` holds for it; else None.

    Example: `one_layer(ka.networks.mlp_encoder((784,), 32, hidden=()))    # the Dense layer`

    See also: `slopes`, the closed form.
    """
    try:
        stages = encoder_stages(network)
    except ValueError:
        return None
    stage = stages[0]
    dense = stage.layers[stage.main]
    before, after = stage.layers[: stage.main], stage.layers[stage.main + 1 :]
    shape = (None, *stage.input_shape)
    for layer in before:
        shape = layer.compute_output_shape(shape)
    acting = [each for each in (dense, *after) if getattr(each, "activation", None) not in _LINEAR]
    holds = (
        len(stages) == 1
        and isinstance(dense, keras.layers.Dense)
        and len(shape) == 2  # a layer of a map acts at several places
        and all(isinstance(layer, _SHAPING) for layer in before)
        and all(isinstance(layer, (keras.layers.Activation, *_SHAPING)) for layer in after)
        and len(acting) <= 1
        and last_activation(acting) in _DERIVATIVES
    )
    return dense if holds else None


_LINEAR = (keras.activations.linear, None)
_SHAPING = (keras.layers.Flatten, keras.layers.Reshape)


def slopes(h: tf.Tensor, kernel: tf.Tensor, activation: Activation = "sigmoid") -> tf.Tensor:
    """The lengths of the rows of one Dense layer's Jacobian, `(B, k)`; the sum of their squares is |J|^2.

        slopes_j = f'(a_j) |W_j|,    h = f(a),    a = W^T x + b

    f' follows from h: h (1 - h) for the sigmoid, 1 - h^2 for tanh, [h > 0] for the ReLU, 1 without activation. As rows
    at different x only differ in f', the sum of (slopes(x) - slopes(x'))^2 is |J(x) - J(x')|^2.

    Args:
        h: float32 `(B, k)`, the layer's output.
        kernel: float32 `(D, k)`, W.
        activation: Keras activation: sigmoid, tanh, relu or linear.

    Raises:
        ValueError: for another activation.

    Example: `slopes(tf.fill([4, 8], 0.5), tf.ones([16, 8]))    # (4, 8), each 1/4 sqrt(16) = 1`

    Source: Rifai 2011, equation 3. See also: `vector_products`, for any network.
    """
    derivative = _DERIVATIVES.get(keras.activations.get(activation))
    if derivative is None:
        names = ", ".join(each.__name__ for each in _DERIVATIVES)
        raise ValueError(f"activation: expected one of {names}; received {activation!r}.")
    # The square root has no gradient at 0, which a kernel of zeros has.
    lengths = tf.sqrt(tf.reduce_sum(tf.convert_to_tensor(kernel) ** 2, axis=0) + 1e-12)
    return derivative(h) * lengths


def vector_products(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    """Products v_s^T J(x) for S vectors per row: `(B, S, *x.shape)`.

    `function` is evaluated on S copies of each row, and differentiated once. That needs no loop over units and compiles
    with XLA.

    Args:
        function: from x to h `(B, ...)`, row by row.
        x: float32 `(B, ...)`.
        v: float32 `(B, S, k)`, k the number of values of one h.

    Example: `vector_products(encoder, x[:8], units(8, 64))    # (8, 64, 28, 28, 1), all of J`

    Source: Rumelhart 1986, for reverse mode. See also: `units` and `projections`, which make v.
    """
    count = v.shape[1] if v.shape[1] is not None else tf.shape(v)[1]
    copies = tf.repeat(x, count, axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        h = tf.cast(function(copies), v.dtype)  # half precision under a mixed policy
        total = tf.reduce_sum(tf.reshape(h, [-1]) * tf.reshape(v, [-1]))
    gradient = tape.gradient(total, copies, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.reshape(gradient, tf.concat([tf.shape(v)[:2], tf.shape(x)[1:]], axis=0))


def units(rows: int | tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """The unit vectors, with which `vector_products` gives all of J: float32 `(rows, size, size)`.

    Example: `units(8, 64)    # (8, 64, 64)`

    See also: `projections`, fewer vectors.
    """
    return tf.tile(tf.eye(size)[None], tf.stack([rows, 1, 1]))


def projections(rows: int | tf.Tensor, count: int, size: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Random vectors for an unbiased estimate of |J|^2: float32 `(rows, count, size)`.

        E[sum_s |v_s^T J|^2] = |J|^2,    v_s = signs / sqrt(count)

    The signs are +1 or -1, independent and equally likely. The estimate is exact if the rows of J are orthogonal.

    Args:
        rows, count, size: ints, B, S and k.
        seed: int32 `(2,)`.

    Example: `squares(vector_products(encoder, x[:8], projections(8, 4, 64, [0, 1])))    # (8,)`

    Source: Hutchinson 1990. See also: `units`, the exact norm, of `size` vectors.
    """
    shape = tf.stack([rows, count, size])
    bits = tf.random.stateless_uniform(shape, seed, minval=0, maxval=2, dtype=tf.int32)
    return (2 * tf.cast(bits, tf.float32) - 1) / count**0.5


def squares(values: tf.Tensor) -> tf.Tensor:
    """The sum of squares of each row, `(B,)`.

    Example: `squares(tf.ones([4, 3, 2]))    # (4,), 6 each`
    """
    return tf.reduce_sum(values**2, axis=tf.range(1, tf.rank(values)))
