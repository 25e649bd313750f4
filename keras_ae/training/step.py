"""One training step, which updates each objective in turn, once or several times."""

import contextlib
import functools

import keras
import tensorflow as tf

from keras_ae.training import distribute, feeding, objective
from keras_ae.utils import xla


class Play:
    """A batch in a training step, with the computation that objectives share on it.

    Attributes:
        x, y, sample_weight: the batch.
        rows: int32 scalar, its number of rows.
    """

    def __init__(self, model, data):
        self.model = model
        self.x, self.y, self.sample_weight, self.rows = distribute.never_empty(*feeding.unpack(data))
        self._shared, self._tape = None, None

    def terms(self, each, training):
        """Returns the terms of an objective, as `Objective.terms` returns them."""
        return each.terms(self.x, self.y, training, *self.shared(training))

    def tape(self):
        """Returns the gradient tape for an update; objectives with a shared forward pass use the same tape."""
        if not self.model.shares_pass:
            return tf.GradientTape()
        if self._tape is None:
            self._tape = tf.GradientTape(persistent=True)
        return self._tape

    @functools.cached_property
    def valid(self):
        """Whether a step can learn from all rows: a bool scalar."""
        return tf.reduce_all(self.model.y_role.row_mask(self.model, self.x, self.y))

    def fine(self, loss):
        """Whether to apply an update with this loss; None means always, as replicas cannot agree to skip one."""
        if tf.distribute.has_strategy():
            return None
        return tf.math.is_finite(loss) & self.valid

    def shared(self, training):
        """Returns the result of the model's `shared_pass` in a tuple, which is empty if it has none."""
        if self._shared is None and self.model.shares_pass:
            with keep_state_of(self.model.objectives().values(), self.model) if training else contextlib.nullcontext():
                self._shared = (self.model.shared_pass(self.x, self.y, training),)
        return self._shared or ()


@contextlib.contextmanager
def keep_state_of(players, model):
    """Context in which a forward pass only changes the random state and the state of the given players' networks.

    All networks are called in training mode. However, the moving statistics of a `BatchNormalization` and the weights
    rescaled by a `SpectralNormalization` belong to one objective, and another objective's update must not change them.
    """
    with keras.StatelessScope() as scope:
        yield
    own = [v for player in players for v in objective.variables(player)]
    for variable in {id(v): v for v in (*own, *model.seed_states())}.values():
        value = scope.get_current_value(variable)
        if value is not None:
            variable.assign(value)


def move(model, name, player, play):
    """Runs one update of the objective `name`; returns its terms and loss."""
    optimizer, variables = model.optimizers[name], objective.trainable_variables(player)
    alone = len(model.optimizers) == 1
    with play.tape() as tape:
        play.shared(training=True)  # outside this player's scope, because its state belongs to all players
        with contextlib.nullcontext() if alone else keep_state_of([player], model):
            terms = play.terms(player, training=True)
            loss = objective.loss_of(player, terms, play.sample_weight)
        # The optimizers sum gradients over replicas.
        scaled = optimizer.scale_loss(loss * distribute.share_of_batch(play.rows))
    gradients = tape.gradient(scaled, variables)
    _apply(optimizer, gradients, variables, play.fine(loss))
    return terms, loss


def _apply(optimizer, gradients, variables, fine):
    """Applies an update if `fine`, a bool scalar, is true; None means always."""
    if fine is None or (tf.executing_eagerly() and fine):
        optimizer.apply(gradients, variables)
    elif xla.for_xla():
        with _only_if(fine, getattr(optimizer, "inner_optimizer", optimizer)):
            optimizer.apply(gradients, variables)
    elif not tf.executing_eagerly():
        tf.cond(fine, lambda: (optimizer.apply(gradients, variables), True)[1], lambda: False)


@contextlib.contextmanager
def _only_if(fine, optimizer):
    """Context in which an optimizer's assignments leave variables unchanged unless `fine` is true.

    XLA fuses the selection into the update at no cost, whereas its conditional copies all weights and doubles the time
    of a step.
    """

    def change(assign):
        return lambda variable, value: assign(variable, tf.where(fine, value, tf.zeros_like(value)))

    def replace(variable, value):
        type(optimizer).assign(optimizer, variable, tf.where(fine, value, tf.convert_to_tensor(variable)))

    chosen = {
        "assign": replace,
        "assign_add": change(optimizer.assign_add),
        "assign_sub": change(optimizer.assign_sub),
    }
    vars(optimizer).update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            del vars(optimizer)[name]
    optimizer._iterations.assign_sub(tf.cast(~fine, optimizer._iterations.dtype))


def train(model, batches):
    """Runs all updates of one training step.

    The number of `batches` equals the largest number of steps of any objective. An objective with s steps uses the last
    s batches, one per update, so the last objective always sees the last batch.

    Returns:
        the last batch's `Play`, all terms, the last objective's loss, and `{term: its objective's name}`.
    """
    plays = [Play(model, data) for data in batches]
    every, players, loss = {}, {}, None
    for name, player in model.objectives().items():
        for play in plays[len(plays) - player.steps :]:
            terms, loss = move(model, name, player, play)
        every |= terms
        players |= dict.fromkeys(terms, name)
    model.after_step(every)
    return plays[-1], every, loss, players


def measure(model, data):
    """Like `train`, without updates or the mapping from terms to objectives."""
    play, every, loss = Play(model, data), {}, None
    for player in model.objectives().values():
        terms = play.terms(player, training=False)
        loss = objective.loss_of(player, terms, play.sample_weight)
        every |= terms
    return play, every, loss
