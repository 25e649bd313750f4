"""The linear autoencoder, whose codes span the same subspace as the leading principal components."""

import math
from typing import Any

import keras
import numpy as np

from keras_ae.models.deterministic.autoencoder import Autoencoder
from keras_ae.networks import mlp_decoder, mlp_encoder, tied_decoder
from keras_ae.typing import Rows, Size
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class LinearAutoencoder(Autoencoder):
    """An autoencoder of one linear layer each way, with the optimum of PCA.

        z = W^T x + c,    m = V z + b,    V = W if `tied`
        reconstruction = 1/2 |x - m|^2 + D/2 log(2 pi)

    At the optimum, V W^T projects onto the span of the k leading principal components. The codes are coordinates in
    that subspace, but not the principal components themselves: any rotation of them (with tied weights), or any
    invertible linear map (untied), gives the same loss. `align` chooses the principal axes. To reach PCA's subspace
    closely, let the learning rate decay to 0.

    Args:
        input_shape: shape of x.
        latent_dim: int, k, up to the number of values of x.
        tied: bool, whether the decoder's kernel is the transpose of the encoder's.
        seed: int or None, seeds all randomness in training.

    In `fit(x, y)`, y is the target, of the same shape as x; without y, the target is x.

    Raises:
        ValueError: if `input_shape` is invalid, `latent_dim` is out of range, or the data are invalid.

    Example:

        model = ka.LinearAutoencoder((28, 28, 1), latent_dim=10)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, decay_steps=5_000)
        model.compile(keras.optimizers.Adam(rate))
        model.fit(x_train, batch_size=256, epochs=20)
        model.align(x_train)
        axes = model.components    # (10, 28, 28, 1), orthonormal

    Source: Baldi & Hornik 1989; Plaut 2018, for recovering the axes. See also: `Autoencoder`, with any networks.
    """

    def __init__(
        self, input_shape: Size, latent_dim: int, tied: bool = True, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        encoder = mlp_encoder(input_shape, latent_dim, hidden=())
        size = math.prod(encoder.input_shape[1:])
        latent_dim = validation.positive_int("latent_dim", latent_dim, at_most=size)
        decoder = tied_decoder(encoder) if tied else mlp_decoder(latent_dim, input_shape, hidden=())
        super().__init__(encoder, decoder, seed=seed, **kwargs)
        self.tied = tied

    @property
    def components(self) -> np.ndarray:
        """What one unit of each code adds to the reconstruction: float32 `(latent_dim, *input_shape)`."""
        kernel = self._down.kernel.numpy().T if self.tied else self._up.kernel.numpy()
        return kernel.reshape(-1, *self.event_shape)

    @property
    def _down(self):
        return next(layer for layer in self.encoder.layers if hasattr(layer, "kernel"))

    @property
    def _up(self):
        return next(layer for layer in self.decoder.layers if layer.weights)

    def align(self, x: Rows) -> None:
        """Rotates the codes to the principal axes of the reconstructions of x, in place.

            sum_n (m_n - mean m) (m_n - mean m)^T = P S P^T,    W = V = P,    c = -P^T mean m,    b = mean m

        Afterwards the codes of x are centred and uncorrelated, their variances decrease, and the `components` are
        orthonormal, as for PCA; the largest entry of each is positive. The subspace stays the same, and so do the
        reconstructions of a trained model.

        Args:
            x: more rows than a code has dimensions, usually those that the model was trained on.

        Raises:
            ValueError: if x is invalid for the model, or has too few rows.
        """
        z = self.encode(x).astype("float64")
        if len(z) <= self.latent_dim:
            raise ValueError(f"x: expected more than {self.latent_dim} rows, for as many axes; received {len(z)}.")
        directions = self.components.reshape(self.latent_dim, -1).astype("float64")  # (k, D)
        mean = z.mean(0) @ directions + self._up.bias.numpy()
        # With centred codes Z = Q R, the centred reconstructions Q R V^T have the right singular vectors of R V^T.
        axes = np.linalg.svd(np.linalg.qr(z - z.mean(0), mode="r") @ directions, full_matrices=False)[2]
        axes *= np.where(axes[range(len(axes)), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]
        self._down.kernel.assign(axes.T)
        self._down.bias.assign(-axes @ mean)
        self._up.bias.assign(mean)
        if not self.tied:
            self._up.kernel.assign(axes)
