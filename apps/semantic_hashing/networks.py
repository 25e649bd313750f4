"""Networks of semantic hashing, and how they start."""

import math

import keras
import numpy as np
from sklearn.decomposition import TruncatedSVD

import keras_ae as ka

from .. import common


def build(chosen, x, bits, seed):
    """An untrained model for documents x, sparse `(N, V)`; `chosen`: what `settings.of` returns."""
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
    """The encoder from `inputs`, its hidden layers behind x: dense, each with dropout, then `width` raw values."""
    for units in chosen["hidden"]:
        x = keras.layers.Dense(units, chosen["activation"])(x)
        x = keras.layers.Dropout(chosen["dropout"])(x) if chosen["dropout"] else x
    return keras.Model(inputs, keras.layers.Dense(width)(x), name="encoder")


def lsa_encoder(chosen, directions, width):
    """TF-IDF `(B, V)` to `(B, width)` raw parameters through LSA.

        h = relu(A sqrt(D) V^T x / |V^T x| + a),    raw = C h + c

    V `(D, V)^T`, the leading singular directions of the corpus, is what a linear autoencoder would learn (Baldi &
    Hornik 1989). It stays as it is: trained on, the network learned the documents' rare words by heart.
    """
    inputs = keras.Input((directions.shape[1],))
    project = keras.layers.Dense(len(directions), use_bias=False, trainable=False, name="lsa")
    x = keras.layers.UnitNormalization()(project(inputs))
    # Back to about 1 a dimension, which the initial weights of the next layer are made for.
    x = keras.layers.Rescaling(math.sqrt(len(directions)))(x)
    x = keras.layers.Dropout(chosen["word_dropout"])(x)
    network = head(chosen, inputs, x, width)
    project.set_weights([directions.T])
    return network


def pretrain(model, x, epochs, batch_size, max_minutes=None):
    """Trains a deep encoder and its mirrored decoder stage by stage (Hinton & Salakhutdinov 2006).

        stage i: h_i = layer_i(h_{i-1}),    loss = -log p(h_{i-1} | mirror_i(h_i)),    h_0 = x

    Each stage is an autoencoder of the activations of the one before: words first, then units between 0 and 1. The
    codes' own layer comes last; its noise waits for the whole.

    Args:
        model: a model whose encoder and decoder are stacks of Dense layers, each other's mirror.
        x: float32 `(N, V)`, TF-IDF.
        epochs: int, of each stage.
        batch_size: int.
        max_minutes: float, of all stages together; None for no limit.
    """
    down, up = ([layer for layer in n.layers if hasattr(layer, "kernel")] for n in (model.encoder, model.decoder))
    h, likelihood = x, "multinomial"
    for layer, mirror in zip(down, reversed(up), strict=True):
        # The codes are logits: only the sigmoid behind them is what their mirror meets.
        squash = keras.layers.Activation("sigmoid" if layer is down[-1] else "linear")
        encoder = keras.Sequential([keras.Input(h.shape[1:]), layer, squash])
        # As a mirror's output is squashed in the whole decoder, but logits here, its copy is linear.
        logits = keras.layers.Dense(mirror.units)
        stage = ka.Autoencoder(encoder, keras.Sequential([keras.Input((layer.units,)), logits]), likelihood)
        stage.compile("adam")
        budget = common.TimeBudget(None if max_minutes is None else max_minutes / len(down))
        stage.fit(h, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=[budget])
        mirror.set_weights(logits.get_weights())
        h, likelihood = np.concatenate([encoder(h[i : i + 1000]) for i in range(0, len(h), 1000)]), "bernoulli"
