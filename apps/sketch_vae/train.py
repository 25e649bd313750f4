"""Trains a model of drawings, and exports it for TensorFlow Serving.

keras-ae sketch_vae train
keras-ae sketch_vae train --data=cat.npz --max_minutes=45
keras-ae sketch_vae train --data=drawings/ --long=split

Data are sketch-rnn's .npz files, QuickDraw's .ndjson, SVG files, or a folder of them; several .npz files, words or
sub-folders are classes, which the model then takes as a condition.
"""

import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

import keras_ae as ka
from keras_ae.datasets import sketch_files, sketches
from keras_ae.training import distribute

from .. import checkpoints, common
from . import measures, served, settings


def define_flags():
    return {
        "data": common.define_data(
            "Drawings: a file .npz (sketch-rnn), .ndjson (QuickDraw) or .svg, or a folder of them. By default, "
            "outlines of letters."
        ),
        "kl_weight": flags.DEFINE_float(
            "kl_weight",
            None,
            "w_KL, the weight of the KL: less gives better reconstructions, more gives better new drawings. Default: "
            f"{settings.SHARED['kl_weight']}.",
            lower_bound=0.0,
        ),
        "decoder_only": flags.DEFINE_bool(
            "decoder_only", False, "Train a decoder without codes, which draws and completes, but encodes nothing."
        ),
        "long": flags.DEFINE_enum(
            "long",
            "refuse",
            ["refuse", "split"],
            f"What to do with drawings of over {settings.SHARED['max_length']} points: leave them out, or split them.",
        ),
        "max_minutes": common.define_max_minutes(),
        "export_dir": common.define_export_dir(served.EXPORT_DIR),
        "seed": common.define_seed(),
        "strategy": common.define_strategy(),
        "checkpoint_dir": common.define_checkpoint_dir(),
    }


def run(data, kl_weight, decoder_only, long, max_minutes, export_dir, seed, strategy, checkpoint_dir, chosen=None):
    """Trains and exports; prints and writes the report. Arguments: the flags, and settings in place of the default."""
    start = time.perf_counter()
    common.require("matplotlib", "fontTools", "defusedxml")
    strategy = common.strategy(strategy)
    folder = common.writable(pathlib.Path(export_dir)).parent
    chosen = chosen or settings.of(data)
    chosen |= {} if kl_weight is None else {"kl_weight": kl_weight}
    flags = {"data": data and str(data), "decoder_only": decoder_only, "long": long, "seed": seed}
    flags |= {"strategy": type(strategy).__name__, "settings": chosen}
    with checkpoints.opened(checkpoint_dir, "sketch_vae", flags, max_minutes) as checkpoint:
        with common.user_input():
            parts, facts = read(data, chosen, long)
        options = {"strategy": strategy, "max_minutes": max_minutes, "checkpoint": checkpoint}
        model, seconds = train(chosen, parts, facts, decoder_only, seed=seed, **options)
        if distribute.is_chief(strategy):  # only one of several workers writes and prints
            figures = {"train_seconds": seconds, "steps": int(model.optimizer.iterations.numpy())}
            figures |= {f"validation_{name}": value for name, value in measured(model, parts["valid"]).items()}
            name = "glyphs of matplotlib's fonts" if data is None else pathlib.Path(data).resolve().name
            licence = "not known to this program: the terms of the data's owner apply"
            made_of = {"data": name, "licence": settings.LICENCE if data is None else licence, "seed": seed}
            made_of |= {"decoder_only": decoder_only, "kl_weight": chosen["kl_weight"], "skipped": facts["skipped"]}
            made_of |= {"padding": facts["padding"], "drawings": len(parts["train"].drawings)}
            with common.user_input():
                card = made_of | {"extent": facts["extent"], "n_max": facts["n_max"], "command": common.command()}
                path = export(model, export_dir, card | {"numbers": figures})
            common.report(made_of | figures | {"seconds": time.perf_counter() - start, "export": path}, folder)
            common.hint(f"keras-ae sketch_vae draw --model={export_dir}")
        if checkpoint is not None:
            checkpoint.done(strategy)


