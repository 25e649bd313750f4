"""Fixtures shared by all tests."""

# ruff: noqa: E402  TensorFlow reads its environment when it is imported.

import functools
import os

# Two workers run the tests, one core each: with more threads than cores, threads wait for each other, which doubled the
# time.
# Child processes of tests inherit it.
for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import keras
import numpy as np
import pytest
from tensorflow.python.ops import gen_resource_variable_ops

from tests import reuse

_make_variable = gen_resource_variable_ops.var_handle_op


@functools.wraps(_make_variable)
def _make_unnamed_variable(*args, **kwargs):
    return _make_variable(*args, **kwargs | {"debug_name": ""})


# TensorFlow caches the kernel of an operation by its attributes. Those of the operation that creates a variable include
# a name for messages, and Keras numbers its names, so nearly every variable took a new kernel: 0.9 of 1.3 ms.
gen_resource_variable_ops.var_handle_op = _make_unnamed_variable


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    reuse.begin()


@pytest.fixture(scope="module", autouse=True)
def _forgetting():
    yield
    reuse.forget()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
