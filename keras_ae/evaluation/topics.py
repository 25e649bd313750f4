"""Measures for topic models: how well they predict words, and how smoothly their codes change over time."""

import keras
import numpy as np
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

tfd = tfp.distributions


def perplexity(model: keras.Model, x: np.ndarray, z: ArrayLike | None = None, *, batch_size: int = 128) -> float:
    """Perplexity per word: the effective number of equally likely words that the model chooses from.

        exp(-sum_b log p(x_b|z_b) / sum_bw x_bw)

    Args:
        model: a model with a `multinomial` likelihood.
        x: word counts `(N, V)`.
        z: codes `(N, latent_dim)`. By default x itself is encoded, so the codes have seen the words they predict. For
            held-out words (document completion), pass codes of other words from the same documents.
        batch_size: int.

    Returns:
        float, 1 or more.

    Raises:
        ValueError: if x has no words, or the likelihood is not `multinomial`.

    Example: `perplexity(model, second_halves, model.encode(first_halves))`

    Source: Blei 2003 (LDA), section 7.1. See also: `perplexity_of`, for other models and with a standard error.
    """
    return perplexity_of(log_prob(model, x, z, batch_size=batch_size), np.sum(x, axis=1))[0]


def log_prob(model: keras.Model, x: np.ndarray, z: ArrayLike | None = None, *, batch_size: int = 128) -> np.ndarray:
    """log p(x|z) of each document, summed over its words: `(N,)` nats.

        log p(x_b|z_b) = sum_w x_bw log softmax(decoder(z_b))_w

    Args as in `perplexity`.

    Raises:
        ValueError: if the likelihood is not `multinomial`, or z does not have a code for each row of x.

    Example: `log_prob(model, second_halves, model.encode(first_halves)).mean()`

    Source: Blei 2003 (LDA), section 7.1. See also: `perplexity_of`, which takes the result; `model.log_prob`, log p(x).
    """
    z = model.encode(x, batch_size=batch_size) if z is None else np.asarray(z)
    if len(z) != len(x):
        raise ValueError(f"z: expected a code for each of the {len(x)} rows of x, received {len(z)}.")
    parts = []
    for start in range(0, len(x), batch_size):
        p = model.likelihood(z[start : start + batch_size])
        if not isinstance(p, tfd.Multinomial):
            raise ValueError(f"model: expected the likelihood multinomial; p(x|z) is a {type(p).__name__}.")
        parts.append(p.log_prob(np.asarray(x[start : start + batch_size], "float32")))
    return np.concatenate(parts)


def perplexity_of(log_p: ArrayLike, words: ArrayLike) -> tuple[float, float]:
    """Perplexity and its standard error, from the log-probabilities of documents under any model.

        r = sum_b -log_p_b / sum_b words_b,    perplexity = exp(r)
        standard error = exp(r) sqrt(N/(N-1) sum_b (-log_p_b - r words_b)^2) / sum_b words_b

    The standard error is that of a ratio of means over documents, to first order (delta method).

    Args:
        log_p: `(N,)` nats.
        words: `(N,)`, word counts of the documents.

    Returns:
        Perplexity and standard error, floats; the error is NaN for a single document.

    Raises:
        ValueError: if there are no words.

    Example: `perplexity_of(np.sum(x * np.log(shares), axis=1), x.sum(axis=1))    # shares: (N, V), as of an LDA`

    Source: Blei 2003 (LDA), section 7.1; Cochran 1977, for the error of a ratio. See also: `perplexity`, from a model.
    """
    surprise, words = -np.asarray(log_p, "float64"), np.asarray(words, "float64")
    if not words.any():
        raise ValueError("x: expected documents with words; received zeros only.")
    n, rate = len(words), surprise.sum() / words.sum()
    spread = np.sqrt(n / (n - 1) * np.sum((surprise - rate * words) ** 2)) if n > 1 else np.nan
    return float(np.exp(rate)), float(np.exp(rate) * spread / words.sum())


def roughness(z: ArrayLike, before: ArrayLike) -> float:
    """Mean squared step between the codes of consecutive documents, relative to that between unrelated ones.

        mean_b ||z_b - before_b||^2 / (2 sum_j Var(z_j))

    The value is 1 if consecutive documents are unrelated, and 0 if their codes are equal. It does not depend on the
    scale or rotation of the codes. This is our own measure, not a standard one.

    Args:
        z: codes `(N, D)`.
        before: `(N, D)`, codes of the preceding documents.

    Returns:
        float, 0 or more.

    Raises:
        ValueError: if the shapes differ, or all codes are equal.

    Example: `roughness(z[1:], z[:-1])`

    See also: `plots.drift`, which shows the change of topics over time.
    """
    z, before = np.asarray(z, "float64"), np.asarray(before, "float64")
    if z.shape != before.shape or z.ndim != 2:
        raise ValueError(f"z and before: expected the same shape (N, D), received {z.shape} and {before.shape}.")
    variance = z.var(axis=0).sum()
    if variance == 0:
        raise ValueError("z: expected codes that differ; all are equal.")
    return float(np.mean(np.sum((z - before) ** 2, axis=1)) / (2 * variance))
