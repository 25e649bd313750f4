"""The training step, `compile` and `fit` that all models share.

A model declares its objectives: which networks minimise which loss terms. `ObjectiveModel` does the rest.
"""

import contextlib
import functools
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import get_stateless_scope

from keras_ae.training import distribute, feeding, fitting, logs, loop, optimizers, roles, saving, states, step
from keras_ae.training.callbacks import TEST_HOOKS, refuse_swaps
from keras_ae.training.objective import Objective, check, trainable_variables
from keras_ae.training.optimizers import OptimizerLike
from keras_ae.typing import FilePath, Logs, Rows, Terms
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation

# Methods of Keras that its own steps call, and what takes their place.
_NEVER_CALLED = {
    "compute_loss": "The loss is the weighted sum of the model's terms: override loss_terms or objectives instead.",
    "compute_metrics": "Pass metrics to compile instead, or declare a term and give it the weight 0.",
}

Callbacks: TypeAlias = Sequence[keras.callbacks.Callback] | keras.callbacks.CallbackList | None


def by_averages(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of a model's method: outside of training, networks use their averaged weights, see `averaged`."""

    @functools.wraps(method)
    def averaged(self, *args, **kwargs):
        with self.averaged():
            return method(self, *args, **kwargs)

    return averaged


class ObjectiveModel(keras.Model):
    """A Keras model trained on one or more objectives, each with its own optimizer.

    A training step updates each objective once (or `steps` times), in the order of `objectives()`:

        loss = sum_t weight_t mean_b(sample_weight_b term_t[b]) + regularisers of the objective's networks

    Each term is logged unweighted, as `sum(sample_weight term) / sum(sample_weight)` over the epoch. `loss` is the loss
    of the last objective, which also owns `self.optimizer`. Constructor arguments are recorded as passed, so subclasses
    do not need a `get_config`.

    A subclass declares `terms`, the names of all logged terms, and overrides `objectives`. It may also override

    - `y_role`: what y means to the model, see `keras_ae.training.roles`;
    - `relative_rates`: `{objective name: factor}` of the learning rate, where `compile` gets one optimizer for all;
    - `least_rows`: int, rows that a batch of training needs, such as 2 for terms over pairs of rows;
    - `saves_gradients`: bool, whether exports have the custom gradients of operations; those of a loop cannot be saved;
    - `shared_pass`: computation that several objectives share;
    - `after_step`: updates that are not gradient descent.

    All networks are called in training mode during an objective's update, including its opponents' networks. An update
    only changes the moving statistics of the objective's own networks.

    An optimizer with `use_ema=True` keeps moving averages of the weights it trains. `fit` trains the raw weights.
    `evaluate`, validation, `predict`, `encode` and the other methods, and exported models use the averages. Files and
    `get_weights` hold both, so `EarlyStopping(restore_best_weights=True)` restores both.

    Args:
        seed: int or None, seed for all randomness in training.

    Raises:
        ValueError: where a subclass is defined, if it declares or inherits several meanings of y, or overrides a method
            of Keras that training would never call; in `compile`, if an objective is invalid; in `fit` and the other
            methods, if the data are.

    Example:

        class ShrinkingEncoder(ka.ObjectiveModel):
            terms = ("size",)

            def __init__(self, encoder, seed=None, **kwargs):
                super().__init__(seed=seed, **kwargs)
                self.encoder = encoder

            def objectives(self):
                return {"encoder": ka.Objective(self.shrink, [self.encoder])}

            def shrink(self, x, y, training):
                return {"size": tf.reduce_sum(self.encoder(x, training=training) ** 2, axis=-1)}    # (B,)

        model = ShrinkingEncoder(encoder)
        model.compile("adam")
        model.fit(x, epochs=5)

    See also: `LatentModel`, which adds distributions and methods; `Objective`, which a model returns.
    """

    terms: tuple[str, ...] = ()
    y_role: roles.Role = roles.Role()
    relative_rates: Mapping[str, float] = {}
    least_rows: int = 1
    saves_gradients: bool = True
    train_function: Any  # made on first use, see `make_train_function`; None until then
    test_function: Any

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        inherited = {id(base.y_role): base for base in cls.__bases__ if issubclass(base, ObjectiveModel)}
        own = vars(cls).get("y_role")
        if isinstance(own, list | tuple) or (own is None and len(inherited) > 1):
            declared = own or [base.__name__ for base in inherited.values()]
            raise ValueError(f"{cls.__name__} declares two meanings of y: {declared}. Set y_role to one of them.")
        own_steps = any(getattr(cls, name) is not getattr(ObjectiveModel, name) for name in ("train_step", "test_step"))
        for name, instead in _NEVER_CALLED.items():
            if not own_steps and getattr(cls, name) is not getattr(keras.Model, name):
                raise ValueError(f"{cls.__name__}.{name}() would never be called. {instead}")

    def __new__(cls, *args, **kwargs):
        model = super().__new__(cls, *args, **kwargs)
        vars(model)["_arguments"] = saving.arguments(cls, model, args, kwargs)
        return model

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(None if seed is None else int(seed))
        self._requested_steps: int | str = 1
        self._in_training = self._by_averages = False
        self._objectives_of_terms: dict[str, str] = {}
        self._test_setting = fitting.EvaluationSetting(1, ())
        self._predicts_averaging: tuple[Any, ...] = ()  # `averaging` when `predict_function` was traced

    # For subclasses to override

    def objectives(self) -> dict[str, Objective]:
        """Returns `{name: Objective}` in update order; the last one owns `loss` and `self.optimizer`."""
        raise NotImplementedError(f"{type(self).__name__} must define its objectives: override objectives().")

    def shared_pass(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> Any:
        """Hook: runs computation that several objectives share, once per step.

        The result is passed to each objective's `terms` as the fourth argument. Every objective's gradient flows
        through it, evaluated at the weights from before the step's first update.
        """

    def after_step(self, terms: Terms) -> None:
        """Hook: runs after the last update of a training step, for updates that are not gradient descent (BEGAN's k).

        Args:
            terms: `{name: tensor}`, all terms of the step, as the objectives returned them.
        """

    def check_x(self, x: Rows, name: str = "x") -> None:
        """Hook: raises a `ValueError` if x, either all rows or the first batch, is invalid for the model."""

    def in_range(self, x: tf.Tensor, slack: bool = False) -> tf.Tensor:
        """Hook: returns whether all values of a batch of x are valid, one bool; NaN may count as valid.

        Training stops at a batch that is not in range. Other batches than the first get no other check.

        Args:
            x: tensor, targets, or with `slack` only inputs, which may be noisy.
            slack: bool, whether values may exceed the range of targets as far as `check_x` allows.
        """
        return tf.constant(True)

    def call_on(self, x: tf.Tensor, y: tf.Tensor | None) -> Any:
        """Hook: calls the model on data passed to `fit`, to build its networks; y may be None."""
        return self(x)

    @property
    def _shares_pass(self):
        """Whether the class overrides `shared_pass`."""
        return type(self).shared_pass is not ObjectiveModel.shared_pass

    @property
    def _acts_after_step(self):
        """Whether the class overrides `after_step`."""
        return type(self).after_step is not ObjectiveModel.after_step

    # Randomness

    def next_seed(self) -> tf.Tensor:
        """Returns a new stateless seed, int32 `(2,)`.

        It differs between replicas. The generator's state is restored with the weights.
        """
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        if tf.distribute.in_cross_replica_context() or self.distribute_strategy.num_replicas_in_sync == 1:
            return seed
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.random.experimental.stateless_fold_in(seed, replica)

    def seed_states(self) -> list[keras.Variable]:
        """Returns the variables that hold the random state, including that of user-supplied layers."""
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    # Compile

    def compile(
        self,
        optimizer: OptimizerLike | Mapping[str, OptimizerLike] = "adam",
        loss: None = None,
        *,
        metrics: Sequence[str | Callable[..., Any] | keras.metrics.Metric] | None = None,
        loss_weights: None = None,
        weighted_metrics: None = None,
        jit_compile: bool | str = "auto",
        steps_per_execution: int | str = "auto",
        run_eagerly: bool = False,
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures training.

        Args:
            optimizer: name or instance, or `{objective name: name or instance}`. With one objective, an instance is
                used directly. With several, each objective gets its own copy, with the learning rate times
                `relative_rates`; see `model.optimizers`.
            loss: None. The loss is the weighted sum of the model's own terms.
            metrics: list of Keras metrics on the model's predictions: reconstructions against their targets, or
                class probabilities against labels. They are weighted by `sample_weight`, and add one forward pass per
                step.
            loss_weights: None. The weights of the terms are arguments of the model.
            weighted_metrics: None. Pass `metrics`.
            jit_compile: bool or "auto", which uses XLA where it speeds up training (networks without convolutions, or
                any network on a GPU).
            steps_per_execution: int or "auto", which runs up to 32 steps per call, or 128 if XLA compiles them and the
                data are arrays, depending on memory and the length of the epoch. A callback that acts on batches forces
                1, and so do multiple replicas.
            run_eagerly: bool, for debugging.
            auto_scale_loss: bool, whether to scale the loss under the `mixed_float16` policy.

        Raises:
            ValueError: if `loss`, `loss_weights` or `weighted_metrics` is given, `metrics` is not a list or contains a
                name that the loss, a term or another metric has, the optimizer names do not match the objectives, an
                objective has no networks, a number of steps is not a positive whole number, an optimizer would
                overwrite weights with their averages, or a network was created outside the scope of the model's
                distribution strategy.
        """
        if loss is not None:
            raise ValueError(
                f"loss: {type(self).__name__} has its own, the weighted sum of {', '.join(self.terms)}; received "
                f"{loss!r}. Leave it out; the likelihood decides how reconstructions are compared."
            )
        if loss_weights is not None:
            raise ValueError(
                f"loss_weights: {type(self).__name__} weighs its own terms, {', '.join(self.terms)}; received "
                f"{loss_weights!r}. Leave it out; weights are arguments of the model, or of its Objective."
            )
        if weighted_metrics is not None:
            raise ValueError("weighted_metrics: pass them as metrics, which sample_weight weighs.")
        distribute.check_scope(self.distribute_strategy, self.variables)
        metrics = logs.listed(metrics)
        players = self.objectives()
        for name, player in players.items():
            check(name, player)
        with self.distribute_strategy.scope():
            self.optimizers = optimizers.for_objectives(optimizer, self, players, auto_scale_loss)
            # float32 under any dtype policy: a sum over an epoch overflows float16.
            self._trackers = types.MappingProxyType(
                {name: keras.metrics.Mean(name=name, dtype="float32") for name in ("loss", *self.terms)}
            )
            self._measures = types.MappingProxyType(logs.metrics(metrics, self.terms))
        if steps_per_execution != "auto":
            steps_per_execution = validation.positive_int("steps_per_execution", steps_per_execution)
        self._batches_per_step = max(player.steps for player in players.values())
        one_device = self.distribute_strategy.num_replicas_in_sync == 1 and not run_eagerly
        xla = jit_compile
        if xla == "auto":
            xla = one_device and loop.xla_pays(self._flatten_layers())
        # With several replicas Keras's multi-step loop fails with "You must feed a value for placeholder" (Keras issue
        # 19246).
        by_step = not one_device and (not run_eagerly or steps_per_execution == "auto")
        self._requested_steps = 1 if by_step else steps_per_execution
        super().compile(
            optimizer=list(self.optimizers.values())[-1],
            jit_compile=xla,
            run_eagerly=run_eagerly,
            steps_per_execution=1 if self._requested_steps == "auto" else self._requested_steps,
            auto_scale_loss=False,
        )
        self._compile_arguments = types.MappingProxyType(
            {
                "metrics": metrics,
                "jit_compile": jit_compile,
                "steps_per_execution": steps_per_execution,
                "run_eagerly": run_eagerly,
                "auto_scale_loss": auto_scale_loss,
            }
        )
        self.build_if_possible()

    def _needs_single_steps(self, training):
        """Whether each step needs its own call, because the subclass overrides the step or metrics were given."""
        name = "train_step" if training else "test_step"
        return getattr(type(self), name) is not getattr(ObjectiveModel, name) or bool(self._measures)

    @property
    def _may_fall_back(self):
        """Whether XLA was chosen automatically, so that training may fall back to running without it."""
        return self._compile_arguments["jit_compile"] == "auto"

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*self._trackers.values(), *self._measures.values()] if self.compiled else []

    # Averages of weights

    def averages(self, objective: str) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Returns the moving averages of an objective's weights, a list of pairs (variable, tensor).

        Raises:
            ValueError: if its optimizer keeps no averages, or has not taken a step yet.
        """
        found = optimizers.average(self.optimizers[objective]) if self.compiled and objective in self.optimizers else []
        if not found:
            raise ValueError(
                f"averages: the optimizer of {objective!r} has none. Compile with use_ema=True, and train it first."
            )
        return [(variable, tf.convert_to_tensor(mean)) for variable, mean in found]

    @property
    def has_averages(self) -> bool:
        """Whether any optimizer keeps weight averages and has taken a step."""
        return bool(self.averaging)

    @property
    def averaging(self) -> tuple[Any, ...]:
        """What a traced graph of the model depends on: weak references to its `averaging_optimizers`."""
        return tuple(map(weakref.ref, self.averaging_optimizers()))

    def averaging_optimizers(self) -> list[keras.optimizers.Optimizer]:
        """Returns the optimizers that keep weight averages and have taken a step, also those of models in this one."""
        own = self.optimizers.values() if self.compiled else ()
        inner = (layer for layer in self._layers if isinstance(layer, ObjectiveModel))
        return [each for each in own if optimizers.average(each)] + [
            each for model in inner for each in model.averaging_optimizers()
        ]

    def get_weights(self) -> states.Weights:
        """Returns the values of all weights, a list of arrays that `set_weights` takes, with their averages."""
        return states.Weights(super().get_weights(), [mean.numpy() for _, mean in self._averages()])

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Assigns the values of all weights, a list of arrays, and of their averages.

        The averages are those in a list from `get_weights` of a model with the same averages. Otherwise they start anew
        from the weights.
        """
        super().set_weights(weights)
        pairs, kept = self._averages(), getattr(weights, "averages", [])
        for i, (variable, mean) in enumerate(pairs):
            mean.assign(kept[i] if len(kept) == len(pairs) else variable)

    def _averages(self):
        """Returns `[(variable, moving average)]` of all its optimizers."""
        made = self.optimizers.values() if self.compiled else ()
        return [pair for optimizer in made for pair in optimizers.average(optimizer)]

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which networks use their averaged weights, where an optimizer keeps them."""
        pairs = [] if self._in_training or self._by_averages else self._averages()
        if not pairs:
            yield
            return
        outer = get_stateless_scope()
        self._by_averages = True
        try:
            with keras.StatelessScope(state_mapping=pairs) as scope:
                if outer is not None:  # Keras looks up values in the innermost scope only
                    scope.state_mapping = outer.state_mapping | scope.state_mapping
                yield
        finally:
            self._by_averages = False
        for state in self.seed_states():
            value = scope.get_current_value(state)
            if value is not None:
                state.assign(value)

    # Building

    def build(self, input_shape: Any = None) -> None:
        if input_shape is not None and not self._networks_built():
            self.call(tf.zeros([1, *input_shape[1:]]))
        self.built = True

    def _networks_built(self):
        return all(network.built for player in self.objectives().values() for network in player.networks)

    def require_built(self) -> None:
        """Raises a `ValueError` unless every network is built, which saving, sampling and export require."""
        self.build_if_possible()
        if not self.built:
            raise self._never_built()

    def _never_built(self):
        return ValueError(
            f"{type(self).__name__} has networks that were never built: add a keras.Input, or call the model on data "
            "first."
        )

    def build_if_possible(self) -> None:
        """Builds the model and its optimizers' slots, unless a network cannot be built before its first batch."""
        if not self._networks_built():
            return
        if not self.built:
            self.build()
        with self.distribute_strategy.scope():
            for name, optimizer in getattr(self, "optimizers", {}).items():
                if not optimizer.built:
                    optimizer.build(trainable_variables(self.objectives()[name]))

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Prints the networks with their shapes and sizes; arguments as in `keras.Model.summary`."""
        self.build_if_possible()
        super().summary(*args, **kwargs)

    def __repr__(self):
        facts, networks = self._facts()
        built = [network for network in networks if network.built]
        size = f"{sum(network.count_params() for network in built):,}" if built else "?"
        return f"<{type(self).__name__} {' '.join(f'{name}={fact}' for name, fact in facts.items())} parameters={size}>"

    def _facts(self) -> tuple[dict[str, Any], list[keras.layers.Layer]]:
        """Returns what `repr` shows, `{name: value}`, and the networks whose parameters it counts."""
        return {"terms": ",".join(self.terms)}, self.layers

    # Steps

    def train_step(self, data: Any) -> Logs:
        """Runs one training step on a batch and returns the logs; if overridden, `fit` calls it once per batch."""
        return self._record(self._train(data))

    def test_step(self, data: Any) -> Logs:
        """Returns the logs for a batch, without training."""
        return self._record(self._test(data))

    def _train(self, data):
        batches = data if self._batches_per_step > 1 else (data,)
        self._in_training = True  # while the graph is traced
        try:
            batch, terms, loss, self._objectives_of_terms = step.train(self, batches)
        finally:
            self._in_training = False
        return self._summary(batch, terms, loss)

    def _test(self, data):
        with self.averaged():
            batch, terms, loss = step.measure(self, data)
            return self._summary(batch, terms, loss)

    def _summary(self, batch, terms, loss):
        made = logs.summary(self, batch, terms, loss)
        if self._measures:
            logs.measure(self, self._measures.values(), batch)
        return made

    def prediction(self, x: tf.Tensor, y: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Hook: returns what metrics compare, `(truth, prediction, row weights or None)`."""
        raise ValueError(f"metrics: {type(self).__name__} makes no predictions to compare. Leave metrics out.")

    def _record(self, summary):
        return logs.record(self, self._trackers.values(), summary)

    # Compiled steps

    def make_train_function(self, force: bool = False) -> Callable[..., tuple[Logs, int]]:
        """Returns `(iterator, arrays or None, limit) -> (logs, steps run)`, which trains for up to `limit` steps."""
        if self.train_function is None or force:
            per_call = self.steps_per_execution
            self.train_function = fitting.function(self, self.train_step, self._train, per_call, trains=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[..., tuple[Logs, int]]:
        """Like `make_train_function`, without training."""
        if self.test_function is None or force:
            per_call = self._test_setting.per_call
            self.test_function = fitting.function(self, self.test_step, self._test, per_call, trains=False)
        return self.test_function

    # Training, evaluation and prediction

    def fit(
        self,
        x: Rows | None = None,
        y: Rows | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Callbacks = None,
        validation_split: float = 0.0,
        validation_data: Rows | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Rows | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
    ) -> keras.callbacks.History:
        """Trains the model; arguments as in `keras.Model.fit`.

        x can be an array, list, tensor, pandas DataFrame, SciPy sparse matrix, `tf.data.Dataset`, `PyDataset` or
        generator of batches. Arrays are validated in full, other sources on their first batch. Arrays are shuffled with
        the model's seed, so a saved and reloaded run sees its data in the same order as an uninterrupted one.

        If an objective has n steps, each training step uses n batches, an epoch has `batches // n` steps (at least 1),
        and `steps_per_epoch` counts training steps.

        A generator runs only once. As validation data, its batches are kept in memory.

        Returns:
            a `keras.callbacks.History`.

        Raises:
            ValueError: if the data are invalid for the model, all networks are frozen, or a `ModelCheckpoint` would
                write a file that could not be loaded; the message gives what was expected, what was received and how
                to fix it.
            FloatingPointError: if a term becomes NaN or infinite; the message names the step, objective and term.
        """
        self._assert_compile_called("fit")
        distribute.check_scope(self.distribute_strategy, self.variables)
        steps_per_epoch = validation.int_or_none("steps_per_epoch", steps_per_epoch)
        validation_steps = validation.int_or_none("validation_steps", validation_steps)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = feeding.split(x, y, sample_weight, validation_split, self.y_role)
        options = {"shuffle": shuffle, "class_weight": class_weight, "moves": self._batches_per_step}
        feed = self._open(x, y, sample_weight, batch_size, True, **options)
        held_out = None
        if validation_data is not None:
            row_shape = getattr(self, "event_shape", None)
            x_held, y_held, weight_held = feeding.held_out(validation_data, row_shape)
            x_held = feeding.repeatable("validation_data", x_held, validation_steps)
            held_out = self._open(x_held, y_held, weight_held, validation_batch_size or batch_size, False)
        if not any(trainable_variables(player) for player in self.objectives().values()):
            raise ValueError(
                f"{type(self).__name__} has no trainable weights: all its networks are frozen. Set trainable = True on "
                "one of them, and compile again."
            )
        container = self._callbacks(callbacks, verbose, epochs, steps_per_epoch or feed.steps, add_history=True)
        saving.check_checkpoints(self, container.callbacks)
        return fitting.fit(
            self,
            feed,
            container,
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            validation=held_out,
            validation_steps=validation_steps,
            validation_freq=validation_freq,
        )

    def evaluate(
        self,
        x: Rows | None = None,
        y: Rows | None = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Rows | None = None,
        steps: int | None = None,
        callbacks: Callbacks = None,
        return_dict: bool = False,
    ) -> dict[str, float] | Any:
        """Computes the loss and the terms on data; arguments as in `keras.Model.evaluate`, data as in `fit`."""
        self._assert_compile_called("evaluate")
        steps = validation.int_or_none("steps", steps)
        feed = self._open(x, y, sample_weight, batch_size, False)
        container = self._callbacks(callbacks, verbose, 1, steps or feed.steps)
        fitting.tell_of_single_steps(self, container, TEST_HOOKS)
        found = fitting.measure(self, feed, steps, container)
        return found if return_dict else self._flatten_metrics_in_order(found)

    def train_on_batch(
        self,
        x: Rows,
        y: Rows | None = None,
        sample_weight: Rows | None = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> dict[str, float] | Any:
        """Runs one training step, using this batch for every update; arguments as in `keras.Model.train_on_batch`."""
        self._assert_compile_called("train_on_batch")
        batch = self._batch(x, y, sample_weight, class_weight, training=True)
        self.reset_metrics()
        batches = batch if self._batches_per_step == 1 else (batch,) * self._batches_per_step
        found, _ = self.make_train_function()(iter([batches]))
        fitting.check_finite(self, found)
        fitting.check_weights(self, f"at step {int(self.optimizer.iterations.numpy())}")
        return self._returned(found, return_dict)

    def test_on_batch(
        self, x: Rows, y: Rows | None = None, sample_weight: Rows | None = None, return_dict: bool = False
    ) -> dict[str, float] | Any:
        """Computes the loss and the terms of one batch; arguments as in `keras.Model.test_on_batch`."""
        self._assert_compile_called("test_on_batch")
        batch = self._batch(x, y, sample_weight, None, training=False)
        self.reset_metrics()
        found, _ = fitting.test_function(self, self._test_setting.per_call)(iter([batch]))
        return self._returned(found, return_dict)

    def predict_on_batch(self, x: Rows) -> np.ndarray:
        """Computes `self(x)` for one batch of rows, or `self((x, y))` for a pair."""
        rows = rows_of.to_rows("x", x[0] if isinstance(x, tuple) else x)
        return self.predict(x, batch_size=max(1, rows.shape[0]), verbose=0)

    def _returned(self, found, return_dict):
        found = {name: float(np.mean(value)) for name, value in found.items()}
        return found if return_dict else self._flatten_metrics_in_order(found)

    def predict(
        self,
        x: Rows,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
    ) -> np.ndarray:
        """Computes `self(x)` in batches; arguments as in `keras.Model.predict`, x as in `fit`.

        Arrays are checked in full, and a source of batches on its first batch, as in `fit`. Targets that it yields
        with x are ignored.
        """
        if rows_of.is_source(x):
            return self._predict_source(x, verbose, steps, callbacks)
        x = rows_of.to_rows("x", x)
        self.check_x(x)
        return self._predict(x, batch_size, verbose, steps, callbacks)

    def _predict_source(self, x, verbose="auto", steps=None, callbacks=None):
        feed = feeding.open_feed(x, role=self.y_role)
        x, y, _ = feed.checked
        self.check_x(x)
        if self.y_role.conditional:
            self.y_role.check_given(self, x.shape[0], y)
        with feed.epoch(), warnings.catch_warnings():
            if steps is None:  # Keras warns at the end of any source of unknown length, even if all of it was asked for
                warnings.filterwarnings("ignore", message=".*ran out of data")
            return self._predict(feed.dataset(tf.distribute.get_strategy()), None, verbose, steps, callbacks)

    def _predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        refuse_swaps(callbacks)
        batch_size, steps = validation.int_or_none("batch_size", batch_size), validation.int_or_none("steps", steps)
        columns = x if isinstance(x, tuple) else (x,)
        if any(map(rows_of.is_sparse, columns)):
            x, batch_size = feeding.dense_batches(columns, batch_size or 32), None
        if self.averaging != self._predicts_averaging:
            self._predicts_averaging, self.predict_function = self.averaging, None
        per_call, self.steps_per_execution = self.steps_per_execution, 1  # Keras would unroll the steps of an execution
        try:
            return super().predict(x, batch_size, verbose, steps, callbacks)
        finally:
            self.steps_per_execution = per_call

    def predict_step(self, data: Any) -> Any:
        with self.averaged():
            return super().predict_step(data)

    # Input data

    def _open(self, x, y, sample_weight, batch_size, training, **options):
        """Returns the validated `Feed` for the user's data; builds the model if its networks still need data for it."""
        batch_size = validation.int_or_none("batch_size", batch_size)
        feed = feeding.open_feed(x, y, sample_weight, role=self.y_role, batch_size=batch_size, **options)
        self._accept(feed.checked, training)
        self._check_rows(feed.batch[0].shape[0], training)
        return feed

    def _batch(self, x, y, sample_weight, class_weight, training):
        columns = feeding.standard_rows(x, y, sample_weight, self.y_role)
        columns = feeding.weighed(columns, self.y_role, class_weight)
        self._accept(columns, training)
        self._check_rows(columns[0].shape[0], training)
        return feeding.tensors(columns)

    def _check_rows(self, rows, training):
        if training and rows is not None and rows < self.least_rows:
            raise ValueError(
                f"batch_size: {type(self).__name__} compares the rows of a batch with each other: expected batches of "
                f"{self.least_rows} rows or more; received {rows}."
            )

    def _accept(self, columns, training):
        """Raises a `ValueError` if the rows are invalid for the model; builds the model from them if needed."""
        x, y, sample_weight = columns
        self.check_x(x)
        self.y_role.check(self, x, y, training)
        if sample_weight is not None:
            validation.check_weights(sample_weight, x.shape[0])
        if not self.built:
            x, y, _ = feeding.tensors([None if each is None else each[:1] for each in columns])
            with self.distribute_strategy.scope():
                self.call_on(x, y)
            self.build_if_possible()

    def _callbacks(self, callbacks, verbose, epochs, steps, **options):
        refuse_swaps(callbacks)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks
        options |= {"add_progbar": verbose != 0, "verbose": verbose, "epochs": epochs, "steps": steps, "model": self}
        return keras.callbacks.CallbackList(callbacks, **options)

    # Saving

    def get_config(self) -> dict[str, Any]:
        return saving.config_of(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        return saving.from_config(cls, config, custom_objects)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        made = {name: optimizers.serialize(optimizer) for name, optimizer in self.optimizers.items()}
        arguments = dict(self._compile_arguments)
        arguments["metrics"] = keras.saving.serialize_keras_object(arguments["metrics"])
        return {"optimizer": made, **arguments}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = dict(config)
        made = {name: optimizers.deserialize(each) for name, each in config.pop("optimizer").items()}
        metrics = keras.saving.deserialize_keras_object(config.pop("metrics", None))
        self.compile(made, metrics=metrics, **config)

    def save(self, filepath: FilePath, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves networks, optimizers and random state to a `.keras` file, atomically.

        Raises:
            ValueError: if the path does not end in `.keras`, a constructor argument, an optimizer or a metric cannot be
                restored from a file, or `zipped` is False.
            FileNotFoundError: if the folder does not exist.
            FileExistsError: if the file exists and `overwrite` is False.
        """
        saving.check_options(kwargs)
        saving.check(self)
        self.require_built()
        with saving.replacing(filepath, ".keras", overwrite) as beside:
            super().save(str(beside), **kwargs)

    def save_weights(self, filepath: FilePath, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves weights, optimizers and random state to a `.weights.h5` file, atomically; raises as `save` does."""
        saving.check_options(kwargs)
        self.require_built()
        with saving.replacing(filepath, ".weights.h5", overwrite) as beside:
            super().save_weights(str(beside), **kwargs)

    def load_weights(self, filepath: FilePath, *args: Any, **kwargs: Any) -> None:
        """Loads a file written by `save_weights`; arguments as in `keras.Model.load_weights`."""
        self.build_if_possible()
        super().load_weights(filepath, *args, **kwargs)

    def export(
        self, filepath: FilePath, format: str = "tf_saved_model", verbose: bool | None = None, **kwargs: Any
    ) -> str:
        """Writes a SavedModel directly to `filepath`, with the same endpoints as `keras_ae.export`.

        Args:
            filepath: path of a folder that does not exist yet.
            format: "tf_saved_model", the only one.
            verbose: ignored; Keras's method prints the endpoints.
            **kwargs: as in `keras_ae.export`.

        Raises:
            ValueError: as in `keras_ae.export`; if `format` is another one, or there is an `input_signature`, because
                every endpoint has its own.
            FileExistsError: if the folder exists.
        """
        from keras_ae import serving

        if format != "tf_saved_model":
            raise ValueError(f"format: expected 'tf_saved_model'; received {format!r}.")
        if kwargs.pop("input_signature", None) is not None:
            raise ValueError("input_signature: each endpoint has its own. Pass endpoints=..., see keras_ae.export.")

        return serving.write(self, filepath, **kwargs)

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        if save_type == "savedmodel":
            raise ValueError(
                f"tf.saved_model.save would write a {type(self).__name__} without endpoints. Use model.export(path), "
                "or keras_ae.export(model, directory) for numbered versions."
            )
        return super()._trackable_children(save_type, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        # Keras does not save seed generators. Without their state, a resumed run draws different noise and dropout
        # masks.
        for i, state in enumerate(self.seed_states()):
            store[f"seed_state_{i}"] = keras.ops.convert_to_numpy(state)

    def load_own_variables(self, store: Any) -> None:
        names = [name for name in store.keys() if not name.startswith("seed_state_")]  # noqa: SIM118 (no mapping)
        own = {name: store[name] for name in names}
        super().load_own_variables(own)
        for i, state in enumerate(self.seed_states()):
            state.assign(store[f"seed_state_{i}"])
