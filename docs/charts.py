"""Charts of the committed benchmark results. A page inserts one with `<!-- chart: name Alt text -->`.

Each function in `CHARTS` draws rows of `benchmarks/results` as a Matplotlib figure, so charts always agree with the
tables, or illustrates a definition. `python docs/charts.py folder` writes all of them to PNG files for inspection.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import results

OURS, PAPER = "#3949ab", "#616161"
OTHERS = ("#00897b", "#ef6c00", "#8e24aa")
MNIST_ERROR = "error on 10,000 test images, percent"
LABELS = (100, 600, 1_000, 3_000)


# Variational autoencoders


def iwae():
    """Negative log-likelihood and active units against the number of importance samples."""
    figure, axes = _figure(2)
    samples = {1: "^VAE,", 5: "^IWAE, k = 5,", 50: "^IWAE, k = 50,"}
    for axis, metric, label in (
        (axes[0], "NLL, 5,000 samples, nats", "nats per test image of MNIST"),
        (axes[1], "active units", "units, of 50"),
    ):
        rows = [_row("importance_weighted", claim, metric) for claim in samples.values()]
        _line(axis, samples, [row["paper"] for row in rows], "Burda 2016, 3,280 passes", PAPER, linestyle="--")
        _ours(axis, samples, rows, "ours, 20 to 45 minutes", OURS)
        _log_ticks(axis, samples)
        axis.set(xlabel="importance samples k (VAE: k = 1)", ylabel=label)
    axes[0].set_title("Negative log-likelihood (lower is better)")
    axes[1].set_title("Active units of the code")
    axes[1].set_ylim(0)
    axes[0].legend()
    return figure


def beta_tcvae():
    """Scores of disentanglement, and the reconstruction term, of three models."""
    figure, axes = _figure(2, widths=(3, 1.25))
    models = {"VAE": "^VAE$", "BetaVAE, beta = 4": "^beta-VAE, beta 4$", "BetaTCVAE, beta = 6": "^beta-TC-VAE, beta 6$"}
    scores = {
        **{"mutual information gap": "mutual\ninformation\ngap", "SAP": "SAP", "DCI disentanglement": "DCI"},
        **{"FactorVAE score": "FactorVAE\nscore", "beta-VAE score": "beta-VAE\nscore"},
    }
    for i, ((name, claim), colour) in enumerate(zip(models.items(), (PAPER, OTHERS[0], OURS), strict=True)):
        rows = [_row("disentanglement", claim, metric) for metric in scores]
        places = [place + (i - 1) * 0.27 for place in range(len(scores))]
        _bars(axes[0], places, rows, colour, name)
        _bars(axes[1], [i], [_row("disentanglement", claim, "reconstruction, nats")], colour, name)
    axes[0].set_xticks(range(len(scores)), scores.values())
    axes[0].set(title="Disentanglement (higher is better)", ylabel="score", ylim=(0, 1))
    axes[0].legend(loc="upper left")
    axes[1].set_xticks(range(len(models)), [name.split(",")[0] for name in models], rotation=20)
    axes[1].set(title="Reconstruction cost (lower is better)", ylabel="reconstruction, nats per image")
    return figure


# Few labels


def m1():
    """Test error of classifiers on M1's codes against the number of labels."""
    figure, axis = _figure()
    names = {
        "nearest neighbours": ("nearest neighbours", OTHERS[0]),
        "SVM": ("SVM", OTHERS[1]),
        "labels spread over 10 neighbours": ("labels spread over neighbours", OTHERS[2]),
        "SVM of labels spread over 10 neighbours": ("SVM of spread labels", OURS),
    }
    for name, (label, colour) in names.items():
        _errors(axis, f"^M1, {name}, ", label, colour)
    _paper(axis, "^M1, SVM, ", "Kingma 2014: transductive SVM")
    return _labelled(figure, axis, "Classifiers on the codes of M1, MNIST", (2, 40), (2, 3, 5, 10, 20, 30))


def m2():
    """Test error of M2 and of its classifier alone against the number of labels."""
    figure, axis = _figure()
    _errors(axis, "^M2's classifier on the labelled images alone, ", "M2's classifier, labelled images only", OTHERS[1])
    _errors(axis, "^M2, ", "M2, all images", OURS)
    _paper(axis, "^M2, ", "Kingma 2014: M2")
    return _labelled(figure, axis, "M2 on MNIST", (1.5, 15), (2, 3, 5, 10))


