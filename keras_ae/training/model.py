"""The package's only training step, compile and saving.

A model states its objectives: who minimises which terms over which networks. `ObjectiveModel` does the rest, once.
"""

import inspect
import math
import os
import types
import warnings
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from keras_ae.training import distribute, loop
from keras_ae.training.objective import loss_of, product, trainable_variables, with_counts
from keras_ae.utils import files, validation


class ObjectiveModel(keras.Model):
    """A Keras model that is trained by one or several objectives, each with its own optimizer.

    In a training step every objective moves once (or `steps` times), in the order of `objectives()`:

        loss = sum_t weight_t * mean_b(sample_weight_b * term_t[b]) + regularisers of the objective's networks

    Terms are logged as they are, without their weights, as `sum(sample_weight * term) / sum(sample_weight)` over the
    epoch; `loss` is that of the last objective, which also owns `self.optimizer`. Constructor arguments are recorded as
    passed, so a subclass needs no `get_config`.

    Subclasses declare `terms`, the names of all logged terms, and override `objectives`. Example:

        class RidgeEncoder(ObjectiveModel):
            terms = ("size",)

            def __init__(self, encoder, seed=None, **kwargs):
                super().__init__(seed=seed, **kwargs)
                self.encoder = encoder

            def objectives(self):
                return {"encoder": Objective(self.shrink, [self.encoder])}

            def shrink(self, x, y, training):
                return {"size": tf.reduce_sum(self.encoder(x, training=training) ** 2, axis=-1)}
    """

    terms = ()

    def __new__(cls, *args, **kwargs):
        model = super().__new__(cls, *args, **kwargs)
        arguments = inspect.signature(cls.__init__).bind(model, *args, **kwargs).arguments
        extra = arguments.pop("kwargs", {})
        # A mapping proxy, because Keras would track, and save a second time, what it finds in a dict.
        vars(model)["_arguments"] = types.MappingProxyType(
            {name: _plain(value) for name, value in (arguments | extra).items() if value is not model}
        )
        return model

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._requested_steps = 1
        self._resident = None

    def objectives(self):
        """`{name: Objective}` in the order of play; the last one owns `loss` and `self.optimizer`."""
        raise NotImplementedError(f"{type(self).__name__} must say who minimises what: override objectives().")

    def check_data(self, x, y):
        """Hook: raises a `ValueError` where `x` or `y`, whole arrays or a first batch, do not suit the model."""

    def check_measured(self, x, y):
        """Hook: as `check_data`, of what is evaluated and not trained on."""
        self.check_data(x, y)

    def row_mask(self, x, y):
        """Hook: which rows of a batch a step can learn from, bool `(B,)` or of all of them; y may be None.

        Others make the logged loss NaN, which stops training: a data set is checked by its first batch alone, and a
        ReLU may turn what is no number into a finite one before it reaches a term.
        """
        return tf.constant(True)

    def call_on(self, x, y):
        """Hook: calls the model on what `fit` received, so that its networks are built; y may be None."""
        return self(x)

    # Randomness

    def next_seed(self):
        """A fresh stateless seed, int32 `(2,)`; other numbers on every replica, and restored with the weights."""
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        if tf.distribute.in_cross_replica_context() or self.distribute_strategy.num_replicas_in_sync == 1:
            return seed
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.random.experimental.stateless_fold_in(seed, replica)

    def _seed_states(self):
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    # Compile

    def compile(
        self,
        optimizer="adam",
        *,
        jit_compile="auto",
        steps_per_execution="auto",
        run_eagerly=False,
        auto_scale_loss=True,
    ):
        """Configures training.

        Args:
            optimizer: name or instance, copied where there are several objectives, or
                `{objective name: name or instance}`.
            jit_compile: bool or "auto": XLA where it makes training faster (networks without convolutions, and GPUs).
            steps_per_execution: int, or "auto": up to 32 steps in one call, as memory and the epoch's length allow.
                Callbacks see a batch's end once an execution. With several replicas always 1.
            run_eagerly: bool, for debugging.
            auto_scale_loss: bool, scale the loss under the policy `mixed_float16`.

        Raises:
            ValueError: if the names of the optimizers are not those of the objectives, or a network was made outside of
                the scope of the model's distribution strategy.
        """
        distribute.check_scope(self.distribute_strategy, self.variables)
        with self.distribute_strategy.scope():
            self.optimizers = self._make_optimizers(optimizer, auto_scale_loss)
            self._trackers = types.MappingProxyType(
                {name: keras.metrics.Mean(name=name) for name in ("loss", *self.terms)}
            )
        one_device = self.distribute_strategy.num_replicas_in_sync == 1 and not run_eagerly
        xla = jit_compile
        if xla == "auto":
            xla = one_device and loop.xla_pays(self._flatten_layers())
        # With several replicas Keras's loop of steps fails, "You must feed a value for placeholder": Keras issue 19246.
        several = self.distribute_strategy.num_replicas_in_sync > 1
        by_step = several or (run_eagerly and steps_per_execution == "auto")
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
                "jit_compile": jit_compile,
                "steps_per_execution": steps_per_execution,
                "run_eagerly": run_eagerly,
                "auto_scale_loss": auto_scale_loss,
            }
        )
        self._build_if_possible()

    def _make_optimizers(self, optimizer, auto_scale_loss):
        names = list(self.objectives())
        if not isinstance(optimizer, Mapping):
            optimizer = keras.optimizers.get(optimizer)
            optimizer = {name: optimizer if len(names) == 1 else _copy(optimizer) for name in names}
        if set(optimizer) != set(names):
            raise ValueError(
                f"compile() of {type(self).__name__} expects one optimizer for each of the objectives {names}; "
                f"received optimizers for {list(optimizer)}."
            )
        made = {}
        for name in names:
            instance = keras.optimizers.get(optimizer[name])
            # A built optimizer knows the variables of an earlier compile; these may have been frozen since. One made
            # outside of the strategy's scope would count every replica's step. None can serve two objectives.
            in_scope = self.distribute_strategy.extended.variable_created_in_scope(instance.iterations.value)
            fresh = in_scope and not instance.built and instance not in made.values()
            instance = instance if fresh else _copy(instance)
            scaled = isinstance(instance, keras.optimizers.LossScaleOptimizer)
            if auto_scale_loss and self.dtype_policy.name == "mixed_float16" and not scaled:
                instance = keras.optimizers.LossScaleOptimizer(instance)
            made[name] = instance
        return made

    def get_compile_config(self):
        if not self.compiled:
            return None
        optimizers = {
            name: keras.saving.serialize_keras_object(optimizer) for name, optimizer in self.optimizers.items()
        }
        return {"optimizer": optimizers, **self._compile_arguments}

    def compile_from_config(self, config):
        config = dict(config)
        optimizers = {
            name: keras.saving.deserialize_keras_object(optimizer)
            for name, optimizer in config.pop("optimizer").items()
        }
        self.compile(optimizers, **config)

    # Building

    def build(self, input_shape=None):
        if input_shape is not None and not self._networks_built():
            self.call(tf.zeros([1, *input_shape[1:]]))
        self.built = True

    def _networks_built(self):
        return all(network.built for objective in self.objectives().values() for network in objective.networks)

    def require_built(self):
        """Raises a `ValueError` unless every network is built, as saving and export need."""
        self._build_if_possible()
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} has networks that were never built: give them a keras.Input, or call the model "
                "on data first."
            )

    def _build_if_possible(self):
        """Builds the model and its optimizers' slots, unless a user's network still waits for its first batch."""
        if not self._networks_built():
            return
        if not self.built:
            self.build()
        with self.distribute_strategy.scope():
            for name, optimizer in getattr(self, "optimizers", {}).items():
                if not optimizer.built:
                    optimizer.build(trainable_variables(self.objectives()[name]))

    # Steps

    def train_step(self, data):
        return self._record(self._train(data))

    def _train(self, data):
        """One training step; returns its `_summary`."""
        x, y, sample_weight, rows = distribute.never_empty(*_unpack(data))
        share = distribute.share_of_batch(rows)
        all_terms = {}
        self._players = {}
        for name, objective in self.objectives().items():
            optimizer, variables = self.optimizers[name], trainable_variables(objective)
            for _ in range(objective.steps):
                with tf.GradientTape() as tape:
                    terms = objective.terms(x, y, training=True)
                    loss = loss_of(objective, terms, sample_weight)
                    # The optimizers add up the replicas' gradients.
                    scaled = optimizer.scale_loss(loss * share)
                optimizer.apply(tape.gradient(scaled, variables), variables)
            all_terms |= terms
            self._players |= dict.fromkeys(terms, name)
        return self._summary(self._loss_of_valid(loss, x, y), all_terms, rows, sample_weight)

    def test_step(self, data):
        x, y, sample_weight, rows = distribute.never_empty(*_unpack(data))
        all_terms = {}
        for objective in self.objectives().values():
            terms = objective.terms(x, y, training=False)
            loss = loss_of(objective, terms, sample_weight)
            all_terms |= terms
        return self._record(self._summary(self._loss_of_valid(loss, x, y), all_terms, rows, sample_weight))

    def _loss_of_valid(self, loss, x, y):
        return tf.where(tf.reduce_all(self.row_mask(x, y)), loss, math.nan)

    def _summary(self, loss, terms, rows, sample_weight):
        """What a step adds to the log: `(1 + T, 2)` float32, a sum and its weight for the loss and for every term."""
        if set(terms) != set(self.terms):
            raise ValueError(
                f"{type(self).__name__} declares the terms {list(self.terms)}; its objectives returned {list(terms)}."
            )
        rows = tf.cast(rows, tf.float32)
        sums = [[loss * rows, rows]]
        for name in self.terms:
            term, counts = with_counts(terms[name])
            if term.shape.rank > 1:
                raise ValueError(f"The term {name} has shape {term.shape}: expected one value a row, or a scalar.")
            weight = product(counts, None if sample_weight is None else tf.cast(sample_weight, term.dtype))
            if not term.shape.rank:
                sums.append([term * rows, rows])
            elif weight is None:
                sums.append([tf.reduce_sum(term), rows])
            else:
                sums.append([tf.reduce_sum(weight * term), tf.reduce_sum(weight)])
        return tf.convert_to_tensor(sums)

    def _record(self, summary):
        """Adds one or several steps' summaries to the log, and returns the log."""
        for i, tracker in enumerate(self._trackers.values()):
            total, weight = summary[i, 0], summary[i, 1]
            tracker.update_state(tf.math.divide_no_nan(total, weight), sample_weight=weight)
        return self._results()

    def _results(self):
        results = self.get_metrics_result()
        if distribute.spans_workers(self.distribute_strategy):
            # Keras reduces the workers' results along axis 0, which a scalar does not have.
            return {name: tf.reshape(value, [1]) for name, value in results.items()}
        return results

    @property
    def metrics(self):
        return list(self._trackers.values()) if self.compiled else []

    def make_train_function(self, force=False):
        if self.train_function is not None and not force:
            return self.train_function
        by_batch = self._make_function(self.train_step)
        if self._loops():
            shape = (1 + len(self.terms), 2)
            many_steps = loop.make_loop(self._train, self._record, shape, self.steps_per_execution, self.jit_compile)

        def run(iterator):
            stacks = self._loops() and loop.can_stack(iterator)
            return many_steps(iterator, self._resident) if stacks else by_batch(iterator)

        def checked(iterator):
            try:
                logs = run(iterator)
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
                if not self.jit_compile or self._compile_arguments["jit_compile"] != "auto" or "XLA" not in str(error):
                    raise
                warnings.warn(
                    "Going on without XLA, which cannot compile this model. The batches of the first call, up to "
                    f"{self.steps_per_execution}, are lost; compile(jit_compile=False) loses none: {error.message}",
                    stacklevel=2,
                )
                self.jit_compile, self.test_function = False, None
                return self.make_train_function(force=True)(iterator)
            self._check_finite(logs)
            return logs

        self.train_function = checked
        return self.train_function

    def _loops(self):
        return self.steps_per_execution > 1 and not self.run_eagerly and self._distribute_strategy is None

    def _check_finite(self, logs):
        broken = [name for name, value in logs.items() if not np.all(np.isfinite(value))]
        if broken:
            terms = [f"{name} of objective {self._players[name]}" for name in broken if name in self._players]
            causes = [
                "a learning rate that is too high (lower it, or give the optimizer clipnorm=1.0)",
                "inputs far outside [-1, 1]",
                "rows with NaN, or with values or labels out of range: of a data set the first batch alone is checked",
            ]
            if broken == ["loss"]:  # terms are finite: see `row_mask`
                causes = causes[::-1]
            raise FloatingPointError(
                f"Training stopped at step {int(self.optimizer.iterations.numpy())} of {type(self).__name__}: "
                f"{', '.join(terms or broken)} became NaN or infinite. Usual causes, the likeliest first: "
                f"{'; '.join(causes)}."
            )

    # Keras's entry points

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """Trains the model; arguments as in `keras.Model.fit`. Checks the data first, see `check_data`."""
        self._assert_compile_called("fit")
        distribute.check_scope(self.distribute_strategy, self.variables)
        batch_size = None if batch_size is None else validation.positive_int("batch_size", batch_size)
        first = self._check_source(x, y, self.check_data)
        if kwargs.get("validation_data") is not None:
            held_out = keras.utils.unpack_x_y_sample_weight(kwargs["validation_data"])
            self._check_source(*held_out[:2], self.check_measured)
            kwargs["validation_data"] = _pack(*held_out)
        if self._requested_steps == "auto" and first is not None:
            self._set_steps(first, x, batch_size or 32, kwargs.get("steps_per_epoch"))
        data = _pack(x, y, kwargs.pop("sample_weight", None))
        if self._loops() and loop.are_arrays(data) and not kwargs.get("validation_split"):
            # Keras iterates over row numbers; the loop gathers the rows, without an input pipeline to wait for.
            self._resident = loop.resident(data)
            rows = keras.tree.flatten(x)[0].shape[0]
            data = loop.row_numbers(rows, batch_size or 32, kwargs.get("shuffle", True)), None, None
            kwargs["shuffle"] = False  # Keras warns that it cannot shuffle a data set, which has shuffled already
            kwargs["validation_batch_size"] = kwargs.get("validation_batch_size") or batch_size
            batch_size = None
        elif isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # it shuffles itself or not at all, and Keras would warn of that
        try:
            x, y, sample_weight = data
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, sample_weight=sample_weight, **kwargs)
        finally:
            self._resident = None

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **kwargs):
        """The loss and terms on given data; arguments as in `keras.Model.evaluate`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # then `fit` has checked and packed them
            self._check_source(x, y, self.check_measured)
            x, y, sample_weight = _pack(x, y, sample_weight)
        return super().evaluate(x, y, batch_size, verbose, sample_weight, **kwargs)

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """One training step on one batch; arguments as in `keras.Model.train_on_batch`."""
        self._check_source(x, y, self.check_data)
        return super().train_on_batch(*_pack(x, y, sample_weight), **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """The terms of one batch; arguments as in `keras.Model.test_on_batch`."""
        self._check_source(x, y, self.check_measured)
        return super().test_on_batch(*_pack(x, y, sample_weight), **kwargs)

    def predict(self, x, *args, **kwargs):
        """`self(x)` in batches; arguments as in `keras.Model.predict`."""
        # Keras would unroll all steps of an execution into one graph here.
        steps, self.steps_per_execution = self.steps_per_execution, 1
        try:
            return super().predict(x, *args, **kwargs)
        finally:
            self.steps_per_execution = steps

    def _check_source(self, x, y, check):
        """Checks arrays whole, a data set by its first batch; returns that batch (generators stay unread: None)."""
        if isinstance(x, tf.data.Dataset):
            first = next(iter(x.take(1)), None)
            if first is None:
                raise ValueError("The data set x is empty: expected at least one batch.")
            if isinstance(x.element_spec, tuple | list):
                x, y, _ = keras.utils.unpack_x_y_sample_weight(first)
            else:
                x = first
        elif isinstance(x, keras.utils.PyDataset):
            first = x[0]
            x, y, _ = keras.utils.unpack_x_y_sample_weight(first)
        elif all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(x)):
            y = np.asarray(y) if isinstance(y, list | tf.Tensor) else y
            first = None
        else:
            return None
        check(x, y)
        if first is None:
            first = keras.tree.map_structure(lambda array: array[:1], (x,) if y is None else (x, y))
        if not self.built:
            with self.distribute_strategy.scope():
                self.call_on(*keras.tree.map_structure(lambda a: None if a is None else a[:1], (x, y)))
            self._build_if_possible()
        return first

    def _maybe_symbolic_build(self, *args, **kwargs):
        # Keras adds up the replicas' first batches to see their shape, which fails where these differ in size.
        if not self.built:
            super()._maybe_symbolic_build(*args, **kwargs)

    def _set_steps(self, first, x, batch_size, steps_per_epoch):
        if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
            steps_in_epoch = int(x.cardinality()) if isinstance(x, tf.data.Dataset) else x.num_batches
            steps_in_epoch = None if steps_in_epoch is None or steps_in_epoch < 0 else steps_in_epoch
        else:
            rows = keras.tree.flatten(x)[0].shape[0]
            steps_in_epoch = -(-rows // batch_size)
            first = keras.tree.map_structure(
                lambda array: np.broadcast_to(array, (batch_size, *array.shape[1:])), first
            )
        steps = loop.steps_that_fit(first, steps_in_epoch, steps_per_epoch)
        if steps != self.steps_per_execution:
            self.steps_per_execution = steps
            self.train_function = self.test_function = None

    # Saving

    def get_config(self):
        config = {name: keras.saving.serialize_keras_object(value) for name, value in self._arguments.items()}
        return {"name": self.name, "dtype": keras.saving.serialize_keras_object(self.dtype_policy)} | config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        with keras.saving.custom_object_scope(custom_objects or {}):
            return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves networks, optimizers and randomness to a `.keras` file, atomically.

        Raises:
            ValueError: if an argument cannot be restored from a file, naming it and saying what to do.
        """
        for name, value in self._arguments.items():
            _check_serializable(type(self).__name__, name, value)
        self.require_built()
        _check_free(filepath, overwrite)
        with files.replacing(filepath) as beside:
            super().save(str(beside), **kwargs)

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """Saves weights, optimizers and randomness to a `.weights.h5` file, atomically."""
        self.require_built()
        _check_free(filepath, overwrite)
        with files.replacing(filepath) as beside:
            super().save_weights(str(beside), **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """Restores what `save_weights` saved; arguments as in `keras.Model.load_weights`."""
        self._build_if_possible()
        super().load_weights(filepath, *args, **kwargs)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # Keras saves seed generators nowhere; without them a resumed run draws other noise and other dropout masks.
        for i, state in enumerate(self._seed_states()):
            store[f"seed_state_{i}"] = keras.ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        names = [name for name in store.keys() if not name.startswith("seed_state_")]  # noqa: SIM118 (no mapping)
        own = {name: store[name] for name in names}
        super().load_own_variables(own)
        for i, state in enumerate(self._seed_states()):
            state.assign(store[f"seed_state_{i}"])


_PACKED = {"_x", "_sample_weight"}


def _pack(x, y, sample_weight):
    """Weights travel inside x where y is absent: Keras drops the `sample_weight` of a y that is None."""
    y = np.asarray(y) if isinstance(y, list) else y
    if sample_weight is not None:
        sample_weight = validation.check_weights(sample_weight, keras.tree.flatten(x)[0].shape[0])
    if y is None and sample_weight is not None:
        return {"_x": x, "_sample_weight": sample_weight}, None, None
    return x, y, sample_weight


def _unpack(data):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, dict) and set(x) == _PACKED:
        x, sample_weight = x["_x"], x["_sample_weight"]
    return x, y, sample_weight


def _copy(optimizer):
    return type(optimizer).from_config(optimizer.get_config())


def _check_free(filepath, overwrite):
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(f"{filepath} exists: expected a new path, or overwrite=True.")


def _plain(value):
    """NumPy's numbers and arrays as those of Python, which a file can hold."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _check_serializable(model, name, value):
    if isinstance(value, keras.layers.Layer | str | int | float | bool | None | list | tuple | dict):
        return
    if callable(value) and keras.saving.get_registered_object(keras.saving.get_registered_name(value)) is value:
        return
    raise ValueError(
        f"{model}({name}={value!r}) can be trained and exported, but not saved to a .keras file. Expected a name, a "
        "Keras layer that returns a distribution, or a function registered with "
        f"@keras.saving.register_keras_serializable(); received an object of type {type(value).__name__}."
    )
