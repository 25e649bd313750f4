"""Plots of arrays. Each function returns a `matplotlib.figure.Figure`; save it with `figure.savefig(path)`.

Images are `(N, H, W, C)` with one or three channels, in [0, 1], or integers in 0..255. Functions that take several
named results, `{name: result}`, also accept a single unnamed result.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_ae.utils import extras

if TYPE_CHECKING:  # matplotlib is optional
    from matplotlib.figure import Figure

# Size of one small image, in inches.
_TILE = 0.55
# Colours of more classes than this are hard to distinguish, so a colour bar is clearer than a legend.
_LEGEND_AT_MOST = 20


def image_grid(images: ArrayLike, columns: int | None = None, title: str | None = None) -> "Figure":
    """Plots images in a grid, row by row.

    Args:
        images: `(N, H, W, C)`.
        columns: int; by default the grid is roughly square.
        title: str or None.

    Raises:
        ValueError: if `images` are not `(N, H, W, C)` with one or three channels.

    Example: `image_grid(vae.sample(64), columns=8).savefig("samples.png")`

    See also: `reconstructions`, with labelled rows.
    """
    images = _checked("images", images)
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    figure, axes = _figure(columns * _TILE, rows * _TILE * _aspect(images), title)
    _show(axes, _tiled(images, columns))
    return figure


def reconstructions(x: ArrayLike, others: ArrayLike | Mapping[str, ArrayLike], title: str | None = None) -> "Figure":
    """Plots images in a row, with their reconstructions in labelled rows below.

    Args:
        x: `(N, H, W, C)`, the originals.
        others: `{name: images with x's shape}`, or one array of images.
        title: str or None.

    Raises:
        ValueError: if images differ in shape, or are not `(N, H, W, C)` with one or three channels.

    Example: `reconstructions(x, {"VAE": vae.reconstruct(x), "PCA": pca_images})`

    See also: `image_grid`, without labels.
    """
    x = _checked("x", x)
    rows = {"original": x} | {
        name: _checked(name, images) for name, images in _named("others", others, "reconstruction").items()
    }
    for name, images in rows.items():
        if images.shape != x.shape:
            raise ValueError(f"{name}: expected images of x's shape {x.shape}, received {images.shape}.")
    return _labelled_rows(rows, title)


def latent_walk(
    walks: ArrayLike | Mapping[str, ArrayLike], x1: ArrayLike, x2: ArrayLike, title: str | None = None
) -> "Figure":
    """Plots walks between two images through latent spaces, with the blend of their pixels below.

        blend_t = (1 - t) x1 + t x2,    t = 0 ... 1

    Args:
        walks: `{name: (S, H, W, C)}`, the S steps of a walk; or one array.
        x1: `(H, W, C)`, the image at the start.
        x2: `(H, W, C)`, the image at the end.
        title: str or None.

    Raises:
        ValueError: if walks differ in shape, or images are not `(H, W, C)` with one or three channels.

    Example: `latent_walk({"VAE": vae.interpolate(x[:1], x[1:2], steps=9)[0]}, x[0], x[1])`

    See also: `traversals`, which moves along one dimension of the code.
    """
    rows = {name: _checked(name, walk) for name, walk in _named("walks", walks, "latent walk").items()}
    ends = _checked("x1 and x2", np.stack([x1, x2]))
    t = np.linspace(0, 1, len(next(iter(rows.values()))), dtype="float32")[:, None, None, None]
    return _labelled_rows(rows | {"pixel blend": (1 - t) * ends[0] + t * ends[1]}, title)


def filters(
    kernels: Any,
    shape: Sequence[int] | None = None,
    units: Sequence[int] | np.ndarray | None = None,
    columns: int | None = None,
    title: str | None = None,
) -> "Figure":
    """Plots the filters of a first layer as images, one tile per unit, and one panel per network.

        tile = 1/2 + w / (2 max |w|),    w = the incoming weights of a unit, as an image

    Weights of 0 are mid-grey, and positive ones are brighter. Each tile has its own scale, so compare shapes only.

    Args:
        kernels: a model with an encoder, a Keras network, or weights: `(D, K)` of a dense layer with K units, or
            `(H, W, C, K)` of a convolution. Or `{name: one of these}`, to compare the same units of several networks.
        shape: `(H, W, C)` of the images, with D = H W C; None if the network knows it.
        units: ints, the units to plot; None for the first 100.
        columns: int, tiles per row; by default the grid is roughly square.
        title: str or None.

    Raises:
        ValueError: if no layer has weights, the weights are not those of images with one or three channels, or a unit
            does not exist.

    Example: `filters({"autoencoder": autoencoder, "VAE": vae}, units=range(16))`

    Source: Vincent 2010, figures 5 to 7. See also: `noise_filters`, for one network per level of noise; `image_grid`.
    """
    named = kernels if isinstance(kernels, Mapping) and kernels else {"filters": kernels}
    tiles = {name: _filter_tiles(name, each, shape, units) for name, each in named.items()}
    count, height, width, _ = next(iter(tiles.values())).shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    aspect = math.ceil(count / columns) * height / (columns * width)
    side = max(columns * _TILE * 0.6, 1.6)
    figure, panels = _figure(side * len(tiles), side * aspect, None, ncols=len(tiles), squeeze=False)
    figure.suptitle(title or "", fontsize=11)
    for axes, (name, images) in zip(panels[0], tiles.items(), strict=True):
        _show(axes, _tiled(images, columns))
        if named is kernels:
            axes.set_title(name, fontsize=10)
    return figure


def noise_filters(
    kernels: Mapping[float, Any],
    shape: Sequence[int] | None = None,
    units: Sequence[int] | np.ndarray | None = None,
    columns: int | None = None,
    title: str | None = None,
) -> "Figure":
    """Plots the filters of an autoencoder beside those of denoising autoencoders, with more noise from left to right.

    Args:
        kernels: `{level: model, network or weights}`, levels of corruption from 0, the plain autoencoder, to 1; each
            value as in `filters`.
        shape, units, columns, title: as in `filters`.

    Raises:
        ValueError: as in `filters`, and if a level is not a number, 0 or more.

    Example: `noise_filters({0.0: autoencoder, 0.25: vae}, units=range(16))`

    Source: Vincent 2010, figure 6. See also: `filters`, for networks with other names.
    """
    if not isinstance(kernels, Mapping) or not kernels:
        raise ValueError(f"kernels: expected a dict {{level: model}}; received {type(kernels).__name__}.")
    wrong = [level for level in kernels if not isinstance(level, int | float | np.number) or not level >= 0]
    if wrong:
        raise ValueError(f"kernels: expected levels of noise, numbers of 0 or more; received {wrong[0]!r}.")
    levels = sorted(kernels)
    names = {level: f"denoising, noise {level:g}" if level else "autoencoder" for level in levels}
    return filters({names[level]: kernels[level] for level in levels}, shape, units, columns, title)


def latent_scatter(z: ArrayLike, labels: ArrayLike | None = None, title: str | None = None) -> "Figure":
    """Scatter plot of codes, coloured by label; more than two dimensions are projected onto two principal axes.

    Args:
        z: `(N, D)` codes.
        labels: `(N,)` integers, or None.
        title: str or None.

    Raises:
        ValueError: if z is not `(N, D)` with two rows or more, or `labels` are not `(N,)`.

    Example: `latent_scatter(vae.encode(x), labels)`

    See also: `latent_spaces`, of several models.
    """
    z = np.asarray(z)
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"z: expected at least two codes, (N, D); received shape {z.shape}.")
    if labels is not None and np.shape(labels) != (len(z),):
        raise ValueError(f"labels: expected shape {(len(z),)}, one for each code; received {np.shape(labels)}.")
    figure, axes = _figure(6.4, 5.4, title)
    points, names = _in_two_dimensions(z)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_aspect("equal", adjustable="datalim")
    _scatter(figure, axes, points, labels)
    return figure


def embeddings(
    codes: ArrayLike | Mapping[str, ArrayLike],
    labels: ArrayLike | None = None,
    columns: int | None = None,
    title: str | None = None,
) -> "Figure":
    """Plots two-dimensional embeddings of the same rows, one panel per method, coloured by label.

    Axes have no ticks, because the units of different methods are not comparable; both axes of a panel have the same
    scale.

    Args:
        codes: `{name: (N, 2)}`, or one array. Names are the titles of the panels.
        labels: `(N,)` ints or names, or None.
        columns: int, panels per row; None for up to four.
        title: str or None.

    Raises:
        ValueError: if an embedding is not finite `(N, 2)`, the numbers of rows differ, or labels are not `(N,)`.

    Example: `embeddings({"PCA": x.reshape(len(x), -1)[:, :2], "VAE": vae.encode(x)}, labels)`

    See also: `latent_spaces`, which compares codes with a prior; `evaluation.manifold`, which measures them.
    """
    points = {name: np.asarray(z) for name, z in _named("codes", codes, "codes").items()}
    rows = len(next(iter(points.values())))
    for name, z in points.items():
        if z.shape != (rows, 2) or rows < 2:
            raise ValueError(f"{name}: expected codes ({max(rows, 2)}, 2); received shape {z.shape}.")
        if not np.isfinite(z).all():
            raise ValueError(f"{name} contains NaN or infinity: expected finite codes.")
    if labels is not None and np.shape(labels) != (rows,):
        raise ValueError(f"labels: expected shape {(rows,)}, one for each code; received {np.shape(labels)}.")
    columns = columns or min(len(points), 4)
    lines = math.ceil(len(points) / columns)
    figure, panels = _figure(3.2 * columns, 3.2 * lines, None, nrows=lines, ncols=columns, squeeze=False)
    figure.suptitle(title or "", fontsize=11)
    for axes in panels.ravel()[len(points) :]:
        axes.set_axis_off()
    for axes, (name, z) in zip(panels.ravel(), points.items(), strict=False):
        legend = axes is panels[0, min(columns, len(points)) - 1]
        _scatter(figure, axes, z, labels, legend)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _scatter(figure, axes, points, labels, legend=True):
    """Draws points coloured by label, with a legend or, for many labels, a colour bar."""
    # Shrink the points as their number grows, so that they do not hide one another.
    style = {"s": np.clip(6e3 / len(points), 4, 40), "alpha": 0.75, "linewidths": 0}
    if labels is None:
        axes.scatter(*points.T, **style)
        return
    labels = np.asarray(labels)
    classes = np.unique(labels)
    if len(classes) > _LEGEND_AT_MOST:
        drawn = axes.scatter(
            *points.T, c=np.searchsorted(classes, labels) if labels.dtype.kind in "OUS" else labels, **style
        )
        if legend:
            figure.colorbar(drawn, ax=axes, label="label")
        return
    for colour, label in zip(_colours(len(classes)), classes, strict=True):
        axes.scatter(*points[labels == label].T, color=colour, label=str(label), **style)
    if legend:
        _legend(axes)


def codes_and_prior(z: ArrayLike, p: ArrayLike, labels: ArrayLike | None = None, title: str | None = None) -> "Figure":
    """Plots codes beside samples of the prior, with the same axes; more than two dimensions are projected.

    Args:
        z: `(N, D)` codes.
        p: `(M, D)` samples of the prior, whose principal axes are used if D is above 2.
        labels: `(N,)` integers that colour the codes, or None.
        title: str or None.

    Raises:
        ValueError: if z and p are not `(N, D)` and `(M, D)` with two rows or more, or `labels` are not `(N,)`.

    Example: `codes_and_prior(vae.encode(x), vae.prior.sample(len(x), seed=0), labels)`

    See also: `callbacks.CodesAgainstPrior`, which draws it during training; `latent_scatter`, of codes alone.
    """
    codes, drawn = np.asarray(z), np.asarray(p)
    if codes.ndim != 2 or drawn.ndim != 2 or codes.shape[1] != drawn.shape[1] or min(len(codes), len(drawn)) < 2:
        raise ValueError(
            f"z and p: expected two rows or more, (N, D) and (M, D); received {codes.shape} and {drawn.shape}."
        )
    if labels is not None and np.shape(labels) != (len(codes),):
        raise ValueError(f"labels: expected shape {(len(codes),)}, one for each code; received {np.shape(labels)}.")
    if codes.shape[1] == 1:
        codes, drawn = (_in_two_dimensions(each)[0] / [1, len(each)] for each in (codes, drawn))
    elif codes.shape[1] > 2:
        mean, axes, _, _ = _principal_axes(drawn)
        codes, drawn = (codes - mean) @ axes.T, (drawn - mean) @ axes.T
    figure, panels = _figure(8.4, 4.2, title, ncols=2, sharex=True, sharey=True)
    for panel, points, name in zip(panels, (drawn, codes), ("prior", "codes"), strict=True):
        style = {"s": np.clip(3e3 / len(points), 2, 20), "alpha": 0.75, "linewidths": 0}
        colour: dict[str, Any] = {"color": "0.4"}
        if name == "codes" and labels is not None:
            colour = {"c": labels, "cmap": "tab10" if np.max(np.asarray(labels)) < 10 else "tab20"}
        panel.scatter(*points.T, **style, **colour)
        panel.set_aspect("equal", adjustable="box")
        panel.text(0.02, 0.98, name, transform=panel.transAxes, va="top")
    return figure


def _legend(axes):
    """Adds a legend of labels beside the axes, with large opaque markers."""
    legend = axes.legend(title="label", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    for handle in legend.legend_handles:
        handle.set(alpha=1.0, sizes=[40])


def latent_grid(
    decode: Callable[[np.ndarray], ArrayLike], codes: ArrayLike | None = None, size: int = 15, title: str | None = None
) -> "Figure":
    """Plots decoded images over a plane of the latent space.

    Without `codes`, the latent space must be two-dimensional with a standard normal prior, and the grid is at the
    quantiles of that prior:

        z[i, j] = (Phi^-1((j + 1/2) / size), Phi^-1((i + 1/2) / size))

    With `codes`, the plane passes through their mean m and is spanned by their first two principal axes a and b. The
    grid uses the same quantiles u and v, in units of the standard deviations s and t along these axes:
    `z = m + u s a + v t b`. The second coordinate increases upwards.

    Args:
        decode: function from codes `(size^2, D)` to images `(size^2, H, W, C)`.
        codes: `(N, D)` of any D, or None for the prior of a two-dimensional code.
        size: int, images per side.
        title: str or None.

    Raises:
        ValueError: if `decode` is not a function to images, or `codes` are not `(N, D)`, both 2 or more.

    Example: `latent_grid(vae.decode)` for two dimensions, `latent_grid(vae.decode, vae.encode(x))` for more.

    Source: Kingma & Welling 2014, figure 4. See also: `traversals`, one dimension at a time.
    """
    normal = statistics.NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / size) for i in range(size)])
    u, v = (a.ravel() for a in np.meshgrid(quantiles, quantiles[::-1]))
    if codes is None:
        z = np.stack([u, v], axis=1)
        names = ("z 1", "z 2")
    else:
        codes = np.asarray(codes, dtype="float64")
        mean, axes, deviations, shares = _principal_axes(codes)
        z = mean + np.stack([u, v], axis=1) * deviations @ axes
        names = _axis_names(shares)
    images = _drawn(decode, z.astype("float32"))
    height, width = images.shape[1:3]
    figure, axes = _figure(size * _TILE * 0.75 + 0.5, size * _TILE * 0.75 * _aspect(images) + 0.5, title)
    _show(axes, _tiled(images, size))
    axes.set_axis_on()
    shown = np.unique(np.linspace(0, size - 1, min(size, 5)).round().astype(int))
    axes.set_xticks(shown * (width + 1) + (width - 1) / 2, [f"{quantiles[i]:.1f}" for i in shown])
    axes.set_yticks(shown * (height + 1) + (height - 1) / 2, [f"{quantiles[::-1][i]:.1f}" for i in shown])
    unit = "" if codes is None else ", standard deviations"
    axes.set_xlabel(names[0] + unit)
    axes.set_ylabel(names[1] + unit)
    return figure


def traversals(
    decode: Callable[[np.ndarray], ArrayLike],
    codes: ArrayLike,
    units: Sequence[int] | np.ndarray | None = None,
    span: float = 3.0,
    steps: int = 9,
    title: str | None = None,
) -> "Figure":
    """Plots latent traversals: each row varies one latent unit from -span to span, with the others fixed.

        z = m + (u_k - m_k) e_k,    u_k = -span ... span,    m the mean of the codes

    Args:
        decode: function from codes `(U * steps, D)` to images.
        codes: `(N, D)`, whose mean gives the fixed values.
        units: ints, the units to plot, one per row; None for up to ten units with the largest variance, in descending
            order.
        span: float, in units of z; 3 covers a standard normal prior.
        steps: int, images per row.
        title: str or None.

    Raises:
        ValueError: if `codes` are not `(N, D)`, a unit does not exist, or `decode` is not a function to images.

    Example: `traversals(vae.decode, vae.encode(x))`

    Source: Higgins 2017, for the figure. See also: `latent_grid`, two dimensions at a time.
    """
    codes = np.asarray(codes, dtype="float32")
    if codes.ndim != 2 or len(codes) == 0:
        raise ValueError(f"codes: expected (N, D), at least one; received {codes.shape}.")
    if units is None:
        units = np.argsort(-codes.var(axis=0), kind="stable")[:10]
    if not np.isin(units, np.arange(codes.shape[1])).all():
        raise ValueError(f"units: expected dimensions of the code, 0 to {codes.shape[1] - 1}; received {list(units)}.")
    values = np.linspace(-span, span, steps, dtype="float32")
    z = np.tile(codes.mean(axis=0), (len(units), steps, 1))
    for row, unit in enumerate(units):
        z[row, :, unit] = values
    images = _drawn(decode, z.reshape(-1, codes.shape[1]))
    height, width = images.shape[1:3]
    figure, axes = _figure(steps * _TILE + 0.8, len(units) * _TILE * _aspect(images) + 0.5, title)
    _show(axes, _tiled(images, steps))
    axes.set_axis_on()
    axes.set_frame_on(False)
    axes.set_yticks([(height + 1) * i + (height - 1) / 2 for i in range(len(units))], [f"z {k + 1}" for k in units])
    shown = [0, steps // 2, steps - 1]
    axes.set_xticks([(width + 1) * i + (width - 1) / 2 for i in shown], [f"{values[i]:.1f}" for i in shown])
    axes.tick_params(length=0)
    return figure


def latent_spaces(codes: ArrayLike | Mapping[str, ArrayLike], labels: ArrayLike, title: str | None = None) -> "Figure":
    """Plots two-dimensional codes of several models side by side, with a standard normal prior for comparison.

    The circle contains 95 % of a standard normal prior, and the cross marks its centre. Each panel shows the values of
    `keras_ae.evaluation.latent.irregularity`, which are large for a plain autoencoder and small for a VAE.

    Args:
        codes: `{name: (N, 2)}`, or one array.
        labels: `(N,)` ints or names.
        title: str or None.

    Raises:
        ValueError: if codes are not `(N, 2)` with a label each, or as in `evaluation.latent.irregularity`.

    Example: `latent_spaces({"autoencoder": autoencoder.encode(x), "VAE": vae.encode(x)}, y)`

    See also: `latent_scatter`, of a single model and any number of dimensions.
    """
    from keras_ae.evaluation.latent import irregularity

    codes, labels = _named("codes", codes, "codes"), np.asarray(labels)
    classes = np.unique(labels)
    figure, panels = _figure(5.2 * len(codes), 5.0, None, ncols=len(codes), squeeze=False)
    figure.suptitle(title or "", fontsize=11)
    colours = [_colours(len(classes))[i % 20] for i in range(len(classes))]
    for axes, (name, z) in zip(panels[0], codes.items(), strict=True):
        z = np.asarray(z, dtype="float64")
        if z.shape != (len(labels), 2):
            raise ValueError(f"{name}: expected codes ({len(labels)}, 2), received {z.shape}.")
        for colour, label in zip(colours, classes, strict=True):
            axes.scatter(*z[labels == label].T, s=3, color=colour, alpha=0.6, linewidths=0, label=str(label))
        angle = np.linspace(0, 2 * np.pi, 200)
        axes.plot(*(math.sqrt(-2 * math.log(0.05)) * np.stack([np.cos(angle), np.sin(angle)])), "k-", linewidth=1)
        axes.plot(0, 0, "k+", markersize=12)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(name, fontsize=10)
        off, uneven, gaps = irregularity(z, labels)
        axes.set_xlabel(f"z 1\noff centre {off:.2f},  uneven areas {uneven:.1f},  gaps {gaps:.0%}")
        axes.set_ylabel("z 2")
    _legend(panels[0, -1])
    return figure


def decomposition(history: Any, terms: Sequence[str] | None = None, title: str | None = None) -> "Figure":
    """Plots the loss terms and their sum, the negative ELBO, over epochs; validation curves are dashed.

    Args:
        history: the return value of `fit`, or its `history`, a dict of lists.
        terms: names of the loss terms; None for reconstruction and kl, and also label if present, as for `M2`.
        title: str or None.

    Raises:
        ValueError: if a term is not in the history.

    Example: `decomposition(vae.fit(x, validation_data=x_test, epochs=20).history)`

    See also: `ka.callbacks.Annealing`, which changes the weights of terms.
    """
    history = getattr(history, "history", history)
    if not isinstance(history, Mapping):
        raise ValueError(f"history: expected what `fit` returns, or its `history`; received {type(history).__name__}.")
    terms = terms or ("reconstruction", "kl", *(["label"] if "label" in history else []))
    missing = [name for name in terms if name not in history]
    if missing:
        raise ValueError(f"history: expected the terms {list(terms)}, received {list(history)}.")
    figure, panels = _figure(4.0 * (len(terms) + 1), 3.0, title, ncols=len(terms) + 1, squeeze=False)
    for axes, name in zip(panels[0], (*terms, "-ELBO"), strict=True):
        for prefix, style in (("", "-"), ("val_", "--")):
            names = [prefix + term for term in (terms if name == "-ELBO" else [name])]
            if all(each in history for each in names):
                total = np.sum([history[each] for each in names], axis=0)
                axes.plot(np.arange(1, len(total) + 1), total, style, color="C0", label=prefix.strip("_") or "train")
        axes.set_title(name if axes is not panels[0, 0] or not title else f"{title}\n{name}", fontsize=10)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("nats")
    panels[0, -1].legend(frameon=False)
    return figure


def spectrograms(waveforms: ArrayLike | Mapping[str, Any], rate: int, title: str | None = None) -> "Figure":
    """Plots spectrograms of waveforms, one below another, in decibels relative to the loudest point of all.

    Args:
        waveforms: `{name: floats (T,)}`, or one array.
        rate: int, Hz.
        title: str or None.

    Raises:
        ValueError: if there is no waveform, or one is not `(T,)` with two samples or more.

    Example: `spectrograms({"noisy": noisy, "denoised": denoised}, 16_000)`

    See also: `layers.stft.stft`, the spectra as tensors.
    """
    waveforms = _named("waveforms", waveforms, "waveform")
    figure, panels = _figure(8.0, 1.8 * len(waveforms), title, nrows=len(waveforms), sharex=True, squeeze=False)
    powers = {}
    for name, wave in waveforms.items():
        wave = np.asarray(wave, dtype="float64")
        if wave.ndim != 1 or len(wave) < 2:
            raise ValueError(f"{name}: expected a waveform (T,), received shape {wave.shape}.")
        size = min(512, len(wave))
        frames = np.lib.stride_tricks.sliding_window_view(wave, size)[:: max(1, size // 4)] * np.hanning(size)
        powers[name] = np.abs(np.fft.rfft(frames)) ** 2
    loudest = max(max(power.max() for power in powers.values()), np.finfo("float64").tiny)
    for axes, (name, power) in zip(panels[:, 0], powers.items(), strict=True):
        decibels = 10 * np.log10(np.maximum(power / loudest, 1e-8)).T
        extent = (0, len(waveforms[name]) / rate, 0, rate / 2000)
        shown = axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, vmin=-80, vmax=0, cmap="magma")
        axes.set_ylabel(f"{name}\nkHz")
    panels[-1, 0].set_xlabel("seconds")
    figure.colorbar(shown, ax=panels[:, 0], label="dB")
    return figure


def retrieval(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]] | tuple[ArrayLike, ArrayLike],
    ones: ArrayLike,
    title: str | None = None,
) -> "Figure":
    """Plots precision-recall curves of several rankings and, below, the fraction of ones in each bit of a code.

    The recall axis is logarithmic because the first few documents, which users look at, are a small fraction of the
    relevant ones.

    Args:
        curves: `{name: (recall, precision)}`, each a pair of arrays `(K,)` in [0, 1]; or one such pair; or empty, to
            plot only the bits.
        ones: `(bits,)` in [0, 1], as returned by `keras_ae.evaluation.retrieval.bit_balance`.
        title: str or None.

    Raises:
        ValueError: if `ones` is not `(bits,)`, or `curves` are neither a dict nor one pair of arrays.

    Example: `retrieval({"LSA": (recall, precision)}, bit_balance(codes)).savefig("retrieval.png")`

    See also: `evaluation.retrieval`, which computes both.
    """
    ones = np.asarray(ones)
    if ones.ndim != 1 or len(ones) == 0:
        raise ValueError(f"ones: expected a share for each bit, (bits,); received shape {ones.shape}.")
    curves = _curves(curves)
    ratios = (3, 1) if curves else (1,)
    figure, axes = _figure(6.4, 1.6 * sum(ratios), title, nrows=len(ratios), height_ratios=ratios, squeeze=False)
    top, bottom = axes[0, 0], axes[-1, 0]
    if curves:
        for name, (recall, precision) in curves.items():
            top.plot(recall, precision, marker="o", markersize=3, label=name)
        # A logarithmic axis cannot show data that are all zero.
        scale = "log" if any(np.any(np.asarray(recall) > 0) for recall, _ in curves.values()) else "linear"
        top.set(xscale=scale, ylim=(0, 1), xlabel="recall", ylabel="precision")
        top.grid(alpha=0.3)
        top.legend(frameon=False)
    bottom.bar(np.arange(1, len(ones) + 1), ones)
    bottom.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
    bottom.set(ylim=(0, 1), xlabel="bit", ylabel="share of ones")
    return figure


def drift(times: ArrayLike, shares: ArrayLike, names: Sequence[str], title: str | None = None) -> "Figure":
    """Plots topic shares over time, one named panel per topic, each with its own scale starting at 0.

    This plot is our own way to show topic drift, not a standard measure.

    Args:
        times: `(T,)` datetime64 in increasing order; T > 1.
        shares: `(T, K)`, 0 or more.
        names: K strings, such as the top words of each topic.
        title: str or None.

    Raises:
        ValueError: if the shapes do not match.

    Example: `drift(days, shares, [", ".join(words) for words in top_words]).savefig("drift.png")`

    See also: `evaluation.topics.roughness`, a single number.
    """
    times, shares = np.asarray(times), np.asarray(shares)
    if len(times) < 2 or len(names) == 0 or shares.shape != (len(times), len(names)):
        raise ValueError(
            f"shares: expected at least two times and one name, shape (times, names) = {(len(times), len(names))}; "
            f"received shape {shares.shape}."
        )
    figure, axes = _figure(6.4, 0.85 * len(names) + 0.4, title, nrows=len(names), sharex=True, squeeze=False)
    for panel, share, name in zip(axes[:, 0], shares.T, names, strict=True):
        panel.fill_between(times, share, alpha=0.25, linewidth=0)
        panel.plot(times, share, linewidth=1.2)
        # Leave room above the curve for the name.
        panel.set(ylim=(0, 1.45 * max(share.max(), np.finfo("float64").tiny)), xlim=(times[0], times[-1]))
        panel.text(0.01, 0.95, name, transform=panel.transAxes, va="top", fontsize=9)
        panel.yaxis.set_major_formatter("{x:.0%}")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.3)
    from matplotlib.dates import ConciseDateFormatter

    panel.xaxis.set_major_formatter(ConciseDateFormatter(panel.xaxis.get_major_locator()))
    return figure


def drawings(
    rows: Mapping[str, Sequence[ArrayLike]] | Sequence[ArrayLike], columns: int | None = None, title: str | None = None
) -> "Figure":
    """Plots drawings of strokes: named rows of them, or one list in a grid.

    Args:
        rows: `{name: list of drawings}`, or one list; drawings are stroke-3 `(n, 3)`, see `datasets.sketches`. One
            without points leaves its place empty.
        columns: int, of the grid of one list; by default it is roughly square.
        title: str or None.

    Raises:
        ValueError: if there are no drawings, or one is no drawing.

    Example: `drawings({"letters": glyphs[:4], "others": glyphs[4:8]}).savefig("letters.png")`

    See also: `image_grid` and `reconstructions`, for images; `datasets.svg.write`.
    """
    from keras_ae.datasets import sketches

    if not isinstance(rows, Mapping):
        count = columns or max(1, math.ceil(math.sqrt(len(rows))))
        rows = {f"{i}": rows[i : i + count] for i in range(0, len(rows), count)}
        names = [""] * len(rows)
    else:
        names = list(rows)
    width = max((len(row) for row in rows.values()), default=0)
    if not width:
        raise ValueError("rows: expected one drawing or more; received none.")
    figure, axes = _figure(width * 1.5 * _TILE + 1.0, len(rows) * 1.5 * _TILE, title)
    for i, row in enumerate(rows.values()):
        for k, drawing in enumerate(row):
            if np.size(drawing):
                lines = sketches.to_lines(sketches.resized(drawing, 0.8))
                points = np.concatenate(lines)
                middle = (points.min(axis=0) + points.max(axis=0)) / 2
                for line in lines:
                    axes.plot(*(line - middle + (k, i)).T, color="black", linewidth=0.8, solid_capstyle="round")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="equal")
    axes.set_xticks([])
    axes.set_yticks(range(len(rows)), names)
    axes.set_frame_on(False)
    axes.tick_params(length=0)
    return figure


def _labelled_rows(rows, title):
    """Plots each of the named arrays of images, all of one shape, as a row with its name to the left."""
    x = next(iter(rows.values()))
    for name, images in rows.items():
        if images.shape != x.shape:
            raise ValueError(f"{name}: expected images of shape {x.shape}, as the others; received {images.shape}.")
    height = x.shape[1]
    figure, axes = _figure(len(x) * _TILE + 1.2, len(rows) * _TILE * _aspect(x), title)
    _show(axes, _tiled(np.concatenate(list(rows.values())), len(x)))
    axes.set_axis_on()
    axes.set_frame_on(False)
    axes.set_xticks([])
    axes.set_yticks([(height + 1) * i + (height - 1) / 2 for i in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    return figure


def _filter_tiles(name, kernels, shape, units):
    """Returns the filters of one network as images `(K, H, W, C)` in [0, 1], with 1/2 for a weight of 0."""
    kernel, known = (kernels, None) if hasattr(kernels, "__array__") else _first_kernel(name, kernels)
    kernel, shape = np.asarray(kernel, dtype="float32"), shape or known
    if kernel.ndim == 2:
        if shape is None or math.prod(shape) != len(kernel):
            raise ValueError(
                f"shape: expected (H, W, C) of images of {len(kernel)} values, the inputs of {name}; received {shape}."
            )
        kernel = kernel.reshape(*shape, -1)
    if kernel.ndim != 4 or kernel.shape[2] not in (1, 3):
        raise ValueError(
            f"{name}: expected weights of images with one or three channels, (H, W, C, K); received {kernel.shape}."
        )
    units = np.arange(min(kernel.shape[-1], 100)) if units is None else np.asarray(units)
    if len(units) == 0 or not np.isin(units, np.arange(kernel.shape[-1])).all():
        raise ValueError(f"units: expected units of {name}, 0 to {kernel.shape[-1] - 1}; received {list(units)}.")
    w = np.moveaxis(kernel, -1, 0)[units]
    largest = np.abs(w).max(axis=(1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * w / np.where(largest > 0, largest, 1.0)


def _first_kernel(name, network):
    """Returns the weights of the first dense or convolutional layer, and the shape of the network's input if known."""
    from keras_ae.utils import validation

    network = getattr(network, "encoder", None) or network
    layers = network._flatten_layers() if hasattr(network, "_flatten_layers") else ()
    kernel = next((layer.kernel for layer in layers if getattr(layer, "kernel", None) is not None), None)
    if kernel is None:
        raise ValueError(
            f"{name}: expected weights (D, K) or (H, W, C, K), or a built network with a dense or convolutional layer; "
            f"received {type(network).__name__}."
        )
    shapes = validation.input_shapes(network)
    return kernel, shapes[0] if shapes and len(shapes[0]) == 3 else None


