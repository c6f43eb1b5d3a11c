"""Reads pickles of byte arrays, lists, dicts, numbers and text, and runs nothing that they ask for.

A pickle is a program that may call anything it can name. This reader lets it name seven things, all that an
array needs, and answers each name with a stand-in of its own, so that neither NumPy nor anything else is
called by the file.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def load(path: Path, how: str = "replace the file") -> Any:
    """What the pickle holds; arrays must be of unsigned bytes. Text of Python 2 comes as bytes.

    Args:
        path: the file.
        how: the remedy that an error ends with.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file names anything else, or is truncated or corrupt.
    """
    try:
        with path.open("rb") as file:
            return _finish(_Reader(file).load())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; {how}") from None
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is no pickle of arrays, lists, dicts and text ({error}); {how}") from error
    except Exception as error:  # a damaged pickle can fail in every way that the unpickler's operations can
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is a truncated or corrupt pickle ({reason}); {how}") from error


class _StandIn:
    """What a pickle gets for a name.

    A class and never a function: a pickle can set attributes of a function it was given, but not of a class
    whose instances say how they take a state.
    """

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets the state of what has none")


class _Array(_StandIn):
    """Stands for an array while the file is read; `array` makes it."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array, once its state has been checked: (version, shape, dtype, is_fortran, content)."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise pickle.UnpicklingError("an array without its content")
        _, shape, dtype, is_fortran, content = self.state
        return _make_array(shape, dtype, "F" if is_fortran else "C", content)


class _Dtype(_StandIn):
    """Stands for a dtype; only its name counts, which must be that of unsigned bytes."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        del state  # byte order and alignment: a byte has neither


class _ArrayType(_StandIn):
    """Stands for the class of arrays, which a pickle passes to the function that makes one."""


class _FromBuffer(_StandIn):
    """Stands for the function by which pickles of protocol 5 make an array."""

    def __new__(cls, content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Any:
        return _make_array(shape, dtype, order, content)


class _Encode(_StandIn):
    """Stands for the function by which pickles of protocol 2 make bytes."""

    def __new__(cls, text: Any, encoding: Any = None) -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"text in the encoding {encoding!r}")
        return text.encode("latin-1")


_KNOWN = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
    ("_codecs", "encode"): _Encode,
}


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for module.name; raises for every name but those an array of bytes needs."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run")
        return _KNOWN[module, name]


def _make_array(shape: Any, dtype: Any, order: Any, content: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or dtype.name not in ("u1", b"u1"):
        raise pickle.UnpicklingError(f"an array of {getattr(dtype, 'name', dtype)!r}, not of unsigned bytes")
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    if not isinstance(content, (bytes, bytearray)) or len(content) != math.prod(shape):
        raise pickle.UnpicklingError(f"an array of shape {shape} without its {math.prod(shape)} bytes")
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"an array in the order {order!r}")
    return np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _finish(value: Any) -> Any:
    """`value` with the arrays made, in a dict at the top; what lies deeper must not be an array."""
    if isinstance(value, dict):
        return {key: item.array() if isinstance(item, _Array) else item for key, item in value.items()}
    return value
