"""Numbered epochs: equal seeds give equal runs, looking at a batch changes nothing, a resumed run keeps the order."""

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from PIL import Image

import keras_ae as ka
from keras_ae.datasets import epochs, load, pairs, semi_supervised, speech
from keras_ae.training import feeding, roles
from keras_ae.utils import numbering


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images, and pairs of sound files."""
    root = tmp_path_factory.mktemp("epochs")
    random = np.random.default_rng(0)
    for name in ("images", "clean", "noisy"):
        (root / name).mkdir()
    for i in range(15):
        Image.fromarray(random.integers(0, 256, (4, 4), np.uint8)).save(root / "images" / f"{i}.png")
    for i in range(6):
        for name in ("clean", "noisy"):
            soundfile.write(root / name / f"{i}.wav", random.uniform(-0.5, 0.5, 640), 16000)
    return root


def make_npz(root, **options):
    path = root / "mnist.npz"
    if not path.exists():
        np.savez(path, x_train=np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8))
    return load(path, batch_size=8, **options)


def make_tfds(root, **options):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=30):
        return load("cifar10", size=4, batch_size=8, **options)


def make_pairs(root, **options):
    x = np.arange(1, 31, dtype="float32")[:, None]
    near = np.stack([(np.arange(30) + shift) % 30 for shift in range(1, 9)], 1)
    return pairs(x, near, batch_size=8, **options)


def make_semi_supervised(root, **options):
    y = np.where(np.arange(30) % 3, -1, 0)
    return semi_supervised(np.arange(30.0)[:, None], y, batch_size=8, labelled=3, num_classes=1, **options)


def make_mixtures(root, **options):
    return speech.mixtures(root / "clean", root / "noisy", window=320, batch_size=2, batches=3, **options)


def make_windows(root, **options):
    return speech.windows(speech.pairs(root / "clean", root / "noisy"), window=320, batch_size=4, **options)


SETS = {
    "npz": make_npz,
    "npz, dynamic": lambda root, **o: make_npz(root, shuffle=False, binarize="dynamic", **o),
    "folder": lambda root, **o: load(root / "images", batch_size=8, **o),
    "folder, dynamic": lambda root, **o: load(root / "images", batch_size=8, shuffle=False, binarize="dynamic", **o),
    "TFDS": make_tfds,
    "pairs": make_pairs,
    "semi_supervised": make_semi_supervised,
    "mixtures": make_mixtures,
    "windows": make_windows,
}


def values(data):
    """All numbers of an epoch, or of a batch."""
    batches = data if isinstance(data, list) else list(data.as_numpy_iterator())
    return np.concatenate([np.ravel(leaf).astype("float64") for leaf in keras.tree.flatten(batches)])


def same(a, b):
    return a.shape == b.shape and bool((a == b).all())


@pytest.mark.parametrize("kind", SETS)
def test_the_order_follows_from_the_seed_and_the_number_of_the_epoch(kind, root):
    make = SETS[kind]
    data = make(root, seed=5)
    assert int(data.cardinality()) > 1
    run = [values(data) for _ in range(3)]
    assert not same(run[0], run[1]) and not same(run[1], run[2])
    assert not same(values(make(root, seed=6)), run[0])
    # A resumed run sees the same data as the uninterrupted one.
    assert same(values(make(root, seed=5, first_epoch=2)), run[2])
    # TensorFlow's global seed has no effect, nor has inspecting a batch or a second live iterator.
    tf.random.set_seed(99)
    other = make(root, seed=5)
    kept = iter(other)
    first = values([next(kept)])
    for look in (other.take(1), other):
        assert same(values([next(iter(look))]), first) and same(first, run[0][: len(first)])
    assert same(values(other), run[0]) and same(values(other), run[1])


def fitted(data, *numbers):
    """All values of the given epochs of a `fit` that begins with the first of them."""
    feed = feeding.open_feed(data, role=roles.Role())
    feed.begin_at(numbers[0])
    made = []
    for epoch in numbers:
        feed.go_to(epoch)
        made.append(values([batch[:1] for batch in feed.start(tf.distribute.get_strategy())]))
        feed.has_read(epoch)
    return made


@pytest.mark.parametrize("kind", SETS)
def test_a_fit_that_begins_later_reads_the_epochs_of_one_that_began_before(kind, root):
    def first_columns(data):
        return np.concatenate([values([batch[0] if isinstance(batch, tuple) else batch]) for batch in data])

    data, later = (SETS[kind](root, seed=5) for _ in range(2))
    whole = [first_columns(data) for _ in range(3)]  # not passes of the fit, so they do not count for it
    runs = [(fitted(data, 0, 1), whole[:2]), (fitted(data, 0), whole[2:]), (fitted(later, 2), whole[2:])]
    for run, expected in runs:
        assert all(same(a, b) for a, b in zip(run, expected, strict=True))


def test_the_numbers_of_a_data_set_are_found_below_what_was_made_from_it():
    data = tens(3, first_epoch=1)
    made = data.map(lambda x: x + 0).prefetch(2).with_options(tf.data.Options())
    both = tf.data.Dataset.zip(made, tf.data.Dataset.range(3))
    assert numbering.of(both) == numbering.of(data) != []
    assert fitted(made, 3, 5)[1].tolist() == [50, 51, 52]
    assert fitted(made, 0)[0].tolist() == [60, 61, 62]


def test_equal_seeds_repeat_a_run_whatever_looks_and_prefetches():
    x = np.arange(40, dtype="float32")[:, None]
    near = np.stack([(np.arange(40) + shift) % 40 for shift in range(1, 20)], 1)
    data = pairs(x, near, batch_size=4, seed=1)
    doubled, far = data.map(lambda a, b: (tf.cast(a, tf.float64), b), tf.data.AUTOTUNE), data.prefetch(5)
    (numbers,), runs = numbering.of(data), []
    for i in range(15):
        numbers.trained = numbers.upcoming = 0  # as in another process
        for _ in range(i % 3):
            next(iter(far))  # its thread goes on for a while
        runs.append(fitted(doubled, 0)[0])
    assert all(same(run, runs[0]) for run in runs)


class Seeing(ka.Autoencoder):
    """Records the first number of each batch of a step."""

    def train_step(self, data):
        self.seen.append(int(keras.tree.flatten(data)[0][0, 0]))
        return super().train_step(data)


@pytest.fixture(scope="module")
def seeing():
    """A function that fits a model, and returns the first number of each batch that it saw."""
    model = Seeing(ka.networks.mlp_encoder((1,), 1, ()), ka.networks.mlp_decoder(1, (1,), ()), "gaussian", seed=0)
    model.compile("adam", run_eagerly=True)

    def fit(data, **options):
        model.seen = []
        model.fit(data, verbose=0, **options)
        return model.seen

    return fit


def tens(batches, **options):
    """Epochs of 0, 1, ..; 10, 11, ..; and so on."""

    def make(epoch):
        return tf.data.Dataset.range(batches).map(lambda i: tf.cast([[10 * epoch + i]], tf.float32))

    return epochs.numbered(make, batches, **options)


def test_fit_reads_its_own_epochs(seeing):
    data = tens(3)
    list(data)
    assert seeing(data, epochs=2) == [0, 1, 2, 10, 11, 12]
    assert seeing(data, epochs=1) == [20, 21, 22]
    assert seeing(data, initial_epoch=1, epochs=2) == [30, 31, 32]
    assert seeing(tens(3), initial_epoch=2, epochs=4) == [20, 21, 22, 30, 31, 32]
    assert seeing(tens(3, first_epoch=4), initial_epoch=2, epochs=3) == [40, 41, 42]
    assert seeing(tens(1), epochs=3) == [0, 10, 20]  # although `fit` looks at the first batch, which is all of it
    data = tens(2)
    assert seeing(data, validation_data=data, epochs=3) == [0, 1, 10, 11, 20, 21]


def test_fit_of_some_steps_goes_on_within_the_data(seeing):
    assert seeing(tens(3).repeat(), steps_per_epoch=2, epochs=3) == [0, 1, 2, 10, 11, 12]
    assert seeing(tens(2), steps_per_epoch=2, epochs=3) == [0, 1, 10, 11, 20, 21]


def test_timing_does_not_matter():
    """Consumers that prefetch and batch in parallel see the same data as a slow one."""
    x = np.arange(40, dtype="float32")[:, None]
    near = np.stack([(np.arange(40) + shift) % 40 for shift in range(1, 20)], 1)
    expected = None
    for buffer in (0, 1, 20):
        data = pairs(x, near, batch_size=4, seed=1)
        next(iter(data.take(1)), None)
        seen = [values(data.prefetch(buffer) if buffer else data) for _ in range(3)]
        expected = expected or seen
        assert all(same(a, b) for a, b in zip(seen, expected, strict=True))


def test_an_epoch_counts_from_its_second_batch_on():
    data = epochs.numbered(lambda epoch: tf.data.Dataset.range(4).map(lambda i: 10 * epoch + i), 4)
    assert [int(next(iter(data))) for _ in range(3)] == [0, 0, 0]
    assert list(data.take(2).as_numpy_iterator()) == [0, 1]
    assert list(data.take(1).as_numpy_iterator()) == [10]
    assert list(data.repeat(2).as_numpy_iterator()) == [10, 11, 12, 13, 20, 21, 22, 23]
    assert list(data.batch(2).map(tf.reduce_sum).as_numpy_iterator()) == [61, 65]
    assert list(data.as_numpy_iterator()) == [40, 41, 42, 43]


def test_an_epoch_of_one_batch_counts_at_once():
    data = epochs.numbered(lambda epoch: tf.data.Dataset.from_tensors(epoch), 1, first_epoch=3)
    assert [list(data.as_numpy_iterator()) for _ in range(3)] == [[3], [4], [5]]


def test_epochs_without_randomness_need_no_number():
    data = epochs.numbered(lambda epoch: tf.data.Dataset.range(3).map(lambda i: 10 * epoch + i), 3, 7, is_random=False)
    assert [list(data.as_numpy_iterator()) for _ in range(2)] == [[0, 1, 2]] * 2


def test_keras_fits_epoch_by_epoch_without_a_warning(recwarn):
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            if hasattr(x, "numpy"):  # not while Keras infers shapes
                seen.extend(x.numpy().ravel())
            return x

    model = keras.Sequential([keras.Input((1,)), Spy()])
    model.compile(loss="mse", run_eagerly=True)
    rows = tf.constant([[0.0]])
    data = epochs.numbered(
        lambda epoch: tf.data.Dataset.range(3).map(lambda i: (tf.cast(10 * epoch + i, tf.float32) + rows, rows)), 3
    )
    model.fit(data, epochs=2, verbose=0)
    model.fit(data, epochs=1, verbose=0)
    assert seen == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert not [each for each in recwarn if "ran out of data" in str(each.message)]


@pytest.mark.parametrize("first_epoch", [-1, 1.5, True, "2"])
@pytest.mark.parametrize("kind", ["npz", "pairs", "semi_supervised"])
def test_refuses_what_is_no_number_of_epochs(kind, first_epoch, root):
    with pytest.raises(ValueError, match="first_epoch: expected a whole number, 0 or more"):
        SETS[kind](root, first_epoch=first_epoch)


@pytest.mark.parametrize("kind", ["pairs", "semi_supervised", "mixtures", "windows"])
def test_refuses_seeds_that_are_none(kind, root):
    with pytest.raises(ValueError, match="seed: expected a whole number, 0 or more; received -3"):
        SETS[kind](root, seed=-3)
