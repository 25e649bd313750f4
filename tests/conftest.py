"""Fixtures shared by all tests."""

# ruff: noqa: E402  TensorFlow reads its environment when it is imported.

import os

# Two workers run the tests, a core each: more threads than cores wait for one another, which doubled the time.
# Processes that tests start inherit it.
for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    # Without a collection of garbage, which takes half a second; Python's own comes in time.
    keras.backend.clear_session(free_memory=False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
