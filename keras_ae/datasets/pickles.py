"""Reads pickled arrays without running anything that the pickle asks for."""

import io
import itertools
import pickletools  # nosec B403 # lists the operations of a pickle, and runs none
import types
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import numpy as np

MAX_OPERATIONS = 20_000_000
"""Steps of a pickle that are read. Each adds at most an object of some bytes, or data that are in the file."""

_KINDS = "iufb"  # of arrays of numbers

# What a pickled array names, and what it stands for here; nothing is imported.
_GLOBALS = {
    **{(f"numpy.{module}.multiarray", "_reconstruct"): "reconstruct" for module in ("core", "_core")},
    **{(f"numpy.{module}.numeric", "_frombuffer"): "frombuffer" for module in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}


class _Name(str):
    """A value of `_GLOBALS`."""


class _Dtype:
    def __init__(self, code):
        self.dtype = np.dtype(object) if code == "O8" else np.dtype(code)
        if code != "O8" and self.dtype.kind not in _KINDS:
            raise ValueError(f"its arrays have dtype {self.dtype}")

    def set(self, state):
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    value: Any = None

    def set(self, state):
        _, shape, dtype, by_columns, data = state
        if dtype.dtype.hasobject:
            rows = [each.value if isinstance(each, _Array) else each for each in data]
            if not all(isinstance(each, np.ndarray) for each in rows) or shape != (len(rows),):
                raise ValueError("its objects are not all arrays")
            self.value = rows
        else:
            self.value = _filled(data, dtype.dtype, shape, "F" if by_columns else "C")


def _filled(data, dtype, shape, order):
    data = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype).reshape(shape, order=order)  # raises unless the sizes agree


def _called(name, arguments):
    if name == "reconstruct" and arguments[:1] == ("ndarray",):
        return _Array()
    if name == "dtype" and isinstance(arguments[0], str):
        return _Dtype(arguments[0])
    if name == "encode" and arguments[1:] == ("latin1",):
        return arguments[0].encode("latin-1")
    if name == "frombuffer":
        array, (data, dtype, shape, order) = _Array(), arguments
        array.value = _filled(data, dtype.dtype, shape, order)
        return array
    raise ValueError(f"it calls {name}{arguments!r:.100}")


def read_array(file: BinaryIO) -> list[np.ndarray] | np.ndarray:
    """Returns the arrays in a pickled NumPy array of objects, a list, or a pickled array of numbers.

    Operations of the pickle that NumPy does not write, and anything but arrays of numbers, are refused before they have
    an effect: this is an interpreter of its own, which imports and calls nothing by name.

    Raises:
        ValueError: if the pickle holds, names or does anything else, or is too long or damaged.

    Example:

        import pickle
        rows = np.empty(2, object)
        rows[:] = [np.zeros((3, 3)), np.ones((4, 3))]
        [len(each) for each in read_array(io.BytesIO(pickle.dumps(rows, 4)))]    # [3, 4]

    See also: `sketch_files.read_npz`, which uses it.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark():
        start = marks.pop()
        found = stack[start:]
        del stack[start:]
        return found

    plain: Any = types.SimpleNamespace(read=file.read, readline=file.readline)  # genops would ask for positions
    try:
        operations: Iterator[Any] = pickletools.genops(plain)  # the type of an argument depends on its operation
        for op, argument, _ in itertools.islice(operations, MAX_OPERATIONS):
            name = op.name
            if name in _VALUES:
                stack.append(argument)
            elif name in _CONSTANTS:
                made = _CONSTANTS[name]
                stack.append([] if made == [] else made)
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[int(argument)])
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[int(argument)] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "TUPLE":
                stack.append(tuple(since_mark()))
            elif name in _TUPLES:
                count = _TUPLES[name]
                stack[-count:] = [tuple(stack[-count:])]
            elif name == "APPEND":
                stack[-2].append(stack.pop())
            elif name == "APPENDS":
                more = since_mark()
                stack[-1].extend(more)
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                if name == "STACK_GLOBAL":
                    pair = tuple(stack[-2:])
                    del stack[-2:]
                else:
                    pair = tuple(argument.split(" "))
                if pair not in _GLOBALS:
                    raise ValueError(f"it names {'.'.join(map(str, pair))[:100]}")
                stack.append(_Name(_GLOBALS[pair]))
            elif name == "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                if not isinstance(function, _Name):
                    raise ValueError("it calls something that is not a function")
                stack.append(_called(function, arguments))
            elif name == "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], _Dtype | _Array):
                    raise ValueError("it changes something that is not an array")
                stack[-1].set(state)
            elif name == "STOP":
                made = stack.pop()
                if isinstance(made, _Array) and made.value is not None:
                    return made.value
                raise ValueError("it is not an array")
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"it uses {name}")
        raise ValueError(f"it has more than {MAX_OPERATIONS:,} steps, or no end")
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, UnicodeError) as error:
        raise ValueError(f"The pickle was refused, and nothing in it ran: {error}.") from error


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG1"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def buffered(file: IO[bytes], most: int) -> BinaryIO:
    """Returns a buffered reader of at most `most` bytes of a file; it ends there."""
    return io.BufferedReader(_Limited(file, most))


class _Limited(io.RawIOBase):
    def __init__(self, file, most):
        self.file, self.left = file, most

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self.file.read(min(len(buffer), self.left))
        self.left -= len(data)
        buffer[: len(data)] = data
        return len(data)
