import pickle

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

import keras_ae as ka


def projection(width=5, kept=2, **options):
    """An autoencoder that keeps the first columns and sets the others to 0: its error is known."""
    encoder = ka.networks.mlp_encoder((width,), kept, hidden=())
    decoder = ka.networks.mlp_decoder(kept, (width,), hidden=())
    kernel = np.eye(width, kept, dtype="float32")
    encoder.layers[-1].set_weights([kernel, np.zeros(kept)])
    next(layer for layer in decoder.layers if layer.weights).set_weights([kernel.T, np.zeros(width)])
    model = ka.Autoencoder(encoder, decoder, seed=0)
    model.compile("adam", run_eagerly=True, **options)
    return model


def small_vae(width=3):
    encoder = ka.networks.mlp_encoder((width,), 2, (8,), parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(2, (width,), (8,)), "gaussian", seed=0)
    model.compile("adam", run_eagerly=True)
    return model


def test_scores_threshold_and_labels_of_a_known_error(rng):
    x = rng.normal(size=(200, 5)).astype("float32")
    detector = ka.AnomalyDetector(projection(), contamination=0.05)
    assert detector.fit(x, epochs=0) is detector
    error = np.sum(x[:, 2:] ** 2, axis=1)
    np.testing.assert_allclose(detector.decision_scores_, error, rtol=1e-5)
    assert detector.threshold_ == pytest.approx(np.quantile(error, 0.95), rel=1e-5)
    assert detector.labels_.sum() == 10 and set(detector.labels_) == {0, 1}
    new = np.float32([[9, 9, 0, 0, 0], [0, 0, 9, 0, 0]])
    np.testing.assert_allclose(detector.decision_function(new), [0, 81], atol=1e-4)
    np.testing.assert_array_equal(detector.predict(new), [0, 1])
    np.testing.assert_array_equal(detector.predict(x), detector.labels_)
    # The model's own methods stay those of Keras.
    np.testing.assert_allclose(detector.model.predict(new, verbose=0), [[9, 9, 0, 0, 0], [0] * 5], atol=1e-5)


def test_rows_off_a_plane_are_found(rng):
    """Training on a table in unequal units, with anomalies among the rows."""
    plane = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 6)) + 0.05 * rng.normal(size=(400, 6))
    is_anomaly = rng.random(400) < 0.1
    plane[is_anomaly] = plane[is_anomaly][:, rng.permutation(6)]
    x = pd.DataFrame(plane * 10.0 ** np.arange(-2, 4) + 1e3)
    encoder = ka.networks.mlp_encoder((6,), 2, hidden=())
    model = ka.Autoencoder(encoder, ka.networks.mlp_decoder(2, (6,), hidden=()), seed=0)
    model.compile(keras.optimizers.Adam(0.03), jit_compile=False)
    detector = ka.AnomalyDetector(model, contamination=0.1)
    labels = detector.fit_predict(x, epochs=30, batch_size=50, verbose=0)
    assert roc_auc_score(is_anomaly, detector.decision_scores_) > 0.9
    assert labels.sum() == 40
    # Numbers in the units of the model: the mean square of a standardised column is 1.
    assert detector.decision_scores_.mean() < 6


def test_tables_are_standardised_by_the_training_rows(rng, monkeypatch):
    held_out, fit = [], ka.Autoencoder.fit
    monkeypatch.setattr(
        ka.Autoencoder,
        "fit",
        lambda self, x, **given: held_out.append(given.get("validation_data")) or fit(self, x, **given),
    )
    x = rng.normal([0, 3, 50, 7, -4], [1, 10, 100, 0, 5], (60, 5)).astype("float32")
    new = rng.normal([0, 3, 50, 7, -4], size=(8, 5)).astype("float32")
    deviation = x.std(axis=0)
    deviation[3] = 1.0  # constant
    by_hand = (new - x.mean(axis=0)) / deviation
    keras.utils.set_random_seed(0)
    detector = ka.AnomalyDetector(projection()).fit(x, epochs=1, verbose=0, validation_data=new)
    np.testing.assert_allclose(held_out[0], by_hand, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(detector.decision_function(new), -detector.model.score(by_hand), rtol=1e-3)
    # A later fit uses the moments that the model was trained with.
    before = detector.decision_function(new)
    np.testing.assert_array_equal(detector.fit(x + 100).decision_function(new), before)
    raw = ka.AnomalyDetector(projection(), standardize=False).fit(x, epochs=1, verbose=0)
    np.testing.assert_array_equal(raw.decision_function(new), -raw.model.score(new))


def test_a_constant_column_is_only_shifted(rng):
    x = rng.normal(size=(60, 5))
    x[:, 3] = 0.1  # its mean is rounded: the deviation is 4e-17
    detector = ka.AnomalyDetector(projection()).fit(x, epochs=1, verbose=0)
    shifted = x[:4] + np.array([0, 0, 0, 2, 0])
    np.testing.assert_allclose(detector.decision_function(shifted), detector.decision_function(x[:4]) + 4, atol=0.2)


def test_a_trained_model_keeps_its_weights_and_units(rng):
    x = rng.normal(size=(40, 5)).astype("float32") + 3
    model = projection()
    model.fit(x, epochs=1, verbose=0)
    before = model.get_weights()
    detector = ka.AnomalyDetector(model).fit(x, verbose=0)
    np.testing.assert_array_equal(detector.decision_scores_, -model.score(x))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    detector.fit(x, epochs=1, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])
    standardised = ka.AnomalyDetector(model, standardize=True).fit(x)
    assert not np.allclose(standardised.decision_scores_, detector.decision_scores_)


