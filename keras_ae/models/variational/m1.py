"""M1: a VAE of all rows, whose codes are the features of a classifier of the labelled ones."""

import keras
import numpy as np

from keras_ae.models.variational.vae import VAE


@keras.saving.register_keras_serializable("keras_ae")
class M1(VAE):
    """A `VAE` for semi-supervised learning: it trains without labels, and a classifier on its codes with a few.

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

    Source: Kingma 2014, section 2.1. See also: `M2`, which has the label inside the model; `M1M2`, which stacks both.
    """

    def units(self, x, threshold=0.1, batch_size=128):
        """The dimensions of the code that tell rows of x apart: int `(U,)`; the others only repeat the prior's mean.

        Args:
            x: array or `tf.data.Dataset`.
            threshold: float, least standard deviation of a dimension's posterior means.
            batch_size: int.

        Raises:
            ValueError: if x does not suit the model.
        """
        return np.flatnonzero(self.encode(x, batch_size=batch_size).std(axis=0) > threshold)

    def features(self, x, units=None, batch_size=128):
        """Posterior means of x, `(N, U)` float32: of all dimensions, or of `units`.

        Args:
            x: array or `tf.data.Dataset`.
            units: ints, as of `units`; None for all.
            batch_size: int.

        Raises:
            ValueError: if x does not suit the model.
        """
        z = self.encode(x, batch_size=batch_size)
        return z if units is None else z[:, units]
