"""The steps of a path, as far as their names stand in the code: what the program's data give is left out.

Attributes, variables, functions and modules are named by the author. A key of a dictionary, the name of a thread, the
parameters of a scenario may be anything: a password, a customer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from leakcheck.agent.probes.referents import ATTRIBUTE
from leakcheck.agent.scenario import is_name_in

_KEY = re.compile(r"\[('.*'|\".*\")\](…?)", re.DOTALL)
_ATTRIBUTE = re.compile(r"\.(?!<)(.+?)(…?)", re.DOTALL)
_SCENARIO = re.compile(r"<(scenario|step of) ([^\[]*)\[.*\]>", re.DOTALL)
_FRAME = re.compile(r"<frame (\S+) of thread .*>", re.DOTALL)
_VARIABLE = re.compile(r"<context variable (.*)>", re.DOTALL)


def _none(_key: str) -> bool:
    return False


def named_in_code(label: str, is_code: Callable[[str], bool] = _none) -> str:
    """The label of one step; a key of a dictionary is `[key]` but where `is_code` knows it for a name of the code."""
    if match := _KEY.fullmatch(label):
        return label if is_code(ast.literal_eval(match[1])) else f"[key]{match[2]}"
    if match := _ATTRIBUTE.fullmatch(label):
        return label if match[1].isidentifier() or match[1] == "*" else f"{ATTRIBUTE}{match[2]}"
    if match := _SCENARIO.fullmatch(label):
        return f"<{match[1]} {match[2]}>"
    if match := _FRAME.fullmatch(label):
        return f"<frame {match[1]} of a thread>"
    if (match := _VARIABLE.fullmatch(label)) and not match[1].replace(".", "_").isidentifier():
        return "<context variable>"
    return label


def literal_in(source: str) -> Callable[[str], bool]:
    """Whether a key is the author's word: a name in quotes, of a function, or of a parameter in a text of source."""
    return lambda key: (
        is_name_in(source, key)
        or (key.isidentifier() and re.search(rf"(?:\bdef |[(,]\s*){key}\b(?!-)", source) is not None)
    )
