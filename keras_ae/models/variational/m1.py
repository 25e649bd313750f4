"""M1: a VAE trained on all rows, whose codes are features for a classifier trained on the labelled rows."""

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_ae.models.variational.vae import VAE
from keras_ae.typing import Rows


@keras.saving.register_keras_serializable("keras_ae")
class M1(VAE):
    """A `VAE` for semi-supervised learning: trains without labels; its codes are features for a separate classifier.

        features(x, units) = (E_q[z_j | x])_j over j in units,    units: all j with std_x(E_q[z_j | x]) > 0.1

    Args: as in `VAE`.

    Raises:
        ValueError: as in `VAE`.

    Example:

        model = ka.M1(encoder, decoder)
        model.compile("adam")
        model.fit(x, epochs=50)                                         # all rows, without labels
        units = model.units(x)
        svm = sklearn.svm.SVC().fit(model.features(x[:100], units), y[:100])
        svm.predict(model.features(x_test, units))

    Source: Kingma 2014, section 2.1. See also: `M2`, which models the label too; `M1M2`, which stacks both.
    """

    def units(self, x: Rows, threshold: float = 0.1, batch_size: int = 128) -> np.ndarray:
        """The active dimensions of the code, whose means vary over x: int `(U,)`; the others stay at the prior's mean.

        Args:
            x: rows or a source of batches, as in `encode`.
            threshold: float, minimum standard deviation of a dimension's posterior means.
            batch_size: int.

        Raises:
            ValueError: if x is invalid for the model.
        """
        return np.flatnonzero(self.encode(x, batch_size=batch_size).std(axis=0) > threshold)

    def features(self, x: Rows, units: ArrayLike | None = None, batch_size: int = 128) -> np.ndarray:
        """Posterior means of x, `(N, U)` float32, for all dimensions or for `units`.

        Args:
            x: rows or a source of batches, as in `encode`.
            units: ints, as returned by `units`; None for all.
            batch_size: int.

        Raises:
            ValueError: if x is invalid for the model.
        """
        z = self.encode(x, batch_size=batch_size)
        return z if units is None else z[:, units]
