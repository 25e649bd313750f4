"""Trains a model that hashes raw text and exports it for TensorFlow Serving.

keras-ae semantic_hashing train
keras-ae semantic_hashing train --data=20_newsgroups.tar.xz --bits=64

Labels are not used. A hash of the id holds out one document in five, the queries of
`keras-ae semantic_hashing evaluate`, unless --all_documents is given.
"""

import pathlib
import random
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from scipy import sparse

import keras_ae as ka
from keras_ae import datasets, serving
from keras_ae.datasets import text
from keras_ae.distributions import relaxed_bits
from keras_ae.evaluation import retrieval
from keras_ae.training import distribute
from keras_ae.utils import files, plain

from .. import checkpoints, common
from ..progress import progress_bar
from . import networks, served, settings

_EXAMPLE = "The shuttle reached its orbit, and the crew opened the bay doors."


def define_flags():
    return {
        "data": common.define_data(
            "Training data: a folder or tar file of documents, or a .jsonl or .csv file. By default, the docstrings of "
            "Python's standard library."
        ),
        "text_column": flags.DEFINE_string("text_column", "text", "Key or column of the text in .jsonl or .csv files."),
        "bits": flags.DEFINE_integer(
            "bits",
            32,
            "Length of a code, a multiple of 8. More bits separate documents better but make search slower and larger.",
            lower_bound=8,
            upper_bound=1024,
        ),
        "method": flags.DEFINE_enum(
            "method",
            "semantic_hashing",
            list(settings.METHODS),
            "Method to train: the default, or one of the published methods that it was compared with.",
        ),
        "all_documents": flags.DEFINE_bool(
            "all_documents",
            False,
            "Trains on the evaluation queries too, for production use; the model then cannot be evaluated on this "
            "corpus.",
        ),
        "max_minutes": common.define_max_minutes(),
        "export_dir": common.define_export_dir(served.EXPORT_DIR),
        "seed": common.define_seed(),
        "strategy": common.define_strategy(),
        "checkpoint_dir": common.define_checkpoint_dir(),
    }


