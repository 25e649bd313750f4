"""Measures of the embeddings and of the walks, the table and the figures."""

import numpy as np
from scipy.spatial.distance import cdist

from keras_ae import plots
from keras_ae.evaluation import manifold
from keras_ae.utils import files

from .. import common
from . import settings

# Keys of the report, and the heads of the table's columns.
COLUMNS = {
    "trustworthiness": "trustworthiness",
    "continuity": "continuity",
    "knn_accuracy": "kNN accuracy",
    "linear_probe_accuracy": "linear probe",
    "squared_error": "squared error",
    "new_knn_accuracy": "kNN accuracy, new images",
    "seconds": "seconds",
}


def measured(embedding, data, k):
    """Returns the measures of one embedding by the keys of `COLUMNS`; None for those that do not apply."""
    found = {
        "trustworthiness": manifold.trustworthiness(data.x, embedding.codes, k),
        "continuity": manifold.continuity(data.x, embedding.codes, k),
    }
    found |= dict.fromkeys(("knn_accuracy", "linear_probe_accuracy", "squared_error", "new_knn_accuracy"))
    if data.labels is not None:
        found["knn_accuracy"] = manifold.knn_accuracy(embedding.codes, data.labels, k=k)
        counts = np.unique(data.labels, return_counts=True)[1]
        if len(counts) > 1 and counts.min() >= 5:  # for five folds of cross-validation
            found["linear_probe_accuracy"] = manifold.linear_probe_accuracy(embedding.codes, data.labels)
        if embedding.place is not None:
            new = embedding.place(data.new)
            found["new_knn_accuracy"] = manifold.knn_accuracy(embedding.codes, data.labels, new, data.new_labels, k)
    if embedding.reconstruct is not None:
        found["squared_error"] = manifold.reconstruction_error(data.new, embedding.reconstruct(data.new))
    return found | {"seconds": embedding.seconds}


def middles(models, data, seed):
    """Returns how far the middle of two new images is from the nearest training image, mean over pairs, by method.

    The middle is the decoded mean of two codes, or the mean of the pixels. For comparison, "an image" is the distance
    from a new image itself.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(data.new), size=(2, settings.PAIRS))
    x1, x2 = data.new[first], data.new[second]
    made = {name: model.interpolate(x1, x2, steps=3)[:, 1] for name, model in models.items()}
    made |= {"pixel blend": (x1 + x2) / 2, "an image": x1}
    return {name: float(_distances(images, data.x).min(axis=1).mean()) for name, images in made.items()}


def ends(data):
    """Returns the images at both ends of the walk: the first new image, and the first one of another class."""
    others = np.flatnonzero(data.new_labels != data.new_labels[0]) if data.new_labels is not None else []
    return data.new[0], data.new[others[0] if len(others) else -1]


def draw(embeddings, figures, data, folder):
    """Writes the figures as PNG files to `folder`; returns `{name: path}`."""
    titled = {
        f"{name}\ntrustworthiness {figures[name]['trustworthiness']:.3f}": each.codes
        for name, each in embeddings.items()
    }
    x1, x2 = ends(data)
    walks = {
        name: each.model.interpolate(x1[None], x2[None], steps=settings.STEPS)[0]
        for name, each in embeddings.items()
        if each.model is not None
    }
    pictures = {
        "embeddings": plots.embeddings(titled, data.labels),
        "latent_walk": plots.latent_walk(walks, x1, x2, "From one image to another"),
    }
    paths = {name: folder / f"{name}.png" for name in pictures}
    for name, figure in pictures.items():
        common.save_figure(figure, paths[name])
    return paths


def table(figures):
    """Returns the measures of all methods as a Markdown table."""
    lines = [["method", *COLUMNS.values()], ["---", *["---:"] * len(COLUMNS)]]
    for name, found in figures.items():
        cells = ["" if found[key] is None else f"{found[key]:.{1 if key == 'seconds' else 3}f}" for key in COLUMNS]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def write_table(figures, folder):
    """Writes the table to `folder`; returns its path."""
    path = folder / "table.md"
    files.write_text(path, table(figures))
    return path


def _distances(a, b):
    return cdist(a.reshape(len(a), -1), b.reshape(len(b), -1))
