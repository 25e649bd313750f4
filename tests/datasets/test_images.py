"""Images: values, splits, binarising, sources, hostile and missing files."""

import ast
import doctest
import io
import os
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import EpsImagePlugin, Image

from keras_ae.datasets import arrays, images, load
from keras_ae.utils import digests

DATA = Path(os.environ.get("KERAS_AE_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def npz(tmp_path):
    """A tiny `mnist.npz` whose label is the first pixel, its folder, and its arrays."""
    rng = np.random.default_rng(0)
    content = {}
    for split, n in (("train", 50), ("test", 20)):
        x = rng.integers(0, 256, (n, 6, 5), np.uint8)
        content |= {f"x_{split}": x, f"y_{split}": x[:, 0, 0]}
    np.savez(tmp_path / "mnist.npz", **content)
    return tmp_path, content


def levels_npz(tmp_path, n=2000):
    """Every row contains each level 0..255 once."""
    x = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (n, 16, 16))
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=np.zeros(n, int), x_test=x[:1], y_test=np.zeros(1, int))
    return str(tmp_path)


def write_images(root, n, shape=(6, 5, 3), classes=("b", "a"), suffix=".png"):
    """Image i is filled with level i, in class folder i % len(classes)."""
    for i in range(n):
        folder = root / classes[i % len(classes)] if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, i, np.uint8)).save(folder / f"{i:04}{suffix}")
    return str(root)


def rows(dataset):
    """The data set's images as a sorted array (N, pixels), to compare sets of rows."""
    x = arrays(dataset)
    return np.sort(x.reshape(len(x), -1).view([("", x.dtype)] * x[0].size).ravel())


def test_docstring_examples_run():
    result = doctest.testmod(images)
    assert result.attempted >= 4 and result.failed == 0


# Digits and `.npz`.


def test_digits_splits_cover_the_data_once():
    from sklearn.datasets import load_digits

    x_train, y_train = arrays(load("digits", labels=True))
    x_test, y_test = arrays(load("digits", "test", labels=True))
    assert x_train.shape == (1500, 8, 8, 1) and x_test.shape == (297, 8, 8, 1)
    assert x_train.dtype == np.float32 and y_train.dtype == np.int32
    true_x, true_y = load_digits(return_X_y=True)
    ours = np.column_stack([np.concatenate([x_train, x_test]).reshape(-1, 64), np.r_[y_train, y_test]])
    theirs = np.column_stack([true_x / 16, true_y])
    # Equal sorted rows: nothing is lost or duplicated, and each label stays with its image.
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    assert np.bincount(y_test).min() >= 28


def test_digits_split_is_independent_of_seed():
    np.testing.assert_array_equal(arrays(load("digits", "test", seed=0)), arrays(load("digits", "test", seed=9)))
    np.testing.assert_array_equal(rows(load("digits", seed=0)), rows(load("digits", seed=9)))


@pytest.mark.parametrize("labels", [False, True])
def test_element_spec_is_static_but_for_the_batch(npz, labels):
    dataset = load("mnist", data=npz[0], labels=labels)
    x = tf.TensorSpec((None, 6, 5, 1), tf.float32)
    assert dataset.element_spec == ((x, tf.TensorSpec((None,), tf.int32)) if labels else x)


def test_npz_values_order_and_batches(npz):
    folder, content = npz
    for data in (folder, folder / "mnist.npz", str(folder)):
        x, y = arrays(load("mnist", "test", data=data, labels=True))
        np.testing.assert_array_equal(x[..., 0], content["x_test"] / np.float32(255))
        np.testing.assert_array_equal(y, content["y_test"])
    assert [len(x) for x in load("mnist", "test", data=folder, batch_size=8)] == [8, 8, 4]


def test_train_is_reshuffled_at_each_epoch_from_seed(npz):
    dataset = load("mnist", data=npz[0], labels=True)
    (x0, y0), (_, y1) = arrays(dataset), arrays(dataset)
    # Labels stay with their images.
    np.testing.assert_array_equal(x0[:, 0, 0, 0], y0.astype(np.float32) / 255)
    assert not np.array_equal(y0, y1) and not np.array_equal(y0, npz[1]["y_train"])
    again = load("mnist", data=npz[0], labels=True)
    np.testing.assert_array_equal(arrays(again)[1], y0)
    np.testing.assert_array_equal(arrays(again)[1], y1)
    assert not np.array_equal(arrays(load("mnist", data=npz[0], labels=True, seed=1))[1], y0)
    plain = arrays(load("mnist", data=npz[0], labels=True, shuffle=False))[1]
    np.testing.assert_array_equal(plain, npz[1]["y_train"])


