"""Reading numpy arrays out of a pickle without running anything that the pickle names.

A pickle is a program: it names functions and has them called. Here every name it may use stands for something of this
file, which puts an array together from its bytes, its shape and its type; any other name ends the reading. Detectron2's
model zoo comes as such files (`.pkl`: plain dicts, texts, numbers and numpy arrays).
"""

import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from visionkit.errors import ConfigError

LARGEST = 1 << 33  # bytes of one array; a shape that asks for more is no weight's
TYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})


class _Refused(Exception):
    """The pickle names something, or does something, that plain arrays do not need."""


class _Inert:
    """Base of all that a pickle can get hold of: it has no attributes that the pickle could set."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused(f"a state for {type(self).__name__.strip('_').lower()}")


class _Names(OrderedDict[Any, Any]):
    """An ordered dict; what was hung onto it (torch's `_metadata`) is left aside."""

    def __setstate__(self, state: Any) -> None:
        return None


class _Type:
    """A numpy data type: a text such as "f4", then its byte order."""

    __slots__ = ("kind", "order")

    def __init__(self, text: Any) -> None:
        kind = text.decode("ascii") if isinstance(text, bytes) else text
        if not isinstance(kind, str) or kind.lstrip("<>=|") not in TYPES:
            raise _Refused(f"the data type {text!r}")
        self.kind, self.order = kind.lstrip("<>=|"), kind[0] if kind[0] in "<>" else "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "=", "|"):
            raise _Refused(f"the byte order {order!r}")
        self.order = order

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(("=" if self.order == "|" else self.order) + self.kind)


class _Array:
    """An array on its way: numpy pickles make an empty one and give it (version, shape, type, Fortran order, bytes)."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        if self.value is not None or not isinstance(state, tuple) or len(state) not in (4, 5):
            raise _Refused("an array without shape and type")
        shape, kind, fortran, data = state[-4:]
        self.value = _made(data, kind, shape, "F" if fortran else "C")


def _made(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """Bytes as an array of their own, in the machine's byte order."""
    if isinstance(data, str):  # Python 2's bytes, read as latin-1
        data = data.encode("latin-1")
    if not isinstance(kind, _Type) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        raise _Refused("an array that is not one of plain numbers")
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise _Refused(f"the shape {shape!r}")
    numpy_type = kind.numpy()
    wanted = math.prod(shape) * numpy_type.itemsize
    if wanted > LARGEST or wanted != len(data):
        raise _Refused(f"an array of shape {shape} with {len(data)} bytes")
    flat = np.frombuffer(data, numpy_type).astype(numpy_type.newbyteorder("="))  # a copy, writable
    return flat.reshape(shape, order=order)


class _Reconstruct(_Inert):
    def __call__(self, kind: Any, shape: Any, code: Any) -> _Array:
        return _Array()


class _FromBuffer(_Inert):
    """How numpy pickles an array under protocol 5, in one call."""

    def __call__(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
        return _Array(_made(data, kind, shape, order))


class _MakeType(_Inert):
    def __call__(self, text: Any, *alignment: Any) -> _Type:
        return _Type(text)


class _Scalar(_Inert):
    def __call__(self, kind: Any, data: Any) -> Any:
        return _made(data, kind, (), "C").item()


class _Encode(_Inert):
    """Python 3 writes bytes under protocol 2 as a text to be encoded as latin-1."""

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _Refused(f"the encoding {encoding!r}")
        return text.encode("latin-1")


class _NoBytes(_Inert):
    """`bytes()`, which is how the same protocol writes empty ones."""

    def __call__(self) -> bytes:
        return b""


class _MakeNames(_Inert):
    def __call__(self, pairs: Any = ()) -> _Names:
        return _Names(pairs)


class _Class(_Inert):
    """`numpy.ndarray` as an argument of `_reconstruct`; it is never called."""


_CORE = ("numpy.core", "numpy._core")  # before and since numpy 2
ALLOWED: dict[tuple[str, str], type[_Inert]] = {
    **{(f"{core}.multiarray", "_reconstruct"): _Reconstruct for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): _Scalar for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): _FromBuffer for core in _CORE},
    ("numpy", "dtype"): _MakeType,
    ("numpy", "ndarray"): _Class,
    ("_codecs", "encode"): _Encode,
    ("__builtin__", "bytes"): _NoBytes,
    ("collections", "OrderedDict"): _MakeNames,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _Refused(f"{module}.{name}")
        return ALLOWED[module, name]()

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("an object outside of the file")


def read_pickle(path: Path) -> Any:
    """Dicts, lists, tuples, texts, numbers and numpy arrays of plain numbers from a pickle of any protocol.

    Texts of Python 2 are read as latin-1, as numpy's bytes in them must be. Nothing that the file names is called.

    Raises:
        ConfigError: the file names anything else (the sentence says what), or is no pickle, or was cut short.
    """
    try:
        with open(path, "rb") as file:
            return _finished(_Reader(file, fix_imports=False, encoding="latin-1").load(), {})
    except _Refused as error:
        raise ConfigError(
            f"{path} is refused: it asks for {error}, and of a pickle only plain arrays and numbers are read."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path} is no pickle of arrays, or was cut short or damaged: {reason}.") from error


def _finished(content: Any, seen: dict[int, Any]) -> Any:
    """The content with arrays in place of what stood for them. What it holds in several places is walked once."""
    if isinstance(content, _Array):
        if content.value is None:
            raise _Refused("an array without contents")
        return content.value
    if isinstance(content, _Inert | _Type):
        raise _Refused("a function among its values")
    if not isinstance(content, dict | list | tuple):
        return content
    if id(content) not in seen:
        seen[id(content)] = None  # while it is walked; a container inside of itself comes out as None
        if isinstance(content, dict):
            made: Any = {_finished(key, seen): _finished(value, seen) for key, value in content.items()}
        else:
            made = type(content)(_finished(item, seen) for item in content)
        seen[id(content)] = made
    return seen[id(content)]
