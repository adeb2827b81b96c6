"""Values to call with, as expressions: each makes a fresh object whenever it is evaluated.

What is lost of an object that lives anyhow, a constant of the code for one, is lost without a trace; of a fresh one it
is lost once a call. So a value is never an object here, but what makes one.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from typing import NamedTuple

from leakcheck.agent.faults.shortage import fail_at, fail_no_more

SHORT_OF_MEMORY = "short_of_memory"
"""The helper by which an allocation is made to fail."""
AFTER = "after"
"""The helper that makes an object of one on which a method has been called."""
HELPERS = {
    "fresh": '''\
def fresh(text):
    """Another object of the same value."""
    return text[:1] + text[1:]
''',
    AFTER: '''\
def after(subject, method, *args, **kwargs):
    """The object once this method of it has been called."""
    getattr(subject, method)(*args, **kwargs)
    return subject
''',
    "Anything": '''\
class Anything:
    """What can be called, read, written to and iterated over."""

    def __call__(self, *args, **kwargs):
        return None

    def read(self, size=-1):
        return b""

    def readinto(self, buffer):
        return 0

    def write(self, data):
        return len(data)

    def flush(self):
        pass

    def send(self, value):
        return [value]

    def __iter__(self):
        return iter(())
''',
    "Raises": '''\
class Raises:
    """What raises whatever is asked of it."""

    def _fail(self, *args, **kwargs):
        raise ValueError

    __call__ = __index__ = __int__ = __float__ = __bool__ = __len__ = __hash__ = __eq__ = __lt__ = __iter__ = _fail
    __next__ = __getitem__ = __setitem__ = __contains__ = __str__ = __repr__ = __bytes__ = __fspath__ = _fail
    __enter__ = __complex__ = __format__ = keys = read = readinto = readline = write = flush = close = send = _fail
''',
    "RaisesLater": '''\
class RaisesLater:
    """What can be called, read, written to or iterated over `times` times, and then raises."""

    def __init__(self, times, value):
        self.times, self.value = times, value

    def __call__(self, *args, **kwargs):
        self.times -= 1
        if self.times < 0:
            raise ValueError
        return self.value

    def __iter__(self):
        return self

    __next__ = read = write = flush = readline = send = __len__ = __getitem__ = __call__
''',
    SHORT_OF_MEMORY: f'''\
{inspect.getsource(fail_at)}

{inspect.getsource(fail_no_more)}

def short_of_memory(allocation, function, *args, **kwargs):
    """A call whose allocation of this number fails, counted from 0."""
    fail_at(allocation)
    try:
        return function(*args, **kwargs)
    finally:
        fail_no_more()
''',
    "Text": '''\
class Text(str):
    """A text that can have attributes."""
''',
    "Octets": '''\
class Octets(bytes):
    """Bytes that can have attributes."""
''',
    "Bare": '''\
class Bare:
    """An object that nothing is known of."""
''',
}
"""What expressions may name, by its source: a scenario has those that it needs at its top."""


class Value(NamedTuple):
    """An expression, and the words in an annotation, a default or a parameter's name that ask for such a value."""

    expression: str
    kinds: tuple[str, ...]


def _values(kind: str, *expressions: str) -> list[Value]:
    return [Value(expression, tuple(kind.split())) for expression in expressions]


_TEXT = "str text string name path pattern encoding key word sep prefix suffix fmt format url"
_BYTES = "bytes data buffer buf raw payload chunk blob contents dict_data frame octets readablebuffer"
_INTEGER = "int size count number num n level index length width height limit max min seed start end stop pos bits k i"
_FLOAT = "float real double x y z value weight tolerance eps"
_FUNCTION = "callable callback func function hook handler default cb object_hook factory on"
_FILE = "file fp stream source reader writer io binaryio textio fileobj f out output sink"
_ITEMS = "list iterable sequence items values array collection iter seq args elements"
_TABLE = "dict mapping map headers attrs options kwargs"
_YES = "bool flag is has"

