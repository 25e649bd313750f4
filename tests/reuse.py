"""Models that tests use again, because building, compiling and tracing them takes most of a test's time."""

import collections
import functools
import gc
import itertools

import keras

_taken = collections.Counter()  # models that the running test has taken, by factory and arguments
_kept = {}  # models by factory, arguments, and number in a test


def begin():
    """Starts a test: from now on, factories return their models again. `conftest.py` calls it."""
    _taken.clear()


def forget():
    """Drops all models, after the tests of a file, because no other file asks for them."""
    if _kept:
        _kept.clear()
        gc.collect()


def reused(make):
    """Decorator of a function that returns a compiled model: later tests get the same models, as they were at first.

    Calls in one test return different models. In the next test, the first call returns the first model again, with the
    values that the variables of networks, optimizers and random states had at first; its traced functions stay. A model
    that a test compiled again, froze or extended is replaced. Other attributes that a test sets would stay: for such a
    test, take a new model from `make.__wrapped__`.

    Calls with arguments other than numbers, texts and lists of them, such as optimizers, return new models.
    """

    @functools.wraps(make)
    def get(*args, **kwargs):
        key = tuple(map(_hashable, [*args, *itertools.chain(*sorted(kwargs.items()))]))
        number = _taken[make, key]
        _taken[make, key] += 1
        place = make, key, number
        # Models of one test differ from each other, and depend on no other test.
        keras.utils.set_random_seed(number)
        found = _kept.get(place)
        if found is not None and found.is_intact():
            found.restore()
        else:
            found = _Kept(make(*args, **kwargs))
        if not any(isinstance(each, _New) for each in key):
            _kept[place] = found
        keras.utils.set_random_seed(0)
        return found.model

    return get


class _New:
    """An argument that no later call can have."""


def _hashable(argument):
    if isinstance(argument, list | tuple):
        return tuple(map(_hashable, argument))
    return argument if argument is None or isinstance(argument, str | int | float) else _New()


class _Kept:
    def __init__(self, model):
        self.model, self.optimizers, self.settings = model, getattr(model, "optimizers", None), _settings(model)
        variables = [*model.variables, *(v for each in (self.optimizers or {}).values() for v in each.variables)]
        self.values = [(variable, variable.numpy()) for variable in variables]

    def is_intact(self):
        return getattr(self.model, "optimizers", None) is self.optimizers and _settings(self.model) == self.settings

    def restore(self):
        for variable, value in self.values:
            variable.assign(value)


def _settings(model):
    return [model.run_eagerly, model.jit_compile, *((id(v), v.trainable) for v in model.weights)]