def _figure(width, height, title, **subplots):
    matplotlib_figure = extras.library("matplotlib.figure", __name__)
    figure = matplotlib_figure.Figure(figsize=(width, height + 0.3 * bool(title)), dpi=150, layout="constrained")
    axes = figure.subplots(**subplots)
    np.ravel(axes)[0].set_title(title or "", fontsize=10)
    return figure, axes


def _colours(count):
    from matplotlib import colormaps

    return colormaps["tab10" if count <= 10 else "tab20"].colors[:count]


def _named(name: str, results: Any, default: str) -> Mapping[str, Any]:
    """Returns a dict `{name: result}` unchanged, and wraps a single array in one."""
    if hasattr(results, "__array__"):
        return {default: results}
    if not isinstance(results, Mapping) or not results:
        received = "an empty dict" if isinstance(results, Mapping) else type(results).__name__
        raise ValueError(f"{name}: expected a dict {{name: array}}, or one array; received {received}.")
    return results


def _curves(curves: Any) -> Mapping[str, Any]:
    if isinstance(curves, Mapping) or not len(curves):
        return curves
    if len(curves) != 2 or np.ndim(curves[0]) != 1 or np.shape(curves[0]) != np.shape(curves[1]):
        raise ValueError(
            "curves: expected a dict {name: (recall, precision)}, or one such pair of arrays (K,); received "
            f"{type(curves).__name__} of {len(curves)}."
        )
    return {"ranking": curves}


