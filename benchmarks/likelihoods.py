"""Estimates of log p(x) compared with exact values: `python -m benchmarks.likelihoods`.

The exact likelihood of four models is known. The first two train on the embedded digits, binarised once:

  plane    VAE with two latent dimensions: sum over a fine grid on the latent plane;
  bits     binary code of ten bits: sum over all 1,024 codes;
  signs    VAE with the decoder of `bits`, which sees only the signs of ten dimensions: the same sum;
  linear   linear decoder with Gaussian noise: p(x) = N(b, W W^T + I), on rows drawn from the model.

The result is the distance between the means over rows of the estimated and the exact log p(x). Its standard error
counts only the noise of the samples. The distance must not exceed three standard errors, nor 0.02 nats.
"""

import itertools
import time

import keras
import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import keras_ae as ka
from benchmarks import options, results
from keras_ae.evaluation import likelihood

ROWS, SAMPLES, CHAINS, TEMPERATURES = 200, 20_000, 64, 500
ABSOLUTE = 0.02  # nats, the largest distance allowed, however noisy the estimate
BITS = 10
EPOCHS = 100
AXIS = np.linspace(-8, 8, 640)  # cells of 1/40; a posterior of the digits is several cells wide
COMMAND = "python -m benchmarks.likelihoods"
SMOKE = {"ROWS": 10, "SAMPLES": 50, "CHAINS": 2, "TEMPERATURES": 3, "EPOCHS": 1, "AXIS": np.linspace(-8, 8, 40)}


def digits(split):
    return ka.datasets.arrays(ka.datasets.load("digits", split, binarize="static", shuffle=False))


def log_sum(model, z, log_p, x):
    """Returns log sum_c p(x|z_c) p(c) in float64 for binary rows x, over codes `(C, D)` with log weights `(C,)`."""
    logits = np.asarray(model.decoder.predict(z, batch_size=4096, verbose=0), "float64").reshape(len(z), -1)
    constant = log_p - np.logaddexp(0, logits).sum(axis=1)
    return np.concatenate([logsumexp(row[None] @ logits.T + constant, axis=1) for row in x.reshape(len(x), -1)])


def plane(seed):
    """Returns a trained VAE with two latent dimensions, rows, and their exact log p(x)."""
    shape = (8, 8, 1)
    encoder = ka.networks.mlp_encoder(shape, 2, (64,), parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(2, shape, (64,)), seed=seed)
    model.compile("adam")
    model.fit(digits("train"), batch_size=100, epochs=EPOCHS, verbose=0)
    x = digits("test")[:ROWS]
    z = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2).astype("float32")
    cell = 2 * np.log(AXIS[1] - AXIS[0])
    return model, x, log_sum(model, z, norm.logpdf(z.astype("float64")).sum(axis=1) + cell, x)


def bits(seed):
    """Returns a trained model with a binary code, rows, and their exact log p(x)."""
    shape = (8, 8, 1)
    encoder = ka.networks.mlp_encoder(shape, BITS, (64,))
    decoder = ka.networks.mlp_decoder(BITS, shape, (64,))
    model = ka.SemanticHashing(encoder, decoder, "bernoulli", beta=1.0, contrast_weight=0.0, seed=seed)
    model.compile("adam")
    model.fit(digits("train"), batch_size=100, epochs=EPOCHS, verbose=0)
    x, z = digits("test")[:ROWS], np.array(list(itertools.product([0, 1], repeat=BITS)), "float32")
    return model, x, log_sum(model, z, np.full(len(z), -BITS * np.log(2)), x)


def signs(seed):
    """Returns a VAE whose decoder sees only the signs of its codes, rows, and their exact log p(x), as in `bits`."""
    model, x, exact = bits(seed)
    z = keras.Input((BITS,))
    decoder = keras.Model(z, model.decoder(0.5 + 0.5 * keras.ops.sign(z)))
    row = keras.Input(model.event_shape)
    mean = 0.7 * keras.ops.tanh(model.encoder(row))  # a mean with the likelier sign; as wide as the prior
    encoder = keras.Model(row, keras.layers.Concatenate()([mean, keras.ops.full_like(mean, np.log(np.expm1(1.0)))]))
    return ka.VAE(encoder, decoder, seed=seed), x, exact


def linear(seed):
    """Returns a linear-Gaussian model with a poor encoder, rows drawn from it, and their exact log p(x)."""
    rng, width, latent = np.random.default_rng(seed), 8, 3
    w, b = rng.normal(size=(latent, width)), rng.normal(size=width)
    encoder = ka.networks.mlp_encoder((width,), latent, (), parameters=2)
    covariance = np.linalg.inv(w @ w.T + np.eye(latent))
    kernel = np.concatenate([w.T @ covariance, np.zeros((width, latent))], axis=1)
    deviation = 1.3 * np.sqrt(np.diag(covariance))  # slightly wider than the posterior, and axis-aligned
    encoder.layers[-1].set_weights([kernel, np.concatenate([-b @ w.T @ covariance, np.log(np.expm1(deviation))])])
    decoder = ka.networks.mlp_decoder(latent, (width,), ())
    decoder.layers[1].set_weights([w, b])
    exact = multivariate_normal(b, w.T @ w + np.eye(width))
    x = exact.rvs(ROWS, random_state=seed).astype("float32")
    return ka.VAE(encoder, decoder, "gaussian", seed=seed), x, exact.logpdf(x)


def main(_):
    keras.utils.set_random_seed(options.SEED.value)
    made = []
    ways = {
        f"importance sampling, {SAMPLES:,} samples": lambda model, x: likelihood.negative_log_likelihood(
            model, x, SAMPLES, options.SEED.value
        ),
        f"annealing, {CHAINS} chains of {TEMPERATURES} temperatures": lambda model, x: (
            likelihood.annealed_importance_sampling(model, x, CHAINS, TEMPERATURES, seed=options.SEED.value)
        ),
    }
    for build in (plane, bits, signs, linear):
        model, x, exact = build(options.SEED.value)
        for name, estimate in ways.items():
            if build is bits and name.startswith("annealing"):
                continue  # annealing moves in small steps, and bits cannot
            start = time.perf_counter()
            found = estimate(model, x)
            error = float(np.sqrt(np.sum(found.monte_carlo_error**2)) / ROWS)
            made.append(
                results.row(
                    claim=f"{build.__name__}: {name}",
                    data=f"{ROWS} rows, exact mean {exact.mean():.3f} nats",
                    metric="distance from the exact mean of log p(x), nats",
                    better="lower",
                    ours=abs(float(np.mean(found.log_prob - exact))),
                    standard_error=error,
                    required=min(3 * error, ABSOLUTE),
                    seeds=[options.SEED.value],
                    seconds=time.perf_counter() - start,
                    command=COMMAND,
                )
            )
            print(made[-1]["claim"], made[-1]["ours"], made[-1]["standard_error"], flush=True)
    results.write("likelihoods", made)


if __name__ == "__main__":
    options.run(main)
