"""Reads the numbers in a file of Python's pickle format without running any of it.

CIFAR-10's "python version" is such a file. Unpickling runs whatever the file says; here its instructions are only
listed, and the few that build plain values are followed. A call in the file stays a description of a call.
"""

import codecs
import io
import pickletools
from typing import Any, NamedTuple

import numpy as np

_MARK = object()
_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Names that NumPy 1 and 2 give to what makes an array: of a state that follows, and of a buffer (protocol 5).
_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_FROM_BUFFER = ("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer")
_SCALAR = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
_INTEGERS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")


class Call(NamedTuple):
    """A call that the file asks for and that is not made; `state` is what it would hand to the result."""

    function: str
    arguments: Any
    state: list


def parse(content):
    """Returns the dicts, lists, tuples, texts and numbers of a file; what would be a call is a `Call`.

    Strings of Python 2 come as text of the code points 0 to 255, one for each byte.

    Args:
        content: bytes.

    Raises:
        ValueError: if the content is damaged, or more than such values.
    """
    try:
        return _Machine().run(_instructions(content))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise ValueError(f"is no file of plain values in Python's pickle format ({error})") from error


def to_array(value):
    """The array of integers that a value stands for: a list, or the description of an array of NumPy.

    Args:
        value: what `parse` returns for it.

    Raises:
        ValueError: if it stands for anything else.
    """
    try:
        if not isinstance(value, Call):
            return np.array([int(to_array(item)) if isinstance(item, Call) else item for item in value], np.int64)
        if value.function in _SCALAR:
            dtype, data = value.arguments
            return np.frombuffer(_bytes(data), _dtype(dtype))[0]
        if value.function in _FROM_BUFFER:
            data, dtype, shape, order = value.arguments
        elif value.function in _RECONSTRUCT:
            _, shape, dtype, column_major, data = value.state[0]
            order = "F" if column_major else "C"
        else:
            raise ValueError(f"is made by {value.function}")
        return np.frombuffer(_bytes(data), _dtype(dtype)).reshape(shape, order=order)
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"holds other arrays ({error})") from error


def _dtype(call):
    """The type of integers that a call to `numpy.dtype` asks for; the order of its bytes is in its state."""
    name = to_text(call.arguments[0])
    if call.function != "numpy dtype" or name not in _INTEGERS:
        raise ValueError(f"numbers of type {name}")
    order = to_text(call.state[0][1]) if call.state else "|"
    return np.dtype(name if order == "|" else order + name)


def to_text(value):
    """Text, where Python 3 may have written bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value):
    """Bytes, where Python 2 wrote its kind of text."""
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


def _result(function, arguments):
    """A call that is not made, but for those that protocols below 3 write for bytes, and below 5 for byte arrays."""
    if function == "_codecs encode" and arguments[1:] in (("latin1",), ("latin-1",)):
        return arguments[0].encode("latin-1")
    if function in ("__builtin__ bytes", "builtins bytes") and arguments == ():
        return b""
    if function in ("__builtin__ bytearray", "builtins bytearray") and [*map(type, arguments)] == [bytes]:
        return arguments[0]
    return Call(function, arguments, [])


def _instructions(content):
    """Pairs of the names of instructions and their arguments."""
    stream = io.BytesIO(content)
    while code := stream.read(1):
        opcode = pickletools.code2op[code.decode("latin-1")]
        if opcode.name == "STRING":
            # A string of Python 2 between quotes; the list of instructions takes no more than ASCII for one.
            yield opcode.name, codecs.escape_decode(stream.readline().strip()[1:-1])[0].decode("latin-1")
        else:
            yield opcode.name, opcode.arg.reader(stream) if opcode.arg else None


class _Machine:
    """Follows the instructions that build plain values."""

    def __init__(self):
        self.stack, self.memo = [], {}

    def run(self, instructions):
        for name, argument in instructions:
            if name == "STOP":
                return self.stack.pop()
            self._follow(name, argument)
        raise ValueError("it has no end")

    def _follow(self, name, argument):
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            values = stack[-_TUPLES[name] :]
            del stack[-_TUPLES[name] :]
            stack.append(tuple(values))
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        else:
            self._combine(name, argument)

    def _combine(self, name, argument):
        stack = self.stack
        if name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._above_mark()))
        elif name == "LIST":
            stack.append(self._above_mark())
        elif name == "DICT":
            values = self._above_mark()
            stack.append(dict(zip(values[::2], values[1::2], strict=True)))
        elif name in ("APPENDS", "APPEND"):
            values = self._above_mark() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(values)
        elif name in ("SETITEMS", "SETITEM"):
            values = self._above_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(values[::2], values[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(argument)
        elif name == "STACK_GLOBAL":
            stack.append(f"{stack.pop(-2)} {stack.pop()}")
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_result(stack.pop(), arguments))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state.append(state)
        else:
            raise ValueError(f"instruction {name}")

    def _above_mark(self):
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values
