"""The numbers of a data set's epochs: which epoch the next iterator reads."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_ATTRIBUTE = "_keras_ae_numbers"


class Numbers:
    """Counts the epochs of one data set.

    Iterators that the user starts count by themselves: an epoch counts once its second batch has been requested. `fit`
    says which epoch it reads, because what looks at a batch, or prefetches, would otherwise change the number with the
    timing of its threads. Each `go_to` starts a new reading, and requests of earlier readings, which may come late from
    such a thread, no longer count.

    Attributes:
        upcoming: int, the epoch that the next iterator reads.
        trained: int, the epoch that the next `fit` begins with.
    """

    def __init__(self, first_epoch: int) -> None:
        self.upcoming = self.trained = first_epoch
        self._reading = 0

    def begin(self) -> np.ndarray:
        """Returns int64 `(2,)` for a new iterator: its epoch and its reading, which it passes to `count`."""
        return np.array([self.upcoming, self._reading], np.int64)

    def count(self, epoch: int, reading: int) -> None:
        """Counts an epoch as read, unless a later reading began."""
        if reading == self._reading:
            self.upcoming = max(self.upcoming, int(epoch) + 1)

    def go_to(self, epoch: int) -> None:
        """Sets the epoch that the next iterator reads."""
        self.upcoming = epoch
        self._reading += 1


def attach(dataset: tf.data.Dataset, numbers: Numbers) -> tf.data.Dataset:
    """Returns the data set, with numbers that `of` finds in it and in data sets made from it."""
    setattr(dataset, _ATTRIBUTE, numbers)
    return dataset


def of(dataset: tf.data.Dataset) -> list[Numbers]:
    """Returns the numbers of all data sets that `dataset` reads from, except inside functions such as `flat_map`'s."""
    found: dict[int, Numbers] = {}
    seen: set[int] = set()
    waiting: list[Any] = [dataset]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if hasattr(each, _ATTRIBUTE):
            numbers = getattr(each, _ATTRIBUTE)
            found[id(numbers)] = numbers
        waiting += each._inputs()  # TensorFlow has no public way to the data sets that a data set reads from
    return list(found.values())


@contextlib.contextmanager
def looking(dataset: tf.data.Dataset) -> Iterator[None]:
    """Context in which to look at batches of a data set without counting its epochs."""
    before = [(numbers, numbers.upcoming) for numbers in of(dataset)]
    try:
        yield
    finally:
        for numbers, upcoming in before:
            numbers.go_to(upcoming)
