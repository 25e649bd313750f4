"""Measures of models of words: how well they predict them, and how smoothly their codes follow time."""

import keras
import numpy as np
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

tfd = tfp.distributions


def perplexity(model: keras.Model, x: np.ndarray, z: ArrayLike | None = None, *, batch_size: int = 128) -> float:
    """How many equally likely words the model chooses among at each word of x, on average.

        exp(-sum_b log p(x_b|z_b) / sum_bw x_bw)

    Args:
        model: a model whose likelihood is `multinomial`.
        x: counts `(N, V)`.
        z: codes `(N, latent_dim)`; by default those of x itself, which have seen the words that they predict. Give
            codes of other words of the same documents for an estimate on words not seen (document completion).
        batch_size: int.

    Returns:
        float, 1 or more.

    Raises:
        ValueError: if x holds no words, or the likelihood is not `multinomial`.

    Example: `perplexity(model, second_halves, model.encode(first_halves))`
    """
    return perplexity_of(log_prob(model, x, z, batch_size=batch_size), np.sum(x, axis=1))[0]


def log_prob(model: keras.Model, x: np.ndarray, z: ArrayLike | None = None, *, batch_size: int = 128) -> np.ndarray:
    """log p(x|z) of each document, the sum over its words, `(N,)` nats; arguments and errors as of `perplexity`."""
    z = model.encode(x, batch_size=batch_size) if z is None else np.asarray(z)
    if len(z) != len(x):
        raise ValueError(f"z: expected a code for each of the {len(x)} rows of x, received {len(z)}.")
    parts = []
    for start in range(0, len(x), batch_size):
        p = model.likelihood(z[start : start + batch_size])
        if not isinstance(p, tfd.Multinomial):
            raise ValueError(f"model: expected the likelihood multinomial, p(x|z) is a {type(p).__name__}.")
        parts.append(p.log_prob(np.asarray(x[start : start + batch_size], "float32")))
    return np.concatenate(parts)


def perplexity_of(log_p: ArrayLike, words: ArrayLike) -> tuple[float, float]:
    """Perplexity from the log-probabilities of documents, whatever model they are of, and its standard error.

        r = sum_b -log_p_b / sum_b words_b,    perplexity = exp(r)
        standard error = exp(r) sqrt(N/(N-1) sum_b (-log_p_b - r words_b)^2) / sum_b words_b

    The error is that of a ratio of means over documents, to first order.

    Args:
        log_p: `(N,)` nats.
        words: `(N,)`, the numbers of words.

    Returns:
        two floats; the second is NaN for a single document.

    Raises:
        ValueError: if there are no words.

    Example: `perplexity_of(np.sum(x * np.log(shares), axis=1), x.sum(axis=1))    # shares: (N, V), as of an LDA`
    """
    surprise, words = -np.asarray(log_p, "float64"), np.asarray(words, "float64")
    if not words.any():
        raise ValueError("x: expected documents with words; received zeros only.")
    n, rate = len(words), surprise.sum() / words.sum()
    spread = np.sqrt(n / (n - 1) * np.sum((surprise - rate * words) ** 2)) if n > 1 else np.nan
    return float(np.exp(rate)), float(np.exp(rate) * spread / words.sum())


def roughness(z: ArrayLike, before: ArrayLike) -> float:
    """How far codes step from each document to the next, beside how far two unrelated ones are apart.

        mean_b ||z_b - before_b||^2 / (2 sum_j Var(z_j))

    1 where a document tells nothing of the next, and 0 where nothing moves; scale and rotation of the codes are of no
    account.

    Args:
        z: codes `(N, D)`.
        before: `(N, D)`, codes of the documents before.

    Returns:
        float, 0 or more.

    Raises:
        ValueError: if the shapes differ, or all codes are equal.

    Example: `roughness(z[1:], z[:-1])`
    """
    z, before = np.asarray(z, "float64"), np.asarray(before, "float64")
    if z.shape != before.shape or z.ndim != 2:
        raise ValueError(f"z and before: expected one shape (N, D), received {z.shape} and {before.shape}.")
    variance = z.var(axis=0).sum()
    if variance == 0:
        raise ValueError("z: expected codes that differ; all are equal.")
    return float(np.mean(np.sum((z - before) ** 2, axis=1)) / (2 * variance))
