"""Input conversion: users' data become rows or raise an error that says how to fix them."""

import functools
import itertools
import logging
import warnings

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

import keras_ae as ka
from tests.reuse import reused

pd = pytest.importorskip("pandas")

D = 6
X = (np.random.default_rng(0).random((40, D)) > 0.5).astype("float32")
W = np.linspace(0.0, 2.0, 40).astype("float32")


def dense(units, inputs):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])


@reused
def autoencoder(likelihood="bernoulli", **options):
    keras.utils.set_random_seed(0)
    model = ka.Autoencoder(dense(2, D), dense(D, 2), likelihood, seed=0)
    model.compile(keras.optimizers.SGD(0.1), **{"run_eagerly": True} | options)
    return model


@reused
def m2(**options):
    keras.utils.set_random_seed(0)
    encoder = ka.networks.mlp_encoder((D,), 2, (4,), parameters=2, condition_shape=(3,))
    decoder = ka.networks.mlp_decoder(2, (D,), (4,), condition_shape=(3,))
    model = ka.M2(encoder, decoder, ka.networks.mlp_encoder((D,), 3, (4,)), 3, seed=0, **options)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


class Batches(keras.utils.PyDataset):
    def __init__(self, *columns, size=10):
        super().__init__()
        self.columns, self.size = columns, size

    def __len__(self):
        return -(-len(self.columns[0]) // self.size)

    def __getitem__(self, i):
        return tuple(column[i * self.size :][: self.size] for column in self.columns)


def generator(*columns, size=10):
    for start in range(0, len(columns[0]), size):
        yield tuple(column[start : start + size] for column in columns)


# Containers of rows

FORMS = {
    "float64": lambda x: x.astype("float64"),
    "bool": lambda x: x.astype(bool),
    "int": lambda x: x.astype("int64"),
    "list": lambda x: x.tolist(),
    "tensor": tf.constant,
    "variable": tf.Variable,
    "bfloat16": lambda x: tf.cast(x, tf.bfloat16),
    "bfloat16 of NumPy": lambda x: tf.cast(x, tf.bfloat16).numpy(),
    "DataFrame": pd.DataFrame,
    "nullable DataFrame": lambda x: pd.DataFrame(x).astype("Float32"),
    "mixed DataFrame": lambda x: pd.DataFrame(x).astype({0: bool, 1: "Int64", 2: "int32"}),
    "CSR": scipy.sparse.csr_matrix,
    "COO array": scipy.sparse.coo_array,
    "SparseTensor": tf.sparse.from_dense,
    "longdouble": lambda x: x.astype("longdouble"),
    "masked array without a mask": np.ma.masked_array,
}


def answers(x):
    model = autoencoder()
    history = model.fit(x, batch_size=16, shuffle=False, validation_data=(x,), verbose=0).history
    logs = model.evaluate(x, batch_size=16, return_dict=True, verbose=0)
    found = [*history.values(), *logs.values(), model.encode(x), model.score(x)]
    return [*found, model.predict(x, verbose=0), model.train_on_batch(x), *model.get_weights()]


@functools.cache
def answers_for_numpy():
    return answers(X)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_is_the_same_data(form):
    for one, two in zip(answers_for_numpy(), answers(FORMS[form](X)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_sparse_targets_and_weights_go_along():
    results = []
    for form in (np.asarray, scipy.sparse.csr_array):
        model = autoencoder()
        history = model.fit(form(X), form(1 - X), sample_weight=W, batch_size=16, shuffle=False, verbose=0).history
        results.append([*history.values(), *model.get_weights()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


HELD_OUT = {
    "array": X,
    "tuple": (X,),
    "list of parts": [X],
    "list of x and y": [X, X],
    "lists": X.tolist(),
    "list of arrays": list(X),
    "list of lists of rows": [X.tolist(), X.tolist()],
}


@functools.cache
def val_loss_of_first(rows):
    """The validation loss of the first rows, passed as `(x, y, sample_weight)`."""
    parts = (X[:rows], X[:rows], np.ones(rows))
    return autoencoder().fit(X, validation_data=parts, shuffle=False, verbose=0).history["val_loss"]


@pytest.mark.parametrize("form", HELD_OUT)
def test_validation_data_may_be_a_list_of_rows_or_of_parts(form):
    history = autoencoder().fit(X, validation_data=HELD_OUT[form], shuffle=False, verbose=0).history
    assert history["val_loss"] == pytest.approx(val_loss_of_first(40), rel=1e-5)


@pytest.mark.parametrize("rows", [2, 3])
def test_two_or_three_rows_are_not_taken_for_parts(rows):
    for data in (X[:rows].tolist(), list(X[:rows])):
        history = autoencoder().fit(X, validation_data=data, shuffle=False, verbose=0).history
        assert history["val_loss"] == pytest.approx(val_loss_of_first(rows), rel=1e-5)


@pytest.mark.parametrize("parts", [(), [], (X, X, W, W)])
def test_validation_data_of_other_parts_are_refused(parts):
    with pytest.raises(ValueError, match=rf"validation_data: expected x, \(x, y\) .*; received {len(parts)} parts"):
        autoencoder().fit(X, validation_data=parts, verbose=0)


def test_generators_and_pydatasets_are_encoded():
    model = autoencoder()
    expected = model.encode(X)
    for source in (
        generator(X),
        Batches(X),
        (x for x in np.split(X, 4)),
        tf.data.Dataset.from_tensor_slices(X).batch(7),
    ):
        np.testing.assert_allclose(model.encode(source), expected, atol=1e-6)


REFUSED = {
    r"masked array.*x\.filled": np.ma.masked_array(X, X > 0),
    r"numeric columns.*: b\.": pd.DataFrame({"a": X[:, 0], "b": ["u"] * 40}),
    r"different shapes": [[1.0], [1.0, 2.0]],
    r"a dict with the keys 'image', 'label'.*x\['image'\]": {"image": X, "label": W},
    r"ragged.*to_tensor": tf.ragged.constant([[1.0], [1.0, 2.0]]),
    r"expected numbers, received strings": np.array(["a"] * 40),
    r"expected numbers, received complex": X.astype(complex),
    r"x: expected numbers, received Python objects\. Convert them: x\.astype": np.array([["u", *X[0]]] * 40, object),
    r"exceed the range of float32": np.full((4, D), 1e300),
    r"NaN or infinity": pd.DataFrame(X).astype("Float32").mask(pd.DataFrame(X) > 0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_invalid_rows_are_refused_everywhere(message):
    model, x = autoencoder("gaussian"), REFUSED[message]
    for entry in (model.fit, model.evaluate, model.predict, model.encode, model.score, model.train_on_batch):
        with pytest.raises(ValueError, match=message):
            entry(x)
    with pytest.raises(ValueError, match=message):
        model.fit(X, validation_data=(x,), verbose=0)


def test_targets_of_python_objects_are_refused():
    model = autoencoder("gaussian")
    for use in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=r"y: expected numbers, received Python objects.*y\.astype\('float32'\)"):
            use(X, X.astype(object))


MASKED_X = np.ma.masked_array(X, X > 0)
MASKED_W = np.ma.masked_array(W, W > 1)


def test_masked_weights_are_refused():
    model = autoencoder()
    for use in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"sample_weight: received a masked array.*sample_weight\.filled\(value\)"):
            use(X, sample_weight=MASKED_W)
    with pytest.raises(ValueError, match=r"sample_weight\.filled\(value\)"):
        model.fit(X, validation_data=(X, None, MASKED_W), verbose=0)
    with pytest.raises(ValueError, match=r"sample_weight\.filled\(value\)"):
        model.fit(X, sample_weight=MASKED_W, validation_split=0.25, verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_masked_targets_and_labels_are_refused():
    model = autoencoder()
    for use in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=r"y: received a masked array.*y\.filled\(value\)"):
            use(X, MASKED_X)
    with pytest.raises(ValueError, match=r"y\.filled\(value\)"):
        model.fit(X, validation_data=(X, MASKED_X), verbose=0)
    labels, model = np.ma.masked_array(np.arange(40) % 3, np.arange(40) > 30), m2()
    for use in (model.fit, model.evaluate, model.encode, model.score, lambda x, y: model.sample(40, y)):
        with pytest.raises(ValueError, match=r"y: received a masked array.*y\.filled\("):
            use(X, labels)


@pytest.mark.parametrize("name, batch", [("x", (MASKED_X,)), ("y", (X, MASKED_X)), ("sample_weight", (X, X, MASKED_W))])
def test_masked_batches_of_sources_are_refused(name, batch):
    model = autoencoder()
    for source in (generator, Batches):
        for use in (model.fit, model.evaluate):
            with pytest.raises(ValueError, match=rf"{name}: received a masked array.*{name}\.filled\(value\)"):
                use(source(*batch, size=40), verbose=0)
    with pytest.raises(ValueError, match=rf"{name}\.filled\(value\)"):
        model.fit(X, validation_data=generator(*batch, size=40), verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_a_masked_batch_after_the_first_is_refused():
    # The first masked value is in the second batch.
    x = np.ma.masked_array(X, np.arange(40)[:, None] + np.zeros(D) == 15)
    for source in (generator, Batches):
        for use in ("fit", "evaluate"):
            with pytest.raises((ValueError, tf.errors.OpError), match=r"x\.filled\(value\)"):
                getattr(autoencoder(), use)(source(x), verbose=0)


def test_masked_rows_are_refused_by_every_method():
    model = vae()
    for name in ("encode", "reconstruct", "log_prob", "score", "predict", "interpolate"):
        rows = (MASKED_X, X) if name == "interpolate" else (MASKED_X,)
        with pytest.raises(ValueError, match=r"received a masked array.*\.filled\(value\)"):
            getattr(model, name)(*rows)
    z = np.ma.masked_array(np.zeros((4, 2), "float32"), np.eye(4, 2))
    with pytest.raises(ValueError, match=r"z: received a masked array.*z\.filled\(value\)"):
        model.decode(z)
    with pytest.raises(ValueError, match=r"x\.filled\(value\)"):
        model.encode(generator(MASKED_X))


def test_data_sets_of_other_structure_are_refused():
    model = autoencoder()
    rows = {"image": X, "label": W}
    with pytest.raises(ValueError, match=r"dicts with the keys 'image', 'label'.*batch\['image'\]"):
        model.fit(tf.data.Dataset.from_tensor_slices(rows).batch(8))
    ragged = tf.data.Dataset.from_tensors(tf.ragged.constant([[1.0], [1.0, 2.0]]))
    with pytest.raises(ValueError, match="ragged batches"):
        model.fit(ragged)
    with pytest.raises(ValueError, match=r"single row.*data\.batch\(32\)"):
        model.fit(tf.data.Dataset.from_tensor_slices(X))
    with pytest.raises(ValueError, match="4 parts"):
        model.fit(tf.data.Dataset.from_tensors((X, X, W, W)))
    with pytest.raises(ValueError, match="received a tuple of 2 inside one"):
        model.fit(tf.data.Dataset.from_tensors(((X, X), W)))
    with pytest.raises(ValueError, match="expected none, as x yields them"):
        model.fit(tf.data.Dataset.from_tensors(X), X)


def test_several_arrays_as_x_are_refused_with_what_to_do():
    model, y = cvae(num_classes=3), np.arange(40) % 3
    for use in (model.fit, model.evaluate, model.train_on_batch, model.encode):
        for x in ((X, y), [X, y], (pd.DataFrame(X), pd.Series(y))):
            with pytest.raises(ValueError, match=r"x: received 2 arrays\. Pass them one by one, such as fit\(x, y\)"):
                use(x)
        with pytest.raises(ValueError, match=r"several arrays, pass them one by one, such as fit\(x, y\)"):
            use((X, X))


def test_sources_of_dicts_are_refused_with_what_to_do():
    model = vae()
    for batch in ({"image": X}, ({"image": X}, W)):
        for use in (model.encode, model.score, model.predict, model.fit):
            for source in (lambda batch: iter([batch]), tf.data.Dataset.from_tensors):
                with pytest.raises(ValueError, match=r"received dicts with the keys 'image'.*data\.map\(lambda batch"):
                    use(source(batch))


CHANGING = {
    r"x: expected rows of shape \(6,\), as in the first batch; received \(3,\)": ((X,), (X[:, :3],)),
    r"y: the first batch has none, a later one has it": ((X, None, W), (X, X, W)),
    r"sample_weight: the first batch has it, a later one has none": ((X, X, W), (X, X, None)),
    r"sample_weight: the first batch has none, a later one has it": ((X,), (X, None, W)),
}


class Listed(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        return self.batches[i]


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}], ids=["eager", "one program"])
@pytest.mark.parametrize("message", CHANGING)
def test_a_source_whose_batches_change_says_so_without_a_traceback_of_tensorflow(message, options):
    for make in (iter, Listed):
        if make is Listed and "shape" in message:
            continue  # Keras allows it in a PyDataset, for rows of variable length
        model = autoencoder(**{"run_eagerly": False} | options)
        for use in (model.fit, model.evaluate):
            with pytest.raises(ValueError, match=f"^{message}"):
                use(make(CHANGING[message]), verbose=0)


def test_an_error_of_a_generator_is_raised_as_it_was():
    def broken():
        yield (X,)
        raise KeyError("row 40")

    for use in (autoencoder().fit, autoencoder().evaluate, autoencoder().predict):
        with pytest.raises(KeyError, match="row 40"):
            use(broken(), verbose=0)


def test_sparse_data_sets_are_densified():
    sparse = tf.data.Dataset.from_tensors(tf.sparse.from_dense(X))
    model = autoencoder()
    logs = model.evaluate(sparse, return_dict=True, verbose=0)
    assert logs == pytest.approx(model.evaluate(X, batch_size=40, return_dict=True, verbose=0), rel=1e-5)


# Weights: one number per row, in any container


class LeastSquares(ka.Autoencoder):
    """An objective that a user wrote for float32 rows."""

    def loss_terms(self, x, y, training, q=None):
        made = self.likelihood(self.posterior(x, training=training).mean(), training=training).mean()
        return {"reconstruction": tf.reduce_sum((x - made) ** 2, axis=-1)}


DOUBLES = {
    "array": lambda x: x,
    "generator": lambda x: (x[i : i + 10] for i in range(0, 40, 10)),
    "PyDataset": lambda x: Batches(x),
    "data set": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(10),
}


@pytest.mark.parametrize("source", DOUBLES)
def test_float64_becomes_float32_in_every_source(source):
    model = LeastSquares(dense(2, D), dense(D, 2), seed=0)
    model.compile("sgd", run_eagerly=True)
    model.fit(DOUBLES[source](X.astype("float64")), batch_size=10, verbose=0)
    assert int(model.optimizer.iterations) == 4


def test_columns_of_equal_names_are_all_used():
    table = pd.DataFrame(X, columns=["a", "a", "b", 1, "1", "c"])
    model = autoencoder()
    np.testing.assert_array_equal(model.encode(table), model.encode(X))


@pytest.mark.parametrize("weight", [["a"] * 40, pd.Series([1.0] * 39 + [None], dtype=object), np.full(40, 1e300)])
def test_weights_that_are_no_float32_numbers_are_refused(weight):
    with pytest.raises(ValueError, match=r"sample_weight: expected (finite )?numbers"):
        autoencoder().fit(X, sample_weight=weight, verbose=0)


WEIGHTS = {
    "Series": lambda: {"x": X, "sample_weight": pd.Series(W, index=range(7, 47))},
    "column": lambda: {"x": X, "sample_weight": W[:, None]},
    "list": lambda: {"x": X, "sample_weight": W.tolist()},
    "nullable": lambda: {"x": X, "sample_weight": pd.Series(W, dtype="Float32")},
    "data set of columns": lambda: {"x": tf.data.Dataset.from_tensor_slices((X, X, W[:, None])).batch(10)},
    "generator of columns": lambda: {"x": generator(X, X, W[:, None])},
    "generator of Series": lambda: {"x": generator(X, X, pd.Series(W))},
    "PyDataset of columns": lambda: {"x": Batches(X, X, W[:, None])},
}


@functools.cache
def answers_for_weights():
    """History, weights and measures of a model that is trained and measured with weights as an array."""
    model = autoencoder()
    history = model.fit(X, sample_weight=W, batch_size=10, shuffle=False, verbose=0).history
    measured = model.evaluate(X, sample_weight=W, batch_size=10, return_dict=True, verbose=0)
    return history, model.get_weights(), measured


@pytest.mark.parametrize("form", WEIGHTS)
def test_each_row_has_its_own_weight(form):
    reference, weights, right = answers_for_weights()
    model, data = autoencoder(), WEIGHTS[form]()
    size = 10 if isinstance(data["x"], np.ndarray) else None
    history = model.fit(**data, batch_size=size, shuffle=False, verbose=0).history
    assert history["loss"] == pytest.approx(reference["loss"], rel=1e-5)
    for one, two in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    measured = model.evaluate(**WEIGHTS[form](), batch_size=size, return_dict=True, verbose=0)
    assert measured == pytest.approx(right, rel=1e-5)


# One distant row has weight 1, the others 0; weights broadcast to (B, B) would give the mean of all rows.
FAR = np.zeros((32, D), "float32")
FAR[0] = 5.0
ALONE = np.zeros(32, "float32")
ALONE[0] = 1.0


@reused
def gaussian(learning_rate=0.0, **options):
    model = autoencoder.__wrapped__("gaussian")
    model.compile(keras.optimizers.SGD(learning_rate), **{"run_eagerly": True} | options)
    return model


def losses_by_hand(model, x):
    """The loss of each row of a `gaussian` autoencoder, with NumPy only."""
    (into, into_bias), (out, out_bias) = model.encoder.get_weights(), model.decoder.get_weights()
    mean = (x @ into + into_bias) @ out + out_bias
    return 0.5 * np.sum((x - mean) ** 2, axis=1) + 0.5 * D * np.log(2 * np.pi)


def loss_of_the_far_row(model):
    """The mean over all rows of weight times loss."""
    losses = losses_by_hand(model, FAR)
    assert losses[0] > 2 * np.mean(losses)  # so that the mean of all rows differs
    return np.mean(ALONE * losses)


WEIGHT_FORMS = {
    "NumPy": np.asarray,
    "Series": lambda w: pd.Series(w, index=range(5, 5 + len(w))),
    "column": lambda w: w[:, None],
    "DataFrame": lambda w: pd.DataFrame({"weight": w}),
}


@pytest.mark.parametrize("form", WEIGHT_FORMS)
def test_one_far_row_counts_by_its_own_weight(form):
    model, weight = gaussian(), WEIGHT_FORMS[form]
    right = pytest.approx(loss_of_the_far_row(model), rel=1e-5)
    assert model.evaluate(FAR, sample_weight=weight(ALONE), batch_size=8, return_dict=True, verbose=0)["loss"] == right
    assert model.test_on_batch(FAR, sample_weight=weight(ALONE), return_dict=True)["loss"] == right
    assert model.train_on_batch(FAR, sample_weight=weight(ALONE), return_dict=True)["loss"] == right
    history = model.fit(
        *(FAR, None, 8), sample_weight=weight(ALONE), validation_data=(FAR, None, weight(ALONE)), verbose=0
    ).history
    assert history["loss"] == [right] and history["val_loss"] == [right]
    x, w = np.tile(FAR, (2, 1)), weight(np.tile(ALONE, 2))
    history = model.fit(x, sample_weight=w, batch_size=8, validation_split=0.5, verbose=0).history
    assert history["loss"] == [right] and history["val_loss"] == [right]


WEIGHTED_SOURCES = {
    "data set of columns": lambda w: tf.data.Dataset.from_tensor_slices((FAR, FAR, w[:, None])).batch(8),
    "generator of columns": lambda w: generator(FAR, FAR, w[:, None], size=8),
    "generator of Series": lambda w: generator(FAR, FAR, pd.Series(w), size=8),
    "generator without targets": lambda w: ((x, None, each) for x, each in generator(FAR, w[:, None], size=8)),
    "PyDataset of columns": lambda w: Batches(FAR, FAR, w[:, None], size=8),
    "PyDataset of Series": lambda w: Batches(FAR, FAR, pd.Series(w), size=8),
}


@pytest.mark.parametrize("source", WEIGHTED_SOURCES)
def test_one_far_row_of_a_source_counts_by_its_own_weight(source):
    model, make = gaussian(), WEIGHTED_SOURCES[source]
    right = pytest.approx(loss_of_the_far_row(model), rel=1e-5)
    assert model.evaluate(make(ALONE), return_dict=True, verbose=0)["loss"] == right
    history = model.fit(make(ALONE), validation_data=make(ALONE), verbose=0).history
    assert history["loss"] == [right] and history["val_loss"] == [right]


def test_train_on_batch_takes_a_series_of_weights():
    results = []
    for weight in (W, pd.Series(W, index=range(7, 47)), W[:, None]):
        model = autoencoder()
        results.append([model.train_on_batch(X, sample_weight=weight), *model.get_weights()])
    unweighted = autoencoder()
    unweighted.train_on_batch(X)
    assert np.abs(unweighted.get_weights()[0] - results[0][1]).max() > 1e-3
    for each in results[1:]:
        for one, two in zip(results[0], each, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)


def test_validation_takes_weights_in_every_form():
    results = []
    for weight in (W, pd.Series(W), W[:, None], W.tolist()):
        model = autoencoder()
        history = model.fit(X, validation_data=(X, X, weight), shuffle=False, verbose=0).history
        split = autoencoder().fit(X, sample_weight=weight, validation_split=0.25, shuffle=False, verbose=0).history
        results.append([history["val_loss"][0], split["val_loss"][0], split["loss"][0]])
    for each in results[1:]:
        assert each == pytest.approx(results[0], rel=1e-5)


@pytest.mark.parametrize("weight", [np.ones((40, 2)), np.ones((40, 40)), np.ones((40, 1, 1))])
def test_weights_of_another_shape_are_refused(weight):
    model = autoencoder()
    sources = (
        tf.data.Dataset.from_tensor_slices((X, X, weight)).batch(10),
        generator(X, X, weight),
        Batches(X, X, weight),
    )
    for source in sources:
        with pytest.raises(ValueError, match="sample_weight: expected one number per row"):
            model.fit(source, verbose=0)
    with pytest.raises(ValueError, match="sample_weight: expected one number per row"):
        model.fit(X, sample_weight=weight, verbose=0)


# Exact numbers of steps


def counted(model, **options):
    before = int(model.optimizer.iterations)
    model.fit(**options, verbose=0)
    return int(model.optimizer.iterations) - before


def endless():
    while True:
        yield (X[:8],)


def test_steps_are_as_asked_whatever_ran_before():
    model = autoencoder(run_eagerly=False, jit_compile=False)
    assert counted(model, x=X, batch_size=2) == 20
    assert counted(model, x=endless(), steps_per_epoch=5) == 5
    assert counted(model, x=tf.data.Dataset.from_tensors(X[:8]).repeat(), steps_per_epoch=7, epochs=2) == 14
    assert counted(model, x=Batches(X), steps_per_epoch=3) == 3
    assert counted(model, x=X, batch_size=8) == 5


def test_evaluation_uses_exactly_the_batches_asked():
    x = np.repeat([[0.0], [1.0]], [8, 120], axis=0).astype("float32") * np.ones(D, "float32")
    model = autoencoder(run_eagerly=False, jit_compile=False)
    history = model.fit(
        X, batch_size=2, validation_data=tf.data.Dataset.from_tensor_slices(x).batch(8), validation_steps=1, verbose=0
    )
    first = model.evaluate(x[:8], batch_size=8, return_dict=True, verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(first["loss"], rel=1e-5)
    assert model.evaluate(x, batch_size=8, steps=1, return_dict=True, verbose=0) == pytest.approx(first, rel=1e-5)
    two = model.evaluate(x[:16], batch_size=8, return_dict=True, verbose=0)
    assert model.evaluate(x, batch_size=8, steps=2, return_dict=True, verbose=0) == pytest.approx(two, rel=1e-5)


# Batches with different losses, so that the loss identifies the number of batches.
RISING = np.repeat(np.arange(5.0), 8)[:, None].astype("float32") * np.ones(D, "float32")


def forever(x, size=8):
    return itertools.chain.from_iterable(generator(x, size=size) for _ in itertools.count())


EVALUATED = {
    "data set": lambda: tf.data.Dataset.from_tensor_slices(RISING).batch(8),
    "endless data set": lambda: tf.data.Dataset.from_tensor_slices(RISING).batch(8).repeat(),
    "generator": lambda: generator(RISING, size=8),
    "endless generator": lambda: forever(RISING),
    "PyDataset": lambda: Batches(RISING, size=8),
}


@pytest.fixture(scope="module")
def fitted():
    """A model whose compiled steps take many batches per call, as after `fit` with arrays."""
    model = gaussian.__wrapped__(run_eagerly=False, jit_compile=False)
    model.fit(RISING, batch_size=1, verbose=0)
    assert model.steps_per_execution > 5
    return model


def first_batches(model, steps):
    """The loss of the first batches of `RISING`, which differs for each number of them."""
    of_batches = losses_by_hand(model, RISING).reshape(5, 8).mean(axis=1)
    assert np.all(np.diff(of_batches) > 0.1)
    return pytest.approx(of_batches[:steps].mean(), rel=1e-5)


@pytest.mark.parametrize("source", EVALUATED)
def test_evaluation_of_sources_uses_exactly_the_batches_asked(fitted, source):
    for steps in (1, 2):
        logs = fitted.evaluate(EVALUATED[source](), steps=steps, return_dict=True, verbose=0)
        assert logs["loss"] == logs["reconstruction"] == first_batches(fitted, steps)
    if "endless" not in source:
        assert fitted.evaluate(EVALUATED[source](), verbose=0)[0] == first_batches(fitted, 5)


@pytest.mark.parametrize("source", EVALUATED)
def test_validation_uses_exactly_the_batches_asked(fitted, source):
    held_out = EVALUATED[source]()
    history = fitted.fit(RISING, batch_size=1, validation_data=held_out, validation_steps=1, verbose=0).history
    assert history["val_loss"] == history["val_reconstruction"] == [first_batches(fitted, 1)]


def test_a_generator_that_ends_says_so():
    model = autoencoder()
    with pytest.warns(UserWarning, match="x ran out of batches after 4 of 9 steps in epoch 1"):
        assert counted(model, x=generator(X), steps_per_epoch=9) == 4
    with pytest.warns(UserWarning, match="x ran out of batches after 0 steps in epoch 2"):
        assert counted(model, x=generator(X), epochs=3) == 4


class WarmUp(keras.callbacks.Callback):
    """The usual callback for KL annealing: beta grows with the step. It records the beta that each step used."""

    def __init__(self):
        super().__init__()
        self.batches, self.betas = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.batches.append(batch)
        self.model.beta = 0.5 * batch

    def on_train_batch_end(self, batch, logs=None):
        self.betas.append(self.model.beta)


@reused
def vae(**options):
    keras.utils.set_random_seed(0)
    model = ka.VAE(dense(4, D), dense(D, 2), seed=0)
    model.compile(keras.optimizers.SGD(0.05), **{"jit_compile": False} | options)
    return model


def lines(caplog):
    """Log messages about callbacks that act on batches."""
    return [each for each in caplog.messages if "acts on every batch" in each]


def test_a_warm_up_of_the_kl_acts_at_every_step(caplog):
    model, warm_up = vae(), WarmUp()
    with caplog.at_level(logging.INFO, "keras_ae"):
        model.fit(X, batch_size=8, epochs=2, shuffle=False, callbacks=[warm_up], verbose=0)
    assert warm_up.batches == [0, 1, 2, 3, 4] * 2 and warm_up.betas == [0.0, 0.5, 1.0, 1.5, 2.0] * 2
    assert len(lines(caplog)) == 1 and "slower" in lines(caplog)[0]
    # The weights are those of steps with these betas.
    expected = vae(run_eagerly=True)
    for step in range(10):
        expected.beta = 0.5 * (step % 5)
        expected.train_on_batch(X[8 * (step % 5) :][:8])
    for one, two in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_lambda_callback_is_called_at_every_step(caplog):
    model, ended = vae(), []
    each = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ended.append((batch, logs["loss"])))
    model.fit(X, batch_size=2, callbacks=[each], validation_data=X, verbose=0)
    assert [batch for batch, _ in ended] == list(range(20)) and len({loss for _, loss in ended}) == 20
    assert len(lines(caplog)) == 1


def test_a_test_hook_is_called_at_every_batch(caplog):
    class Watching(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.batches = []

        def on_test_batch_end(self, batch, logs=None):
            self.batches.append(batch)

    model, watching = vae(), Watching()
    model.fit(X, batch_size=2, validation_data=X, validation_batch_size=4, callbacks=[watching], verbose=0)
    assert watching.batches == list(range(10)) and len(lines(caplog)) == 1
    # Training does not have to wait for it.
    assert model.steps_per_execution > 1
    watching.batches.clear()
    model.evaluate(X, batch_size=8, callbacks=[watching], verbose=0)
    assert watching.batches == list(range(5)) and len(lines(caplog)) == 2


def test_callbacks_of_epochs_leave_many_steps_to_a_call(caplog):
    model = vae()
    model.fit(X, batch_size=2, callbacks=[keras.callbacks.ReduceLROnPlateau("loss")], verbose=0)
    assert model.steps_per_execution > 1 and not lines(caplog)


def test_an_own_train_step_is_called():
    calls = []

    class Own(ka.Autoencoder):
        def train_step(self, data):
            calls.append(data)
            return super().train_step(data)

    model = Own(dense(2, D), dense(D, 2), seed=0)
    model.compile("sgd", jit_compile=False)
    model.fit(X, batch_size=10, verbose=0)
    assert calls and int(model.optimizer.iterations) == 4 and model.steps_per_execution == 1


# Pixels and labels


def with_nan(x):
    x = x.copy()
    x[3, 2] = np.nan
    return x


PIXELS = r"expects values in \[0.0, 1.0\].*0\.\.255"
FIRST_BATCHES = {
    "generator of pixels": (PIXELS, lambda: generator(X * 255)),
    "generator of uint8 pixels": (PIXELS, lambda: generator((X * 255).astype("uint8"))),
    "PyDataset of pixels": (PIXELS, lambda: Batches(X * 255)),
    "loader of pixels": (PIXELS, lambda: Loader(X * 255)),
    "generator with NaN": ("NaN or infinity", lambda: generator(with_nan(X))),
    "PyDataset with NaN": ("NaN or infinity", lambda: Batches(with_nan(X))),
}


class Loader:
    """Like a PyTorch loader: can be iterated repeatedly, and has a length."""

    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return 4

    def __iter__(self):
        return generator(*self.columns)


@pytest.mark.parametrize("kind", FIRST_BATCHES)
def test_the_first_batch_of_a_source_is_looked_at_before_training(kind):
    message, make = FIRST_BATCHES[kind]
    model = autoencoder()
    before = model.get_weights()
    for refusing in (model.fit, model.evaluate, lambda x, **_: model.fit(X, validation_data=x, verbose=0)):
        with pytest.raises(ValueError, match=message):
            refusing(make(), verbose=0)
    assert int(model.optimizer.iterations) == 0
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("label", [3, -1])
def test_labels_out_of_range_in_the_first_batch_of_a_source_are_refused(label):
    keras.utils.set_random_seed(0)
    options = {"condition_shape": (3,)}
    encoder, decoder = (
        ka.networks.mlp_encoder((D,), 2, (4,), parameters=2, **options),
        ka.networks.mlp_decoder(2, (D,), (4,), **options),
    )
    model = ka.CVAE(encoder, decoder, num_classes=3, seed=0)
    model.compile("sgd", run_eagerly=True)
    y = np.arange(40) % 3
    y[5] = label
    for source in (generator, Batches, Loader):
        for use in (model.fit, model.evaluate):
            with pytest.raises(ValueError, match=f"y: expected labels 0 to 2; received {label}"):
                use(source(X, y), verbose=0)
    assert int(model.optimizer.iterations) == 0


SEEN_SOURCES = {
    "generator": generator,
    "generator of lists": lambda x: ([batch.tolist()] for (batch,) in generator(x)),
    "PyDataset": Batches,
    "loader": Loader,
}


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}], ids=["eager", "one program"])
@pytest.mark.parametrize("source", SEEN_SOURCES)
def test_training_sees_each_row_of_a_source_once_and_in_order(source, options):
    seen = []

    class Watching(ka.Autoencoder):
        def loss_terms(self, x, y, training):
            tf.numpy_function(lambda rows: seen.append(rows.copy()), [x], [])
            return super().loss_terms(x, y, training)

    rows = np.arange(40.0, dtype="float32")[:, None] + np.zeros(D, "float32")
    model = Watching(dense(2, D), dense(D, 2), seed=0)
    model.compile(keras.optimizers.SGD(0.0), **options)
    model.fit(SEEN_SOURCES[source](rows), shuffle=False, verbose=0)
    np.testing.assert_array_equal(np.concatenate(seen), rows)
    seen.clear()
    model.evaluate(SEEN_SOURCES[source](rows), verbose=0)
    np.testing.assert_array_equal(np.concatenate(seen), rows)


def test_a_noisy_input_may_leave_its_targets_range():
    model = autoencoder()
    noisy = X + np.random.default_rng(1).normal(size=X.shape).astype("float32")
    model.fit(noisy, X, verbose=0)
    assert model.encode(noisy).shape == (40, 2)
    with pytest.raises(ValueError, match=r"y: the likelihood bernoulli"):
        model.fit(X, noisy, verbose=0)
    with pytest.raises(ValueError, match="Divide pixels"):
        model.encode(X * 255)


LABELS = {
    "Series": lambda y: pd.Series(y),
    "nullable Series": lambda y: pd.Series(y, dtype="Int64"),
    "list": lambda y: y.tolist(),
    "column": lambda y: y[:, None],
    "objects": lambda y: y.astype(object),
    "Series of objects": lambda y: pd.Series(y).astype(object),
    "whole floats": lambda y: y.astype("float32"),
    "one-hot rows": lambda y: np.eye(3)[y],
    "sparse one-hot rows": lambda y: scipy.sparse.csr_matrix(np.eye(3)[y]),
    "SparseTensor of one-hot rows": lambda y: tf.sparse.from_dense(np.eye(3)[y]),
    "names": lambda y: np.array(["cat", "dog", "eel"])[y],
    "categories": lambda y: pd.Series(np.array(["cat", "dog", "eel"])[y], dtype="category"),
}


def answers_to_labels(labels):
    model = m2(classes=["cat", "dog", "eel"])
    history = model.fit(X, labels, shuffle=False, verbose=0).history
    return [*history.values(), model.encode(X, labels), model.sample(40, labels)]


@functools.cache
def answers_to_numbers():
    return answers_to_labels(np.arange(40) % 3)


@pytest.mark.parametrize("form", LABELS)
def test_every_form_of_labels_is_the_same(form):
    for one, two in zip(answers_to_numbers(), answers_to_labels(LABELS[form](np.arange(40) % 3)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, tf.sparse.from_dense])
def test_every_entry_takes_sparse_one_hot_labels(form):
    y, model = np.arange(40) % 3, m2()
    sparse = form(np.eye(3)[y])
    for use in (
        lambda y: model.predict((X, y), verbose=0),
        lambda y: model.predict(X, y, verbose=0),
        lambda y: model.traverse(X, 0, steps=2, y=y),
        lambda y: model.interpolate(X, X[::-1], 2, y=y),
        lambda y: m2().train_on_batch(X, y),
        lambda y: m2().fit(iter([(X, y)]), verbose=0).history["loss"],
    ):
        np.testing.assert_allclose(use(sparse), use(y), rtol=1e-5, atol=1e-6)


@reused
def cvae(**options):
    keras.utils.set_random_seed(0)
    encoder = ka.networks.mlp_encoder((D,), 2, (4,), parameters=2, condition_shape=(3,))
    model = ka.CVAE(encoder, ka.networks.mlp_decoder(2, (D,), (4,), condition_shape=(3,)), seed=0, **options)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def test_sparse_numeric_conditions_are_the_same_conditions():
    y, model = np.eye(3)[np.arange(40) % 3], cvae(num_classes=None)
    for sparse in (scipy.sparse.csr_matrix(y), tf.sparse.from_dense(y)):
        for use in (
            lambda y: model.encode(X, y),
            lambda y: model.predict((X, y), verbose=0),
            lambda y: model.predict((scipy.sparse.csr_array(X), y), verbose=0),
            lambda y: model.interpolate(X, X[::-1], 3, y=y),
            lambda y: model.traverse(X, 0, steps=3, y=y),
            lambda y: model.sample(40, y),
        ):
            np.testing.assert_allclose(use(sparse), use(y), rtol=1e-5, atol=1e-6)


def test_labels_of_data_sets_may_be_names_or_one_hot():
    y, model = np.arange(40) % 3, m2(classes=["cat", "dog", "eel"])
    expected = model.evaluate(X, y, return_dict=True, verbose=0, batch_size=40)
    for labels in (np.array(["cat", "dog", "eel"])[y], np.eye(3)[y], y[:, None]):
        model.seed_generator.state.assign(m2().seed_generator.state)
        found = model.evaluate(tf.data.Dataset.from_tensors((X, labels)), return_dict=True, verbose=0)
        assert found["classification"] == pytest.approx(expected["classification"], rel=1e-5)


NOT_LABELS = {
    "several ones": np.eye(3)[np.arange(40) % 3] + np.eye(3)[0],
    "soft labels": np.full((40, 3), 1 / 3),
    "fractions": np.full(40, 1.7),
    "two ones": np.ones((40, 3)) - np.eye(3)[np.arange(40) % 3],
}


@pytest.mark.parametrize("labels", NOT_LABELS)
def test_what_is_no_label_is_refused(labels):
    y = NOT_LABELS[labels]
    for source in ((X, y), (tf.data.Dataset.from_tensor_slices((X, y)).batch(10),), (generator(X, y),)):
        with pytest.raises(ValueError, match=r"expected (integer labels|labels 0 to 2)"):
            m2().fit(*source, verbose=0)


@pytest.mark.parametrize("value", [1.7, None])
def test_python_objects_are_not_called_class_names(value):
    for use in (m2().fit, m2().evaluate, m2().train_on_batch):
        with pytest.raises(ValueError, match=r"y: expected integer labels, shape \(B,\); received object"):
            use(X, np.full(40, value, object))


def test_missing_class_names_are_unknown_labels():
    classes, y = ["cat", "dog", "eel"], np.arange(40) % 4 - 1
    expected = m2(classes=classes).fit(X, y, shuffle=False, verbose=0).history
    names = [classes[i] if i >= 0 else None for i in y]
    forms = [names, pd.Series(names), pd.Series(names, dtype="string"), [name or "" for name in names]]
    forms = [(X, form) for form in forms]
    texts = tf.constant([name or "" for name in names])
    forms.append((tf.data.Dataset.from_tensor_slices((X, texts)).batch(32),))
    for form in forms:
        assert m2(classes=classes).fit(*form, shuffle=False, verbose=0).history["loss"] == pytest.approx(
            expected["loss"]
        )
    weighted = [
        model.fit(X, y, class_weight=weights, shuffle=False, verbose=0).history["loss"]
        for model, weights in ((m2(classes=classes), {"cat": 2.0}), (m2(), {0: 2.0}))
    ]
    assert weighted[0] == pytest.approx(weighted[1]) and weighted[0] != pytest.approx(expected["loss"])


def test_one_label_for_all_rows():
    model, z = m2(classes=["cat", "dog", "eel"]), np.zeros((5, 2), "float32")
    for label in (1, "dog", np.int64(1)):
        np.testing.assert_array_equal(model.decode(z, label), model.decode(z, [1] * 5))
        np.testing.assert_array_equal(model.encode(X[:5], label), model.encode(X[:5], [1] * 5))
        np.testing.assert_array_equal(model.sample(5, label), model.sample(5, [1] * 5))
        for found in (
            model.predict(X[:5], label, verbose=0),
            model.predict((X[:5], label), verbose=0),
            model.predict_on_batch((X[:5], label)),
        ):
            np.testing.assert_array_equal(found, model.predict((X[:5], [1] * 5), verbose=0))
        np.testing.assert_array_equal(model.sweep_labels(z, label), model.sweep_labels(z, [1]))
        for source in (generator(X), Batches(X), tf.data.Dataset.from_tensors(X)):
            with pytest.raises(ValueError, match=r"y: expected none, as x is a source .* tuples: \(x, y\)"):
                model.encode(source, label)
        walk = model.interpolate(X[:5], X[5:10], 3, y=label)
        np.testing.assert_array_equal(walk, model.interpolate(X[:5], X[5:10], 3, y=[1] * 5))


def test_rows_beside_a_source_are_refused():
    y, model = np.arange(40) % 3, m2()
    pairs = tf.data.Dataset.from_tensor_slices((X, y)).batch(16)
    for method in (model.encode, model.reconstruct, model.log_prob):
        with pytest.raises(ValueError, match=r"y: expected none, as x is a source .* tuples: \(x, y\)"):
            method(pairs, y)
        with pytest.raises(ValueError, match="y: expected none"):
            method(iter([X]), 1)
    with pytest.raises(ValueError, match="x: expected none, as y is a source"):
        model.encode(X, tf.data.Dataset.from_tensor_slices(y).batch(16))
    np.testing.assert_allclose(model.encode(pairs), model.encode(X, y), rtol=1e-5, atol=1e-6)


def test_the_end_of_a_generator_is_no_warning_of_predict():
    for model, columns in ((autoencoder(), (X,)), (cvae(num_classes=3), (X, np.arange(40) % 3))):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for source in (generator(*columns), Batches(*columns)):
                assert model.predict(source, verbose=0).shape == (40, D)
        with pytest.warns(UserWarning, match="ran out of data"):
            model.predict(generator(*columns), steps=9, verbose=0)


def test_a_source_where_rows_are_expected_is_called_a_source():
    model = autoencoder()
    for source in (generator(X), tf.data.Dataset.from_tensors(X)):
        for use in (model.train_on_batch, model.test_on_batch, model.predict_on_batch):
            with pytest.raises(ValueError, match="x: expected rows, received a source of batches, a "):
                use(source)


def test_one_batch_is_predicted_in_every_form():
    model = autoencoder()
    expected = model.predict(X, verbose=0)
    for rows in (X, X.tolist(), pd.DataFrame(X), scipy.sparse.csr_array(X)):
        np.testing.assert_allclose(model.predict_on_batch(rows), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="callbacks: class probabilities"):
        m2().predict(X, callbacks=[keras.callbacks.Callback()])


def test_masked_and_sparse_rows_of_every_label():
    model, z = m2(), np.eye(2, dtype="float32")
    with pytest.raises(ValueError, match="z: received a masked array"):
        model.sweep_labels(np.ma.masked_array(z, z > 0))
    with pytest.raises(ValueError, match="labels: received a masked array"):
        model.sweep_labels(z, np.ma.masked_array([0, 1], [True, False]))
    np.testing.assert_array_equal(model.sweep_labels(scipy.sparse.csr_array(z)), model.sweep_labels(z))
    walks = [model.interpolate(X[:2], X[2:4], 3, y=y) for y in (scipy.sparse.csr_array(np.eye(3)[:2]), [0, 1])]
    np.testing.assert_array_equal(*walks)


def test_class_probabilities_of_the_first_batches():
    model = m2()
    found = [model.predict(X, batch_size=10, steps=2.0), model.predict(iter([X[:10], X[10:20], X[20:]]), steps=2)]
    for each in found:
        np.testing.assert_allclose(each, model.predict_proba(X[:20]), rtol=1e-5)
    with pytest.raises(ValueError, match="steps: expected a whole number"):
        model.predict(X, steps=0)


def test_unknown_class_names_are_refused():
    with pytest.raises(ValueError, match="'cow' is not one of the classes cat, dog, eel"):
        m2(classes=["cat", "dog", "eel"]).fit(X, ["cow"] * 40)
    with pytest.raises(ValueError, match=r"classes=\[...\]"):
        m2().fit(X, ["cat"] * 40)
    with pytest.raises(ValueError, match="3 different names"):
        m2(classes=["cat", "cat", "dog"])
    for classes in ([3, 5, 7], np.array([3, 5, 7]), ["cat", "dog", 3], "cat"):
        with pytest.raises(ValueError, match="classes: expected a list of names"):
            m2(classes=classes)
    m2(classes=np.array(["cat", "dog", "eel"])).fit(X, ["eel", "cat"] * 20, verbose=0)


def test_class_weights_count_labels_and_leave_others_at_1():
    y = np.where(np.arange(40) < 20, np.arange(40) % 3, -1)
    weights = np.array([3.0, 1.0, 0.5, 1.0])[y]
    one, two = m2(), m2()
    a = one.fit(X, y, class_weight={0: 3.0, 2: 0.5}, batch_size=40, shuffle=False, verbose=0).history
    b = two.fit(X, y, sample_weight=weights, batch_size=40, shuffle=False, verbose=0).history
    for name in b:
        assert a[name] == pytest.approx(b[name], rel=1e-5)
    batches = tf.data.Dataset.from_tensors((X, y))
    c = m2().fit(batches, class_weight={0: 3.0, 2: 0.5}, verbose=0).history
    assert c["loss"] == pytest.approx(b["loss"], rel=1e-5)
    with pytest.raises(ValueError, match="class_weight: expected labels 0 to 2"):
        one.fit(X, y, class_weight={7: 1.0})
    with pytest.raises(ValueError, match=r"class_weight: expected labels 0 to 2; received \[7, 'cat'\]"):
        one.fit(X, y, class_weight={"cat": 1.0, 7: 1.0})
    with pytest.raises(ValueError, match="class_weight: this model has no integer labels"):
        autoencoder().fit(X, class_weight={0: 1.0})


NOT_CLASS_WEIGHTS = {
    r"class_weight: expected a dict \{label: weight\}; received 'balanced'": "balanced",
    r"class_weight: expected a dict \{label: weight\}; received \[1, 2, 3\]": [1, 2, 3],
    r"class_weight of 0: expected a finite number, 0 or more; received -1": {0: -1.0},
    r"class_weight of 1: expected a finite number, 0 or more; received nan": {1: np.nan},
    r"class_weight of 2: expected a finite number, 0 or more; received 'a'": {2: "a"},
}


@pytest.mark.parametrize("message", NOT_CLASS_WEIGHTS)
def test_what_are_no_class_weights_is_refused(message):
    weights, y = NOT_CLASS_WEIGHTS[message], np.arange(40) % 3
    for data in ((X, y), (generator(X, y),), (tf.data.Dataset.from_tensors((X, y)),)):
        with pytest.raises(ValueError, match=message):
            m2().fit(*data, class_weight=weights, verbose=0)
    with pytest.raises(ValueError, match=message):
        m2().train_on_batch(X, y, class_weight=weights)


@pytest.mark.parametrize("make", [m2, lambda: cvae(num_classes=3)])
def test_class_weights_need_labels(make):
    model = make()
    for use in (
        lambda **options: model.fit(X, verbose=0, **options),
        lambda **options: model.fit(generator(X), verbose=0, **options),
        lambda **options: model.fit(Batches(X), verbose=0, **options),
        lambda **options: model.fit(tf.data.Dataset.from_tensors(X), verbose=0, **options),
        lambda **options: model.train_on_batch(X, **options),
    ):
        with pytest.raises(ValueError, match="class_weight: expected y, the label of each row"):
            use(class_weight={0: 2.0})


@pytest.mark.parametrize("source", [generator, Batches])
def test_class_weights_count_the_labels_of_sources(source):
    y = np.arange(40) % 3
    # They are multiplied by the rows' own weights.
    w = np.array([3.0, 1.0, 0.5])[y] * W
    right = m2().fit(X, y, sample_weight=w, batch_size=10, shuffle=False, verbose=0).history
    model = m2()
    history = model.fit(source(X, y, W), class_weight={0: 3.0, 2: 0.5}, shuffle=False, verbose=0).history
    for name in right:
        assert history[name] == pytest.approx(right[name], rel=1e-5)
    with pytest.raises(ValueError, match="class_weight: expected labels 0 to 2"):
        model.fit(source(X, y), class_weight={7: 1.0})
    with pytest.raises(ValueError, match="class_weight: this model has no integer labels"):
        autoencoder().fit(source(X), class_weight={0: 1.0})


def test_m2_predicts_classes_and_shows_its_accuracy():
    model, y = m2(), np.arange(40) % 3
    history = model.fit(X, y, validation_data=(X, y), verbose=0).history
    p = model.predict(X, verbose=0)
    assert p.shape == (40, 3) and np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert history["val_accuracy"][0] == pytest.approx(np.mean(p.argmax(axis=1) == y))


def test_metrics_of_keras_are_taken():
    model = ka.Autoencoder(dense(2, D), dense(D, 2), "bernoulli", seed=0)
    model.compile("sgd", metrics=["mse", keras.metrics.MeanAbsoluteError()], run_eagerly=True)
    logs = model.fit(X, validation_data=X, verbose=0).history
    images = model.reconstruct(X)
    assert logs["val_mse"][0] == pytest.approx(np.mean((images - X) ** 2), rel=1e-5)
    assert logs["val_mean_absolute_error"][0] == pytest.approx(np.mean(np.abs(images - X)), rel=1e-5)
    model = m2()
    y = np.where(np.arange(40) < 30, np.arange(40) % 3, -1)
    model.compile("sgd", metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")], run_eagerly=True)
    logs = model.evaluate(X, y, return_dict=True, verbose=0)
    ranks = np.argsort(-model.predict_proba(X))[:30, :2]
    assert logs["top2"] == pytest.approx(np.mean([label in rank for label, rank in zip(y, ranks, strict=False)]))


def test_a_batch_of_nan_stops_training_and_says_what_is_left():
    bad = X.copy()
    bad[25] = np.nan
    batches = tf.data.Dataset.from_tensor_slices(bad).batch(10)
    for options in ({"run_eagerly": True}, {"run_eagerly": False, "jit_compile": False}):
        model, whole = autoencoder(**options), autoencoder(**options)
        with pytest.raises(FloatingPointError, match="step 3 of Autoencoder"):
            model.fit(batches, verbose=0)
        whole.fit(X[:20], batch_size=10, shuffle=False, verbose=0)
        # As before the bad batch: its update was not applied.
        for one, two in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)
        model.fit(X, verbose=0)
