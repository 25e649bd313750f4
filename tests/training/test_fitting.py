"""The loop over epochs: the data that validation and evaluation read in each epoch."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.training import feeding
from tests import reuse

X = np.random.default_rng(0).normal(size=(48, 6)).astype("float32")


@reuse.reused
def autoencoder():
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    model = ka.Autoencoder(encoder, decoder, seed=0)
    model.compile("sgd", run_eagerly=True)
    return model


@pytest.fixture
def model():
    return autoencoder()


def batches(x=X, size=16):
    return (x[i : i + size] for i in range(0, len(x), size))


def reused(x=X, size=16):
    """Yields the same array repeatedly, as some readers do."""
    buffer = np.empty((size, x.shape[1]), x.dtype)
    for batch in batches(x, size):
        buffer[:] = batch
        yield buffer


@pytest.mark.parametrize("source", [batches, reused])
def test_a_generator_validates_every_epoch(model, source):
    history = model.fit(X, epochs=3, validation_data=source(), verbose=0).history
    assert len(history["val_loss"]) == 3
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, verbose=0, return_dict=True)["loss"], rel=1e-5)


def test_an_endless_generator_validates_on_the_same_batches(model):
    endless = itertools.cycle(list(batches()))
    validation = (batch for batch in endless)
    history = model.fit(X, epochs=3, validation_data=validation, validation_steps=2, verbose=0).history
    expected = model.evaluate(X[:32], verbose=0, return_dict=True)["loss"]
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)


def test_a_generator_that_ends_early_is_not_evaluated_silently(model):
    with pytest.warns(UserWarning, match="x ended after 3 of 9 steps: only those were evaluated"):
        found = model.evaluate(batches(), steps=9, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(model.evaluate(X, verbose=0, return_dict=True)["loss"], rel=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(batches(), steps=3, verbose=0)


def test_a_validation_generator_that_may_be_endless_is_refused(model, monkeypatch):
    monkeypatch.setattr(feeding, "_KEPT_BYTES", 10 * X[:16].nbytes)
    with pytest.raises(ValueError, match="validation_steps"):
        model.fit(X, validation_data=(batch for batch in itertools.repeat(X[:16])), verbose=0)
    assert int(model.optimizer.iterations) == 0


class Sequence(keras.utils.PyDataset):
    """X in batches, which records what Keras tells it; without an end if `endless`."""

    def __init__(self, endless=False, **options):
        super().__init__(**options)
        self.told, self.endless = [], endless

    @property
    def num_batches(self):
        return None if self.endless else 3

    def __getitem__(self, index):
        return X[16 * (index % 3) : 16 * (index % 3) + 16]

    def on_epoch_begin(self):
        self.told.append("begin")

    def on_epoch_end(self):
        self.told.append("end")


class Steps(keras.callbacks.Callback):
    """Counts the steps of each epoch."""

    def __init__(self):
        super().__init__()
        self.counts, self.done = [], 0

    def on_epoch_end(self, epoch, logs=None):
        now = int(self.model.optimizer.iterations)
        self.counts.append(now - self.done)
        self.done = now


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pydataset_is_told_of_each_epoch_of_training_and_validation(model, workers):
    training, validation = Sequence(workers=workers), Sequence(workers=workers)
    history = model.fit(training, epochs=3, validation_data=validation, verbose=0).history
    assert len(history["val_loss"]) == 3
    assert training.told == validation.told == ["begin", "end"] * 3
    expected = model.evaluate(X, batch_size=16, return_dict=True, verbose=0)["loss"]
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(validation, return_dict=True, verbose=0)["loss"] == pytest.approx(expected, rel=1e-5)


SOURCES = {
    "array": lambda: X,
    "data set": lambda: tf.data.Dataset.from_tensor_slices(X).batch(16),
    "PyDataset": Sequence,
    "PyDataset, two workers": lambda: Sequence(workers=2),
    "endless PyDataset, two workers": lambda: Sequence(endless=True, workers=2),
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_steps_per_epoch_that_use_up_the_data_begin_anew(model, source, steps):
    counted = Steps()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(SOURCES[source](), batch_size=16, steps_per_epoch=steps, epochs=4, callbacks=[counted], verbose=0)
    assert counted.counts == [steps] * 4


def test_steps_per_epoch_go_through_arrays_in_turn(model):
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    parts = [model.evaluate(X[i : i + 16], verbose=0) for i in (0, 16, 32)]
    history = model.fit(X, batch_size=16, steps_per_epoch=1, epochs=5, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], [parts[i][0] for i in (0, 1, 2, 0, 1)], rtol=1e-5)


def counts(model):
    """`{argument: (the method that takes it, the number of batches used)}`."""
    used = lambda: int(model.optimizer.iterations)  # noqa: E731

    def validated(steps):
        counted = Batches()
        model.fit(X, batch_size=16, validation_data=X, validation_steps=steps, callbacks=[counted], verbose=0)
        return counted.tested

    def evaluated(steps):
        counted = Batches()
        model.evaluate(X, batch_size=16, steps=steps, callbacks=[counted], verbose=0)
        return counted.tested

    def fitted(steps):
        before = used()
        model.fit(X, batch_size=16, steps_per_epoch=steps, verbose=0)
        return used() - before

    return {
        "steps_per_epoch": fitted,
        "validation_steps": validated,
        "steps": evaluated,
        "steps of predict": lambda steps: len(model.predict(X, batch_size=16, steps=steps, verbose=0)) / 16,
    }


class Batches(keras.callbacks.Callback):
    """Counts the batches of evaluation."""

    acts_on_every_step = False
    tested = 0

    def on_test_batch_end(self, batch, logs=None):
        self.tested = batch + 1


@pytest.mark.parametrize("name", ["steps_per_epoch", "validation_steps", "steps", "steps of predict"])
def test_numbers_of_steps(model, name):
    model.compile("sgd", jit_compile=False)
    count = counts(model)[name]
    for steps in (2, 2.0, np.int64(2), np.int32(2), np.ceil(1.5)):
        assert count(steps) == 2
    for steps in (0, -1, 2.5, "2", True):
        with pytest.raises(ValueError, match=rf"{name.split()[0]}: expected a whole number, 1 or more"):
            count(steps)


def test_numbers_of_steps_per_execution(model):
    for steps in (0, -1, 2.5):
        with pytest.raises(ValueError, match="steps_per_execution: expected a whole number"):
            model.compile("sgd", steps_per_execution=steps)
    for steps in (np.int64(2), 2.0):
        model.compile("sgd", steps_per_execution=steps, jit_compile=False)
        model.fit(X, batch_size=16, verbose=0)
        assert int(model.optimizer.iterations) == 3


def not_for_xla(model):
    """Makes the model's loss an operation that XLA cannot compile."""
    terms = model.loss_terms

    def loss_terms(x, y, training, *shared):
        found = terms(x, y, training, *shared)
        zero = tf.ensure_shape(tf.numpy_function(lambda a: 0 * a, [tf.reduce_sum(x)], x.dtype), [])
        return {name: term + zero for name, term in found.items()}

    model.loss_terms = loss_terms
    model.compile(keras.optimizers.SGD(0.01))
    return model


