from __future__ import annotations

import pytest

from leakcheck.diagnosis.resources import pattern


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tcp socket 127.0.0.1:36481 to 127.0.0.1:44176", "tcp socket 127.0.0.1:* to 127.0.0.1:*"),
        ("tcp socket 10.120.3.255:51000 to 10.0.0.5:5432", "tcp socket 10.120.3.255:* to 10.0.0.5:5432"),
        ("pipe:[123456]", "pipe:*"),
        ("/var/log/app-2417.log", "/var/log/app-*.log"),
        ("/tmp/tmpab12cd34.png", "/tmp/tmp*.png"),
        ("Worker-7: run (/src/app/work.py:1250)", "Worker-7: run (/src/app/work.py:1250)"),
    ],
)
def test_a_description_is_the_same_for_all_things_of_a_kind(text: str, told: str) -> None:
    assert pattern(text) == told
