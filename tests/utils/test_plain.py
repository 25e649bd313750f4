"""Plain Python values from NumPy values and paths."""

import json
import pathlib

import numpy as np
import pytest

from keras_ae.utils import plain


def test_numpy_values_and_paths_become_json_values():
    values = {"count": np.int64(3), "rows": np.eye(2, dtype="float32"), "path": pathlib.Path("a") / "b", "none": None}
    expected = {"count": 3, "rows": [[1.0, 0.0], [0.0, 1.0]], "path": str(pathlib.Path("a") / "b"), "none": None}
    assert plain.json_values(values) == expected
    assert json.loads(json.dumps(values, default=plain.to_json)) == expected


def test_what_json_cannot_hold_becomes_none():
    assert plain.json_values({"loss": [np.float32("nan"), float("inf"), 1.5]}) == {"loss": [None, None, 1.5]}


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match="set is not a JSON value"):
        plain.json_values({"names": {"a", "b"}})


def test_constructor_arguments_become_python_values():
    assert type(plain.to_python(np.int64(2))) is int
    assert plain.to_python(np.arange(2)) == [0, 1]
    marker = object()
    assert plain.to_python(marker) is marker