def test_size_resizes_arrays():
    x = arrays(load("digits", "test", size=(12, 10)))
    assert x.shape == (297, 12, 10, 1) and x.min() >= 0 and x.max() <= 1
    # Bilinear resizing preserves the mean, except for the weights at the borders.
    assert x.mean() == pytest.approx(arrays(load("digits", "test")).mean(), rel=0.1)


def test_npz_channels_and_missing_labels(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((3, 4, 4, 3), np.uint8))
    assert arrays(load("fashion_mnist", data=tmp_path / "a.npz")).shape == (3, 4, 4, 3)
    with pytest.raises(ValueError, match=r"lacks \['y_train'\].*\['x_train'\]"):
        load("fashion_mnist", data=tmp_path / "a.npz", labels=True)


def test_broken_npz_files_raise(tmp_path):
    path = tmp_path / "mnist.npz"
    x, y = np.zeros((3, 4, 4), np.uint8), np.zeros(3, int)
    bad = [
        ({"x_train": x.astype(object)}, "plain arrays"),
        ({"x_train": x / 1.0}, r"uint8.*float64 \(3, 4, 4\)"),
        ({"x_train": x[0]}, r"\(4, 4\)"),
        ({"x_train": x[:0]}, "not empty"),
        ({"y_train": y[:2]}, r"integers \(3,\).*\(2,\)"),
        ({"y_train": y / 1.0}, "float64"),
    ]
    for change, match in bad:
        np.savez(path, **({"x_train": x, "y_train": y} | change))
        with pytest.raises(ValueError, match=match):
            load("mnist", data=path, labels=True)
    for content in (b"", b"not a zip", b"PK\x03\x04 broken", b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"must be an \.npz file"):
            load("mnist", data=path)
    np.save(tmp_path / "one.npy", x)
    with pytest.raises(ValueError, match="single array"):
        load("mnist", data=tmp_path / "one.npy")


@pytest.mark.parametrize("label", [2**32, -(2**31), 2**63 - 1])
def test_npz_labels_that_int32_cannot_hold_are_refused(tmp_path, label):
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros((2, 4, 4), np.uint8), y_train=np.array([0, label]))
    with pytest.raises(ValueError, match=rf"y_train of .*mnist\.npz' must be labels.*{label}"):
        load("mnist", data=tmp_path, labels=True)


def test_npz_members_that_are_no_arrays_or_lie_about_their_size(tmp_path):
    path = tmp_path / "mnist.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train", b"no array")
    with pytest.raises(ValueError, match=r"mnist\.npz' must contain plain arrays.*magic"):
        load("mnist", data=path)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", file.getvalue())
    with pytest.raises(ValueError, match=r"mnist\.npz'.*x_train states the shape \(1000000000, 28, 28\), but has"):
        load("mnist", data=path)


def test_npz_files_that_unpack_to_much_more_than_their_size_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "mnist.npz", x_train=np.zeros((2000, 10, 10), np.uint8))
    assert len(arrays(load("mnist", data=tmp_path))) == 2000
    monkeypatch.setattr(images, "_ANY_RATIO_BYTES", 1000)
    with pytest.raises(ValueError, match=r"128 times its size.*mnist\.npz' has 200000"):
        load("mnist", data=tmp_path)


def test_npz_unpacked_size_is_bounded(npz, monkeypatch):
    monkeypatch.setattr(images, "_MAX_NPZ_BYTES", 1000)
    with pytest.raises(ValueError, match=r"at most 1000 bytes.*folder"):
        load("mnist", data=npz[0])


