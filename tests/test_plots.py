import io
import statistics
import sys

import keras
import matplotlib.image
import numpy as np
import pytest

from keras_ae import plots


def _pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return matplotlib.image.imread(file)


def _image(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


@pytest.fixture
def images(rng):
    return rng.random((5, 4, 6, 1), dtype=np.float32)


def test_image_grid_places_images_row_by_row_with_a_white_pixel_between(images):
    shown = _image(plots.image_grid(images, columns=3))
    assert shown.shape == (2 * 4 + 1, 3 * 6 + 2)
    np.testing.assert_array_equal(shown[:4, 7:13], images[1, ..., 0])
    np.testing.assert_array_equal(shown[5:, 7:13], images[4, ..., 0])
    assert np.all(shown[4] == 1.0) and np.all(shown[:, 6] == 1.0)
    assert np.all(shown[5:, 14:] == 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_not_blank(rng, channels):
    x = rng.random((6, 8, 8, channels))
    assert _pixels(plots.image_grid(x, title="six")).var() > 1e-3
    assert _pixels(plots.reconstructions(x, {"half": x / 2})).var() > 1e-3
    assert _pixels(plots.latent_grid(lambda z: np.tile(x[:1], (len(z), 1, 1, 1)), size=3)).var() > 1e-3


def test_values_outside_the_unit_interval_are_clipped(images):
    shown = _image(plots.image_grid(4 * images - 2))
    assert shown.min() == 0.0 and shown.max() == 1.0


def test_reconstructions_label_their_rows(images):
    figure = plots.reconstructions(images, {"VAE": images / 2, "PCA": images / 4})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["original", "VAE", "PCA"]
    np.testing.assert_allclose(_image(figure)[10:14, :6], images[0, ..., 0] / 4)


def test_reconstructions_refuse_images_of_another_shape(images):
    with pytest.raises(ValueError, match=r"PCA: expected images of x's shape \(5, 4, 6, 1\)"):
        plots.reconstructions(images, {"PCA": images[:4]})


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4, 2), (0, 4, 4, 1)])
def test_images_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="expected images"):
        plots.image_grid(np.zeros(shape))


def test_an_array_without_a_name_is_taken(images, rng):
    figure = plots.reconstructions(images, images / 2)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["original", "reconstruction"]
    np.testing.assert_allclose(_image(figure)[5:9, :6], images[0, ..., 0] / 2)
    named = plots.reconstructions(images, {"reconstruction": images / 2})
    np.testing.assert_array_equal(_image(figure), _image(named))
    codes, labels = rng.normal(size=(30, 2)), np.arange(30) % 3
    assert plots.latent_spaces(codes, labels).axes[0].get_title() == "codes"
    assert plots.spectrograms(rng.normal(size=2000), 16_000).axes[0].get_ylabel().startswith("waveform")
    recall, precision = np.linspace(0.1, 1, 5), np.linspace(1, 0.1, 5)
    for pair in ((recall, precision), np.stack([recall, precision]), [list(recall), list(precision)]):
        (line,) = plots.retrieval(pair, [0.5, 0.4]).axes[0].lines
        np.testing.assert_array_equal(line.get_xydata(), np.stack([recall, precision], 1))


