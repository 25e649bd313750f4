"""Evaluation of the quickstart: metrics, plots, and a check of the export against the model."""

import sys
import time

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA

import keras_ae as ka
from keras_ae import plots
from keras_ae.evaluation.latent import active_units
from keras_ae.losses import divergences

from .. import common
from ..progress import progress_bar

# Images per call of the likelihood estimate: few enough for the progress bar to move.
_CHUNK = 50
# Samples of z per image in the ELBO: their noise is then far below the standard error over test images.
_ELBO_SAMPLES = 16
_SHOWN = 12


class LinearModel:
    """PCA with the methods of an autoencoder: the best linear code of its size, for comparison."""

    def __init__(self, latent_dim, images, seed):
        self.pca = PCA(latent_dim, random_state=seed).fit(_flat(images))

    def reconstruct(self, x):
        return self.pca.inverse_transform(self.pca.transform(_flat(x))).reshape(x.shape)


def numbers(model, linear, data, settings, seed):
    """Returns the metrics of a trained model and of PCA on the test images."""
    is_vae = isinstance(model, ka.VAE)
    figures = {"test_images": len(data.test), "squared_error": squared_error(model, data.test)}
    figures["pca_squared_error"] = squared_error(linear, data.test)
    figures["active_units"] = active_units(model, data.binary if is_vae else data.test)
    if is_vae:
        return figures | bound(model, data.binary, seed) | likelihood(model, data.binary, settings["nll_samples"], seed)
    keys = (
        "elbo",
        "reconstruction",
        "kl",
        "test_nll",
        "test_nll_standard_error",
        "nll_samples",
        "nll_images",
    )
    note = "An autoencoder has no prior, hence no density of x: the likelihood's results are null."
    return figures | dict.fromkeys(keys) | {"note": note}


def squared_error(model, x):
    """Squared error of the reconstructions, summed over an image, mean over images."""
    return float(np.mean(np.sum(np.square(_flat(model.reconstruct(x)) - _flat(x)), axis=1)))


def bound(vae, x, seed):
    """Returns `{elbo, reconstruction, kl}` in nats per image, means over x."""

    @tf.function(autograph=False)
    def terms(x, seed):
        q = vae.posterior(x)
        z = q.sample(_ELBO_SAMPLES, seed=seed)  # (L, B, D)
        log_likelihood = vae.likelihood(z).log_prob(x)  # (L, B)
        return -tf.reduce_mean(log_likelihood, axis=0), divergences.kl(q, vae.prior, z)

    parts = [terms(x[i : i + _CHUNK], tf.constant([seed, i])) for i in range(0, len(x), _CHUNK)]
    reconstruction, kl = (float(np.mean(np.concatenate(part))) for part in zip(*parts, strict=True))
    return {"elbo": -(reconstruction + kl), "reconstruction": reconstruction, "kl": kl}


def likelihood(vae, x, num_samples, seed):
    """Estimates `-log p(x)` in nats by importance weighting, mean over images; Ctrl-C keeps the images done so far."""
    options = {"num_samples": num_samples, "seed": seed}
    done, bar = [], progress_bar(total=len(x), desc=f"log p(x), {num_samples} samples", unit="image")
    try:
        vae.log_prob(x[:1], **options)  # compiles
        for i in range(0, len(x), _CHUNK):
            start = time.perf_counter()
            done.append(vae.log_prob(x[i : i + _CHUNK], **options))
            bar.update(len(done[-1]))
            if i == 0:
                expected = (time.perf_counter() - start) * len(x) / len(done[0])
                bar.write(f"The likelihood of {len(x)} images will take about {expected:.0f} s.", file=sys.stderr)
    except KeyboardInterrupt:
        bar.write("Interrupted; continuing with the images done so far.", file=sys.stderr)
    bar.close()
    nll = -np.concatenate([*done, []])
    many = len(nll) > 1
    return {
        "test_nll": nll.mean() if many else None,
        "test_nll_standard_error": nll.std(ddof=1) / np.sqrt(len(nll)) if many else None,
        "nll_samples": num_samples,
        "nll_images": len(nll),
    }


def draw(model, linear, data, folder, seed):
    """Writes the figures as PNG files to `folder`; returns `{name: path}`."""
    x, d = data.test[:_SHOWN], model.latent_dim
    codes, name = model.encode(data.test), type(model).__name__
    pictures = {
        "reconstructions": plots.reconstructions(
            x,
            {f"{name}, {d}-D": model.reconstruct(x), f"PCA, {d}-D": linear.reconstruct(x)},
            "Test images and what their codes retain",
        ),
        "latent_scatter": plots.latent_scatter(codes, data.labels, f"Codes of the test images, {name}"),
    }
    is_vae = isinstance(model, ka.VAE)
    if is_vae:
        pictures["samples"] = plots.image_grid(model.sample(64, seed=seed), 8, "Samples from the prior")
    if is_vae and d == 2:
        pictures["latent_grid"] = plots.latent_grid(model.decode, title="Decoded quantiles of the prior")
    elif d >= 2:
        title = "Decoded codes of the plane of their two principal axes"
        pictures["latent_grid"] = plots.latent_grid(model.decode, codes, title=title)
    paths = {name: folder / f"{name}.png" for name in pictures}
    for name, figure in pictures.items():
        common.save_figure(figure, paths[name])
    return paths


def export_error(model, path, x, seed):
    """Returns the largest deviation of the export at `path` from the model on x: `max |a - b| / max(1, |b|)`."""
    served = tf.saved_model.load(str(path)).signatures
    seeds = seed + tf.range(len(x), dtype=tf.int64)
    pairs = [
        (served["reconstruct"](x=tf.constant(x))["x"], model.reconstruct(x)),
        (served["encode"](x=tf.constant(x))["z"], model.encode(x)),
        (served["decode"](z=tf.constant(model.encode(x)))["x"], model.reconstruct(x)),
        (served["score"](x=tf.constant(x), seed=seeds)["score"], model.score(x, seed=seed)),
    ]
    if "sample" in served:
        pairs.append((served["sample"](seed=seeds)["x"], model.sample(len(x), seed=seed)))
    return max(float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b)))) for a, b in pairs)


def _flat(x):
    return np.reshape(x, (len(x), -1))