def read(data, chosen, long):
    """Returns the drawings by split, `{split: Sketches}`, and facts about those of training.

    The facts are `n_max`, the rows of the longest drawing with its end; `scale`; `extent`, the median of the drawings'
    larger sides; `classes`; `skipped`, `{reason: count}`; and `padding`, its share of the rows of batches.

    Raises:
        ValueError: if the data cannot be read, or nothing is left to train with.
    """
    parts, skipped, classes = {}, {}, None
    for split in ("train", "valid"):
        found = sketch_files.load(data, split, classes)
        classes = found.classes
        parts[split], more = shortened(found, chosen["max_length"], long)
        for reason, count in {**found.skipped, **more}.items():
            skipped[reason] = skipped.get(reason, 0) + count
        if not parts[split].drawings:
            raise ValueError(
                f"--data: all drawings to {split} with have over {chosen['max_length']} points. Use --long=split."
            )
    train = parts["train"].drawings
    facts = {"n_max": max(map(len, train)) + 1, "scale": sketches.scale(train), "skipped": skipped}
    facts |= {"extent": float(np.median([sketches.extent(each) for each in train]))}
    facts |= {"classes": list(classes) if len(classes) > 1 and data is not None else None}
    batches = sketches.batches(train, batch_size=chosen["batch_size"], augment=False).take(50)
    return parts, facts | {"padding": sketches.padding(batches.as_numpy_iterator())}


def shortened(found, max_length, long):
    """Returns drawings of at most `max_length` points, and `{reason: count}` of those left out."""
    drawings, labels, left_out = [], [], 0
    for drawing, label in zip(found.drawings, found.labels, strict=True):
        parts = sketches.split(drawing, max_length) if long == "split" else [drawing]
        fits = all(len(part) <= max_length for part in parts)
        left_out += not fits
        if fits:
            drawings += parts
            labels += [label] * len(parts)
    made = found._replace(drawings=drawings, labels=np.array(labels, "int64"))
    return made, {f"over {max_length} points": left_out} if left_out else {}


def build(chosen, facts, decoder_only, seed):
    """Returns an untrained model."""
    latent_dim = 0 if decoder_only else chosen["latent_dim"]
    options = {"cell": chosen["cell"], "dropout": chosen["dropout"]}
    classes = facts["classes"]
    decoder = ka.networks.StrokeDecoder(
        latent_dim,
        chosen["units"],
        chosen["mixtures"],
        max_length=facts["n_max"] - 1,
        num_classes=classes and len(classes),
        **options,
    )
    encoder = None if decoder_only else ka.networks.StrokeEncoder(latent_dim, chosen["encoder_units"], **options)
    floor = 0.0 if decoder_only else chosen["kl_min"] * latent_dim
    return ka.SketchVAE(encoder, decoder, facts["scale"], kl_floor=floor, classes=classes, seed=seed)


def train(chosen, parts, facts, decoder_only, *, seed, strategy=None, max_minutes=None, checkpoint=None):
    """Builds and trains a model, or resumes from a checkpoint.

    Returns:
        the model, and the training time in seconds.
    """
    keras.utils.set_random_seed(seed)
    labels = {name: part.labels if facts["classes"] else None for name, part in parts.items()}
    batches = {
        name: sketches.batches(
            part.drawings, labels[name], batch_size=chosen["batch_size"], augment=name == "train", seed=seed
        )
        for name, part in parts.items()
    }
    steps = chosen["epochs"] * int(batches["train"].cardinality())
    with (strategy or tf.distribute.get_strategy()).scope():
        model = build(chosen, facts, decoder_only, seed)
        clip = chosen["clip"] * facts["n_max"]  # the loss is N_max times the paper's
        model.compile(keras.optimizers.Adam(chosen["learning_rate"], clipvalue=clip))
    callbacks = []
    if not decoder_only:
        end = chosen["kl_weight"] * facts["n_max"] / model.latent_dim  # likewise
        callbacks.append(ka.callbacks.ExponentialAnnealing(chosen["kl_rate"], chosen["kl_start"] * end, end))
    seconds = common.fit(
        model,
        batches["train"],
        validation_data=batches["valid"],
        epochs=chosen["epochs"],
        shuffle=False,
        budget=common.CosineDecay(chosen["learning_rate"], steps, max_minutes),
        callbacks=callbacks,
        checkpoint=checkpoint,
    )
    return model, seconds


def measured(model, part):
    """Returns the measures of a model on `Sketches`, see `measures.summary`."""
    score = tf.function(served.endpoints(model)["score"].function, autograph=False, reduce_retracing=True)
    names = ["strokes", "length", "seed", *(["condition"] if model.conditional else [])]
    found = measures.scores(
        lambda **inputs: score(*(tf.convert_to_tensor(inputs[name]) for name in names)),
        part.drawings,
        part.labels if model.conditional else None,
    )
    return measures.summary(found, model.latent_dim, model.decoder.max_length + 1)


def export(model, directory, card):
    """Exports the model with its endpoints; returns the path of the new version."""
    return ka.export(model, directory, endpoints=served.endpoints(model), card=card)


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
