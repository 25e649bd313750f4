"""The cost of a regularised critic, and what the compiled loop saves: `python -m benchmarks.critics`.

Three generative adversarial networks differ in their critic: plain, with spectral normalisation, and with a gradient
penalty. Each trains in the compiled loop, and in a loop of single steps without XLA. All runs alternate.
"""

import time

import keras
import numpy as np
import tensorflow as tf

import keras_ae as ka
from benchmarks import options, results

SIZES, BATCH, STEPS, ROUNDS = (64, 512, 784), 128, 32, 8
CRITICS = ("plain", "spectral normalisation", "gradient penalty")
SMOKE = {"SIZES": (4, 16, 20), "ROUNDS": 2, "STEPS": 4}


class GAN(ka.ObjectiveModel):
    """A generator and a critic, with a gradient penalty (Gulrajani 2017) if `penalised`."""

    terms = ("discrimination", "penalty", "generation")

    def __init__(self, generator, critic, penalised, *, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.generator, self.critic, self.penalised = generator, critic, penalised

    def objectives(self):
        critic = ka.Objective(self.discriminate, [self.critic], {"penalty": 10.0})
        return {"critic": critic, "generator": ka.Objective(self.generate, [self.generator])}

    def draw(self, x, training):
        noise = tf.random.stateless_normal([tf.shape(x)[0], SIZES[0]], self.next_seed())
        return self.generator(noise, training=training)

    def discriminate(self, x, y, training):
        made = tf.stop_gradient(self.draw(x, training))
        scores = [self.critic(each, training=training)[:, 0] for each in (x, made)]
        slope = tf.zeros_like(scores[0])
        if self.penalised:
            share = tf.random.stateless_uniform([tf.shape(x)[0], 1], self.next_seed())
            between = share * x + (1 - share) * made
            with tf.GradientTape() as tape:
                tape.watch(between)
                value = self.critic(between, training=training)
            slope = (tf.norm(tape.gradient(value, between) + 1e-12, axis=-1) - 1) ** 2
        return {"discrimination": tf.nn.softplus(-scores[0]) + tf.nn.softplus(scores[1]), "penalty": slope}

    def generate(self, x, y, training):
        return {"generation": tf.nn.softplus(-self.critic(self.draw(x, training), training=training))[:, 0]}


def mlp(sizes, wrap=lambda layer: layer):
    """Returns dense layers of the given widths, of which the first is the input width."""
    last = len(sizes) - 2
    hidden = [wrap(keras.layers.Dense(n, None if i == last else "relu")) for i, n in enumerate(sizes[1:])]
    return keras.Sequential([keras.Input((sizes[0],)), *hidden])


def made(critic, **compile_options):
    """Returns a compiled model."""
    keras.utils.set_random_seed(0)
    wrap = keras.layers.SpectralNormalization if critic == "spectral normalisation" else lambda layer: layer
    model = GAN(mlp(SIZES), mlp((*SIZES[:0:-1], 1), wrap), critic == "gradient penalty", seed=0)
    model.compile(keras.optimizers.Adam(1e-4), **compile_options)
    return model


def main(_):
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, SIZES[-1])).astype("float32")
    ways = {"compiled loop": {}, "single steps": {"jit_compile": False, "steps_per_execution": 1}}
    models = {(critic, way): made(critic, **how) for critic in CRITICS for way, how in ways.items()}
    seconds = {name: [] for name in models}
    for model in models.values():
        model.fit(x, batch_size=BATCH, verbose=0)  # traces and compiles
    for i in range(ROUNDS):
        for name in list(models)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            models[name].fit(x, batch_size=BATCH, verbose=0)
            seconds[name].append(time.perf_counter() - start)
    rows = []
    for critic in CRITICS:
        loop, single, plain = (
            seconds[key] for key in ((critic, "compiled loop"), (critic, "single steps"), ("plain", "compiled loop"))
        )
        for metric, ratio in (
            ("speed of the compiled loop, relative to single steps", np.divide(single, loop)),
            ("speed, relative to a plain critic", np.divide(plain, loop)),
        ):
            logs = np.log(ratio)
            mean, error = float(np.exp(logs.mean())), float(logs.std(ddof=1) / np.sqrt(len(logs)))
            rows.append(
                results.row(
                    claim=f"critic: {critic}",
                    data=f"random rows, networks {SIZES}",
                    metric=metric,
                    better="higher",
                    ours=mean,
                    standard_error=mean * error,
                    seeds=[0],
                    seconds=sum(loop),
                    command="python -m benchmarks.critics",
                )
            )
            print(f"{critic}, {metric}: {mean:.3f}")
    results.write(
        "critics",
        [
            row
            for row in rows
            if (row["claim"], row["metric"]) != ("critic: plain", "speed, relative to a plain critic")
        ],
    )


if __name__ == "__main__":
    options.run(main)
