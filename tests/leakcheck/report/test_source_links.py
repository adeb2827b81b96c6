"""The address of a line in its repository: made from what may be anybody's text."""

from __future__ import annotations

import pytest

from leakcheck.records import Frame
from leakcheck.report.source_links import in_repository

FRAME = Frame(file="/src/hub/app/main.py", line=7, function="step")
KNOWN = {"repository": "https://github.com/ada/hub", "root": "/src/hub", "commit": "f768417d0c8b"}


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/ada/hub", "https://github.com/ada/hub/blob/f768417d0c8b/app/main.py#L7"),
        ("https://gitlab.example.org/a/b/hub", "https://gitlab.example.org/a/b/hub/-/blob/f768417d0c8b/app/main.py#L7"),
        ("https://bitbucket.org/ada/hub", "https://bitbucket.org/ada/hub/src/f768417d0c8b/app/main.py#lines-7"),
        ("https://codeberg.org/ada/hub", "https://codeberg.org/ada/hub/src/commit/f768417d0c8b/app/main.py#L7"),
    ],
)
def test_each_host_has_a_form_of_its_own(repository, address):
    assert in_repository(FRAME, KNOWN | {"repository": repository}) == address


@pytest.mark.parametrize(
    "environment",
    [
        {},
        KNOWN | {"repository": "https://example.org/github/hub"},
        KNOWN | {"repository": "javascript:alert(1)//github.com/ada/hub"},
        KNOWN | {"repository": "http://github.com/ada/hub"},
        KNOWN | {"repository": 'https://github.com/ada/hub" onclick="x'},
        KNOWN | {"repository": None},
        KNOWN | {"commit": "main/../../x"},
        KNOWN | {"commit": None},
        KNOWN | {"root": ""},
        KNOWN | {"root": "/other"},
    ],
)
def test_of_anything_else_there_is_none(environment):
    assert in_repository(FRAME, environment) == ""


@pytest.mark.parametrize("file", ["/src/hub/../secret.py", "app/main.py", "", "/usr/lib/python3/json.py"])
def test_a_file_that_lies_elsewhere_has_none(file):
    assert in_repository(Frame(file=file, line=7, function="step"), KNOWN) == ""


def test_odd_names_are_quoted():
    frame = Frame(file="/src/hub/a b/#1?.py", line=7, function="step")
    assert in_repository(frame, KNOWN).endswith("/a%20b/%231%3F.py#L7")
