"""An object is given up where processes of several targets end with it, and not for one method that ends them all."""

from __future__ import annotations

import sys

import pytest

from leakcheck.sweep.inside.messages import Asked, Swept
from leakcheck.sweep.sweeper import sweep

ENDING = """\
    def {name}(self, value, other):
        os._exit(3)

"""
SOURCE = """\
import os

class Fragile:
{ending}
    def works(self):
        return 1
"""


@pytest.mark.parametrize(("ending", "trusted"), [(["one"], True), (["one", "two", "three"], False)])
def test_an_object_is_used_until_three_targets_have_ended_with_it(ending, trusted, tmp_path):
    (tmp_path / "fragile.py").write_text(SOURCE.format(ending="".join(ENDING.format(name=name) for name in ending)))
    asked = Asked(["fragile"], [], [], 1.0, 1, False, False, "", str(tmp_path), [], {})
    swept = {said.target: said for said in sweep(asked, sys.executable) if isinstance(said, Swept)}
    assert swept["fragile.Fragile.works"].made is trusted
