"""Training on several devices or machines: distribution strategies by name, and helpers for the training step.

Create everything that has variables in the strategy's scope. `batch_size` is the global batch size:

    strategy = ka.distribute.get("mirrored")
    with strategy.scope():
        model = ka.VAE(ka.networks.mlp_encoder(...), ka.networks.mlp_decoder(...))
        model.compile("adam")
    model.fit(x, batch_size=256)
"""

import json
import os
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf


def get(name: str) -> tf.distribute.Strategy:
    """Returns a `tf.distribute.Strategy` by name.

    Args:
        name: "default" for one device; "mirrored" for all GPUs of this machine, or its logical CPUs if it has none;
            "multi_worker" for one process per task of the cluster in the environment variable TF_CONFIG. The last one
            must be created before TensorFlow does anything else. Every worker must run the same program with the same
            `keras.utils.set_random_seed`, because each worker shuffles the data itself and takes its share of the
            result.

    A step's loss is the mean over the global batch: each of the R replicas has a share of its rows, b_1, ..., b_R.

        gradient = sum_r b_r / (b_1 + ... + b_R) gradient_r

    Raises:
        ValueError: if the name is unknown, or TF_CONFIG does not describe a cluster that contains this task.

    Example: `strategy = ka.distribute.get("default")`

    See also: `is_chief`, which says whether this process should write the results.
    """
    if name not in _STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}: expected one of {', '.join(_STRATEGIES)}.")
    return _STRATEGIES[name]()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process should write reports, saved models and exports; true for exactly one worker.

    Example:

        strategy = ka.distribute.get("default")
        if ka.distribute.is_chief(strategy):    # always, in a single process
            vae.save("mnist_vae.keras")

    See also: `get`, which makes the strategy.
    """
    if not spans_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0


def spans_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas of `strategy` run in several processes."""
    # Keras uses the same private method before it reduces the results of a step.
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()


def check_scope(strategy: tf.distribute.Strategy, variables: Iterable[keras.Variable]) -> None:
    """Raises a `ValueError` unless all Keras `variables` were created in the scope of `strategy`."""
    for variable in variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise ValueError(
                f"{variable.path} was not created in the scope of {type(strategy).__name__}. Create the networks, the "
                "model and its compile() in one `with strategy.scope():` block."
            )


# Within a step


def share_of_batch(rows: tf.Tensor) -> tf.Tensor | float:
    """Returns the fraction of the global batch's rows on this replica; the fractions of all replicas sum to 1."""
    if _replicas() == 1:
        return 1.0
    rows = tf.cast(rows, tf.float32)
    return rows / tf.distribute.get_replica_context().all_reduce("SUM", rows)


def never_empty(x: Any, y: Any, sample_weight: tf.Tensor | None) -> tuple[Any, Any, tf.Tensor | None, tf.Tensor]:
    """Returns the batch and its number of rows; an empty batch becomes one row of zeros with weight 0.

    The last batch of an epoch may have fewer rows than there are replicas, but all replicas must take part in the step.
    """
    rows = tf.shape(keras.tree.flatten(x)[0])[0]
    if _replicas() == 1:
        return x, y, sample_weight, rows
    missing = tf.maximum(1 - rows, 0)

    def filled(tensor):
        if tensor is None:
            return None
        zeros = tf.zeros(tf.concat([[missing], tf.shape(tensor)[1:]], axis=0), tensor.dtype)
        return tf.ensure_shape(tf.concat([tensor, zeros], axis=0), [None, *tensor.shape[1:]])

    if sample_weight is None:
        sample_weight = tf.ones([rows])
    return *keras.tree.map_structure(filled, (x, y, sample_weight)), rows


def _replicas():
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


# TF_CONFIG

_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


def _multi_worker():
    _check_tf_config(os.environ.get("TF_CONFIG"))
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_tf_config(text):
    """Raises a `ValueError` for an invalid TF_CONFIG; TensorFlow would wait forever for workers that never start."""
    try:
        config = json.loads(text or "")
    except json.JSONDecodeError:
        raise _tf_config_error("a JSON object", text) from None
    if not isinstance(config, dict):
        raise _tf_config_error("a JSON object", text)
    cluster, task = config.get("cluster"), config.get("task")
    if not isinstance(cluster, dict) or not any(cluster.get(job) for job in ("chief", "worker")):
        raise _tf_config_error('a "cluster" with the addresses of its "worker" or "chief" tasks', cluster)
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
            raise _tf_config_error(f'a list of addresses "host:port" for the job {job!r}', addresses)
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
        raise _tf_config_error('a "task" with "type" and "index"', task)
    if task["type"] not in ("chief", "worker") or task["type"] not in cluster:
        jobs = [job for job in ("chief", "worker") if job in cluster]
        raise _tf_config_error(f"a task type that trains, one of {jobs}", task["type"])
    size = len(cluster[task["type"]])
    if task["index"] not in range(size):
        raise _tf_config_error(
            f"a task index from 0 to {size - 1}, as the cluster has {size} of type {task['type']}", task["index"]
        )


def _is_address(address):
    return isinstance(address, str) and address.rpartition(":")[0] and address.rpartition(":")[2].isdigit()


def _tf_config_error(expected, received):
    return ValueError(
        f"TF_CONFIG: expected {expected}; received {received!r}. In every process, the strategy multi_worker needs the "
        f"whole cluster and that process's own task, for example TF_CONFIG={_EXAMPLE!r}."
    )


_STRATEGIES = {
    "default": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
    "multi_worker": _multi_worker,
}