@pytest.mark.skipif(not (DATA / "mnist.npz").exists(), reason=f"no mnist.npz in {DATA}; set KERAS_AE_DATA")
def test_real_mnist():
    x, y = arrays(load("mnist", "test", data=DATA, labels=True, batch_size=1000))
    assert x.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(y[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    # The usual mean of the test pixels, 33.79 of 255.
    assert x.mean() == pytest.approx(0.1325, abs=1e-4)
    b = arrays(load("mnist", "test", data=DATA, binarize="static", batch_size=1000))
    # var(sum b) = sum p (1 - p)
    assert abs(b.sum(dtype=float) - x.sum(dtype=float)) < 4 * np.sqrt((x * (1 - x)).sum(dtype=float))


# Binarising.


@pytest.mark.parametrize("binarize", ["static", "dynamic"])
def test_binarized_pixels_are_bernoulli_of_their_levels(tmp_path, binarize):
    n = 2000
    x = arrays(load("mnist", data=levels_npz(tmp_path, n), binarize=binarize)).reshape(n, 256)
    assert set(np.unique(x)) == {0.0, 1.0}
    p = np.arange(256) / 255
    assert np.all(x[:, 0] == 0) and np.all(x[:, 255] == 1)
    # 4.5 standard errors: with one seed in 60, the largest of 254 scores exceeds 4.
    z = (x.mean(0) - p)[1:-1] / np.sqrt(p * (1 - p) / n)[1:-1]
    assert np.abs(z).max() < 4.5
    # The sum of squared scores is chi-squared with 254 degrees of freedom: variance 2 * 254.
    assert abs((z**2).sum() - 254) < 4 * np.sqrt(2 * 254)
    # Neighbours in a row and the same pixel in the next row are uncorrelated.
    c = (x - p)[:, 1:-1] / np.sqrt(p * (1 - p))[1:-1]
    for product in (c[:, 1:] * c[:, :-1], c[1:] * c[:-1]):
        assert abs(product.mean()) < 4 / np.sqrt(product.size)


def test_exact_binarising_probability_over_all_draws():
    u = np.arange(65536, dtype=np.uint16)
    for levels in (16, 255):
        step = 65535 // levels
        x = np.arange(levels + 1, dtype=np.uint16)
        p = (x[:, None] * np.uint16(step) > np.minimum(u, np.uint16(step * levels - 1))).mean(1)
        assert p[0] == 0 and p[-1] == 1
        assert np.abs(p - x / levels).max() < 3e-4


def test_static_is_fixed_and_independent_of_shuffling_and_batches(npz):
    def by_row(**arguments):
        # Labels are the first pixel, a key of the row where unique; sort by them.
        x, y = arrays(load("mnist", data=npz[0], labels=True, binarize="static", **arguments))
        _, first = np.unique(plain_y, return_index=True)
        unique = np.isin(y, plain_y[first][np.bincount(plain_y, minlength=256)[plain_y[first]] == 1])
        return x[unique][np.argsort(y[unique])]

    plain_y = npz[1]["y_train"]
    reference = by_row(shuffle=False)
    assert len(reference) > 20
    np.testing.assert_array_equal(by_row(), reference)
    np.testing.assert_array_equal(by_row(batch_size=7), reference)
    assert not np.array_equal(by_row(seed=1), reference)
    dataset = load("mnist", data=npz[0], binarize="static")
    np.testing.assert_array_equal(rows(dataset), rows(dataset))


def test_static_seed_may_be_a_numpy_integer():
    a, b = (arrays(load("digits", "test", binarize="static", seed=seed)) for seed in (3, np.int64(3)))
    np.testing.assert_array_equal(a, b)


def test_splits_do_not_share_draws(tmp_path):
    x = np.full((30, 8, 8), 128, np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=x, x_test=x)
    train, test = (
        arrays(load("mnist", split, data=tmp_path, binarize="static", shuffle=False)) for split in ("train", "test")
    )
    assert abs((train == test).mean() - 0.5) < 4 * 0.5 / np.sqrt(x.size)


def test_dynamic_differs_between_visits_and_repeats_from_seed():
    dataset = load("digits", "test", binarize="dynamic")
    first, second = arrays(dataset), arrays(dataset)
    grey = arrays(load("digits", "test"))
    between = (grey > 0) & (grey < 1)
    # P(two draws differ) = 2 p (1 - p)
    p = grey[between]
    expected = (2 * p * (1 - p)).mean(dtype=float)
    assert abs((first != second)[between].mean() - expected) < 4 * 0.5 / np.sqrt(between.sum())
    np.testing.assert_array_equal(first[~between], grey[~between])
    again = load("digits", "test", binarize="dynamic")
    np.testing.assert_array_equal(arrays(again), first)
    np.testing.assert_array_equal(arrays(again), second)
    assert not np.array_equal(arrays(load("digits", "test", binarize="dynamic", seed=1)), first)


def test_dynamic_draws_differ_between_batches(tmp_path):
    x = np.full((64, 8, 8), 128, np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=x)
    first, second = load("mnist", data=tmp_path, binarize="dynamic", batch_size=32).as_numpy_iterator()
    assert abs((first == second).mean() - 0.5) < 4 * 0.5 / np.sqrt(first.size)


# Folders.


def test_folder_splits_are_disjoint_and_stable(tmp_path):
    root = write_images(tmp_path / "d", 200, (6, 5))
    train, test = (arrays(load(root, split))[:, 0, 0, 0] for split in ("train", "test"))
    levels = np.round(np.concatenate([train, test]) * 255).astype(int)
    assert sorted(levels) == list(range(200))
    assert abs(len(test) - 20) < 4 * np.sqrt(200 * 0.1 * 0.9)
    # More files do not move the old ones to other splits.
    write_images(tmp_path / "d", 250, (6, 5))
    more = arrays(load("folder", "test", data=root))[:, 0, 0, 0]
    assert set(test) <= set(more) and not set(train) & set(more)


def test_folder_labels_follow_sorted_subfolders(tmp_path):
    root = write_images(tmp_path, 40, (6, 5))
    x, y = arrays(load(root, labels=True, batch_size=7))
    assert x.shape[1:] == (6, 5, 1) and y.dtype == np.int32
    # Even images are in "b", which is 1.
    np.testing.assert_array_equal(y, 1 - np.round(x[:, 0, 0, 0] * 255).astype(int) % 2)


def test_folder_is_reshuffled_and_repeats_from_seed(tmp_path):
    root = write_images(tmp_path, 60, (6, 5))
    dataset, again = load(root), load(root)
    first, second = arrays(dataset), arrays(dataset)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(rows(dataset), np.sort(rows(dataset)))
    np.testing.assert_array_equal(arrays(again), first)
    np.testing.assert_array_equal(arrays(again), second)
    unshuffled = arrays(load(root, shuffle=False))
    np.testing.assert_array_equal(unshuffled, arrays(load(root, shuffle=False)))


def test_folder_static_is_independent_of_shuffling(tmp_path):
    root = write_images(tmp_path, 60, (6, 5))
    shuffled, plain = load(root, binarize="static"), load(root, binarize="static", shuffle=False)
    reference = rows(plain)
    assert set(np.unique(arrays(plain))) == {0.0, 1.0}
    np.testing.assert_array_equal(rows(shuffled), reference)
    np.testing.assert_array_equal(rows(shuffled), reference)
    dynamic = load(root, binarize="dynamic", shuffle=False)
    assert not np.array_equal(arrays(dynamic), arrays(dynamic))


def test_folder_streams(tmp_path, monkeypatch):
    """Batches come before the rest of the folder has been decoded."""
    root = write_images(tmp_path, 120, (6, 5), classes=())
    decoded, decode = [], images._decode
    monkeypatch.setattr(images, "_decode", lambda *arguments: decoded.append(1) or decode(*arguments))
    dataset = load(root, batch_size=2)
    assert not decoded
    next(iter(dataset))
    # Prefetching and parallel maps run a few batches ahead.
    assert 2 <= len(decoded) < 100


def test_folder_channels_modes_and_sizes(tmp_path):
    root = write_images(tmp_path / "grey", 30, (6, 5), classes=())
    assert arrays(load(root)).shape[1:] == (6, 5, 1)
    Image.fromarray(np.full((6, 5), 40000, np.uint16)).save(tmp_path / "grey" / "deep.png")
    x = np.concatenate([arrays(load(root, split)) for split in ("train", "test")])
    assert np.float32(40000 >> 8) / np.float32(255) in x[:, 0, 0, 0]
    Image.fromarray(np.full((6, 5, 4), 200, np.uint8)).save(tmp_path / "grey" / "alpha.png")
    assert arrays(load(root)).shape[1:] == (6, 5, 3)
    Image.fromarray(np.full((9, 9, 3), 255, np.uint8)).save(tmp_path / "grey" / "wide.jpg")
    with pytest.raises(ValueError, match=r"wide\.jpg' has 9 x 9.*6 x 5"):
        load(root)
    assert arrays(load(root, size=(4, 7))).shape[1:] == (4, 7, 3)


def test_undecodable_files_are_skipped_and_counted(tmp_path):
    root = write_images(tmp_path, 40, (20, 20, 3), suffix=".jpg")
    (tmp_path / "a" / "header.png").write_bytes(b"no image")
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_bytes(b"")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.warns(UserWarning, match="Skipped 2 undecodable"):
        n = sum(len(arrays(load(root, split))) for split in ("train", "test"))
    assert n == 40
    for name in ("header.png", "empty.png"):
        (tmp_path / "a" / name).unlink()
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    for i in range(30):
        Image.fromarray(noise).save(tmp_path / "b" / f"cut{i}.png")
        whole = (tmp_path / "b" / f"cut{i}.png").read_bytes()
        (tmp_path / "b" / f"cut{i}.png").write_bytes(whole[: len(whole) // 2])
    dataset = load(root, batch_size=16)
    with pytest.warns(UserWarning, match=r"Skipped \d+ undecodable.*\.png.*cut"):
        sizes = [len(x) for x in dataset]
    assert len(sizes) == int(dataset.cardinality()) and max(sizes) <= 16 and 30 <= sum(sizes) <= 40


@pytest.mark.parametrize("side", [9000, 14000])  # Pillow itself refuses the latter
def test_an_oversized_image_is_skipped_and_counted(tmp_path, side):
    root = write_images(tmp_path, 20, (20, 20), classes=("train",))
    Image.new("1", (side, side)).save(tmp_path / "train" / "bomb.png")
    with pytest.warns(UserWarning, match=r"Skipped 1 oversized \(more than 64000000 pixels.*bomb\.png'"):
        assert len(arrays(load(root, size=(8, 8)))) == 20


def test_bytes_of_decoding_are_bounded_by_the_memory_that_is_free(tmp_path, monkeypatch):
    root = write_images(tmp_path, 20, (20, 20), classes=())
    for mode in ("L", "RGBA", "I;16"):
        Image.new(mode, (1000, 1000)).save(tmp_path / f"large{mode[:1]}.png")
    with pytest.warns(UserWarning, match=r"Skipped 2 oversized.* or 6000000 bytes when decoded.*'largeI\.png'"):
        monkeypatch.setattr(images.memory, "available", lambda: 4 * 6_000_000)
        load(root, size=(8, 8))


def test_a_batch_is_bounded_before_decoding(tmp_path, monkeypatch):
    root = write_images(tmp_path, 20, (20, 20), classes=())
    monkeypatch.setattr(images, "_decode", lambda *arguments: pytest.fail("decoded"))
    monkeypatch.setattr(images.memory, "available", lambda: 2**40)
    with pytest.raises(ValueError, match=r"`size`: \d+ images of \(8000, 8000, 1\).*Pass batch_size=4"):
        load(root, size=8000)
    monkeypatch.setattr(images.memory, "available", lambda: 8 * 4 * 20 * 20)
    with pytest.raises(ValueError, match=r"Pass batch_size=1 "):
        load(root)
    monkeypatch.undo()
    for name in tmp_path.iterdir():
        name.unlink()
    Image.new("L", (3000, 3000)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match=r"unless `size=.*large\.png' has 3000 x 3000"):
        load(root)


def test_only_formats_that_were_asked_for_are_decoded(tmp_path, monkeypatch):
    root = write_images(tmp_path, 20, (20, 20), classes=())
    Image.new("L", (20, 20)).save(tmp_path / "postscript.png", "EPS")
    Image.new("L", (20, 20)).save(tmp_path / "icon.png", "TGA")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("called Ghostscript"))
    with pytest.warns(UserWarning, match="Skipped 2 undecodable"):
        load(root)
    for suffix in ("bmp", "gif", "jpeg", "png", "ppm", "tiff", "webp"):
        Image.new("L", (20, 20), 255).save(tmp_path / f"white.{suffix}")
        assert images._decode(tmp_path / f"white.{suffix}", (20, 20, 1), 65535).min() > 250


def test_a_progressive_image_of_many_scans_is_skipped(tmp_path):
    root = write_images(tmp_path, 20, (20, 20), suffix=".jpg", classes=())
    Image.new("L", (20, 20), 255).save(tmp_path / "scans.jpg", progressive=True)
    data = (tmp_path / "scans.jpg").read_bytes()
    scan = data[data.index(b"\xff\xda") : -2]
    (tmp_path / "scans.jpg").write_bytes(data[:-2] + 100 * scan + data[-2:])
    with pytest.warns(UserWarning, match=r"Skipped 1 undecodable.*scans\.jpg"):
        for split in ("train", "test"):
            arrays(load(root, split))


def test_pipes_and_files_of_the_kernel_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "mnist.npz")
    with pytest.raises(ValueError, match=r"mnist\.npz' is not a regular file"):
        load("mnist", data=tmp_path)
    root = write_images(tmp_path, 20, (20, 20), classes=())
    (tmp_path / "kernel.png").symlink_to("/proc/self/status")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    assert images._image_names(root) == [f"{i:04d}.png" for i in range(20)]


def test_folder_errors(tmp_path):
    with pytest.raises(ValueError, match="folder with images"):
        load("folder", data=tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="Skipped 1"), pytest.raises(ValueError, match="none of the 1"):
        load(tmp_path)
    (tmp_path / "a.png").unlink()
    root = write_images(tmp_path, 1, (6, 5), classes=())
    empty = "test" if digests.of_name("0000.png") % 10 else "train"
    with pytest.raises(ValueError, match=f"'{empty}' is empty: none of the 1 images"):
        load(root, empty)
    with pytest.raises(ValueError, match=r"'0000\.png' is not in one"):
        load(root, labels=True)
    with pytest.raises(ValueError, match="folder of images"):
        load("folder", data=tmp_path / "0000.png")


def number_of(x):
    """The levels that `write_images` filled the images with."""
    return sorted(np.round(x[:, 0, 0, 0] * 255).astype(int))


@pytest.mark.parametrize("names", [("train", "test"), ("training", "testing"), ("Train", "TEST")])
def test_folders_of_splits_are_the_splits_and_their_subfolders_the_classes(tmp_path, names):
    for start, name in zip((0, 20), names, strict=True):
        write_images(tmp_path / name, 20, (6, 5))
        for path in sorted((tmp_path / name).rglob("*.png")):
            Image.fromarray(np.full((6, 5), start + int(path.stem), np.uint8)).save(path)
    # A class that occurs in only one split counts in both.
    write_images(tmp_path / names[1] / "aa", 1, (6, 5), classes=())
    x, y = arrays(load(tmp_path, labels=True))
    assert number_of(x) == list(range(20)) and set(y) == {0, 2}
    np.testing.assert_array_equal(y, 2 - 2 * (np.round(x[:, 0, 0, 0] * 255).astype(int) % 2))
    x, y = arrays(load("folder", "test", data=tmp_path, labels=True))
    assert number_of(x) == [0, *range(20, 40)] and list(np.bincount(y)) == [10, 1, 10]
    assert number_of(arrays(load(tmp_path, "test"))) == [0, *range(20, 40)]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_folders_have_three_names(tmp_path, name):
    write_images(tmp_path / "train", 4, (6, 5), classes=())
    write_images(tmp_path / name, 3, (6, 5), classes=())
    for split in ("validation", "val", "valid"):
        assert len(arrays(load(tmp_path, split))) == 3
    with pytest.raises(ValueError, match=r"must be one of \('train', 'validation'\), received 'test'"):
        load(tmp_path, "test")
    with pytest.raises(ValueError, match=r"<split>/<class>/<image>; 'train/0000.png' is not in one"):
        load(tmp_path, labels=True)


def test_a_class_may_be_called_train(tmp_path):
    root = write_images(tmp_path, 40, (6, 5), classes=("train", "bus"))
    x, y = arrays(load(root, labels=True))
    np.testing.assert_array_equal(y, 1 - np.round(x[:, 0, 0, 0] * 255).astype(int) % 2)


def test_layouts_that_are_not_clear_are_refused(tmp_path):
    root = write_images(tmp_path / "a", 4, (6, 5), classes=("train/x", "test/y", "more"))
    with pytest.raises(ValueError, match=r"\['test', 'train'\], which look like splits.*'more'"):
        load(root)
    root = write_images(tmp_path / "b", 4, (6, 5), classes=("train/x/deeper", "test/y"))
    with pytest.raises(ValueError, match=r"<split>/<class>/<image>; 'train/x/deeper/0000.png' is deeper"):
        load(root, labels=True)
    assert len(arrays(load(root))) == 2
    root = write_images(tmp_path / "c", 4, (6, 5), classes=("images/x", "images/y"))
    with pytest.raises(ValueError, match=r"<class>/<image>; 'images/x/0000.png' is deeper"):
        load(root, labels=True)


TURNED = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_images_are_turned_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Blocks of the codec's size, so that compression preserves their means.
    levels = np.kron(np.array(TURNED[1]) * 40, np.ones((16, 16))).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / f"a{suffix}", exif=exif, **({"quality": 95} if suffix != ".tif" else {}))
    split = "train" if digests.of_name(f"a{suffix}") % 10 else "test"
    (x,) = arrays(load(tmp_path, split))
    assert x.shape[:2] == tuple(16 * side for side in np.shape(TURNED[orientation]))
    x = x.mean(axis=-1).reshape(x.shape[0] // 16, 16, x.shape[1] // 16, 16).mean(axis=(1, 3)) * 255 / 40
    np.testing.assert_allclose(x, TURNED[orientation], atol=0.1)


def save_deep(path, levels, kind):
    if kind == "colour.png":
        path.write_bytes(tf.io.encode_png(np.repeat(levels[..., None], 3, -1)).numpy())
    elif kind == "with_alpha.png":
        path.write_bytes(tf.io.encode_png(np.stack([levels, levels], -1)).numpy())
    elif kind == "grey.pgm":
        path.write_bytes(b"P5 %d %d 65535\n" % levels.shape[::-1] + levels.astype(">u2").tobytes())
    else:
        Image.fromarray(levels).save(path)


@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "grey.pgm", "colour.png", "with_alpha.png"])
@pytest.mark.parametrize(("peak", "scale"), [(4000, 4095), (900, 1023), (16000, 16383)])
def test_16_bit_files_of_fewer_bits_are_reported_and_scaled(tmp_path, kind, peak, scale):
    levels = np.array([[0, peak], [peak // 2, peak // 4]], np.uint16)
    save_deep(tmp_path / kind, levels, kind)
    split = "train" if digests.of_name(kind) % 10 else "test"
    bits = scale.bit_length()
    with pytest.warns(UserWarning, match=rf"reach level {peak} of 65535.*have {bits} bits, pass full_scale={scale}"):
        (x,) = arrays(load(tmp_path, split))
    np.testing.assert_allclose(x[..., 0], levels / 65535, atol=0.6 / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x,) = arrays(load(tmp_path, split, full_scale=scale))
    np.testing.assert_allclose(x[..., 0], levels / scale, atol=0.6 / 255)
    with pytest.warns(UserWarning, match="above full_scale=255"):
        (x,) = arrays(load(tmp_path, split, full_scale=255))
    assert x.max() == 1


def test_16_bit_files_that_fill_their_range_are_quiet(tmp_path):
    save_deep(tmp_path / "a.png", np.array([[0, 60000]], np.uint16), "grey.png")
    split = "train" if digests.of_name("a.png") % 10 else "test"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x,) = arrays(load(tmp_path, split))
    np.testing.assert_allclose(x[0, :, 0], [0, 60000 / 65535], atol=0.6 / 255)


def test_formats_that_are_not_read_are_counted(tmp_path):
    root = write_images(tmp_path, 20, (6, 5, 3), suffix=".jfif")
    write_images(tmp_path, 20, (6, 5, 3), suffix=".jpe")
    for name in ("a.heic", "b.HEIC", "c.svg", "notes.txt"):
        (tmp_path / "a" / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=r"Left out of .*: 2 \.heic, 1 \.svg\. Only \.bmp, .* are read"):
        n = sum(len(arrays(load(root, split))) for split in ("train", "test"))
    assert n == 40
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.avif").write_bytes(b"")
    with pytest.raises(ValueError, match=r"has none\. It has 1 \.avif: convert them"):
        load(tmp_path / "only")


def test_size_may_be_one_number(tmp_path):
    root = write_images(tmp_path, 20, (6, 5))
    assert arrays(load(root, size=7)).shape[1:] == (7, 7, 1)
    assert arrays(load("digits", "test", size=np.int64(4))).shape[1:] == (4, 4, 1)
    np.testing.assert_array_equal(arrays(load("digits", "test", size=5)), arrays(load("digits", "test", size=(5, 5))))


def test_the_number_of_batches_is_known(tmp_path):
    root = write_images(tmp_path, 60, (6, 5))
    for dataset in (load(root, batch_size=7), load(root, "test", batch_size=2), load("digits", batch_size=64)):
        assert int(dataset.cardinality()) == len(list(dataset)) > 1


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_damaged_files_leave_the_number_of_batches(tmp_path, batch_size):
    root = write_images(tmp_path, 24, (20, 20), classes=())
    for i in range(0, 24, 3):
        path = tmp_path / f"{i:04}.png"
        path.write_bytes(path.read_bytes()[:-30])
    dataset = load(root, batch_size=batch_size, shuffle=False)
    with pytest.warns(UserWarning, match=r"Skipped \d undecodable image files.*\.png"):
        batches = [number_of(x) for x in dataset.as_numpy_iterator()]
    assert len(batches) == int(dataset.cardinality()) and all(batches)
    assert set(np.concatenate(batches)) == {
        i for i in range(24) if i % 3 and digests.of_name(f"{i:04}.png") % 10
    }  # all intact ones, and no damaged one


def test_a_path_of_an_npz_file_is_enough(npz):
    folder, content = npz
    x, y = arrays(load(folder / "mnist.npz", "test", labels=True))
    np.testing.assert_array_equal(x[..., 0], content["x_test"] / np.float32(255))
    np.testing.assert_array_equal(y, content["y_test"])


# TFDS.


def test_tfds_images():
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=40):
        dataset = load("cifar10", labels=True, batch_size=16)
        x, y = arrays(dataset)
        plain = load("cifar10", "test", binarize="static")
        static = arrays(plain)
        np.testing.assert_array_equal(static, arrays(plain))
        np.testing.assert_array_equal(rows(load("cifar10", "test", binarize="static", shuffle=True)), rows(plain))
        dynamic = load("cifar10", "test", binarize="dynamic")
        assert not np.array_equal(arrays(dynamic), arrays(dynamic))
        small = load("cifar10", size=(8, 9))
        assert small.element_spec.shape.as_list() == [None, 8, 9, 3]
        assert arrays(small).shape == (40, 8, 9, 3)
        assert int(dataset.cardinality()) == len(list(dataset)) == 3
    assert dataset.element_spec[0].shape.as_list() == [None, 32, 32, 3]
    assert x.shape == (40, 32, 32, 3) and x.dtype == np.float32 and 0.9 < x.max() <= 1
    assert y.shape == (40,) and y.dtype == np.int32 and set(y) <= set(range(10))
    assert set(np.unique(static)) == {0.0, 1.0}


def test_mnist_comes_from_tfds_without_a_file(tmp_path):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=12):
        x, y = arrays(load("mnist", data=tmp_path, labels=True))
    assert x.shape == (12, 28, 28, 1) and y.dtype == np.int32


