"""Fixtures shared by all tests."""

# ruff: noqa: E402  TensorFlow reads its environment when it is imported.

import gc
import os

# Two workers run the tests, a core each: more threads than cores wait for one another, which doubled the time.
# Processes that tests start inherit it.
for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import keras
import numpy as np
import pytest
import tensorflow as tf

# A graph of a test runs once or twice, so optimising it takes longer than it saves.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
# What the imports made stays; searching it for garbage again and again took a fortieth of the suite's time.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    # Without a collection of garbage, which takes half a second; Python's own comes in time.
    keras.backend.clear_session(free_memory=False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
