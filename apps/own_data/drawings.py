"""The figures of the report, those that suit the data and the model."""

import numpy as np
from matplotlib.figure import Figure

from keras_ae import plots

from . import models

SHOWN, SAMPLES, POINTS, UNITS, STEPS, LINES = 10, 32, 1_000, 6, 9, 4

ABOUT = {
    "Training": "The loss: solid on training rows, dashed on held-out rows. A dashed line that rises means that the "
    "model learns its rows by heart.",
    "Reconstructions": "Rows that no training saw, and what their codes retain of them.",
    "Samples": "New pictures, decoded from codes of the best sampler; of a conditional model, by class in turn.",
    "Real pictures": "Real pictures, to compare with the samples.",
    "Nearest training pictures": "Samples, each below the training picture with the smallest squared difference. A "
    "sample that equals it was learned by heart.",
    "Latent map": "Codes on their two principal axes, one point a row, coloured by label if there are any.",
    "Neighbourhoods": "The same codes by t-SNE: near points have similar codes; distances between groups mean nothing.",
    "Live dimensions": "Variance of every number of the code over rows, in descending order. In a VAE, numbers near 0 "
    "carry nothing.",
    "Traversals": "Each row changes one number of the code; the others stay at their mean.",
    "Interpolation": "From one picture to another by their codes, and below by their pixels.",
    "Anomalies": "Held-out rows with the largest error, and their reconstructions: look here first for the odd.",
}
"""What each figure shows, in the order of the report."""


def draw(model, rows, parts, pca, history, sampler, worst, seed):
    """Returns `{title: matplotlib figure}`, with titles of `ABOUT`."""
    from .conclusion import given  # imported here, as `conclusion` imports this module

    kind, made = rows.schema["kind"], {}
    if history.get("loss"):
        made["Training"] = curves(history)
    tests = parts.test if len(parts.test) >= 50 else np.concatenate([parts.test, parts.train])
    x, *y = given(model, rows, tests[:POINTS])
    if not len(x):
        return made
    if kind == "pictures":
        made |= pictures(model, rows, parts, pca, x, y, sampler, worst, seed)
    if kind == "series":
        made["Reconstructions"] = lines(x[:LINES], model.reconstruct(x[:LINES]))
        odd = models.numbers(rows.x, [each["row"] for each in worst[:LINES]])
        made["Anomalies"] = lines(odd, model.reconstruct(odd))
    labels = y[0] if y else None
    if labels is None and rows.labels is not None:
        labels = rows.labels[tests[:POINTS]]
    made |= maps(model.encode(x, *y), labels, rows.classes, seed)
    return made


def pictures(model, rows, parts, pca, x, y, sampler, worst, seed):
    """Returns the figures of pictures, from rows x, and their labels y if the model takes them."""
    size = f"{len(pca.axes)} numbers"
    first, some = x[:SHOWN], [each[:SHOWN] for each in y]
    retained = {
        f"{type(model).__name__}, {size}": model.reconstruct(first, *some),
        f"PCA, {size}": pca.reconstruct(first),
    }
    made = {"Reconstructions": plots.reconstructions(first, _clipped(retained))}
    drawn = None
    if sampler is not None:
        drawn = sampler.sample(SAMPLES, seed=seed)
    elif y:
        drawn = model.sample(SAMPLES, np.arange(SAMPLES) % len(rows.classes), seed=seed)
    if drawn is not None:
        drawn = np.clip(drawn, 0, 1)
        made["Samples"] = plots.image_grid(drawn, 8)
        made["Real pictures"] = plots.image_grid(x[:SAMPLES], 8)
        near = nearest(drawn[:SHOWN], rows.x, parts.train)
        made["Nearest training pictures"] = plots.reconstructions(near, {"sample": drawn[:SHOWN]})
    codes = model.encode(x, *y)
    deviations = codes.std(axis=0)

    def decode(z):
        return np.clip(model.decode(z, *(np.repeat(each[:1], len(z)) for each in y)), 0, 1)

    units = np.argsort(-deviations)[:UNITS]
    made["Traversals"] = plots.traversals(decode, codes, units, 2.5 * float(deviations.max()), STEPS)
    if len(x) > 1 and not y:
        walk = np.clip(model.interpolate(x[:1], x[1:2], STEPS)[0], 0, 1)
        made["Interpolation"] = plots.latent_walk({"codes": walk}, x[0], x[1])
    if worst:
        odd = models.numbers(rows.x, [each["row"] for each in worst])
        made["Anomalies"] = plots.reconstructions(odd, _clipped({"reconstruction": model.reconstruct(odd)}))
    return made


def maps(codes, labels, classes, seed):
    """Returns the figures of codes `(N, D)` with their labels, -1 where unknown, or None."""
    made = {"Live dimensions": bars(codes.var(axis=0))}
    if labels is not None and (labels >= 0).any():
        codes, labels = codes[labels >= 0], np.array(classes)[labels[labels >= 0]]
    else:
        labels = None
    if len(codes) > 2:
        made["Latent map"] = plots.latent_scatter(codes, labels)
    if len(codes) >= 50 and codes.shape[1] > 2:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(codes) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=500).fit_transform(codes)
        made["Neighbourhoods"] = plots.latent_scatter(points, labels)
    return made


def nearest(x, pictures, train):
    """Returns, for each picture of x, the one of the training pictures with the smallest squared difference."""
    flat = x.reshape(len(x), -1)
    least, found = np.full(len(x), np.inf), np.zeros(len(x), "int64")
    for i in range(0, len(train), 500):
        chunk = models.numbers(pictures, train[i : i + 500]).reshape(-1, flat.shape[1])
        distances = np.square(chunk).sum(axis=1) - 2 * flat @ chunk.T  # and the square of x, the same for all
        place = distances.argmin(axis=1)
        value = distances[np.arange(len(x)), place]
        found = np.where(value < least, train[i : i + 500][place], found)
        least = np.minimum(least, value)
    return models.numbers(pictures, found)


def curves(history):
    """Plots the loss over epochs."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name, style, label in (("loss", "-", "training"), ("val_loss", "--", "held out")):
        if history.get(name):
            axes.plot(np.arange(1, len(history[name]) + 1), history[name], style, color="C0", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def bars(variances):
    """Plots the variances of the numbers of a code in descending order."""
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(1, len(variances) + 1), np.sort(variances)[::-1])
    axes.set_xlabel("number of the code, by variance")
    axes.set_ylabel("variance")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def lines(x, made):
    """Plots windows `(N, T, C)` in grey, and their reconstructions over them, a panel each."""
    figure = Figure(figsize=(9, 1.4 * len(x)), layout="constrained")
    for axes, one, other in zip(figure.subplots(len(x), 1, squeeze=False)[:, 0], x, made, strict=True):
        axes.plot(one, color="0.6")
        axes.plot(other, linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _clipped(images):
    return {name: np.clip(each, 0, 1) for name, each in images.items()}