def _drawn(decode: Any, z: np.ndarray) -> np.ndarray:
    if not callable(decode):
        raise ValueError(
            "decode: expected a function from codes to images, such as the method `decode` of a model; received "
            f"{type(decode).__name__}."
        )
    return _checked("decode", decode(z))


def _checked(name: str, images: Any) -> np.ndarray:
    if isinstance(images, Mapping):
        raise ValueError(f"{name}: expected one array of images (N, H, W, C); received a dict.")
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
        hint = ""
        if images.ndim == 3:
            axis = "batch axis: {}[None]" if images.shape[-1] in (1, 3) else "channel axis: {}[..., None]"
            hint = f" Add the {axis.format(name)}."
        raise ValueError(
            f"{name}: expected images (N, H, W, C) with C = 1 or 3, at least one; received {images.shape}.{hint}"
        )
    # Integers above 1 are 0..255 pixels, which would be clipped to white; integers 0 and 1 are binary images.
    return images.astype("float32") / (255 if images.dtype.kind in "iu" and images.max() > 1 else 1)


def _aspect(images):
    return images.shape[1] / images.shape[2]


def _tiled(images, columns):
    """Tiles the images into one, separated by one white pixel; empty tiles in the last row are white."""
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    padded = np.ones((rows * columns, height + 1, width + 1, channels), "float32")
    padded[:count, :height, :width] = np.clip(images, 0.0, 1.0)
    tiled = padded.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    tiled = tiled.reshape(rows * (height + 1), columns * (width + 1), channels)
    return tiled[: tiled.shape[0] - 1, : tiled.shape[1] - 1]