def test_a_density_or_the_error_of_a_vae(rng):
    x = rng.normal(size=(30, 3)).astype("float32")
    model = small_vae()
    by_density = ka.AnomalyDetector(model).fit(x, epochs=0)
    by_error = ka.AnomalyDetector(model, score="reconstruction").fit(x, epochs=0)
    np.testing.assert_array_equal(by_density.decision_scores_, -model.score(x))
    np.testing.assert_allclose(by_error.decision_scores_, np.sum((x - model.reconstruct(x)) ** 2, axis=1), rtol=1e-5)


def test_images_and_data_sets_are_not_standardised(rng):
    x = rng.random((24, 4, 4, 1), dtype="float32")
    encoder = ka.networks.mlp_encoder((4, 4, 1), 2, hidden=())
    model = ka.Autoencoder(encoder, ka.networks.mlp_decoder(2, (4, 4, 1), hidden=()), "bernoulli", seed=0)
    model.compile("adam", run_eagerly=True)
    data = tf.data.Dataset.from_tensor_slices(x).batch(10)
    detector = ka.AnomalyDetector(model, contamination=0.25).fit(data, epochs=1, verbose=0)
    np.testing.assert_allclose(detector.decision_scores_, -model.score(x), rtol=1e-5)
    assert detector.predict(data).sum() == 6
    with pytest.raises(ValueError, match="standardize: expected x as one table"):
        ka.AnomalyDetector(model, standardize=True).fit(x)


def test_a_detector_is_pickled_with_its_model(rng):
    x = rng.normal(size=(30, 3)).astype("float32")
    detector = ka.AnomalyDetector(small_vae(), contamination=0.2).fit(x, epochs=1, verbose=0)
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_allclose(loaded.decision_function(x), detector.decision_scores_, rtol=1e-5)
    assert loaded.threshold_ == detector.threshold_ and loaded.contamination == 0.2


@pytest.mark.parametrize("contamination", [0, 0.6, -0.1, float("nan"), True, "auto"])
def test_contamination_is_a_share_of_at_most_a_half(contamination):
    with pytest.raises(ValueError, match=r"^contamination: expected"):
        ka.AnomalyDetector(projection(), contamination=contamination)


def test_models_without_a_score_are_refused():
    decoder = ka.networks.mlp_decoder(2, (5,), hidden=())
    generator = ka.LatentModel(decoder=decoder, prior="normal")
    for model in (generator, keras.Sequential([keras.layers.Dense(2)]), "vae"):
        with pytest.raises(ValueError, match="model: expected a model with `score`"):
            ka.AnomalyDetector(model)
    condition = {"condition_shape": (3,)}
    encoder = ka.networks.mlp_encoder((5,), 2, (4,), parameters=2, **condition)
    cvae = ka.CVAE(encoder, ka.networks.mlp_decoder(2, (5,), (4,), **condition), num_classes=3)
    with pytest.raises(ValueError, match="model: CVAE takes a condition"):
        ka.AnomalyDetector(cvae)


def test_other_mistakes_are_named(rng):
    x = rng.normal(size=(20, 5)).astype("float32")
    with pytest.raises(ValueError, match="score: expected None or 'reconstruction'; received 'mse'"):
        ka.AnomalyDetector(projection(), score="mse")
    with pytest.raises(ValueError, match="standardize: expected True, False or None"):
        ka.AnomalyDetector(projection(), standardize="yes")
    detector = ka.AnomalyDetector(projection())
    for method in (detector.predict, detector.decision_function):
        with pytest.raises(ValueError, match=r"not fitted yet: call fit\(x\) first"):
            method(x)
    with pytest.raises(ValueError, match="x: a generator can be read only once"):
        detector.fit(row for row in [x])
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="x contains NaN"):
        detector.fit(x)
    detector.fit(np.nan_to_num(x), epochs=1, verbose=0)
    with pytest.raises(ValueError, match="x: expected 5 columns"):
        detector.predict(np.zeros((2, 4), "float32"))
    with pytest.raises(ValueError, match="x contains NaN"):
        detector.predict(x)
    with pytest.raises(ValueError, match="x: expected one table"):
        detector.predict(tf.data.Dataset.from_tensor_slices(x).batch(5))