@pytest.fixture
def no_network(monkeypatch):
    import tensorflow_datasets as tfds

    def fail(self, *args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)


def test_missing_data_says_what_to_get_and_where_to_put_it(no_network, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no route to host.*`data`.*x_train, y_train.*mnist\.npz"):
        load("mnist", data=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"fashion_mnist\.npz"):
        load("fashion_mnist", data=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'cifar10' is not prepared in .*no route.*data_dir as `data`"):
        load("cifar10", data=tmp_path)


def test_tfds_without_usable_images_raises_before_downloading(no_network, tmp_path):
    with pytest.raises(ValueError, match="data set with an image"):
        load("iris", data=tmp_path)
    with pytest.raises(ValueError, match="differ in size"):
        load("cats_vs_dogs", data=tmp_path)
    with pytest.raises(ValueError, match="no class labels"):
        load("binarized_mnist", data=tmp_path, labels=True)


# Arguments.


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"split": "valid"}, r"`split` of 'digits' must be one of \('train', 'test'\), received 'valid'"),
        ({"split": None}, "`split` must be a string"),
        ({"binarize": "random"}, r"`binarize` must be one of .*'static', 'dynamic'.*received 'random'"),
        ({"batch_size": 0}, "batch_size: expected a whole number, 1 or more; received 0"),
        ({"seed": -1}, "seed: expected a whole number, 0 or more; received -1"),
        ({"size": 8.5}, r"`size` must be \(height, width\)"),
        ({"size": (8,)}, r"`size` must be \(height, width\)"),
        ({"full_scale": 70000}, "full_scale: expected a whole number, 1 to 65535; received 70000"),
        ({"first_epoch": -1}, "first_epoch: expected a whole number, 0 or more; received -1"),
        ({"size": (8, 0)}, r"`size` must be \(height, width\)"),
        ({"size": (10**6, 10**6)}, "at most 64000000 pixels"),
        ({"data": "."}, "`data` must be None for 'digits'"),
        ({"name": "folder"}, "`data` must be the folder"),
        ({"name": "mnist", "data": "/no/such/file.npz"}, "existing path, received '/no/such/file.npz'"),
        ({"name": "mnist", "split": "valid"}, "`split` of 'mnist'"),
        (
            {"name": "fashion_mnisd"},
            r"no folder, file or TFDS data set is called 'fashion_mnisd'.*are 'fashion_mnist', ",
        ),
        ({"name": "digit"}, "no folder, file or TFDS data set is called 'digit'.*are 'digits', "),
        ({"name": "/no/such/folder"}, "no folder, file or TFDS data set is called '/no/such/folder'"),
        ({"name": "no/such.npz"}, "no folder, file or TFDS data set is called 'no/such.npz'"),
        ({"name": "mnist:7.7.7/nothing"}, "`name`: TFDS cannot build 'mnist:7.7.7/nothing'"),
        ({"name": __file__}, "a path must be a folder of images or an .npz file.*neither"),
    ],
)
def test_wrong_arguments_raise(arguments, match):
    with pytest.raises(ValueError, match=match) as error:
        load(**({"name": "digits"} | arguments))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["facez", "cifar", "no/such/folder", "mnisst:1.0.0"])
def test_an_unknown_name_gets_the_three_nearest(name):
    import tensorflow_datasets as tfds

    with pytest.raises(ValueError, match=f"no folder, file or TFDS data set is called {name!r}") as error:
        load(name)
    nearest = re.search(r"The closest names are '(.*)'\.$", str(error.value))[1].split("', '")
    known = {"digits", "folder", *tfds.list_builders(with_community_datasets=False)}
    assert len(set(nearest)) == 3 and known.issuperset(nearest)


def test_arrays_refuses_infinite_and_empty():
    with pytest.raises(ValueError, match="infinite"):
        arrays(load("digits").repeat())
    with pytest.raises(ValueError, match="empty"):
        arrays(load("digits").take(0))


def test_optional_packages_are_imported_late():
    # From the source: TensorFlow and Keras import some of these packages themselves.
    body = ast.parse(Path(images.__file__).read_text()).body
    modules = {node.module for node in body if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    assert "numpy" in modules
    assert not {name.split(".")[0] for name in modules} & {"tensorflow_datasets", "PIL", "sklearn"}


def test_without_pillow_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'PIL: pip install "keras_ae\[apps\]"'):
        load(tmp_path)
