"""The figures of the report, each for the kinds of data that it suits."""

import numpy as np
from matplotlib.figure import Figure

from keras_ae import plots

from . import models

SHOWN, POINTS, UNITS, STEPS = 10, 1_000, 6, 9


def draw(model, rows, parts, pca, history, sampler, worst, seed):
    """Returns `{title: (matplotlib figure, what it shows)}` in the order of the report."""
    from .conclusion import given

    made = {}
    if history.get("loss"):
        made["Training"] = (
            curves(history),
            "The loss in nats: solid on training rows, dashed on held-out rows. A dashed line that rises means that the model learns its rows by heart.",
        )
    is_pictures = rows.schema["kind"] == "pictures"
    args = given(model, rows, parts.test[:SHOWN])
    if is_pictures and len(args[0]):
        x = args[0]
        others = {
            f"{type(model).__name__}, {len(pca.axes)} numbers": model.reconstruct(*args),
            f"PCA, {len(pca.axes)} numbers": pca.reconstruct(x),
        }
        others = {name: np.clip(each, 0, 1) for name, each in others.items()}
        made["Reconstructions"] = (
            plots.reconstructions(x, others),
            "Pictures that no training saw, and what their codes retain of them.",
        )
        made |= samples(model, rows, parts, sampler, seed)
    if rows.schema["kind"] == "series" and len(args[0]):
        made["Reconstructions"] = (
            lines(args[0][:4], model.reconstruct(*args)[:4]),
            "Windows that no training saw (grey) and their reconstructions, standardised.",
        )
    numbers = parts.test[:POINTS] if len(parts.test) >= 50 else parts.train[:POINTS]
    args = given(model, rows, numbers)
    codes = model.encode(*args)
    labels = None
    if rows.labels is not None:
        numbers = numbers if not model.conditional else [i for i in numbers if rows.labels[i] >= 0]
        labels = rows.labels[numbers]
        codes, labels = (codes[labels >= 0], labels[labels >= 0]) if (labels >= 0).any() else (codes, None)
    if len(codes) > 2:
        made["Latent map"] = (
            plots.latent_scatter(codes, labels),
            "Codes on their two principal axes, one point a row, coloured by label if there are any.",
        )
        if len(codes) >= 50 and codes.shape[1] > 2:
            made["Neighbourhoods"] = (
                plots.latent_scatter(neighbourhoods(codes, seed), labels),
                "The same codes by t-SNE: near points have similar codes; distances between groups mean nothing.",
            )
        variances = codes.var(axis=0)
        made["Live dimensions"] = (
            bars(variances),
            "Variance of every number of the code over rows, in descending order. In a VAE, numbers near 0 carry nothing.",
        )
        if is_pictures:
            y = () if not model.conditional else (args[1][0],)
            units = np.argsort(-variances)[:UNITS]
            span = 2.5 * float(np.sqrt(variances.max()))
            decode = (
                (lambda z: np.clip(model.decode(z, *(np.repeat(each, len(z)) for each in y)), 0, 1))
                if y
                else (lambda z: np.clip(model.decode(z), 0, 1))
            )
            made["Traversals"] = (
                plots.traversals(decode, codes, units, span, STEPS),
                "Each row changes one number of the code, the others stay at their mean.",
            )
            if not model.conditional and len(args[0]) > 1:
                x = args[0]
                walk = np.clip(model.interpolate(x[:1], x[1:2], STEPS)[0], 0, 1)
                made["Interpolation"] = (
                    plots.latent_walk({"codes": walk}, x[0], x[1]),
                    "From one picture to another by their codes, and below by their pixels.",
                )
    if worst and is_pictures:
        x = models.numbers(rows.x, [each["row"] for each in worst])
        made["Anomalies"] = (
            plots.reconstructions(x, {"reconstruction": np.clip(model.reconstruct(x), 0, 1)}),
            "Held-out pictures with the largest error: look at them first when you search for odd or broken ones.",
        )
    if worst and rows.schema["kind"] == "series":
        x = models.numbers(rows.x, [each["row"] for each in worst[:4]])
        made["Anomalies"] = (lines(x, model.reconstruct(x)), "Held-out windows with the largest error.")
    return made


def samples(model, rows, parts, sampler, seed):
    """Returns the figures of samples, beside real pictures and the nearest training pictures."""
    y = ()
    if sampler is not None:
        made = sampler.sample(32, seed=seed)
    elif model.conditional:
        y = np.arange(32) % len(rows.classes)
        made = model.sample(32, y, seed=seed)
    else:
        return {}
    made = np.clip(made, 0, 1)
    real = models.numbers(rows.x, parts.test[:32])
    near = nearest(made[:SHOWN], rows, parts.train)
    return {
        "Samples": (
            plots.image_grid(made, 8),
            "New pictures from the best sampler." + (" By class, in their order." if len(y) else ""),
        ),
        "Real pictures": (plots.image_grid(real, 8), "Real pictures, to compare with the samples."),
        "Nearest training pictures": (
            plots.reconstructions(made[:SHOWN], {"nearest": near}),
            "Below each sample, the training picture with the smallest squared difference: samples that equal it were learned by heart.",
        ),
    }


def nearest(x, rows, train):
    """Returns the training picture nearest to each picture of x, in squared difference."""
    flat = x.reshape(len(x), -1)
    best, found = np.full(len(x), np.inf), np.zeros(len(x), "int64")
    for i in range(0, len(train), 500):
        chunk = models.numbers(rows.x, train[i : i + 500]).reshape(-1, flat.shape[1])
        distances = (chunk**2).sum(axis=1)[None] - 2 * flat @ chunk.T
        place = distances.argmin(axis=1)
        value = distances[np.arange(len(x)), place]
        found = np.where(value < best, train[i : i + 500][place], found)
        best = np.minimum(best, value)
    return models.numbers(rows.x, found)


def neighbourhoods(codes, seed):
    """Returns t-SNE of the codes, `(N, 2)`."""
    from sklearn.manifold import TSNE

    return TSNE(
        2, perplexity=min(30.0, (len(codes) - 1) / 3), init="pca", random_state=seed, max_iter=500
    ).fit_transform(codes)


def curves(history):
    """Plots the loss over epochs."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name, style in (("loss", "-"), ("val_loss", "--")):
        if history.get(name):
            axes.plot(
                np.arange(1, len(history[name]) + 1),
                history[name],
                style,
                color="C0",
                label="held out" if name != "loss" else "training",
            )
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, nats")
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
    """Plots windows `(N, T, C)` and their reconstructions, a panel each."""
    figure = Figure(figsize=(9, 1.4 * len(x)), layout="constrained")
    panels = figure.subplots(len(x), 1, squeeze=False)[:, 0]
    for axes, one, other in zip(panels, x, made, strict=True):
        axes.plot(one, color="0.6")
        axes.plot(other, linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
