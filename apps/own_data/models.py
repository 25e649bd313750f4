"""Models of one's own data: the networks, the likelihood, the model, and PCA beside it."""

import math

import numpy as np

import keras_ae as ka
from keras_ae import layers, networks
from keras_ae.evaluation.principal import PrincipalAxes, principal_axes

from .. import common

# Kind of model: the parameters of its encoder, and whether it needs labels.
KINDS = {
    "vae": (2, False),
    "autoencoder": (1, False),
    "denoising_autoencoder": (1, False),
    "sparse_autoencoder": (1, False),
    "beta_vae": (2, False),
    "beta_tcvae": (2, False),
    "info_vae": (2, False),
    "iwae": (2, False),
    "wae": (1, False),
    "aae": (1, False),
    "factor_vae": (2, False),
    "cvae": (2, True),
}
LIKELIHOODS = ("auto", "gaussian_learned_scale", "gaussian", "bernoulli", "discretized_logistic_mixture", "laplace")
_PCA_ROWS = 20_000  # at most, that the axes are computed from
_CHUNK = 512


def numbers(x, rows):
    """Returns some rows as the model receives them: float32, pictures in [0, 1]."""
    part = x[rows]
    return part.astype("float32") / 255 if part.dtype == np.uint8 else np.asarray(part, "float32")


def axes_of(x, train, most, seed):
    """Returns the `PrincipalAxes` of the training rows, as many as there can be, up to `most`.

    Args:
        x: the rows, `Rows.x`.
        train: `(N,)` int, numbers of the training rows.
        most: int.
        seed: int.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(train)[:_PCA_ROWS])

    def chunks():
        return (numbers(x, chosen[i : i + _CHUNK]) for i in range(0, len(chosen), _CHUNK))

    return principal_axes(chunks, min(most, len(chosen) - 1, math.prod(x.shape[1:])), seed=seed)


def shares(pca):
    """Returns the shares of the variance that the first 1, 2, ... axes keep together."""
    total = pca.left + pca.variances.sum()
    return np.cumsum(pca.variances) / total if total > 0 else np.ones(len(pca.variances))


def first(pca, k):
    """Returns the `PrincipalAxes` with the first k axes."""
    return PrincipalAxes(pca.mean, pca.axes[:k], pca.variances[:k], pca.left + float(pca.variances[k:].sum()))


def build(kind, likelihood, shape, pca, chosen, seed, rows, classes=()):
    """Returns an untrained model whose code has as many dimensions as PCA has axes.

    Args:
        kind: name in `KINDS`.
        likelihood: name in `LIKELIHOODS`.
        shape: shape of a row.
        pca: `PrincipalAxes`.
        chosen: dict of the settings.
        seed: int.
        rows: int, of training.
        classes: list of str; names of the labels.
    """
    (parameters, conditional), k = KINDS[kind], len(pca.axes)
    condition = (len(classes),) if conditional else None
    scale = math.sqrt(max(pca.left, 1e-8) / math.prod(shape))
    if likelihood == "auto":
        likelihood = "gaussian" if parameters == 1 else "gaussian_learned_scale"
    layer = ka.likelihoods.get(likelihood)
    if likelihood == "gaussian_learned_scale":
        layer = ka.likelihoods.GaussianLearnedScale(max(scale, 1e-3))
    is_gaussian = layer.parameters == 1 and likelihood not in ("bernoulli",)
    encoder, decoder = _networks(shape, k, chosen, parameters, layer.parameters, is_gaussian, condition)
    if is_gaussian and len(shape) == 3:
        networks.start_at_pca(encoder, decoder, pca)
    options = {"likelihood": layer, "seed": seed}
    if kind == "autoencoder":
        return ka.Autoencoder(encoder, decoder, **options)
    if kind == "denoising_autoencoder":
        return ka.DenoisingAutoencoder(encoder, decoder, layers.MaskingNoise(0.25), **options)
    if kind == "sparse_autoencoder":
        return ka.SparseAutoencoder(encoder, decoder, k=max(1, k // 4), sparsity="k", **options)
    if kind == "beta_tcvae":
        return ka.BetaTCVAE(encoder, decoder, rows, **options)
    if kind == "info_vae":
        return ka.InfoVAE(encoder, decoder, **options)
    if kind == "wae":
        return ka.WAE(encoder, decoder, **options)
    if kind in ("aae", "factor_vae"):
        critic = networks.code_critic(k, hidden=(256, 256))
        return (ka.AAE if kind == "aae" else ka.FactorVAE)(encoder, decoder, critic, **options)
    if kind == "cvae":
        return ka.CVAE(encoder, decoder, num_classes=len(classes), classes=list(classes), **options)
    return {"vae": ka.VAE, "beta_vae": ka.BetaVAE, "iwae": ka.IWAE}[kind](encoder, decoder, **options)


def _networks(shape, k, chosen, parameters, params, is_gaussian, condition):
    """Returns an encoder and a decoder for pictures, series or tables."""
    options = {"activation": chosen["activation"], "condition_shape": condition}
    if len(shape) == 3:
        filters = chosen["filters"]
        options |= {"patch": chosen["patch"], "blocks": chosen["blocks"], "linear": is_gaussian}
        encoder = networks.patch_encoder(shape, k, filters, parameters, **options)
        return encoder, networks.patch_decoder(k, shape, filters[::-1], params, **options)
    hidden = chosen["hidden"]
    if len(shape) == 2:
        filters, hidden = chosen["filters"], hidden[:1]
        encoder = networks.conv_encoder(shape, k, filters, hidden, parameters, **options)
        return encoder, networks.conv_decoder(k, shape, filters[::-1], hidden, params, **options)
    encoder = networks.mlp_encoder(shape, k, hidden, parameters, **options)
    return encoder, networks.mlp_decoder(k, shape, hidden[::-1], params, **options)


def check(kind, rows):
    """Raises a `UserError` if the data do not suit the kind of model."""
    if KINDS[kind][1] and len(rows.classes) < 2:
        raise common.UserError(
            f"--kind={kind} needs labels: put the pictures into a sub-folder for each class, or name the column "
            "of a CSV with --labels."
        )