def m1m2():
    """Test error of M1+M2 and of M2 against the number of labels."""
    figure, axis = _figure()
    _errors(axis, "^M2, ", "M2", OTHERS[0])
    _errors(axis, r"^M1\+M2, ", "M1+M2", OURS)
    _paper(axis, r"^M1\+M2, ", "Kingma 2014: M1+M2")
    return _labelled(figure, axis, "M1+M2 on MNIST", (1.5, 8), (2, 3, 4, 5, 6, 7))


def _errors(axis, claim, label, colour):
    _ours(axis, LABELS, _by_labels(claim), label, colour)


def _paper(axis, claim, label):
    _line(axis, LABELS, [row["paper"] for row in _by_labels(claim)], label, PAPER, linestyle="--")


def _by_labels(claim):
    return [_row("semi_supervised", f"{claim}{count:,} labels$", "error, percent") for count in LABELS]


def _labelled(figure, axis, title, limits, ticks):
    axis.set(title=title, xlabel="labelled images, of 50,000", ylabel=MNIST_ERROR, yscale="log", ylim=limits)
    _log_ticks(axis, LABELS)
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    axis.legend()
    return figure


# Text


def semantic_hashing():
    """Precision of the nearest hundred documents against the number of bits."""
    figure, axis = _figure()
    bits = (16, 32, 64, 128)
    for name, label, colour in (
        ("semantic hashing", "SemanticHashing", OURS),
        ("ITQ on LSA", "ITQ on LSA", OTHERS[0]),
        ("random hyperplanes on LSA", "random hyperplanes on LSA", OTHERS[1]),
    ):
        rows = [_row("semantic_hashing", f"^{name}, {count} bits$", "precision at 100") for count in bits]
        _ours(axis, bits, rows, label, colour)
    for name, label, style in (
        ("^LSA, 128 dimensions, cosine", "LSA, 128 floats per document", "--"),
        ("^TF-IDF, 10,000 terms, cosine", "TF-IDF, 10,000 terms", ":"),
    ):
        row = _row("semantic_hashing", name, "precision at 100")
        axis.axhline(row["ours"], color=PAPER, linestyle=style, label=label)
    _log_ticks(axis, bits)
    axis.set(title="20 Newsgroups, 3,637 queries, 14,300 documents", xlabel="bits per document", ylim=(0, 0.8))
    axis.set_ylabel("precision of the nearest 100 (higher is better)")
    axis.legend(loc="lower right")
    return figure


def vdsh():
    """Precision of five published methods and of SemanticHashing at 32 bits, with the papers' results."""
    figure, axis = _figure(height=3.6)
    methods = {
        "bmsh, 32": "BMSH (Dong 2019)",
        "vdsh, 32": "VDSH (Chaidaroon 2017)",
        "salakhutdinov_hinton, 32": "Salakhutdinov & Hinton 2009",
        "pairrec, 32": "PairRec (Hansen 2020)",
        "nash, 32": "NASH (Shen 2018)",
        "0.1 of LSA's dimensions dropped, 32": "SemanticHashing",
    }
    rows = [_row("semantic_hashing", f"^{claim} bits$", "precision at 100") for claim in methods]
    colours = [OURS if name.startswith(("VDSH", "Sem")) else "#9fa8da" for name in methods.values()]
    axis.barh(
        list(methods.values()),
        [row["ours"] for row in rows],
        xerr=[row["standard_error"] for row in rows],
        color=colours,
        height=0.6,
        capsize=3,
    )
    published = [(row["paper"], name) for row, name in zip(rows, methods.values(), strict=True) if row["paper"]]
    axis.plot(*zip(*published, strict=True), "D", color="black", label="its paper, on another split")
    axis.set(title="20 Newsgroups, 32 bits, 3,637 queries", xlim=(0, 0.8), ylim=(-1.5, 5.6))
    axis.set_xlabel("precision of the nearest 100 (higher is better)")
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower right")
    return figure


# Illustrations of definitions


def linear_autoencoder():
    """Rows near a line, and the optimum of a linear autoencoder with a code of one unit."""
    import numpy as np

    figure, axis = _figure()
    x = np.random.default_rng(0).multivariate_normal([1.0, 0.5], [[2.0, 1.1], [1.1, 0.9]], 80)
    mean = x.mean(0)
    direction = np.linalg.svd(x - mean)[2][0]
    made = mean + np.outer((x - mean) @ direction, direction)
    axis.plot(*np.stack([x, made], axis=1).T, color="#bdbdbd", linewidth=0.8)
    axis.plot(*x.T, "o", color=PAPER, ms=4, label="x")
    axis.plot(*made.T, "o", color=OURS, ms=4, label="reconstruction")
    axis.set(title="The optimum of one linear unit: the first principal component", aspect="equal")
    axis.legend()
    return figure


