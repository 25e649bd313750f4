"""One training step, which updates each objective in turn, once or several times."""

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_ae.training import distribute, feeding, objective, roles
from keras_ae.typing import Terms
from keras_ae.utils import xla

Changes: TypeAlias = dict[int, tuple[keras.Variable, tf.Tensor]]
"""New values of variables, not assigned yet: `{id of the variable: (variable, value)}`."""


class Batch:
    """A batch in a training step, with the computation that objectives share on it.

    Attributes:
        x, y, sample_weight: the batch.
        rows: int32 scalar, its number of rows.
    """

    def __init__(self, model: keras.Model, data: Any) -> None:
        self.model = model
        self.x, self.y, self.sample_weight, self.rows = distribute.never_empty(*feeding.unpack(data))
        self._shared: tuple[Any, ...] | None = None
        self._tape: tf.GradientTape | None = None
        self._pending: Changes = {}
        self._losses: list[tf.Tensor] = []

    def terms(self, each: objective.Objective, training: bool) -> Terms:
        """Returns the terms of an objective, as `Objective.terms` returns them."""
        return each.terms(self.x, self.y, training, *self.shared(training))

    def tape(self) -> tf.GradientTape:
        """Returns the gradient tape for an update; objectives with a shared forward pass use the same tape."""
        if not self.model._shares_pass:
            return tf.GradientTape()
        if self._tape is None:
            self._tape = tf.GradientTape(persistent=True)
        return self._tape

    @functools.cached_property
    def valid(self) -> tf.Tensor:
        """Whether a step can learn from all rows: a bool scalar."""
        return tf.reduce_all(self.model.y_role.row_mask(self.model, self.x, self.y))

    def shared(self, training: bool) -> tuple[Any, ...]:
        """Returns the result of the model's `shared_pass` in a tuple, which is empty if it has none."""
        if self._shared is None and self.model._shares_pass:
            if training:
                with keras.StatelessScope(collect_losses=True) as scope:
                    made = self.model.shared_pass(self.x, self.y, training)
                players = self.model.objectives().values()
                self._pending, self._losses = self._changes(scope, players), scope.losses
            else:
                made = self.model.shared_pass(self.x, self.y, training)
            self._shared = (made,)
        return self._shared or ()

    def learn(self, player: objective.Objective) -> tuple[Terms, tf.Tensor, Changes]:
        """Runs an objective's forward pass in training mode.

        All networks are called in training mode. However, the moving statistics of a `BatchNormalization` and the
        weights rescaled by a `SpectralNormalization` belong to one objective, and another objective's update must not
        change them.

        Returns:
            the terms, the loss, and the new values of the random state and of the state of the player's networks,
            `{id: (variable, value)}`, which are not assigned yet.
        """
        scope = keras.StatelessScope(state_mapping=self._pending.values(), collect_losses=True)
        scope.losses += self._losses
        with scope:
            terms = self.terms(player, training=True)
            loss = objective.loss_of(player, terms, self.sample_weight)
        changes, self._pending = self._pending | self._changes(scope, [player]), {}
        return terms, loss, changes

    def _changes(self, scope, players):
        alone = len(self.model.optimizers) == 1
        own = self.model.variables if alone else [v for player in players for v in objective.variables(player)]
        values = {id(v): (v, scope.get_current_value(v)) for v in (*own, *self.model.seed_states())}
        return {key: (v, value) for key, (v, value) in values.items() if value is not None}


def move(
    model: keras.Model, name: str, player: objective.Objective, batch: Batch, fine: tf.Tensor | None
) -> tuple[Terms, tf.Tensor, tf.Tensor | None]:
    """Runs one update of the objective `name`, unless its loss is not finite.

    Args:
        fine: bool scalar, whether the step has been fine so far: otherwise nothing is updated. None means always.

    Returns:
        the terms, the loss, and whether the step is still fine.
    """
    optimizer, variables = model.optimizers[name], objective.trainable_variables(player)
    with batch.tape() as tape:
        batch.shared(training=True)
        terms, loss, changes = batch.learn(player)
        # The optimizers sum gradients over replicas.
        scaled = optimizer.scale_loss(loss * distribute.share_of_batch(batch.rows))
    gradients = tape.gradient(scaled, variables)
    fine = None if fine is None else fine & tf.math.is_finite(loss)

    def update():
        for variable, value in changes.values():
            variable.assign(value)
        optimizer.apply(gradients, variables)

    _only_if(fine, update)
    return terms, loss, fine


def _only_if(fine, update):
    """Runs `update` if `fine`, a bool scalar, is true; None means always."""
    if fine is None or (tf.executing_eagerly() and fine):
        update()
    elif not tf.executing_eagerly():
        tf.cond(fine, lambda: (update(), True)[1], lambda: False)


def train(model: keras.Model, batches: Sequence[Any]) -> tuple[Batch, Terms, tf.Tensor, dict[str, str]]:
    """Runs all updates of one training step.

    The number of `batches` equals the largest number of steps of any objective. An objective with s steps uses the last
    s batches, one per update, so the last objective always sees the last batch.

    If a row of any batch is invalid, nothing is updated. If a loss is not finite, neither its objective nor those after
    it are updated. Replicas cannot agree to skip an update, so under a strategy with several of them all are applied.
    Under XLA all are applied too, and the caller undoes the step, see `states`: a conditional copies all weights, and
    choosing each increment took up to a sixth of a step, see benchmarks/NOTES.md.

    Returns:
        the last batch's `Batch`, all terms, the last objective's loss, and `{term: its objective's name}`.
    """
    prepared = [Batch(model, data) for data in batches]
    every: Terms = {}
    players: dict[str, str] = {}
    loss, fine = None, None
    if not tf.distribute.has_strategy() and not xla.for_xla():
        fine = tf.reduce_all([batch.valid for batch in prepared])
        if len(prepared) > 1 or len(model.optimizers) > 1:
            # With one update, NaN shows in its own loss. With several, a later loss could be the first to show it,
            # after earlier updates were applied.
            fine &= tf.reduce_all([tf.reduce_all(roles.finite(batch.x)) for batch in prepared])
    for name, player in model.objectives().items():
        for batch in prepared[len(prepared) - player.steps :]:
            terms, loss, fine = move(model, name, player, batch, fine)
        every |= terms
        players |= dict.fromkeys(terms, name)
    if model._acts_after_step:
        _only_if(fine, lambda: model.after_step(every))
    return prepared[-1], every, loss, players


def measure(model: keras.Model, data: Any) -> tuple[Batch, Terms, tf.Tensor]:
    """Like `train`, without updates or the mapping from terms to objectives."""
    every: Terms = {}
    batch, loss = Batch(model, data), None
    for player in model.objectives().values():
        terms = batch.terms(player, training=False)
        loss = objective.loss_of(player, terms, batch.sample_weight)
        every |= terms
    return batch, every, loss
