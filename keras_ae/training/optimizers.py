"""The optimizers of a model's objectives: how they are chosen, copied, averaged and saved."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_ae.training.objective import Objective, trainable_variables

OptimizerLike: TypeAlias = str | keras.optimizers.Optimizer
"""A Keras optimizer, or its name."""

# Optimizers' configs do not record which variables are excluded from weight decay.
_EXCLUDED = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


@keras.saving.register_keras_serializable("keras_ae")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate schedule times a constant.

    Args:
        schedule: Keras's schedule.
        rate: float.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, rate: float) -> None:
        self.schedule, self.rate = schedule, rate

    def __call__(self, step):
        return self.rate * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "rate": self.rate}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ScaledSchedule":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["rate"])


def unscaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer that a `LossScaleOptimizer` wraps, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def for_objectives(
    optimizer: OptimizerLike | Mapping[str, OptimizerLike],
    model: keras.Model,
    players: Mapping[str, Objective],
    scales_loss: bool,
) -> dict[str, keras.optimizers.Optimizer]:
    """Returns `{name: optimizer}` with an optimizer for each objective of the model.

    Args:
        optimizer: name or instance, or `{objective name: name or instance}`. An instance is copied if several
            objectives would share it, or if it cannot be used directly, see `_fits`.
        players: `{name: Objective}`.
        scales_loss: bool, whether the loss is scaled under the `mixed_float16` policy.

    Raises:
        ValueError: if the names do not match the objectives, or an optimizer would overwrite weights with averages.
    """
    names = list(players)
    if not isinstance(optimizer, Mapping):
        optimizer = keras.optimizers.get(optimizer)
        rates = model.relative_rates
        optimizer = {name: optimizer if len(names) == 1 else copy(optimizer, rates.get(name, 1.0)) for name in names}
    if set(optimizer) != set(names):
        raise ValueError(
            f"compile() of {type(model).__name__} expects one optimizer for each of the objectives {names}; "
            f"received optimizers for {list(optimizer)}."
        )
    made: dict[str, keras.optimizers.Optimizer] = {}
    for name in names:
        instance = keras.optimizers.get(optimizer[name])
        if not _fits(instance, model.distribute_strategy, players[name]) or instance in made.values():
            instance = copy(instance)
        scaled = isinstance(instance, keras.optimizers.LossScaleOptimizer)
        if scales_loss and model.dtype_policy.name == "mixed_float16" and not scaled:
            instance = keras.optimizers.LossScaleOptimizer(instance)
        if unscaled(instance).ema_overwrite_frequency:
            raise ValueError(
                f"ema_overwrite_frequency: the optimizer of {name!r} would overwrite the weights that it trains. "
                "Leave it out: everything except fit already uses the averages."
            )
        made[name] = instance
    return made


def _fits(optimizer, strategy, player):
    """Whether the optimizer instance can train the objective directly, without being copied.

    A built optimizer holds the variables of an earlier `compile`, some of which may have been frozen since. An
    optimizer created outside the strategy's scope would count every replica's step.
    """
    inner = unscaled(optimizer)
    if not strategy.extended.variable_created_in_scope(inner._iterations.value):
        return False
    known = [id(v) for v in inner._trainable_variables] if inner.built else None
    return known is None or known == [id(v) for v in trainable_variables(player)]


def average(optimizer: keras.optimizers.Optimizer) -> list[tuple[keras.Variable, keras.Variable]]:
    """Returns `[(variable, moving average)]`, or [] unless the optimizer has `use_ema=True` and has taken a step."""
    inner = unscaled(optimizer)
    if not (inner.use_ema and inner.built):
        return []
    with tf.init_scope():  # also while a graph is being traced
        if not int(inner._iterations.numpy()):
            return []
    pairs = zip(inner._trainable_variables, inner._model_variables_moving_average, strict=True)
    return [(variable, mean) for variable, mean in pairs if mean is not None]


def copy(optimizer: keras.optimizers.Optimizer, rate: float = 1.0) -> keras.optimizers.Optimizer:
    """Returns a fresh copy of an optimizer with `rate` times its learning rate.

    It excludes the same variables from weight decay.
    """
    made = type(optimizer).from_config(optimizer.get_config())
    source, target = unscaled(optimizer), unscaled(made)
    if rate != 1:
        schedule = target._learning_rate
        is_schedule = isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
        target.learning_rate = ScaledSchedule(schedule, rate) if is_schedule else float(target.learning_rate) * rate
    for name in _EXCLUDED:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
    return made


def serialize(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Serializes an optimizer to JSON values.

    Raises:
        ValueError: if variables are excluded from weight decay by object, because a file cannot name them.
    """
    inner = unscaled(optimizer)
    if getattr(inner, _EXCLUDED[0], None):
        raise ValueError(
            "exclude_from_weight_decay(var_list=...) cannot be saved, as a file cannot name these variables. Use "
            "exclude_from_weight_decay(var_names=[...])."
        )
    pattern = getattr(inner, _EXCLUDED[1], None)
    return keras.saving.serialize_keras_object(optimizer) | {
        "not_decayed": None if pattern is None else pattern.pattern
    }


def deserialize(config: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Creates an optimizer from a config; the inverse of `serialize`."""
    config = dict(config)
    pattern = config.pop("not_decayed", None)
    optimizer = keras.saving.deserialize_keras_object(config)
    if pattern is not None:
        unscaled(optimizer).exclude_from_weight_decay(var_names=[pattern])
    return optimizer
