"""The steps of a path are told as far as their names stand in the code."""

from __future__ import annotations

import pytest

from leakcheck.diagnosis.labels import literal_in, named_in_code

SOURCE = """
import pytest

@pytest.fixture
def pool(size, *rest):
    return table["listeners"]

SECRET = "hunter-zwei"
"""


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (".listeners", ".listeners"),
        (".next…", ".next…"),
        ("[*]", "[*]"),
        (".*", ".*"),
        (".__self__", ".__self__"),
        (".<local kept>", ".<local kept>"),
        (".<closure fixtures>", ".<closure fixtures>"),
        ("app.hub", "app.hub"),
        ("<app.Hub held by native code>", "<app.Hub held by native code>"),
        ("<frame main>", "<frame main>"),
        ("['listeners']", "['listeners']"),
        ("['pool']", "['pool']"),
        ("['size']…", "['size']…"),
        ("['hunter']", "[key]"),
        ("['hunter-zwei']", "[key]"),
        ("['alice']…", "[key]…"),
        ('["it\'s"]', "[key]"),
        ("['a\\nb']", "[key]"),
        (".hunter zwei", ".<attribute>"),
        (".<unnamed>", ".<unnamed>"),
        (".<unnamed>…", ".<unnamed>…"),
        ("<frame Hub.run of thread alice's>", "<frame Hub.run of a thread>"),
        ("<scenario f[alice]>", "<scenario f>"),
        ("<step of test_x[a-b]>", "<step of test_x>"),
        ("<context variable request>", "<context variable request>"),
        ("<context variable of alice>", "<context variable>"),
    ],
)
def test_a_step_is_told_by_what_the_author_has_named(label, shown):
    assert named_in_code(label, literal_in(SOURCE)) == shown
