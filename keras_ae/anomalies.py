"""Anomaly detection: a model's score of each row, and a threshold for a chosen fraction of anomalies."""

from typing import Any, Self

import keras
import numpy as np

from keras_ae.typing import Rows
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation

SCORES = (None, "reconstruction")


class AnomalyDetector:
    """Detects rows that a model fits poorly, with the methods of a PyOD detector.

        s(x) = -model.score(x), or |x - reconstruct(x)|^2 with score="reconstruction"
        threshold_ = the (1 - contamination) quantile of s over the training rows
        predict(x) = 1 if s(x) > threshold_ else 0

    The score of a model with a density is an estimate of log p(x), and that of any other model is the negative squared
    error, so `score="reconstruction"` makes a difference for models such as `VAE` only. The model's own methods, such
    as `predict`, stay as they are.

    Tables are standardised: `(x - mean) / deviation` for each column, with the moments of the rows that `fit` trained
    on. A column that is constant there is only shifted. Images, sparse matrices, and data sets are not standardised,
    and neither are tables for a likelihood with a range, such as `bernoulli`.

    After `fit`:

    - `decision_scores_`: `(N,)` float, the scores of the training rows, in nats or squared units of x
    - `threshold_`: float
    - `labels_`: `(N,)` int, 1 for the training rows above the threshold

    Args:
        model: a model with `score`, such as `Autoencoder` or `VAE`; compiled if `fit` is to train it.
        contamination: float, above 0 and up to 0.5: the fraction of the training rows that are anomalies.
        score: None for `model.score`, or "reconstruction".
        standardize: bool, whether to standardise tables; None for the rule above, except that nothing is
            standardised if the model was trained before `fit`, because it then knows columns in their own units.

    Raises:
        ValueError: if the model has no `score` or takes a condition, or another argument is not as described.

    Example:

        detector = ka.AnomalyDetector(autoencoder, contamination=0.05)
        detector.fit(x_train, epochs=5)
        scores = detector.decision_function(x_test)    # (N,), higher is more anomalous
        anomalous = x_test[detector.predict(x_test) == 1]

    Save a detector as one of PyOD or scikit-learn, with joblib or pickle, or save its model alone, with
    `detector.model.save`.

    Source: Zhao 2019, PyOD, for the interface; Sakurada & Yairi 2014 for the reconstruction error of an autoencoder.

    See also: `LatentModel.score`, without a threshold.
    """

    def __init__(
        self,
        model: keras.Model,
        contamination: float = 0.1,
        score: str | None = None,
        *,
        standardize: bool | None = None,
    ) -> None:
        if score not in SCORES:
            raise ValueError(f"score: expected None or 'reconstruction'; received {score!r}.")
        method = "score" if score is None else "squared_error"
        if not isinstance(model, keras.Model) or not hasattr(model, method):
            raise ValueError(
                "model: expected a model with `score`, which needs an encoder and a decoder of rows of x's shape; "
                f"received {type(model).__name__}."
            )
        if getattr(model, "conditional", False):
            raise ValueError(f"model: {type(model).__name__} takes a condition, and a detector has none to give it.")
        if not 0 < validation.non_negative("contamination", contamination) <= 0.5:
            raise ValueError(f"contamination: expected a fraction above 0 and up to 0.5; received {contamination!r}.")
        if standardize not in (None, True, False):
            raise ValueError(f"standardize: expected True, False or None; received {standardize!r}.")
        self.model, self.contamination, self.score = model, float(contamination), score
        self.standardize = standardize
        self._moments: tuple[np.ndarray, np.ndarray] | None = None

    def fit(self, x: Rows, y: Any = None, **kwargs: Any) -> Self:
        """Trains the model if it is not trained yet, scores x, and sets the threshold.

        A trained model keeps its weights, unless `epochs` is given: then training continues. A model that was loaded
        without its optimizer looks untrained; pass `epochs=0` to keep its weights.

        Args:
            x: rows as in the model's `fit`; a source of batches must allow to be read twice.
            y: ignored, as in PyOD.
            **kwargs: arguments of the model's `fit`, such as `epochs` and `batch_size`. `validation_data` are rows
                like x.

        Returns:
            the detector.

        Raises:
            ValueError: if x is invalid for the model, is a generator, or is not a table but `standardize` is True.
        """
        if rows_of.is_source(x) and iter(x) is x:
            raise ValueError(
                "x: a generator can be read only once, and `fit` reads x twice. Pass arrays or a data set."
            )
        x = self._rows(x)
        trains = bool(kwargs.get("epochs", not self._trained()))
        if not self._is_fitted() and self._standardizes(x, trains):
            self._moments = _moments(x)
        if trains:
            if "validation_data" in kwargs:
                kwargs = kwargs | {"validation_data": self._scaled(self._rows(kwargs["validation_data"]))}
            self.model.fit(self._scaled(x), **kwargs)
        self.decision_scores_ = self._scores(x)
        self.threshold_ = float(np.quantile(self.decision_scores_, 1 - self.contamination))
        self.labels_ = self._above(self.decision_scores_)
        return self

    def decision_function(self, x: Rows) -> np.ndarray:
        """Returns the anomaly score of each row: `(N,)` float, higher is more anomalous.

        Raises:
            ValueError: if the detector is not fitted, or x is invalid for the model.
        """
        if not self._is_fitted():
            raise ValueError("AnomalyDetector is not fitted yet: call fit(x) first.")
        return self._scores(self._rows(x))

    def predict(self, x: Rows) -> np.ndarray:
        """Returns 1 for the rows whose score is above `threshold_`, else 0: `(N,)` int.

        Raises:
            ValueError: as in `decision_function`.
        """
        return self._above(self.decision_function(x))

    def fit_predict(self, x: Rows, y: Any = None, **kwargs: Any) -> np.ndarray:
        """Returns `labels_` after `fit(x, y, **kwargs)`."""
        return self.fit(x, y, **kwargs).labels_

    def _trained(self):
        optimizers = getattr(self.model, "optimizers", {}) if self.model.compiled else {}
        return any(int(optimizer.iterations) > 0 for optimizer in optimizers.values())

    def _rows(self, x):
        return x if rows_of.is_source(x) else rows_of.to_rows("x", x)

    def _standardizes(self, x, trains):
        is_table = not rows_of.is_source(x) and not rows_of.is_sparse(x) and len(x.shape) == 2
        if self.standardize and not is_table:
            raise ValueError("standardize: expected x as one table, (N, D), to compute the moments of its columns.")
        if self.standardize is None:
            bounded = getattr(getattr(self.model, "_likelihood", None), "low", None) is not None
            return is_table and not bounded and trains and not self._trained()
        return self.standardize

    def _scaled(self, x):
        if self._moments is None:
            return x
        if rows_of.is_source(x):
            raise ValueError("x: expected one table, (N, D), because the detector standardises its columns.")
        mean, deviation = self._moments
        x = np.asarray(rows_of.dense(x))
        if x.shape[1:] != mean.shape:
            raise ValueError(f"x: expected {len(mean)} columns, as in `fit`; received shape {x.shape}.")
        return ((x - mean) / deviation).astype("float32")

    def _scores(self, x):
        x = self._scaled(x)
        return -self.model.score(x) if self.score is None else self.model.squared_error(x)

    def _above(self, scores):
        return (scores > self.threshold_).astype("int64")

    def _is_fitted(self):
        return hasattr(self, "threshold_")


def _moments(x):
    validation.check_array("x", x, None, None)
    x = np.asarray(x, "float64")
    # Rounding leaves a constant column with a deviation of about 1e-17.
    constant = x.min(axis=0) == x.max(axis=0)
    return x.mean(axis=0), np.where(constant, 1.0, x.std(axis=0))