def run(data, text_column, bits, method, all_documents, max_minutes, export_dir, seed, strategy, checkpoint_dir):
    """Reads data, trains and exports; prints and writes the report. The arguments are the flags."""
    start = time.perf_counter()
    if bits % 8:
        raise common.UserError(f"--bits: expected a multiple of 8, as codes are packed into bytes; received {bits}.")
    strategy = common.strategy(strategy)
    folder = common.writable(pathlib.Path(export_dir)).parent
    chosen = settings.of(method)
    flags = {"data": data, "text_column": text_column, "bits": bits, "method": method, "all_documents": all_documents}
    flags |= {"seed": seed, "strategy": type(strategy).__name__, "settings": chosen}
    with checkpoints.opened(checkpoint_dir, "semantic_hashing", flags, max_minutes) as checkpoint:
        with common.user_input():
            corpus = text.Documents(data or "docstrings", text_column)
            texts, read = sample(corpus, chosen["documents"], all_documents, seed)
            features = ka.layers.TfIdf.of(texts, chosen["max_words"], min(chosen["min_df"], 1 + len(texts) // 10))
            x = rows(features, texts)
        options = {"strategy": strategy, "max_minutes": max_minutes, "checkpoint": checkpoint}
        with common.user_input():
            model, seconds = train(chosen, x, bits, seed=seed, **options)
        if distribute.is_chief(strategy):  # with several workers, only the chief writes and prints
            name = pathlib.Path(data or "docstrings").name
            made_of = {"data": name, "licence": settings.licence(name), "method": method, "bits": bits, "seed": seed}
            documents = {"documents": read, "skipped": corpus.skipped}
            figures = documents | measured(model, x, chosen) | {"train_seconds": seconds}
            with common.user_input():
                card = made_of | {"command": common.command(), "numbers": plain.json_values(figures)}
                path = export(model, features, export_dir, card)
            common.report(made_of | figures | {"seconds": time.perf_counter() - start, "export": path}, folder)
            common.hint(f"keras-ae index --model={export_dir} --data=...")
        if checkpoint is not None:
            checkpoint.done(strategy)


def measured(model, x, chosen):
    """Returns the figures of a model trained on documents x, sparse `(N, V)`."""
    made = hashes(model, x)
    bits = 8 * made.shape[1]
    correlation = np.abs(retrieval.bit_correlation(made)[~np.eye(bits, dtype=bool)])
    trained_on = int((x.getnnz(axis=1) > 0).sum())
    return {
        "trained_on": trained_on,
        "words": x.shape[1],
        "epochs": int(model.optimizer.iterations.numpy()) / max(1, trained_on // chosen["batch_size"]),
        "bit_imbalance": np.abs(retrieval.bit_balance(made) - 0.5).mean(),
        "bit_correlation": correlation.mean(),
    }


def sample(documents, most, all_documents, seed):
    """Returns the texts of a uniform sample of at most `most` training documents, and the number of training documents.

    Raises:
        ValueError: if there are fewer than two training documents.
    """
    draw, texts, n = random.Random(seed), [], 0  # nosec B311 # a sample, not a secret
    for document in progress_bar(documents, "Reading", unit=" documents"):
        if not all_documents and text.is_query(document.id):
            continue
        n += 1
        # Vitter 1985, algorithm R: each of the n documents so far is in the sample with probability most / n.
        if len(texts) < most:
            texts.append(document.text)
        elif (place := draw.randrange(n)) < most:
            texts[place] = document.text
    if len(texts) < 2:
        raise ValueError(f"--data: expected at least two documents to train on; found {len(texts)}.")
    return texts, n


def rows(features, texts):
    """Returns the TF-IDF of texts, sparse float32 `(N, V)`."""
    compute = tf.function(features, input_signature=[tf.TensorSpec([None], tf.string)])
    parts = []
    for i in progress_bar(range(0, len(texts), served.BATCH), "TF-IDF", unit=" batches"):
        batch = [each.encode("utf-8", "replace") for each in texts[i : i + served.BATCH]]
        parts.append(sparse.csr_matrix(compute(tf.constant(batch)).numpy()))
    return sparse.vstack(parts, format="csr")


def train(chosen, x, bits, *, seed, strategy=None, max_minutes=None, checkpoint=None):
    """Builds and trains a model on documents x, sparse `(N, V)`, except those without a known word.

    Args:
        chosen: dict, the result of `settings.of`.
        x, bits: the documents, and the length of a code.
        seed, strategy, max_minutes: like the flags.
        checkpoint: `checkpoints.Checkpoint` to resume from and to save to, or None.

    Returns:
        the model, and the training time in seconds, including neighbour search and pretraining, and that of killed runs
        that it resumed.

    Raises:
        ValueError: if there are fewer than two such documents, or fewer than two words.
    """
    start = time.perf_counter()
    x = x[x.getnnz(axis=1) > 0]
    if min(x.shape) < 2:
        raise ValueError(
            f"--data: expected at least two usable documents and words, found {x.shape[0]} and {x.shape[1]}: words in "
            "only one document and stop words do not count."
        )
    keras.utils.set_random_seed(seed)
    near = datasets.nearest(x, min(chosen["neighbours"], x.shape[0] - 1)) if chosen["neighbours"] else None
    data = datasets.pairs(x, near, chosen["batch_size"], seed)
    steps = chosen["epochs"] * int(data.cardinality())
    with (strategy or tf.distribute.get_strategy()).scope():
        model = networks.build(chosen, x, bits, seed)
        if chosen["pretrain"] and not (checkpoint and checkpoint.resumes):
            # Half of the time, divided among the stages.
            minutes = None if max_minutes is None else max_minutes / 2 / (len(chosen["hidden"]) + 1)
            budget = [common.TimeBudget(minutes)]
            ka.pretrain(model, x, chosen["pretrain"], chosen["batch_size"], callbacks=budget, verbose=0)
        model.compile(keras.optimizers.Adam(chosen["learning_rate"]))
    prepared = time.perf_counter() - start
    left = None if max_minutes is None else max(0.0, max_minutes - prepared / 60)
    annealing = [ka.callbacks.Annealing(max(1, int(chosen["annealed"] * steps)))] if "annealed" in chosen else []
    seconds = common.fit(
        model,
        data,
        epochs=chosen["epochs"],
        shuffle=False,  # the pairs are shuffled, and Keras would warn
        budget=common.CosineDecay(chosen["learning_rate"], steps, left),
        callbacks=annealing,
        checkpoint=checkpoint,
    )
    if hasattr(model, "set_thresholds"):
        model.set_thresholds(x.toarray())
    return model, prepared + seconds


def hashes(model, x):
    """Returns the codes of documents x, sparse `(N, V)`, as uint8 `(N, bits / 8)`; densifies x block by block."""
    blocks = (x[i : i + 1024].toarray() for i in range(0, x.shape[0], 1024))
    return np.concatenate([model.hash(block) for block in blocks])


def export(model, features, directory, card):
    """Exports the model with its preprocessing; returns the version's path. Weights are stored in half precision."""

    with tempfile.TemporaryDirectory() as folder:
        # The vocabulary becomes an asset only if it is loaded from a file.
        vocabulary = pathlib.Path(folder) / "vocabulary.txt"
        with files.naming(vocabulary):
            vocabulary.write_text("\n".join(features.vocabulary), encoding="utf-8")
        features = ka.layers.TfIdf(vocabulary, features.idf)

        def encode(text):
            x = features(text)
            p = model.probabilities(x)
            return {"code": relaxed_bits.pack(p > 0.5), "probabilities": p, "valid": known(x)}

        def tf_idf(text):
            x = features(text)
            return {"x": x, "valid": known(x)}

        inputs, example = [tf.TensorSpec([None], tf.string, name="text")], {"text": [_EXAMPLE]}
        endpoints = {
            "serving_default": serving.Endpoint(encode, inputs, example),
            "features": serving.Endpoint(tf_idf, inputs, example),
        }
        return ka.export(model, directory, endpoints=endpoints, lookups=[features.tokens], half=True, card=card)


def known(x):
    """Returns which rows have a word of the vocabulary, bool `(B,)`."""
    return tf.reduce_any(x > 0, axis=-1)


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
