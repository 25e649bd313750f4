"""Conversion of NumPy values and paths to plain Python values, which JSON can hold."""

import json
import os
from typing import Any

import numpy as np


def to_python(value: Any) -> Any:
    """Converts a NumPy scalar or array to Python numbers and lists; returns any other value unchanged."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def to_json(value: Any) -> Any:
    """Converts a NumPy value or a path for `json.dumps(..., default=to_json)`; raises `TypeError` for others."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a JSON value.")


def json_values(value: Any) -> Any:
    """Copies nested dicts and lists with JSON values only: NaN and infinity, which JSON lacks, become None."""
    return json.loads(json.dumps(value, default=to_json), parse_constant=lambda _: None)
