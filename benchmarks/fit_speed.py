"""Speed of one model's `fit`, measured in this process: `python benchmarks/fit_speed.py <model> [--seconds=5]`.

Prints one JSON object: images (rows) per second, and the share of the machine that other programs used meanwhile. The
script uses only the public API of `keras_ae`, so it can measure another checkout on PYTHONPATH, as
`benchmarks.throughput --baseline` does. All models train with Adam on two CPU threads, on shuffled rows in memory, for
whole epochs including the partial batch. Compilation and warm-up are not timed.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import time
from collections import namedtuple

import numpy as np

THREADS = 2
BATCH = 128
LATENT = 32
PIXEL_MEAN = 0.13
SEED = 0
IMPORTANCE_SAMPLES = 50
CRITIC = (256, 256)  # hidden units
WAE_WEIGHT = 10.0
WORDS = 2_000
WARM_UP_EPOCHS = 2  # the first compiles, the second measures the duration of an epoch
SHAPE = (28, 28, 1)

Workload = namedtuple("Workload", "model rows data", defaults=(lambda rows: (images(rows),),))
Workload.__doc__ = "Functions that build an untrained model and make its data, and how many rows these have."


def set_up_tensorflow():
    """Imports TensorFlow and sets its number of threads; call this before anything else imports TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    return tf


def images(count):
    """Returns `count` random binary images as float32 (count, 28, 28, 1)."""
    draws = np.random.default_rng(SEED).random((count, *SHAPE), dtype=np.float32)
    return (draws < PIXEL_MEAN).astype(np.float32)


def labelled(count):
    """Returns random binary images, and labels from ten classes."""
    return images(count), np.random.default_rng(SEED).integers(0, 10, count)


def documents(count):
    """Returns word counts, float32 (count, WORDS): 60 words per document, from a few common and many rare words."""
    share = 1 / np.arange(1, WORDS + 1)
    return (np.random.default_rng(SEED).multinomial(60, share / share.sum(), count).astype("float32"),)


def mlp(parameters, **options):
    """Returns encoder and decoder of 784-512-32-512-784; two params per latent dimension are mean and scale."""
    from keras_ae import networks

    return (
        networks.mlp_encoder(SHAPE, LATENT, (512,), parameters=parameters, **options),
        networks.mlp_decoder(LATENT, SHAPE, (512,), **options),
    )


def vae():
    import keras_ae as ka

    return ka.VAE(*mlp(2), seed=SEED)


def conv_vae():
    import keras_ae as ka

    return ka.VAE(
        ka.networks.conv_encoder(SHAPE, LATENT, (32, 64), parameters=2),
        ka.networks.conv_decoder(LATENT, SHAPE, (64, 32)),
        seed=SEED,
    )


def iwae():
    import keras_ae as ka

    encoder = ka.networks.mlp_encoder(SHAPE, 50, (200, 200), parameters=2, activation="tanh")
    decoder = ka.networks.mlp_decoder(50, SHAPE, (200, 200), activation="tanh")
    return ka.IWAE(encoder, decoder, importance_samples=IMPORTANCE_SAMPLES, seed=SEED)


def cvae():
    import keras_ae as ka

    return ka.CVAE(*mlp(2, condition_shape=(10,)), num_classes=10, seed=SEED)


def autoencoder():
    import keras_ae as ka

    return ka.Autoencoder(*mlp(1), "bernoulli", seed=SEED)


def adversarial():
    """Returns an autoencoder whose critic pulls the codes to a normal distribution: two objectives and optimizers."""
    import keras
    import tensorflow as tf

    import keras_ae as ka
    from keras_ae.training import Objective

    class Adversarial(ka.Autoencoder):
        terms = ("discrimination", "reconstruction", "adversarial")

        def __init__(self, encoder, decoder, critic, **kwargs):
            super().__init__(encoder, decoder, "bernoulli", **kwargs)
            self.critic = critic
            self.noise = keras.random.SeedGenerator(SEED)

        def objectives(self):
            return {
                "critic": Objective(self.discriminate, [self.critic]),
                "autoencoder": Objective(self.reconstruct_and_deceive, [self.encoder, self.decoder]),
            }

        def discriminate(self, x, y, training):
            codes = tf.stop_gradient(self.encoder(x, training=training))
            draws = keras.random.normal(tf.shape(codes), seed=self.noise)
            drawn, made = (self.critic(each, training=training)[:, 0] for each in (draws, codes))
            return {"discrimination": tf.nn.softplus(-drawn) + tf.nn.softplus(made)}

        def reconstruct_and_deceive(self, x, y, training):
            codes = self.encoder(x, training=training)
            logits = self.decoder(codes, training=training)
            errors = tf.nn.sigmoid_cross_entropy_with_logits(x, logits)
            adversarial = tf.nn.softplus(-self.critic(codes, training=training)[:, 0])
            return {"reconstruction": tf.reduce_sum(errors, axis=[1, 2, 3]), "adversarial": adversarial}

    critic = keras.Sequential(
        [keras.Input((LATENT,)), keras.layers.Dense(256, "leaky_relu"), keras.layers.Dense(1)], name="critic"
    )
    return Adversarial(*mlp(1), critic, seed=SEED)