@pytest.mark.parametrize("results", [None, {}, [1, 2], "VAE"])
def test_what_is_neither_a_dict_nor_an_array_is_refused(images, results):
    for name, draw in (
        ("others", lambda: plots.reconstructions(images, results)),
        ("codes", lambda: plots.latent_spaces(results, np.zeros(3))),
        ("waveforms", lambda: plots.spectrograms(results, 16_000)),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected a dict"):
            draw()


def test_other_mistakes_about_arguments_are_named(images, rng):
    with pytest.raises(ValueError, match=r"images: expected one array of images.*received a dict"):
        plots.image_grid({"VAE": images})
    with pytest.raises(ValueError, match=r"channel axis: images\[\.\.\., None\]"):
        plots.image_grid(images[..., 0])
    with pytest.raises(ValueError, match=r"batch axis: images\[None\]"):
        plots.image_grid(images[0])
    with pytest.raises(ValueError, match="curves: expected a dict"):
        plots.retrieval([[0.1, 0.2], [0.3]], [0.5])
    with pytest.raises(ValueError, match=r"decode: expected a function from codes to images.*received ndarray"):
        plots.latent_grid(images)
    with pytest.raises(ValueError, match=r"decode: expected a function from codes to images.*received str"):
        plots.traversals("vae", rng.normal(size=(4, 2)))
    with pytest.raises(ValueError, match=r"history: expected what `fit` returns.*received list"):
        plots.decomposition([1.0, 0.5])


def test_pixels_of_integers_are_of_255_and_binary_ones_are_not(rng):
    x = rng.integers(0, 256, (4, 3, 3, 1), np.uint8)
    x[0, 0, 0] = 255
    np.testing.assert_array_equal(_image(plots.image_grid(x)), _image(plots.image_grid(x / 255.0)))
    np.testing.assert_array_equal(_image(plots.image_grid(x.astype(int))), _image(plots.image_grid(x / 255.0)))
    bits = (x > 100).astype(int)
    np.testing.assert_array_equal(_image(plots.image_grid(bits)), _image(plots.image_grid(bits / 1.0)))


def test_what_fit_returns_is_a_history():
    history = keras.callbacks.History()
    history.history = {"reconstruction": [3.0, 2.0], "kl": [1.0, 1.5]}
    drawn = [plots.decomposition(each) for each in (history, history.history)]
    lines = [[line.get_ydata().tolist() for axes in figure.axes for line in axes.lines] for figure in drawn]
    assert lines[0] == lines[1] == [[3.0, 2.0], [1.0, 1.5], [4.0, 3.5]]


def test_scatter_of_two_dimensions_shows_the_codes_themselves(rng):
    z = rng.normal(size=(50, 2))
    figure = plots.latent_scatter(z)
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), z)
    assert figure.axes[0].get_xlabel() == "z 1"


def test_scatter_of_more_dimensions_shows_the_principal_axes_and_says_so(rng):
    z = np.zeros((400, 5))
    z[:, 3], z[:, 1] = 3 * rng.normal(size=400), rng.normal(size=400)
    figure = plots.latent_scatter(z)
    points = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert abs(np.corrcoef(points[:, 0], z[:, 3])[0, 1]) > 0.999
    assert abs(np.corrcoef(points[:, 1], z[:, 1])[0, 1]) > 0.99
    assert figure.axes[0].get_xlabel().startswith("principal axis 1 of z (9")


def test_scatter_colours_labels_with_a_legend_or_a_colour_bar(rng):
    z = rng.normal(size=(60, 1))
    few = plots.latent_scatter(z, np.arange(60) % 3)
    assert [text.get_text() for text in few.axes[0].get_legend().get_texts()] == ["0", "1", "2"]
    many = plots.latent_scatter(z, np.arange(60))
    assert many.axes[1].get_ylabel() == "label"
    with pytest.raises(ValueError, match="one for each code"):
        plots.latent_scatter(z, np.arange(59))


