"""Images from scikit-learn, `.npz` files, TFDS and folders as `tf.data` pipelines."""

import hashlib
import itertools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

_NPZ = ("mnist", "fashion_mnist")
_SPLITS = ("train", "test")
_BINARIZE = (None, "static", "dynamic")
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_GREY = {"1", "L", "LA", "I;16", "I;16B", "I;16L"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
_MAX_PIXELS = 64 * 10**6
_MAX_NPZ_BYTES = 8 * 2**30
_SHUFFLE_BYTES = 2**28


def load(
    name,
    split="train",
    *,
    data=None,
    labels=False,
    binarize=None,
    batch_size=128,
    shuffle=None,
    seed=0,
    size=None,
):
    """Loads a split of an image data set as batches of float32 images in [0, 1].

    `"digits"` and `.npz` files are held in memory as integers. Of a folder only the list of file names is
    held, of a TFDS set a shuffle buffer of at most 256 MB; their images are read anew at each epoch.

    A binarised pixel is Bernoulli(p), p its grey level in [0, 1]. 0 and 1 are kept; the error of other p is
    below 3e-4.

    Args:
        name: One of

            - `"digits"`: the 1,797 digits (8, 8, 1) of scikit-learn, 1,500 train and 297 test.
            - `"mnist"`, `"fashion_mnist"`: (28, 28, 1), from an `.npz` file or else from TFDS.
            - the name of another TFDS data set of uint8 images.
            - `"folder"`, or the path of a directory: the images below it, about 10 % of them test, by a hash
              of the file name. Grey images have 1 channel; as soon as one has colours, all have 3.
              Transparency is dropped, and files that cannot be decoded are skipped with a warning.
        split: `"train"` or `"test"`; for TFDS names any split of that data set.
        data: Path. For `"mnist"` and `"fashion_mnist"` an `.npz` file of uint8 arrays `x_train` (N, H, W),
            `y_train` (N,), `x_test`, `y_test`, or the folder that holds `<name>.npz`; for `"folder"` the
            folder; for TFDS names the `data_dir`.
        labels: Whether elements are pairs (x, y) with y (B,) int32. The sub-folders of a folder are 0, 1, ...
            in sorted order.
        binarize: `None`; `"static"`, one draw a pixel, fixed by `seed` and the row's position in the split;
            or `"dynamic"`, a fresh draw at each visit, in the same sequence for each data set built with
            `seed`.
        batch_size: Rows of a batch; the last may be smaller.
        shuffle: Whether to shuffle, anew at each epoch. Defaults to `True` for train splits only.
        seed: Non-negative integer of shuffling and binarising. TensorFlow's global seed, where set, enters
            shuffling and `"dynamic"` too.
        size: `(height, width)` to which images are resized; the aspect ratio is not kept. Required where the
            images of a TFDS set or a folder differ in size.

    Returns:
        A `tf.data.Dataset` of x (B, H, W, C) float32, or of pairs (x, y).

    Raises:
        ValueError: If an argument, a file's contents or an image's size is not as above.
        FileNotFoundError: If the data are not on this machine and cannot be downloaded.

    Example:

    >>> from keras_ae.datasets import load
    >>> x = next(iter(load("digits", batch_size=32, binarize="static")))
    >>> x.shape
    TensorShape([32, 8, 8, 1])
    """
    name, data = os.fspath(name), None if data is None else os.fspath(data)
    _check(name, split, data, binarize, batch_size, seed, size)
    shuffle = split.startswith("train") if shuffle is None else shuffle
    static, levels = binarize == "static", 255
    # The split is part of the key: equal positions of train and test must not share their draws.
    key = _key(int(seed), split)
    if name == "digits":
        x, y = _digits(split)
        levels = 16
    elif name in _NPZ:
        x, y = _npz_or_tfds(name, split, data, labels)
    elif name == "folder" or (data is None and os.path.isdir(name)):
        rows = _folder_batches(data or name, split, labels, static, batch_size, shuffle, key, size)
        return _finish(rows, levels, binarize, key)
    else:
        rows = _tfds_batches(name, split, data, labels, static, batch_size, shuffle, key, size)
        return _finish(rows, levels, binarize, key)
    if size is not None:
        x, levels = _resize_array(x, size, levels), 255
    if static:
        x = _draw_array(x, levels, key)
    rows = _array_batches((x, y) if labels else (x,), batch_size, shuffle, key)
    return _finish(rows, levels, binarize, key)


def arrays(dataset):
    """Collects a finite data set of batches into NumPy arrays.

    Args:
        dataset: A `tf.data.Dataset` of arrays (B, ...), or of tuples of them.

    Returns:
        The array (N, ...) of all rows in the data set's order, or a tuple of such arrays.

    Raises:
        ValueError: If `dataset` is empty or infinite.

    Example:

    >>> from keras_ae.datasets import arrays, load
    >>> x, y = arrays(load("digits", "test", labels=True))
    >>> x.shape, y.shape
    ((297, 8, 8, 1), (297,))
    """
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("Expected `dataset` to be finite, received an infinite one; use `dataset.take(n)`.")
    batches = list(dataset.as_numpy_iterator())
    if not batches:
        raise ValueError("Expected `dataset` to have at least one batch, received an empty one.")
    if isinstance(batches[0], tuple):
        return tuple(np.concatenate(column) for column in zip(*batches, strict=True))
    return np.concatenate(batches)


def _check(name, split, data, binarize, batch_size, seed, size):
    def is_integer(value, least):
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least

    if not isinstance(split, str):
        raise ValueError(f"`split` must be a string such as 'train' or 'test', received {split!r}.")
    if binarize not in _BINARIZE:
        raise ValueError(f"`binarize` must be one of {_BINARIZE}, received {binarize!r}.")
    if not is_integer(batch_size, 1):
        raise ValueError(f"`batch_size` must be a positive integer, received {batch_size!r}.")
    if not is_integer(seed, 0):
        raise ValueError(f"`seed` must be a non-negative integer, received {seed!r}.")
    if size is not None and not (
        isinstance(size, (tuple, list)) and len(size) == 2 and all(is_integer(side, 1) for side in size)
    ):
        raise ValueError(f"`size` must be (height, width), two positive integers, received {size!r}.")
    if size is not None and size[0] * size[1] > _MAX_PIXELS:
        raise ValueError(f"`size` must have at most {_MAX_PIXELS} pixels, received {size!r}.")
    if name == "digits" and data is not None:
        raise ValueError(f"`data` must be None for 'digits', which scikit-learn embeds, received {data!r}.")
    if name == "folder" and data is None:
        raise ValueError("`data` must be the folder with the images when `name` is 'folder', received None.")
    if data is not None and not tf.io.gfile.exists(data):
        raise ValueError(f"`data` must be an existing path, received {data!r}.")


def _check_split(name, split, splits):
    if split not in splits:
        raise ValueError(f"`split` of {name!r} must be one of {tuple(splits)}, received {split!r}.")


def _key(*parts):
    """Returns an integer in [0, 2**63) that depends on all of `parts`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


# In memory.


def _digits(split):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    _check_split("digits", split, _SPLITS)
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(np.arange(len(y)), test_size=297, stratify=y, random_state=0)
    rows = parts[_SPLITS.index(split)]
    return x[rows].reshape(-1, 8, 8, 1).astype(np.uint8), y[rows].astype(np.int32)


def _npz_or_tfds(name, split, data, labels):
    _check_split(name, split, _SPLITS)
    path = data
    if data is not None and os.path.isdir(data):
        path = os.path.join(data, f"{name}.npz")
    if path is not None and os.path.exists(path):
        return _read_npz(path, split, labels)
    try:
        builder = _prepared(_builder(name, data))
    except FileNotFoundError as error:
        where = f"{path!r} does not exist, and TFDS" if path else "no file was given as `data`, and TFDS"
        raise FileNotFoundError(
            f"{name!r} was not found: {where} can neither find nor download it ({error.__cause__!r}). Pass "
            f"as `data` the path of an .npz file with the keys x_train, y_train, x_test, y_test, or the "
            f"folder that holds {name}.npz. Where there is a network, this makes one: (x, y), (u, v) = "
            f"keras.datasets.{name}.load_data(); numpy.savez_compressed('{name}.npz', x_train=x, "
            f"y_train=y, x_test=u, y_test=v)."
        ) from error
    rows = builder.as_dataset(split=split, batch_size=1024, shuffle_files=False)
    return arrays(rows.map(lambda row: (row["image"], tf.cast(row["label"], tf.int32))))


def _read_npz(path, split, labels):
    keys = [f"x_{split}"] + [f"y_{split}"] * labels
    try:
        file = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy raises a different type for each way in which a file can be broken.
        raise ValueError(f"`data` must be an .npz file of plain arrays, {path!r} is not: {error}") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError(f"`data` must be an .npz file, {path!r} holds a single array.")
    with file:
        missing = [key for key in keys if key not in file.files]
        if missing:
            raise ValueError(
                f"`data` must be an .npz file with the keys x_train, y_train, x_test, y_test; {path!r} lacks "
                f"{missing}, it has {file.files}."
            )
        unpacked = sum(info.file_size for info in file.zip.infolist() if Path(info.filename).stem in keys)
        if unpacked > _MAX_NPZ_BYTES:
            raise ValueError(
                f"`data` must unpack to at most {_MAX_NPZ_BYTES} bytes, {path!r} has {unpacked}; keep so "
                f"many images as files in a folder and pass `name='folder'`."
            )
        try:
            x, *y = (file[key] for key in keys)
        except Exception as error:  # As above; object arrays end here.
            raise ValueError(f"{path!r} must hold plain arrays, {keys} could not be read: {error}") from error
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or x.size == 0:
        raise ValueError(
            f"x_{split} of {path!r} must be uint8 (N, H, W) or (N, H, W, C) and not empty, received "
            f"{x.dtype} {x.shape}."
        )
    if y and (not np.issubdtype(y[0].dtype, np.integer) or y[0].shape != x.shape[:1]):
        raise ValueError(f"y_{split} of {path!r} must be integers {x.shape[:1]}, received {y[0].dtype} {y[0].shape}.")
    return (x if x.ndim == 4 else x[..., None]), (y[0].astype(np.int32) if y else None)


def _array_batches(columns, batch_size, shuffle, key):
    columns = tuple(tf.constant(column) for column in columns)
    n = len(columns[0])
    # Indices are shuffled and whole batches gathered: per-row elements cost more than binarising does.
    indices = tf.data.Dataset.range(n)
    if shuffle:
        indices = indices.shuffle(n, seed=key, reshuffle_each_iteration=True)
    return indices.batch(batch_size).map(
        lambda rows: tuple(tf.gather(column, rows) for column in columns), num_parallel_calls=tf.data.AUTOTUNE
    )


# TFDS.


def _builder(name, data_dir):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            f"`name` must be 'digits', 'mnist', 'fashion_mnist', 'folder', the path of an existing directory "
            f"or the name of a TFDS data set, received {name!r} ({error})"
        ) from error


def _prepared(builder):
    from tensorflow_datasets.core.download import downloader

    # TFDS retries ten times with doubling pauses: without a network it would fail after 200 seconds only.
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 4
    try:
        builder.download_and_prepare()
    except Exception as error:  # Downloaders, archives and optional packages each raise their own types.
        raise FileNotFoundError(
            f"{builder.name!r} is not prepared in {str(builder.data_dir)!r} and TFDS cannot download it "
            f"({error!r}). Run tensorflow_datasets.load({builder.name!r}, data_dir=...) where there is a "
            f"network, and pass that data_dir as `data`."
        ) from error
    finally:
        downloader.MAX_RETRIES = retries
    return builder


def _tfds_batches(name, split, data, labels, static, batch_size, shuffle, key, size):
    import tensorflow_datasets as tfds

    builder = _builder(name, data)
    features = builder.info.features
    # Everything that can be checked without the data comes before a download of perhaps many gigabytes.
    images = [k for k, f in getattr(features, "items", dict)() if isinstance(f, tfds.features.Image)]
    if "image" not in images and len(images) != 1:
        raise ValueError(f"`name` must be a TFDS data set with an image, {name!r} has {features}.")
    image_key = "image" if "image" in images else images[0]
    shape, dtype = features[image_key].shape, features[image_key].np_dtype
    if dtype != np.uint8 or shape[-1] is None:
        raise ValueError(
            f"`name` must be a TFDS data set of uint8 images of known channels, {name!r} has {dtype} {shape}."
        )
    if size is None and None in shape:
        raise ValueError(f"`size` must be (height, width): images of {name!r} differ in size. Received None.")
    if labels and not ("label" in features and isinstance(features["label"], tfds.features.ClassLabel)):
        raise ValueError(f"`labels` must be False for {name!r}, which has no class labels, but {features}.")
    _prepared(builder)
    if builder.info.splits and split.split("[")[0] not in builder.info.splits:
        _check_split(name, split, builder.info.splits)
    wanted = {image_key: True, "label": True} if labels else {image_key: True}
    rows = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(wanted),
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    shape = (*(size or shape[:2]), shape[-1])

    def row(position, example):
        image = example[image_key]
        if size is not None:
            image = _resize(image, size, 255)
        image = tf.ensure_shape(image, shape)
        if static:
            image = _draw(image, 255, tf.stack([tf.constant(key, tf.int64), position]))
            image = tf.where(image, tf.constant(255, tf.uint8), tf.constant(0, tf.uint8))
        return (image, tf.cast(example["label"], tf.int32)) if labels else (image,)

    rows = rows.enumerate().map(row, num_parallel_calls=tf.data.AUTOTUNE)
    if shuffle:
        buffer = max(1, min(_SHUFFLE_BYTES // int(np.prod(shape)), 100_000))
        rows = rows.shuffle(buffer, seed=key, reshuffle_each_iteration=True)
    return rows.batch(batch_size)


# Folders.


def _folder_batches(root, split, labels, static, batch_size, shuffle, key, size):
    _check_split("folder", split, _SPLITS)
    names = _image_names(root)
    shape = _scan(root, names, size)
    if labels and any("/" not in name for name in names):
        loose = next(name for name in names if "/" not in name)
        raise ValueError(f"`labels` needs each image in a sub-folder of {root!r}, its class; {loose!r} is in none.")
    label_of = {label: i for i, label in enumerate(sorted({name.split("/")[0] for name in names}))}
    n_all = len(names)
    names = [name for name in names if (_hash(name) % 10 == 0) == (split == "test")]
    if not names:
        raise ValueError(f"`split` {split!r} is empty: none of the {n_all} images of {root!r} falls into it.")
    epochs = itertools.count()

    def row(position):
        try:
            image = _decode(os.path.join(root, names[position]), shape)
        except Exception:  # Pillow's decoders raise nearly any type on broken files.
            return None
        if static:
            image = _draw_numpy(image, 255, np.random.default_rng([key, position]))
        return (image, label_of[names[position].split("/")[0]]) if labels else (image,)

    def batches():
        order = np.arange(len(names))
        if shuffle:
            order = np.random.default_rng([key, len(names), next(epochs)]).permutation(order)
        pending, skipped = [], []
        # Pillow releases the GIL while it decodes.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            # One batch of files at a time: `pool.map` would decode a longer sequence into memory at once.
            for start in range(0, len(order), batch_size):
                positions = order[start : start + batch_size]
                for position, decoded in zip(positions, pool.map(row, positions), strict=True):
                    if decoded is None:
                        skipped.append(names[position])
                    else:
                        pending.append(decoded)
                while len(pending) >= batch_size:
                    yield tuple(np.stack(column) for column in zip(*pending[:batch_size], strict=True))
                    pending = pending[batch_size:]
        if pending:
            yield tuple(np.stack(column) for column in zip(*pending, strict=True))
        if skipped:
            _warn_skipped(root, skipped)

    signature = (tf.TensorSpec((None, *shape), tf.uint8), tf.TensorSpec((None,), tf.int32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature if labels else signature[:1])


def _image_names(root):
    if not os.path.isdir(root):
        raise ValueError(f"`data` must be a folder of images, received {root!r}.")
    names = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            # Only regular files: opening a pipe would block for ever.
            if not name.startswith(".") and path.suffix.lower() in _SUFFIXES and path.is_file():
                names.append(path.relative_to(root).as_posix())
    if not names:
        suffixes = ", ".join(sorted(_SUFFIXES))
        raise ValueError(f"`data` must be a folder with images ({suffixes}), {root!r} has none.")
    return sorted(names)


def _hash(name):
    return int(hashlib.sha1(name.encode("utf-8", "surrogateescape")).hexdigest()[:8], 16)


def _scan(root, names, size):
    """Returns the (height, width, channels) that all images get, from the files' headers.

    Removes from `names` those that are no images.
    """
    from PIL import Image

    readable, skipped, colour, first = [], [], False, None
    for name in names:
        path = os.path.join(root, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    (width, height), mode = image.size, image.mode
        except Image.DecompressionBombError as error:
            raise ValueError(f"Images must have at most {_MAX_PIXELS} pixels, {path!r}: {error}") from error
        except Exception:  # As in `row`.
            skipped.append(name)
            continue
        if width * height > _MAX_PIXELS:
            raise ValueError(f"Images must have at most {_MAX_PIXELS} pixels, {path!r}: {height} x {width}.")
        if mode not in _GREY | _COLOUR:
            skipped.append(name)
            continue
        if size is None and first is not None and (height, width) != first[1]:
            raise ValueError(
                f"All images must have one size unless `size=(height, width)` is given: {path!r} has "
                f"{height} x {width}, {first[0]!r} has {first[1][0]} x {first[1][1]}."
            )
        first = first or (path, (height, width))
        colour = colour or mode in _COLOUR
        readable.append(name)
    if skipped:
        _warn_skipped(root, skipped)
    if not readable:
        raise ValueError(f"`data` must be a folder of images, none of the {len(names)} in {root!r} is readable.")
    names[:] = readable
    return (*(size or first[1]), 3 if colour else 1)


def _decode(path, shape):
    from PIL import Image

    height, width, channels = shape
    with Image.open(path) as image:
        if image.width * image.height > _MAX_PIXELS:  # The file may have changed since `_scan`.
            raise ValueError("too many pixels")
        if image.mode.startswith("I;16"):
            # `convert` clips 16-bit levels to 255 in some releases of Pillow, and scales them in others.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(shape)


def _warn_skipped(root, names):
    message = f"Skipped {len(names)} undecodable image files in {root!r}, such as {names[0]!r}."
    warnings.warn(message, stacklevel=2)


# Batches of uint8 levels -> float32 in [0, 1].


def _finish(rows, levels, binarize, key):
    def scaled(x, *label):
        x = tf.cast(x, tf.float32) / levels
        return (x, *label) if label else x

    def drawn(seed, row):
        x, *label = row
        x = tf.cast(_draw(x, levels, seed), tf.float32)
        return (x, *label) if label else x

    if binarize == "dynamic":
        seeds = tf.data.Dataset.random(seed=_key(key, "dynamic"), rerandomize_each_iteration=True)
        rows = tf.data.Dataset.zip(seeds.batch(2, drop_remainder=True), rows)
    finish = drawn if binarize == "dynamic" else scaled
    return rows.map(finish, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


# Bernoulli(x / levels) as `x * step > u`, u uniform over 16 bits and clipped so that x = levels is always 1:
# half the random bits of a float32 draw, and 1.7 times as fast.


def _draw(x, levels, seed):
    step = 65535 // levels
    top = tf.constant(step * levels - 1, tf.uint16)
    # One int64 holds four 16-bit draws.
    words = tf.random.stateless_uniform([(tf.size(x) + 3) // 4], seed, None, None, tf.int64, alg="philox")
    u = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), [-1])[: tf.size(x)], tf.shape(x))
    return tf.cast(x, tf.uint16) * tf.constant(step, tf.uint16) > tf.minimum(u, top)


def _draw_numpy(x, levels, rng):
    """Returns 0 or `levels`, uint8, for each pixel."""
    step = 65535 // levels
    u = np.frombuffer(rng.bytes(2 * x.size), "<u2").reshape(x.shape)
    return (x * np.uint16(step) > np.minimum(u, np.uint16(step * levels - 1))) * np.uint8(levels)


def _draw_array(x, levels, key, chunk=4096):
    rng = np.random.default_rng(key)
    out = np.empty_like(x)
    for start in range(0, len(x), chunk):  # In pieces: the draws take twice the memory of x.
        out[start : start + chunk] = _draw_numpy(x[start : start + chunk], levels, rng)
    return out


def _resize(x, size, levels):
    """Returns uint8 levels of 0..255."""
    x = tf.image.resize(tf.cast(x, tf.float32) * (255 / levels), size, antialias=True)
    return tf.saturate_cast(tf.round(x), tf.uint8)


def _resize_array(x, size, levels, chunk=1024):
    return np.concatenate([_resize(x[i : i + chunk], size, levels).numpy() for i in range(0, len(x), chunk)])
