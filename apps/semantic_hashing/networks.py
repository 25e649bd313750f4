"""Networks of semantic hashing and their initialisation."""

import math

import keras
import numpy as np
from sklearn.decomposition import TruncatedSVD

import keras_ae as ka

from .. import common


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


def pretrain(model, x, epochs, batch_size, max_minutes=None):
    """Trains a deep encoder and its mirrored decoder stage by stage (Hinton & Salakhutdinov 2006).

        stage i: h_i = layer_i(h_{i-1}),    loss = -log p(h_{i-1} | mirror_i(h_i)),    h_0 = x

    Each stage is an autoencoder of the previous stage's activations: words first, then units between 0 and 1. The
    code layer comes last; its noise is added only when the whole model is trained.

    Args:
        model: a model whose encoder and decoder are stacks of Dense layers that mirror each other.
        x: float32 `(N, V)`, TF-IDF.
        epochs: int, per stage.
        batch_size: int.
        max_minutes: float, limit for all stages together, or None for no limit.
    """
    down, up = ([layer for layer in n.layers if hasattr(layer, "kernel")] for n in (model.encoder, model.decoder))
    h, likelihood = x, "multinomial"
    for layer, mirror in zip(down, reversed(up), strict=True):
        # The codes are logits, but their mirror receives the sigmoid of them.
        squash = keras.layers.Activation("sigmoid" if layer is down[-1] else "linear")
        encoder = keras.Sequential([keras.Input(h.shape[1:]), layer, squash])
        # In the full decoder, a mirror layer has an activation; here its output is logits, so use a linear copy.
        logits = keras.layers.Dense(mirror.units)
        stage = ka.Autoencoder(encoder, keras.Sequential([keras.Input((layer.units,)), logits]), likelihood)
        stage.compile("adam")
        budget = common.TimeBudget(None if max_minutes is None else max_minutes / len(down))
        stage.fit(h, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=[budget])
        mirror.set_weights(logits.get_weights())
        h, likelihood = np.concatenate([encoder(h[i : i + 1000]) for i in range(0, len(h), 1000)]), "bernoulli"