GENERAL: list[Value] = [
    *_values(
        _TEXT,
        "fresh('some text')",
        'fresh(\'{"a": [1, {"inner": 2.5}, "b", null]}\')',
        "''",
        "fresh('<a b=\"c\"><d>e</d></a>')",
        "fresh('12.5')",
        "fresh('2020-01-02T03:04:05Z')",
        "fresh('a.b')",
        "fresh('http://example.com/a?b=c#d')",
        "fresh('utf-8')",
    ),
    *_values(
        _BYTES,
        "fresh(b'some bytes')",
        'fresh(b\'{"a": [1, {"inner": 2.5}, "b", null]}\')',
        "fresh(b'GET /a?b=c HTTP/1.1\\r\\nHost: d\\r\\nContent-Length: 2\\r\\n\\r\\nef')",
        "fresh(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nef')",
        "fresh(b'http://example.com:80/a?b=c#d')",
        "fresh(b'*2\\r\\n$3\\r\\nabc\\r\\n:12345\\r\\n')",
        "fresh(b'\\x83\\x19\\x12\\x34\\x63abc\\xa1\\x61b\\xf6')",
        "fresh(b'<a b=\"c\"><d>e</d></a>')",
        "bytearray(b'some bytes')",
        "b''",
    ),
    *_values(_INTEGER, "1", "0", "int('1000')", "8", "-1", "int('12345678901234567890')"),
    *_values(_FLOAT, "float('1.5')", "float('-0.25')"),
    *_values("none optional", "None"),
    *_values(_YES, "True", "False"),
    *_values(_FUNCTION, "(lambda *args, **kwargs: None)", "(lambda *args: args[0])"),
    *_values(
        _ITEMS,
        "[int('1000'), int('2000')]",
        "[fresh('one'), fresh('two')]",
        "[float('1.5'), float('2.5'), float('3.5')]",
        "[fresh(b'one'), fresh(b'two')]",
        "(int('1000'), fresh('two'))",
        "(fresh('one'), fresh('two'), fresh('three'))",
        "[[float('1.5'), float('2.5')], [float('3.5'), float('4.5')]]",
        "[(fresh('one'), int('1000'))]",
        "{int('1000'), int('2000')}",
        "iter([fresh('one'), fresh('two')])",
        "[]",
    ),
    *_values(
        _TABLE,
        "{fresh('key'): int('1000')}",
        "{fresh('key'): [int('1000'), {fresh('inner'): float('1.5')}, None, True]}",
        "{}",
    ),
    *_values(
        _FILE,
        'io.BytesIO(b\'{"a": [1, {"inner": 2.5}, "b", null]}\')',
        'io.StringIO(\'{"a": [1, {"inner": 2.5}, "b", null]}\')',
        "io.BytesIO()",
        "Anything()",
    ),
    *_values("object any obj", "Bare()"),
    *_values("type class cls", "type('Fresh', (), {})"),
    *_values("date datetime time", "datetime.datetime(2020, 1, 2, 3, 4, 5)"),
    *_values("decimal", "decimal.Decimal('1.5')"),
]
"""Tried where nothing better is known."""

WITH_NUMPY = [
    *_values(
        "array arraylike ndarray x y z data values",
        "numpy.arange(float(12)).reshape(3, 4)",
        "numpy.arange(float(12))",
        "numpy.arange(12, dtype='uint32')",
    ),
]
"""Beside them where the swept package has loaded numpy itself."""

WRONG = (
    "None",
    "Bare()",
    "int('12345678901234567890123')",
    "-1",
    "float('nan')",
    "fresh('not it')",
    "fresh('\\ud800x')",
    "fresh('a\\0b')",
    "fresh(b'\\xff\\x00not it')",
    "b''",
    "[Bare()]",
    "[fresh('one'), Raises()]",
    "{fresh('key'): Bare()}",
    "{Bare(): fresh('value')}",
    "{fresh('one'): int('1000'), fresh('two'): Raises()}",
    "(lambda: None)",
    "Raises()",
    "RaisesLater(0, b'')",
    "RaisesLater(1, fresh(b'some bytes'))",
    "RaisesLater(2, fresh('some text'))",
    "RaisesLater(2, int('1000'))",
    "Anything()",
    "bytearray(3)",
    "memoryview(b'some bytes')[::2]",
    "[[[[]]]]",
    "(fresh('one'),)",
    "(fresh('one'), fresh('two'), fresh('three'), fresh('four'), fresh('five'))",
    "type('Fresh', (), {})",
)
"""What one argument of a valid call is replaced by."""


def pool() -> list[Value]:
    """The values for the modules that are loaded now."""
    return [*GENERAL, *(WITH_NUMPY if "numpy" in sys.modules else ())]


def ranked(values: Iterable[Value], hints: Iterable[str]) -> list[str]:
    """The expressions, those first whose kinds the first word of a hint has in it, then those that any has.

    The hints are a parameter's name, annotation or default: of `Callable[[int], str]` the first word says what it is.
    """
    words = [[word.lower() for word in _words(hint)] for hint in hints]
    first, all_of_them = {each[0] for each in words if each}, {word for each in words for word in each}

    def rank(value: Value) -> int:
        return 0 if first.intersection(value.kinds) else 1 if all_of_them.intersection(value.kinds) else 2

    return list(dict.fromkeys(value.expression for value in sorted(values, key=rank)))


def _words(hint: str) -> list[str]:
    separated = "".join(each if each.isalnum() else " " for each in hint)
    return [*separated.split(), hint]