def aae():
    """Returns an adversarial autoencoder with a Gaussian posterior, as that of pythae has."""
    import keras_ae as ka

    return ka.AAE(*mlp(2), ka.networks.code_critic(LATENT, CRITIC), posterior="diagonal", seed=SEED)


def wae(critic=False):
    """Returns a Wasserstein autoencoder, by MMD or by a critic."""
    import keras_ae as ka

    divergence = ka.networks.code_critic(LATENT, CRITIC) if critic else "mmd"
    return ka.WAE(*mlp(1), divergence, "bernoulli", weight=WAE_WEIGHT, seed=SEED)


def semantic_hashing():
    import keras_ae as ka

    encoder = ka.networks.mlp_encoder((WORDS,), LATENT, (512,))
    return ka.SemanticHashing(encoder, ka.networks.mlp_decoder(LATENT, (WORDS,), ()), seed=SEED)


WORKLOADS = {
    "mlp": Workload(vae, 60_000),
    "conv": Workload(conv_vae, 25_600),
    "iwae": Workload(iwae, 3_840),
    "cvae": Workload(cvae, 60_000, labelled),
    "autoencoder": Workload(autoencoder, 60_000),
    "adversarial": Workload(adversarial, 60_000),
    "aae": Workload(aae, 60_000),
    "wae_mmd": Workload(wae, 60_000),
    "wae_gan": Workload(functools.partial(wae, critic=True), 60_000),
    "semantic_hashing": Workload(semantic_hashing, 20_000, documents),
}


def timed(model, data, **compile_arguments):
    """Compiles a model with Adam.

    Args:
        model: Keras model.
        data: tuple of arrays, x and optionally y.
        **compile_arguments: further arguments of `compile`.

    Returns:
        function of the number of epochs: trains the model, and returns the seconds from the start of the first epoch
        to the end of the last, and the logged loss of each epoch.
    """
    import keras

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 0:
                self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.start

    model.compile("adam", **compile_arguments)

    def train(epochs):
        clock = Clock()
        history = model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock]).history
        return clock.seconds, [float(loss) for loss in history["loss"]]

    return train


def measure(name, seconds, rows=None):
    """Trains a model of `WORKLOADS` for about `seconds`, in whole epochs, and returns the dict that is printed."""
    set_up_tensorflow()
    import keras

    import keras_ae

    keras.utils.set_random_seed(SEED)
    workload = WORKLOADS[name]
    rows = rows or workload.rows
    train = timed(workload.model(), workload.data(rows))
    for _ in range(WARM_UP_EPOCHS):
        epoch_seconds, _ = train(1)
    epochs = max(1, round(seconds / epoch_seconds))
    before, own, start = machine_cpu_seconds(), time.process_time(), time.perf_counter()
    duration, losses = train(epochs)
    own, elapsed = time.process_time() - own, time.perf_counter() - start
    if not all(map(math.isfinite, losses)):
        raise RuntimeError(f"{name} logged the losses {losses}.")
    return {
        "images_per_second": epochs * rows / duration,
        "seconds": duration,
        "foreign": foreign_share(before, machine_cpu_seconds(), own, elapsed),
        "loss": losses[-1],
        "package": str(pathlib.Path(keras_ae.__file__).parent),
    }


def machine_cpu_seconds():
    """Returns the CPU seconds since boot that the machine was busy, or that its host withheld; None outside Linux."""
    stat = pathlib.Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, stat.read_text().split(maxsplit=9)[1:9])
    busy = user + nice + system + interrupts + soft_interrupts + stolen
    return busy / os.sysconf("SC_CLK_TCK")


def foreign_share(before, after, own, elapsed):
    """Returns the share of the machine that other programs, or the host, used meanwhile; None if unknown."""
    if before is None:
        return None
    return max(0.0, after - before - own) / (elapsed * os.cpu_count())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=WORKLOADS)
    parser.add_argument("--seconds", type=float, default=5.0, help="About how long to train, after a warm-up.")
    parser.add_argument("--rows", type=int, help="Rows of the data, instead of the published setting.")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.model, arguments.seconds, arguments.rows)))


if __name__ == "__main__":
    main()