def corruptions():
    """A digit, and what three corruptions make of it."""
    import keras
    from sklearn.datasets import load_digits

    import keras_ae as ka

    digit = load_digits().images[:1, ..., None].astype("float32") / 16
    layers = {
        "x": keras.layers.Identity(),
        "masking, 0.3": ka.layers.MaskingNoise(0.3, seed=0),
        "salt and pepper, 0.3": ka.layers.SaltAndPepperNoise(0.3, seed=0),
        "Gaussian, 0.3": keras.layers.GaussianNoise(0.3, seed=0),
    }
    figure, axes = _figure(len(layers), height=2.6)
    for axis, (title, layer) in zip(axes, layers.items(), strict=True):
        axis.imshow(layer(digit, training=True)[0, ..., 0], cmap="gray", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
    return figure


def sparsity():
    """The penalties of one unit against its activity."""
    import numpy as np

    figure, axis = _figure()
    r = np.linspace(0.002, 0.998, 400)
    axis.plot(r, r, color=PAPER, label="l1")
    for rho, colour in zip((0.05, 0.2), (OURS, OTHERS[0]), strict=True):
        kl = rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))
        axis.plot(r, kl, color=colour, label=f"kl, target_activity = {rho}")
    axis.set(title="Penalty of one unit", xlabel="activity (kl: mean over the batch)", ylabel="penalty", ylim=(0, 2))
    axis.legend()
    return figure


def contraction():
    """The contraction of one sigmoid unit against its input."""
    import numpy as np

    figure, axis = _figure()
    x = np.linspace(-4, 4, 400)
    for length, colour in zip((1, 2, 4), (PAPER, OTHERS[0], OURS), strict=True):
        h = 1 / (1 + np.exp(-length * x))
        axis.plot(x, (h * (1 - h) * length) ** 2, color=colour, label=f"|w| = {length}")
    axis.set(title="Contraction of one sigmoid unit: small where it is saturated", xlabel="x, along w", ylabel="|J|^2")
    axis.legend()
    return figure


CHARTS = {
    chart.__name__: chart
    for chart in (
        *(iwae, beta_tcvae, m1, m2, m1m2, semantic_hashing, vdsh),
        *(linear_autoencoder, corruptions, sparsity, contraction),
    )
}


# Rows and axes


def _row(name, claim, metric):
    """Returns the only row with this metric whose claim matches the regular expression `claim`."""
    rows = [row for row in results.read(name) if re.search(claim, row["claim"]) and row["metric"] == metric]
    if len(rows) != 1:
        raise ValueError(f"benchmarks/results/{name}.json: {claim!r} and {metric!r} match {len(rows)} rows, not one.")
    return rows[0]


def _figure(columns=1, widths=None, height=4.2):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2 if columns == 1 else 8.6, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    axes = figure.subplots(1, columns, gridspec_kw={"width_ratios": widths or [1] * columns}, squeeze=False)[0]
    for axis in axes:
        axis.grid(color="#e0e0e0")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0] if columns == 1 else axes


def _ours(axis, x, rows, label, colour):
    errors = [row["standard_error"] or float("nan") for row in rows]  # no bar where there is one run only
    _line(axis, x, [row["ours"] for row in rows], label, colour, errors)


def _line(axis, x, y, label, colour, errors=None, linestyle="-"):
    axis.errorbar(list(x), y, errors, label=label, color=colour, linestyle=linestyle, marker="o", ms=4, capsize=3)


def _bars(axis, places, rows, colour, label):
    errors = [row["standard_error"] for row in rows]
    axis.bar(
        places,
        [row["ours"] for row in rows],
        0.25 if len(rows) > 1 else 0.7,
        yerr=errors,
        capsize=2,
        color=colour,
        label=label,
    )


def _log_ticks(axis, values):
    axis.set_xscale("log")
    axis.set_xticks(list(values), [f"{value:,}" for value in values])
    axis.set_xticks([], minor=True)


def main():
    folder = pathlib.Path(*sys.argv[1:])
    for name, chart in CHARTS.items():
        chart().savefig(folder / f"{name}.png", dpi=100)


if __name__ == "__main__":
    main()
