"""Run by test_distribute.py in separate processes, because devices and clusters are set before TensorFlow starts.

Usage: python distribute_task.py mirrored|multi_worker OUTPUT.json
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_ae as ka
from keras_ae.training import distribute

X = np.random.default_rng(0).normal(size=(512, 2)) @ np.random.default_rng(1).normal(size=(2, 8))
X = X.astype("float32")
WEIGHTS = np.random.default_rng(2).uniform(0.0, 2.0, len(X)).astype("float32")
EPOCHS = 4


def make(cls, strategy, optimizer=None, seed=0, **compile_options):
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        width = ka.posteriors.get(cls.default_posterior, 2).parameters_for(2)
        encoder = ka.networks.mlp_encoder((8,), width, hidden=(16,))
        model = cls(encoder, ka.networks.mlp_decoder(2, (8,), hidden=(16,)), "gaussian")
        model.compile(optimizer or keras.optimizers.SGD(0.05), **compile_options)
    return model


def fit(model, rows=None, epochs=EPOCHS, **options):
    history = model.fit(X[:rows], batch_size=64, epochs=epochs, shuffle=False, verbose=0, **options)
    return history.history["loss"]


def weights(model):
    return [weight.numpy() for weight in (*model.encoder.weights, *model.decoder.weights)]


def difference(model, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(weights(model), weights(other), strict=True))


def run_mirrored(folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = distribute.get("default"), distribute.get("mirrored")
    results = {"replicas": two.num_replicas_in_sync, "is_chief": distribute.is_chief(two)}

    def pair(cls, **fit_options):
        # Without a graph on one device, because each case below would trace a new one.
        models = [make(cls, one, run_eagerly=True), make(cls, two, jit_compile=False)]
        losses = [fit(model, **fit_options) for model in models]
        return models, losses

    (vae_of_one, vae), results["vae_losses"] = pair(ka.VAE, validation_data=(X[:65],))
    seeds = two.experimental_local_results(two.run(vae.next_seed))
    results["seeds"] = [seed.numpy().tolist() for seed in seeds]
    models, results["autoencoder_losses"] = pair(ka.Autoencoder)

    # Two models for all cases, because tracing a step for two replicas takes longer than running it.
    start = weights(make(ka.Autoencoder, one))

    def again_from_start(**options):
        for model in models:
            for variable, value in zip((*model.encoder.weights, *model.decoder.weights), start, strict=True):
                variable.assign(value)
            fit(model, epochs=1, **options)

    # Batches: one of 64 rows; 64 and 5 rows; 64 rows and 1 row, which leaves the second replica without rows.
    cases = {
        "one step": (64, None),
        "uneven, weighted": (69, WEIGHTS[:69]),
        "empty replica": (65, None),
        "empty replica, weighted": (65, WEIGHTS[:65]),
    }
    results["weights"], results["evaluated"] = {}, {}
    for name, (rows, weight) in cases.items():
        again_from_start(rows=rows, sample_weight=weight)
        results["weights"][name] = difference(*models)
        results["evaluated"][name] = [
            model.evaluate(X[:rows], sample_weight=weight, return_dict=True, verbose=0) for model in models
        ]

    vae.save(folder / "vae.keras")
    with two.scope():
        again = keras.saving.load_model(folder / "vae.keras")
    vae_of_one = keras.saving.load_model(folder / "vae.keras")
    results["reloaded"] = difference(vae, again)
    methods = {
        "encode": lambda model: model.encode(X[:65]),
        "log_prob": lambda model: model.log_prob(X[:3], num_samples=20),
        "sample": lambda model: model.sample(5, seed=3),
        "predict": lambda model: model.predict(X[:65], verbose=0),
    }
    results["methods"] = {
        name: float(np.abs(method(vae) - method(vae_of_one)).max()) for name, method in methods.items()
    }
    fit(vae, rows=128, epochs=1)
    fit(again, rows=128, epochs=1)
    results["went on"] = difference(vae, again)

    # Compiled for one device: with XLA and many steps per execution, which two replicas cannot use.
    make(ka.Autoencoder, one).save(folder / "one.keras")
    with two.scope():
        model = keras.saving.load_model(folder / "one.keras")
    results["saved by one"] = fit(model, epochs=1)[0]

    several_steps = make(ka.Autoencoder, two, steps_per_execution=4)
    fit(several_steps, rows=320, epochs=1)
    again_from_start(rows=320)
    results["steps_per_execution"] = difference(several_steps, models[1])

    adam = keras.optimizers.Adam(0.01)  # created outside the scope
    model = make(ka.Autoencoder, two, adam)
    fit(model, rows=128, epochs=1)
    results["iterations"] = int(model.optimizer.iterations.numpy())
    model.decoder.layers[-2].bias.assign([np.inf] * 8)
    try:
        fit(model, rows=128, epochs=1)
    except FloatingPointError as error:
        results["diverged"] = str(error)

    model = make(ka.Autoencoder, one)
    try:
        with two.scope():
            model.compile("adam")
    except ValueError as error:
        results["outside"] = str(error)
    try:
        with two.scope():
            model.fit(X, verbose=0)
    except ValueError as error:
        results["outside_fit"] = str(error)
    return results


def run_multi_worker(folder):
    strategy = distribute.get("multi_worker")
    worker = strategy.cluster_resolver.task_id
    # Only worker 0 starts with the seed of the single process; the others must take over its weights and noise.
    model = make(ka.VAE, strategy, seed=worker)
    losses = fit(model, validation_data=(X[:65],))  # 65 rows: one worker has none of the last batch
    results = {
        "replicas": strategy.num_replicas_in_sync,
        "is_chief": distribute.is_chief(strategy),
        "losses": losses,
        "evaluate": model.evaluate(X[:65], return_dict=True, verbose=0),
        "weights": [weight.tolist() for weight in weights(model)],
        "codes": model.encode(X[:3]).tolist(),
    }
    if distribute.is_chief(strategy):  # works without the other workers
        model.save(folder / "vae.keras")
        ka.export(model, str(folder / "exported"))
    return results


if __name__ == "__main__":
    output = pathlib.Path(sys.argv[2])
    run = {"mirrored": run_mirrored, "multi_worker": run_multi_worker}[sys.argv[1]]
    output.write_text(json.dumps(run(output.parent)))
