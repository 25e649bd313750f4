"""The methods: those of scikit-learn, and autoencoders. Each embeds the same images in the plane."""

import time
import warnings
from collections import namedtuple

import keras
import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import TSNE, Isomap, LocallyLinearEmbedding

import keras_ae as ka

from .. import common

Embedding = namedtuple("Embedding", "codes place reconstruct seconds model", defaults=(None,))
Embedding.__doc__ = """What a method made of the images.

Attributes:
    codes: `(N, 2)`.
    place: function from new images to codes; None for a method that cannot place new ones.
    reconstruct: function from images to reconstructions; None without a way back.
    seconds: float, of the fit.
    model: the autoencoder, or None.
"""
NETWORKS = ("AE", "DAE", "VAE")


def embedded(x, labels, k, chosen, *, seed, max_minutes, checkpoint_of):
    """Yields `(name, Embedding)` for each method that can be fitted to images `(N, H, W, C)`.

    Args:
        x: images.
        labels: `(N,)`, or None, which leaves LDA out.
        k: int, neighbours.
        chosen: settings of the networks.
        seed: int.
        max_minutes: float or None, for all networks together.
        checkpoint_of: function from a network's name and minutes to its `checkpoints.Checkpoint`, or None.
    """
    for name, estimator in _estimators(x, labels, k, seed).items():
        yield name, _fitted(estimator, x, labels)
    for name in NETWORKS:
        share = None if max_minutes is None else max_minutes / len(NETWORKS)
        checkpoint = checkpoint_of(name, share)
        model, seconds = train(name, x, chosen, seed=seed, max_minutes=share, checkpoint=checkpoint)
        yield name, Embedding(model.encode(x), model.encode, model.reconstruct, seconds, model)


def _estimators(x, labels, k, seed):
    """Returns `{name: unfitted estimator of scikit-learn}`."""
    made = {"PCA": PCA(2, random_state=seed)}
    if labels is not None and len(np.unique(labels)) > 2:  # with K classes, LDA has K - 1 dimensions
        made["LDA"] = LinearDiscriminantAnalysis(n_components=2)
    perplexity = min(30.0, (len(x) - 1) / 3)
    made["t-SNE"] = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    made[f"Isomap, k = {k}"] = Isomap(n_neighbors=k, n_components=2)
    radius = connecting_radius(_flat(x))
    made[f"Isomap, epsilon = {radius:.3g}"] = Isomap(n_neighbors=None, radius=radius, n_components=2)
    made[f"LLE, k = {k}"] = LocallyLinearEmbedding(
        n_neighbors=k, n_components=2, eigen_solver="dense", random_state=seed
    )
    return made


def _fitted(estimator, x, labels):
    flat, start = _flat(x), time.perf_counter()
    supervised = (labels,) if isinstance(estimator, LinearDiscriminantAnalysis) else ()
    with warnings.catch_warnings():  # of unconnected neighbourhoods, which Isomap connects, and of collinear pixels
        warnings.simplefilter("ignore")
        fitted = estimator.fit(flat, *supervised)
    seconds = time.perf_counter() - start
    codes = fitted.embedding_ if hasattr(fitted, "embedding_") else fitted.transform(flat)
    place = reconstruct = None
    # An image without another one within epsilon has no place in the graph of Isomap.
    if hasattr(fitted, "transform") and getattr(fitted, "radius", None) is None:

        def place(new):
            return fitted.transform(_flat(new))

    if hasattr(fitted, "inverse_transform"):

        def reconstruct(new):
            return fitted.inverse_transform(fitted.transform(_flat(new))).reshape(new.shape)

    return Embedding(codes, place, reconstruct, seconds)


def connecting_radius(points):
    """Returns the smallest epsilon for which the graph of all pairs nearer than epsilon is connected.

    It is the longest edge of the minimum spanning tree. With a smaller one, parts of the data have no distance.
    """
    distances = cdist(points, points)
    least = np.finfo(float).eps * max(distances.max(), 1.0)  # SciPy takes 0, the distance of equal images, for no edge
    tree = minimum_spanning_tree(np.maximum(distances, least))
    return float(tree.max()) * (1 + 1e-6)


def build(name, shape, chosen, seed):
    """Returns an untrained AE, DAE or VAE with a code of two numbers."""
    options = {"activation": chosen["activation"]}
    encoder = ka.networks.mlp_encoder(shape, 2, chosen["hidden"], 2 if name == "VAE" else 1, **options)
    decoder = ka.networks.mlp_decoder(2, shape, chosen["hidden"][::-1], **options)
    if name == "DAE":
        corruption = ka.layers.MaskingNoise(chosen["corruption"], seed=seed)
        return ka.DenoisingAutoencoder(encoder, decoder, corruption, chosen["likelihood"], seed=seed)
    return (ka.VAE if name == "VAE" else ka.Autoencoder)(encoder, decoder, chosen["likelihood"], seed=seed)


def train(name, x, chosen, *, seed, max_minutes, checkpoint=None):
    """Builds and trains a network, or resumes from a checkpoint; returns it and the training time in seconds."""
    keras.utils.set_random_seed(seed)
    model = build(name, x.shape[1:], chosen, seed)
    model.compile(keras.optimizers.Adam(chosen["learning_rate"]))
    steps = chosen["epochs"] * -(-len(x) // chosen["batch_size"])
    seconds = common.fit(
        model,
        x,
        batch_size=chosen["batch_size"],
        epochs=chosen["epochs"],
        budget=common.CosineDecay(chosen["learning_rate"], steps, max_minutes),
        checkpoint=checkpoint,
    )
    return model, seconds


def _flat(x):
    return np.reshape(x, (len(x), -1)).astype("float64")
