"""Fixtures shared by all tests."""

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()


@pytest.fixture
def rng():
    return np.random.default_rng(0)
