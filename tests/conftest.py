"""Fixtures shared by all tests."""

# ruff: noqa: E402  TensorFlow reads its environment when it is imported.

import os

# Two workers run the tests, one core each: with more threads than cores, threads wait for each other, which doubled the
# time.
# Child processes of tests inherit it.
for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