def test_grid_without_codes_decodes_quantiles_of_the_prior():
    seen = []

    def decode(z):
        seen.append(z)
        return np.zeros((len(z), 2, 2, 1))

    plots.latent_grid(decode, size=5)
    z = seen[0].reshape(5, 5, 2)
    probability = np.vectorize(statistics.NormalDist().cdf)(z)
    np.testing.assert_allclose(probability[2, :, 0], [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-6)  # float32
    np.testing.assert_allclose(probability[:, 2, 1], [0.9, 0.7, 0.5, 0.3, 0.1], atol=1e-6)  # float32


def test_grid_with_codes_lies_in_the_plane_of_their_principal_axes(rng):
    codes = np.array([1.0, 2.0, 3.0, 4.0]) + np.zeros((1000, 4))
    codes[:, 2] += 5 * rng.normal(size=1000)
    codes[:, 0] += 2 * rng.normal(size=1000)
    seen = []

    def decode(z):
        seen.append(z)
        return np.zeros((len(z), 2, 2, 1))

    plots.latent_grid(decode, codes, size=3)
    z = seen[0].reshape(3, 3, 4)
    np.testing.assert_allclose(z[1, 1], codes.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(z[..., [1, 3]], np.broadcast_to([2.0, 4.0], (3, 3, 2)), rtol=1e-5)
    step = statistics.NormalDist().inv_cdf(5 / 6)
    # The sample's axes are slightly tilted with respect to those of the distribution.
    np.testing.assert_allclose(z[1, 2, 2] - z[1, 1, 2], step * codes[:, 2].std(), rtol=0.02)
    np.testing.assert_allclose(z[0, 1, 0] - z[1, 1, 0], step * codes[:, 0].std(), rtol=0.02)


def test_without_matplotlib_the_error_names_the_extra(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"keras_ae\[apps\]"):
        plots.image_grid(images)


def _lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_retrieval_shows_every_curve_and_every_bit():
    curves = {"ours": ([0.01, 0.1, 1.0], [0.9, 0.5, 0.05]), "theirs": ([0.005, 0.05, 1.0], [0.8, 0.4, 0.05])}
    figure = plots.retrieval(curves, [0.5, 0.25, 1.0], "title")
    top, bottom = figure.axes
    for name, curve in curves.items():
        np.testing.assert_array_equal(_lines(top)[name], np.transpose(curve))
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["ours", "theirs"]
    assert (top.get_xlabel(), top.get_ylabel(), top.get_xscale()) == ("recall", "precision", "log")
    assert top.get_title() == "title"
    assert [bar.get_height() for bar in bottom.patches] == [0.5, 0.25, 1.0]
    assert _pixels(figure).var() > 1e-3


def test_retrieval_without_curves_shows_the_bits_alone():
    figure = plots.retrieval({}, [0.5, 0.25])
    assert len(figure.axes) == 1 and figure.axes[0].get_ylabel() == "share of ones"
    assert _pixels(figure).var() > 1e-3
    with pytest.raises(ValueError, match="a share for each bit"):
        plots.retrieval({}, [])


@pytest.mark.filterwarnings("error")
def test_retrieval_of_a_ranking_that_finds_nothing():
    assert _pixels(plots.retrieval({"none": ([0.0, 0.0], [0.0, 0.0])}, [0.0] * 8)).var() > 1e-3


def test_drift_draws_every_topic_in_a_panel_under_its_name():
    times = np.datetime64("1993-04-05") + np.arange(20)
    shares = np.stack([np.linspace(0, 0.3, 20), np.full(20, 0.1)], axis=1)
    figure = plots.drift(times, shares, ["launch, orbit", "god, faith"], title="April")
    for axes, share, name in zip(figure.axes, shares.T, ["launch, orbit", "god, faith"], strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), share)
        assert axes.texts[0].get_text() == name
        assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > share.max()
    assert _pixels(figure).var() > 1e-3
    with pytest.raises(ValueError, match=r"\(20, 3\)"):
        plots.drift(times, shares, ["a", "b", "c"])


def test_traversals_move_one_unit_at_a_time(rng):
    codes = rng.normal(size=(50, 4)) * [1, 3, 0.1, 2] + [5, 0, 0, 0]
    asked = []

    def decode(z):
        asked.append(z)
        return np.tile(z.mean(1)[:, None, None, None], (1, 3, 3, 1))

    figure = plots.traversals(decode, codes, span=2.0, steps=5)
    z = asked[0].reshape(4, 5, 4)
    moved = [1, 3, 0, 2]  # largest variance first
    for row, unit in enumerate(moved):
        np.testing.assert_allclose(z[row, :, unit], np.linspace(-2, 2, 5), atol=1e-6)
        still = np.delete(z[row], unit, axis=1)
        np.testing.assert_allclose(still, np.tile(np.delete(codes.mean(0), unit), (5, 1)), atol=1e-5)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["z 2", "z 4", "z 1", "z 3"]
    assert len(plots.traversals(decode, codes, units=[2]).axes[0].get_yticks()) == 1
    with pytest.raises(ValueError, match="codes"):
        plots.traversals(decode, codes[0])


def test_traversals_of_a_unit_that_does_not_exist_are_refused(rng):
    for units in ([2], [-1], [0.5]):
        with pytest.raises(ValueError, match="units: expected dimensions of the code, 0 to 1"):
            plots.traversals(lambda z: np.zeros((len(z), 4, 4, 1)), rng.normal(size=(5, 2)), units=units)


def test_latent_spaces_stand_side_by_side(rng):
    labels = np.arange(300) % 3
    figure = plots.latent_spaces({"AE": rng.normal(size=(300, 2)) + 4, "VAE": rng.normal(size=(300, 2))}, labels, "t")
    assert [axes.get_title() for axes in figure.axes] == ["AE", "VAE"]
    assert "off centre" in figure.axes[0].get_xlabel() and _pixels(figure).var() > 1e-3
    with pytest.raises(ValueError, match="AE: expected codes"):
        plots.latent_spaces({"AE": np.zeros((300, 3))}, labels)


def test_the_decomposition_adds_up_to_the_bound():
    history = {"reconstruction": [5.0, 4.0], "kl": [1.0, 2.5], "val_reconstruction": [6.0, 5.0], "val_kl": [1.0, 2.0]}
    figure = plots.decomposition(history, title="VAE")
    train, valid = (line.get_ydata() for line in figure.axes[-1].lines)
    np.testing.assert_allclose(train, [6.0, 6.5])
    np.testing.assert_allclose(valid, [7.0, 7.0])
    semi_supervised = {"reconstruction": [5.0], "kl": [1.0], "label": [2.3], "classification": [0.1]}
    figure = plots.decomposition(semi_supervised)
    assert [axes.get_title() for axes in figure.axes] == ["reconstruction", "kl", "label", "-ELBO"]
    np.testing.assert_allclose(figure.axes[-1].lines[0].get_ydata(), [8.3])
    with pytest.raises(ValueError, match="history"):
        plots.decomposition({"reconstruction": [1.0]})


def test_a_spectrogram_shows_a_tone_at_its_frequency(rng):
    tone = np.sin(2 * np.pi * 2000 * np.arange(16_000) / 16_000)
    figure = plots.spectrograms({"tone": tone, "noise": 0.1 * rng.normal(size=16_000)}, 16_000)
    shown = figure.axes[0].images[0]
    decibels, extent = np.asarray(shown.get_array()), shown.get_extent()
    height = decibels.mean(axis=1).argmax() / (len(decibels) - 1) * extent[3]
    assert height == pytest.approx(2.0, abs=0.05) and extent[1] == 1.0
    assert decibels.max() == pytest.approx(0, abs=0.1) and decibels.min() >= -80
    with pytest.raises(ValueError, match="tone: expected a waveform"):
        plots.spectrograms({"tone": tone[None]}, 16_000)


def _network(kernel):
    """A network of images (4, 6, 1) whose first layer has the given weights, (24, K)."""
    network = keras.Sequential(
        [keras.Input((4, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(kernel.shape[1]), keras.layers.Dense(2)]
    )
    network.layers[1].set_weights([kernel, np.zeros(kernel.shape[1])])
    return network


def test_filters_are_tiles_whose_grey_is_zero(rng):
    kernel = rng.normal(size=(24, 7)).astype("float32")
    kernel[:, 3] = 0
    shown = _image(plots.filters(kernel, (4, 6, 1), columns=3))
    assert shown.shape == (3 * 4 + 2, 3 * 6 + 2)
    w = kernel[:, 4].reshape(4, 6)
    np.testing.assert_allclose(shown[5:9, 7:13], 0.5 + 0.5 * w / np.abs(w).max(), atol=1e-6)
    np.testing.assert_array_equal(shown[5:9, :6], np.full((4, 6), 0.5))  # a unit without weights
    np.testing.assert_array_equal(_image(plots.filters(_network(kernel), columns=3)), shown)
    convolution = np.moveaxis(kernel.T.reshape(7, 4, 6, 1), 0, -1)
    np.testing.assert_array_equal(_image(plots.filters(convolution, columns=3)), shown)
    np.testing.assert_array_equal(_image(plots.filters(kernel, (4, 6, 1), units=[4])), shown[5:9, 7:13])


def test_filters_of_several_networks_stand_side_by_side(rng):
    kernels = [rng.normal(size=(24, 4)).astype("float32") for _ in range(3)]
    figure = plots.filters({"AE": _network(kernels[0]), "DAE": kernels[1]}, (4, 6, 1))
    assert [axes.get_title() for axes in figure.axes] == ["AE", "DAE"] and _pixels(figure).var() > 1e-3
    levels = dict(zip([0.25, 0.0, 0.1], kernels, strict=True))
    figure = plots.noise_filters(levels, (4, 6, 1), title="filters")
    assert [axes.get_title() for axes in figure.axes] == [
        "autoencoder",
        "denoising, noise 0.1",
        "denoising, noise 0.25",
    ]
    expected = _image(plots.filters(kernels[1], (4, 6, 1)))
    np.testing.assert_array_equal(_image(figure), expected)


def test_filters_that_are_no_images_are_refused(rng):
    kernel = rng.normal(size=(24, 4))
    for arguments, message in (
        ((kernel,), r"shape: expected \(H, W, C\) of images of 24 values"),
        ((kernel, (5, 5, 1)), r"shape: expected \(H, W, C\) of images of 24 values"),
        ((np.zeros((3, 3, 8, 4)),), "filters: expected weights of images with one or three channels"),
        ((keras.Sequential([keras.layers.Flatten()]),), "filters: expected weights .* or a built network"),
        (("weights",), "filters: expected weights .*received str"),
        ((kernel, (4, 6, 1), [4]), "units: expected units of filters, 0 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.filters(*arguments)
    for kernels, message in (({}, "kernels: expected a dict"), ({"a": kernel}, "levels of noise.*'a'")):
        with pytest.raises(ValueError, match=message):
            plots.noise_filters(kernels, (4, 6, 1))


def test_embeddings_have_a_panel_each_coloured_by_label(rng):
    codes = {name: rng.normal(size=(30, 2)) for name in ("PCA", "t-SNE", "VAE")}
    labels = np.array(["one", "two", "three"])[np.arange(30) % 3]
    figure = plots.embeddings(codes, labels, columns=2, title="digits")
    assert [axes.get_title() for axes in figure.axes] == ["PCA", "t-SNE", "VAE", ""]
    for axes, z in zip(figure.axes, codes.values(), strict=False):
        drawn = {each.get_label(): each.get_offsets() for each in axes.collections}
        for label in ("one", "two", "three"):
            np.testing.assert_allclose(drawn[label], z[labels == label])
    legends = [axes.get_legend() for axes in figure.axes]
    assert [legend is not None for legend in legends] == [False, True, False, False]
    assert _pixels(figure).var() > 1e-3
    unlabelled = plots.embeddings(codes["PCA"])
    np.testing.assert_allclose(unlabelled.axes[0].collections[0].get_offsets(), codes["PCA"])
    assert _pixels(plots.embeddings(codes, np.arange(30))).var() > 1e-3  # a colour bar


def test_embeddings_that_cannot_be_drawn_are_refused(rng):
    z = rng.normal(size=(9, 2))
    for codes, labels, message in (
        ({"PCA": z, "LLE": z[:8]}, None, r"LLE: expected codes \(9, 2\)"),
        ({"PCA": rng.normal(size=(9, 3))}, None, r"PCA: expected codes \(9, 2\)"),
        ({"PCA": z, "LLE": np.where(z == z[1, 1], np.nan, z)}, None, "LLE contains NaN"),
        ({"PCA": z}, np.arange(8), r"labels: expected shape \(9,\)"),
        ({}, None, "codes: expected a dict"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.embeddings(codes, labels)


def test_a_latent_walk_has_the_pixel_blend_below(images):
    walk = np.stack([images[0]] * 5)
    figure = plots.latent_walk({"AE": walk, "VAE": 1 - walk}, images[0], images[1])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["AE", "VAE", "pixel blend"]
    shown = _image(figure)
    np.testing.assert_allclose(shown[5:9, :6], 1 - images[0, ..., 0], atol=1e-6)
    np.testing.assert_allclose(shown[10:14, 7:13], (0.75 * images[0] + 0.25 * images[1])[..., 0], atol=1e-6)
    np.testing.assert_allclose(shown[10:14, -6:], images[1, ..., 0], atol=1e-6)
    with pytest.raises(ValueError, match="VAE: expected images of shape"):
        plots.latent_walk({"AE": walk, "VAE": walk[:4]}, images[0], images[1])
