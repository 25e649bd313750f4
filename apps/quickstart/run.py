"""Runs the quickstart, from data to report."""

import pathlib
import time

import keras_ae as ka
from keras_ae.training import distribute
from keras_ae.utils import plain

from .. import checkpoints, common
from . import evaluate, settings, train


def run(dataset, data, kind, latent_dim, max_minutes, export_dir, seed, strategy, checkpoint_dir):
    """Trains, evaluates, exports and plots one model; prints and writes the report. The arguments are the flags."""
    start = time.perf_counter()
    common.require("matplotlib", *(["PIL"] if pathlib.Path(dataset).is_dir() else []))
    strategy = common.strategy(strategy)
    folder = common.writable(pathlib.Path(export_dir)).parent
    chosen = settings.of(dataset)
    flags = {"dataset": dataset, "data": data, "kind": kind, "latent_dim": latent_dim or chosen["latent_dim"]}
    flags |= {"seed": seed, "strategy": type(strategy).__name__, "settings": chosen}
    with checkpoints.opened(checkpoint_dir, "quickstart", flags, max_minutes) as checkpoint:
        images = train.load(dataset, data, kind, seed, chosen)
        latent_dim, most = flags["latent_dim"], min(len(images.images), images.images[0].size)
        if latent_dim > most:
            raise common.UserError(
                f"--latent_dim: expected at most {most}, the limit of PCA for these images; received {latent_dim}."
            )
        options = {"strategy": strategy, "max_minutes": max_minutes, "checkpoint": checkpoint}
        model, train_seconds = train.train(kind, images, latent_dim, chosen, seed=seed, **options)
        if distribute.is_chief(strategy):  # with several workers, only the chief evaluates, writes and prints
            conclude(model, images, chosen, flags, train_seconds, folder, export_dir, start)
        if checkpoint is not None:
            checkpoint.done(strategy)


def conclude(model, images, chosen, flags, train_seconds, folder, export_dir, start):
    """Evaluates, exports and plots a trained model; prints and writes the report."""
    seed, dataset, latent_dim = flags["seed"], flags["dataset"], flags["latent_dim"]
    linear = evaluate.LinearModel(latent_dim, images.images, seed)
    figures = {"dataset": dataset, "kind": flags["kind"], "seed": seed, "latent_dim": latent_dim}
    # int(iterations) fails under a strategy.
    figures["epochs"] = int(model.optimizer.iterations.numpy()) / images.batches
    figures |= evaluate.numbers(model, linear, images, chosen, seed)
    figures["train_seconds"] = train_seconds
    with common.user_input():
        card = {"data": dataset, "licence": chosen["licence"], "seed": seed, "command": common.command()}
        path = ka.export(model, export_dir, card=card | {"numbers": plain.json_values(figures)})
    figures |= {"export_max_error": evaluate.export_error(model, path, images.test[:64], seed), "export": path}
    common.keep(figures, folder)
    with common.user_input():
        paths = evaluate.draw(model, linear, images, folder, seed)
    common.report(figures | {"seconds": time.perf_counter() - start, "figures": paths}, folder)
