"""Draws the pictures of the pages on critics of codes, from small models of scikit-learn's digits.

`python docs/critics.py aae wae` writes docs/aae.png and docs/wae.png, without names all of them; each takes a minute or
two. The seeds are fixed.
"""

import io
import pathlib
import sys

import keras
import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras_ae as ka
from keras_ae import plots
from keras_ae.evaluation import latent

DOCS = pathlib.Path(__file__).parent
SHAPE = (8, 8, 1)


def networks(latent_dim, code=None, parameters=1, hidden=(256,), **decoder):
    """An encoder, and a decoder of codes of size `code`, or else `latent_dim`."""
    encoder = ka.networks.mlp_encoder(SHAPE, latent_dim, hidden, parameters)
    return encoder, ka.networks.mlp_decoder(code or latent_dim, SHAPE, hidden, **decoder)


def critic(latent_dim, **kwargs):
    return ka.networks.code_critic(latent_dim, (128, 128), **kwargs)


def digits():
    return ka.datasets.arrays(ka.datasets.load("digits", "train", labels=True))


def fit(model, *data, rate=1e-3, epochs=200, beta_1=0.5):
    model.compile(keras.optimizers.Adam(rate, beta_1=beta_1))
    model.fit(*data, batch_size=100, epochs=epochs, verbose=0)
    return model


def aae():
    x, y = digits()
    model = ka.AAE(*networks(2), critic(2, condition_shape=(11,)), prior="ring", label_critic=True, seed=0)
    fit(model, x, y)
    return plots.codes_and_prior(model.encode(x), model.prior.sample(len(x), seed=[0, 0]), y)


def conditional_aae():
    x, y = digits()
    model = fit(ka.ConditionalAAE(*networks(6, condition_shape=(10,)), critic(6), num_classes=10, seed=0), x, y)
    return plots.image_grid(model.sweep_labels(model.encode(x[:6], y[:6])).reshape(-1, *SHAPE), columns=10)


def semi_supervised_aae():
    x, y = digits()
    model = ka.ClusterHeadAAE(*networks(2 + 10, 2), critic(2), critic(10), num_classes=10, seed=0)
    fit(model, x, ka.datasets.keep_labels(y, 100, seed=0))
    return plots.latent_scatter(model.encode(x), y)


def wae():
    x, y = digits()
    models = {"VAE": ka.VAE(*networks(2, 2, 2), seed=0), "WAE": ka.WAE(*networks(2), weight=20.0, seed=0)}
    return plots.latent_spaces({name: latent.sample_codes(fit(model, x), x) for name, model in models.items()}, y)


def info_vae():
    x, y = digits()
    models = {
        "VAE": ka.VAE(*networks(2, 2, 2), seed=0),
        "InfoVAE": ka.InfoVAE(*networks(2, 2, 2), beta=0.1, mmd_weight=30.0, seed=0),
    }
    return plots.latent_spaces({name: latent.sample_codes(fit(model, x), x) for name, model in models.items()}, y)


def avb():
    """The paper's four one-hot points, as in its figure 4."""
    x = np.tile(np.eye(4, dtype="float32"), (250, 1))
    hidden = (64, 64)
    decoder = [ka.networks.mlp_decoder(2, (4,), hidden) for _ in range(2)]
    contrast = ka.networks.mlp_encoder((4,), 2, hidden, parameters=2)
    encoder = ka.networks.mlp_encoder((4,), 2, hidden, condition_shape=(3,))
    judge = ka.networks.code_critic(2, (128, 128), condition_shape=(4,))
    models = {
        "VAE": ka.VAE(ka.networks.mlp_encoder((4,), 2, hidden, parameters=2), decoder[0], seed=0),
        "AVB": ka.AVB(encoder, decoder[1], judge, contrast=contrast, seed=0),
    }
    codes = {name: latent.sample_codes(fit(model, x, epochs=400), x) for name, model in models.items()}
    return plots.latent_spaces(codes, x.argmax(axis=1))


def factor_vae():
    x, _ = digits()
    model = ka.FactorVAE(*networks(6, 6, 2), critic(6), gamma=6.0, seed=0)
    fit(model, x, beta_1=0.9)
    return plots.traversals(model.decode, model.encode(x))


FIGURES = (aae, conditional_aae, semi_supervised_aae, wae, info_vae, avb, factor_vae)


def main(names):
    for draw in FIGURES:
        if not names or draw.__name__ in names:
            keras.utils.set_random_seed(0)
            png = io.BytesIO()
            draw().savefig(png, format="png", dpi=100)
            # The figures have few colours, so a palette halves the file.
            picture = Image.open(png).convert("RGB").quantize(128, dither=Image.Dither.NONE)
            picture.save(DOCS / f"{draw.__name__}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
