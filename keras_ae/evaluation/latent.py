"""Measures of the latent space."""

import numpy as np


def active_units(model, x, threshold=1e-2):
    """How many latent dimensions carry information about x.

        A_j = Var_x(E_q[z_j | x]),    active units = #{j: A_j > threshold}

    A dimension whose posterior mean is the same for every x has collapsed to the prior. The variance is the
    population's (divided by N), over the rows of x.

    Args:
        model: a model with `encode`, whose codes are posterior means `(N, latent_dim)`.
        x: array or `tf.data.Dataset` of at least two rows; give it in the form that the model was trained on.
        threshold: float, in squared units of z; the paper's 1e-2 supposes a prior of unit variance.

    Returns:
        int, 0 to latent_dim.

    Raises:
        ValueError: if x has fewer than two rows.

    Example: `active_units(vae, x_test)`

    Source: Burda 2016, table 1.
    """
    means = np.asarray(model.encode(x), dtype="float64")  # (N, latent_dim)
    if len(means) < 2:
        raise ValueError(f"active_units: expected at least two rows, to see the codes vary; received {len(means)}.")
    return int(np.sum(means.var(axis=0) > threshold))
