"""Reads the numbers in a file of Python's pickle format without running any of it.

CIFAR-10's "python version" is such a file. Unpickling runs whatever the file says; here its instructions are only
listed, and the few that build plain values are followed. A call in the file stays a description of a call.
"""

import pickletools
from typing import Any, NamedTuple

_MARK = object()
_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG1", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


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
        return _Machine().run(pickletools.genops(content))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise ValueError(f"is no file of plain values in Python's pickle format ({error})") from error


class _Machine:
    """Follows the instructions that build plain values."""

    def __init__(self):
        self.stack, self.memo = [], {}

    def run(self, instructions):
        for instruction, argument, _ in instructions:
            if instruction.name == "STOP":
                return self.stack.pop()
            self._follow(instruction.name, argument)
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
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        else:
            self._combine(name, argument)

    def _combine(self, name, argument):
        stack = self.stack
        if name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._above_mark()))
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
            stack.append(Call(stack.pop(), arguments, []))
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
