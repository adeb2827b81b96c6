"""Where a line of source is shown on the web: in its repository, at the commit that was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from leakcheck.records import Frame

_FORMS = (
    ("gitlab", "{repository}/-/blob/{commit}/{path}#L{line}"),
    ("bitbucket.org", "{repository}/src/{commit}/{path}#lines-{line}"),
    ("codeberg.org", "{repository}/src/commit/{commit}/{path}#L{line}"),
    ("github", "{repository}/blob/{commit}/{path}#L{line}"),
)
"""A part of the host's name, and how its pages are addressed: companies run GitLab and GitHub themselves, too."""
_WEB = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~-]+)+")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def in_repository(frame: Frame, environment: Mapping[str, Any]) -> str:
    """The address of a frame's line, by `repository`, `root` and `commit` of the environment; empty where unknown.

    What is read may come from anybody: nothing but an `https` address of a known form is made.
    """
    repository, root, commit = (str(environment.get(name) or "") for name in ("repository", "root", "commit"))
    form = next((form for host, form in _FORMS if host in repository.partition("://")[2].partition("/")[0]), None)
    if form is None or not (_WEB.fullmatch(repository) and _COMMIT.fullmatch(commit) and root and frame.line):
        return ""
    file, folder = PurePath(frame.file), PurePath(root)
    if ".." in file.parts or not file.is_relative_to(folder):
        return ""
    path = quote(file.relative_to(folder).as_posix())
    return form.format(repository=repository, commit=commit, path=path, line=frame.line)