LOSABLE = {"generator": batches, "PyDataset": Sequence, "workers": lambda: Sequence(workers=2)}


@pytest.mark.parametrize("source", LOSABLE)
def test_without_xla_no_batch_is_lost(model, source):
    plain = keras.models.clone_model(model.encoder), keras.models.clone_model(model.decoder)
    for copied, network in zip(plain, (model.encoder, model.decoder), strict=True):
        copied.set_weights(network.get_weights())
    other = ka.Autoencoder(*plain, seed=0)
    other.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    other.fit(batches(), verbose=0)
    counted = Steps()
    with pytest.warns(UserWarning, match="XLA cannot compile"):
        not_for_xla(model).fit(LOSABLE[source](), shuffle=False, callbacks=[counted], verbose=0)
    assert counted.counts == [3]
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_an_own_test_step_is_called():
    class Own(ka.Autoencoder):
        def test_step(self, data):
            return super().test_step((2.0 * data[0],))

    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    own = Own(encoder, decoder, seed=0)
    own.compile("sgd", jit_compile=False)
    plain = ka.Autoencoder(encoder, decoder, seed=0)
    plain.compile("sgd", jit_compile=False)
    assert own.evaluate(X, batch_size=8, verbose=0) == pytest.approx(plain.evaluate(2 * X, batch_size=8, verbose=0))


def test_metrics_that_would_replace_others_in_the_logs_are_refused(model):
    def loss(truth, prediction):
        return tf.reduce_mean(prediction, axis=-1)

    named = keras.metrics.MeanSquaredError
    for metrics in ([loss], [named(name="loss")], [named(name="reconstruction")], ["mse", named(name="mse")]):
        with pytest.raises(ValueError, match="Give the metric another name"):
            model.compile("sgd", metrics=metrics)
    model.compile("sgd", metrics=["reconstruction", "mse", named(name="mse_2")], run_eagerly=True)
    logs = model.fit(X, verbose=0).history
    assert set(logs) == {"loss", "reconstruction", "mse", "mse_2"}


@pytest.mark.parametrize("name", ["compute_loss", "compute_metrics"])
def test_methods_that_training_would_not_call_are_refused(name):
    own = {name: lambda self, *args, **kwargs: 0.0}
    with pytest.raises(ValueError, match=rf"Own\.{name}\(\) would never be called"):
        type("Own", (ka.Autoencoder,), own)
    type("Own", (ka.Autoencoder,), own | {"train_step": lambda self, data: {"loss": self.compute_loss()}})


@pytest.mark.parametrize("options", [{"update_freq": 2}, {"profile_batch": 0, "write_steps_per_second": True}])
def test_tensorboard_counts_batches(model, tmp_path, options):
    model.compile("sgd", jit_compile=False)
    board = keras.callbacks.TensorBoard(tmp_path, **options)
    model.fit(X, batch_size=8, epochs=2, callbacks=[board], verbose=0)
    assert board._global_train_batch == 12


def test_a_checkpoint_within_an_epoch_is_saved_when_asked(model, tmp_path):
    model.compile("sgd", jit_compile=False)
    path = str(tmp_path / "{batch}.weights.h5")
    saving = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=2)
    model.fit(X, batch_size=8, callbacks=[saving], verbose=0)
    assert len(list(tmp_path.iterdir())) == 3