def _show(axes, image):
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1, aspect="equal")
    axes.set_axis_off()


def _in_two_dimensions(z):
    """Points `(N, 2)` and their axis labels."""
    if z.shape[1] == 1:
        # A histogram could not show the labels; plotting against the rank spreads the points out.
        return np.concatenate([z, np.argsort(np.argsort(z, axis=0), axis=0)], axis=1), ("z 1", "rank of z 1")
    if z.shape[1] == 2:
        return z, ("z 1", "z 2")
    mean, axes, _, shares = _principal_axes(z)
    return (z - mean) @ axes.T, _axis_names(shares)


def _principal_axes(codes):
    """Mean `(D,)`, first two principal axes `(2, D)`, and the standard deviations and variance ratios `(2,)`."""
    if codes.ndim != 2 or codes.shape[1] < 2 or len(codes) < 2:
        raise ValueError(f"codes: expected (N, D), at least two codes with two dimensions; received {codes.shape}.")
    mean = codes.mean(axis=0)
    _, singular, axes = np.linalg.svd(codes - mean, full_matrices=False)
    # The sign of an axis is arbitrary. Make its largest component positive, so that figures are comparable.
    axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    shares = singular**2 / max(np.sum(singular**2), np.finfo("float64").tiny)
    return mean, axes, singular[:2] / math.sqrt(len(codes)), shares[:2]


def _axis_names(shares):
    return tuple(f"principal axis {i + 1} of z ({share:.0%} of variance)" for i, share in enumerate(shares))
