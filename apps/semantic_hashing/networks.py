"""Networks of semantic hashing and their initialisation."""

import math

import keras
from sklearn.decomposition import TruncatedSVD

import keras_ae as ka


def build(chosen, x, bits, seed):
    """Returns an untrained model for documents x, sparse `(N, V)`; `chosen` is the result of `settings.of`."""
    words = x.shape[1]
    arguments = dict(chosen["arguments"])
    if chosen["prior"] == "mixture":
        arguments["prior"] = ka.priors.BernoulliMixture(bits)
    model_class = getattr(ka, chosen["model"])
    width = ka.posteriors.get(model_class.default_posterior, bits).parameters_for(bits)
    hidden = chosen["hidden"][::-1] if chosen["mirrored"] else ()
    decoder = ka.networks.mlp_decoder(bits, (words,), hidden, activation=chosen["activation"])
    if chosen["dimensions"]:
        directions = max(1, min(chosen["dimensions"], *(size - 1 for size in x.shape)))
        lsa = TruncatedSVD(directions, random_state=seed).fit(x).components_
        return model_class(lsa_encoder(chosen, lsa, width), decoder, seed=seed, **arguments)
    inputs = keras.Input((words,))
    return model_class(head(chosen, inputs, inputs, width), decoder, seed=seed, **arguments)


def head(chosen, inputs, x, width):
    """Returns the encoder of `inputs`: dense layers with dropout on top of x, then `width` params."""
    for units in chosen["hidden"]:
        x = keras.layers.Dense(units, chosen["activation"])(x)
        x = keras.layers.Dropout(chosen["dropout"])(x) if chosen["dropout"] else x
    return keras.Model(inputs, keras.layers.Dense(width)(x), name="encoder")


def lsa_encoder(chosen, directions, width):
    """Returns an encoder that maps TF-IDF `(B, V)` to params `(B, width)` through a fixed LSA layer.

        h = relu(A sqrt(D) V^T x / |V^T x| + a),    params = C h + c

    V `(D, V)^T`, the leading singular directions of the corpus, is what a linear autoencoder would learn (Baldi &
    Hornik 1989). It is not trained further: when it was, the network overfitted to the documents' rare words.
    """
    inputs = keras.Input((directions.shape[1],))
    project = keras.layers.Dense(len(directions), use_bias=False, trainable=False, name="lsa")
    x = keras.layers.UnitNormalization()(project(inputs))
    # Scale back to about 1 per dimension, as the initial weights of the next layer assume.
    x = keras.layers.Rescaling(math.sqrt(len(directions)))(x)
    x = keras.layers.Dropout(chosen["word_dropout"])(x)
    network = head(chosen, inputs, x, width)
    project.set_weights([directions.T])
    return network
