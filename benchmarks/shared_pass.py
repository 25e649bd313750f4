"""Savings from a shared forward pass in an adversarial autoencoder: `python -m benchmarks.shared_pass`.

Counts the floating-point operations of a training step, and times it, for two mathematically equivalent models: in one,
the critic and the encoder share the codes of a batch; in the other, each objective computes its own. `ka.AAE`, whose
encoder has two optimizers, is counted, too. The minimum is derived by hand: one matrix product forward, and one
backward for each gradient that a player needs.
"""

import itertools
import time

import keras
import numpy as np
import tensorflow as tf

import keras_ae as ka
from benchmarks import options, results

SIZES, BATCH, STEPS, ROUNDS = (784, 1000, 1000, 8), 128, 32, 12
CRITIC = (8, 1000, 1000, 1)
SMOKE = {"SIZES": (20, 16, 4), "CRITIC": (4, 16, 1), "ROUNDS": 2}


class Separate(ka.Autoencoder):
    """An adversarial autoencoder whose objectives each compute the codes of a batch."""

    terms = ("discrimination", "reconstruction", "adversarial")

    def __init__(self, encoder, decoder, critic, *, seed=None, **kwargs):
        super().__init__(encoder, decoder, prior="normal", seed=seed, **kwargs)
        self.critic = critic

    def objectives(self):
        critic = ka.Objective(self.discriminate, [self.critic])
        return {"critic": critic, "autoencoder": ka.Objective(self.loss_terms, [self.encoder, self.decoder])}

    def discriminate(self, x, y, training, q=None):
        z = (self.posterior(x, training=training) if q is None else q).mean()
        drawn = self.prior.sample(tf.shape(x)[0], seed=self.next_seed())
        scores = [self.critic(each, training=training) for each in (drawn, tf.stop_gradient(z))]
        return {"discrimination": (tf.nn.softplus(-scores[0]) + tf.nn.softplus(scores[1]))[:, 0]}

    def loss_terms(self, x, y, training, q=None):
        q = self.posterior(x, training=training) if q is None else q
        adversarial = tf.nn.softplus(-self.critic(q.mean(), training=training))[:, 0]
        return super().loss_terms(x, y, training, q) | {"adversarial": adversarial}


class Shared(Separate):
    """The same model with one pass through the encoder per step."""

    def shared_pass(self, x, y, training):
        return self.posterior(x, training=training)


def mlp(sizes):
    """Returns dense layers of the given widths, of which the first is the input width."""
    last = len(sizes) - 2
    hidden = [keras.layers.Dense(n, activation=None if i == last else "relu") for i, n in enumerate(sizes[1:])]
    return keras.Sequential([keras.Input((sizes[0],)), *hidden])


def made(model_class):
    """Returns a compiled model."""
    keras.utils.set_random_seed(0)
    model = model_class(mlp(SIZES), mlp(SIZES[::-1]), mlp(CRITIC), seed=0)
    model.compile(keras.optimizers.SGD(1e-3))
    return model


def operations(model):
    """Returns the floating-point operations in the matrix products of one training step."""
    step = tf.function(model.train_step, autograph=False)
    graph = step.get_concrete_function(tf.TensorSpec([BATCH, SIZES[0]], tf.float32)).graph
    return sum(_operations(operation) for operation in _run(graph) if operation.type == "MatMul")


def _run(graph):
    """Returns the operations that the graph's outputs and side effects need; TensorFlow does not run the others."""
    waiting, found = [*(output.op for output in graph.outputs), *graph.control_outputs], {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [*(each.op for each in operation.inputs), *operation.control_inputs]
    return found.values()


def _operations(product):
    rows, columns = product.outputs[0].shape
    inner = product.inputs[0].shape[0 if product.get_attr("transpose_a") else 1]
    return 2 * rows * inner * columns


def least(encoder_players=1):
    """Returns the minimum number of these operations, where so many players train the encoder."""

    def products(sizes, first_input_gradient, weights=True, players=1):
        total = 0
        for i, (n, m) in enumerate(itertools.pairwise(sizes)):
            backward = (1 if weights else 0) + (1 if i or first_input_gradient else 0)
            total += 2 * BATCH * n * m * (1 + players * backward)
        return total

    critic = 2 * products(CRITIC, first_input_gradient=False)  # on drawn codes and on the codes of the batch
    adversarial = products(CRITIC, first_input_gradient=True, weights=False)
    encoder = products(SIZES, first_input_gradient=False, players=encoder_players)
    return critic + adversarial + encoder + products(SIZES[::-1], first_input_gradient=True)


def main(_):
    x = (np.random.default_rng(0).random((BATCH * STEPS, SIZES[0])) > 0.5).astype("float32")
    models = {"separate passes": made(Separate), "one shared pass": made(Shared)}
    counts = {name: operations(model) for name, model in models.items()}
    for model in models.values():
        model.fit(x, batch_size=BATCH, verbose=0)  # compiles
    seconds = {name: [] for name in models}
    for i in range(ROUNDS):
        for name in list(models)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            models[name].fit(x, batch_size=BATCH, verbose=0)
            seconds[name].append(time.perf_counter() - start)
    logs = np.log(np.divide(*seconds.values()))
    shared = {"claim": "adversarial autoencoder, one shared pass", "data": f"random rows, networks {SIZES}, SGD"}
    shared |= {"seeds": [0], "command": "python -m benchmarks.shared_pass"}
    rows = [
        results.row(
            **shared | {"claim": f"adversarial autoencoder, {name}"},
            metric="FLOPs per step, relative to the minimum",
            better="lower",
            required=1.05 if name == "one shared pass" else None,
            ours=count / least(),
            seconds=sum(seconds[name]),
        )
        for name, count in counts.items()
    ]
    rows.append(
        results.row(
            **shared | {"claim": "AAE"},
            metric="FLOPs per step, relative to the minimum",
            better="lower",
            required=1.05,
            ours=operations(made(ka.AAE)) / least(encoder_players=2),
            seconds=0.0,
        )
    )
    rows.append(
        results.row(
            **shared,
            metric="speed, relative to separate passes",
            better="higher",
            ours=float(np.exp(logs.mean())),
            standard_error=float(np.exp(logs.mean()) * logs.std(ddof=1) / np.sqrt(len(logs))),
            seconds=sum(map(sum, seconds.values())),
        )
    )
    for row in rows:
        print(f"{row['claim']}, {row['metric']}: {row['ours']:.3f}")
    results.write("shared_pass", rows)


if __name__ == "__main__":
    options.run(main)
