"""A find as a file of scenarios: the step that leaks, and the nearest one that does not."""

from __future__ import annotations

import re

from leakcheck.sweep.clusters import Cluster
from leakcheck.sweep.inside.program import indented

LEAK, NEIGHBOUR = "leaks", "keeps_nothing"
"""Names of the two functions."""


def text(cluster: Cluster, *, with_neighbour: bool) -> str:
    """The source of the file."""
    suspect = cluster.suspect
    found = [f"sys.path.insert(0, {folder!r})" for folder in dict.fromkeys(suspect.folders)]
    blocks = [
        f'"""{_sentence(cluster)}"""\n',
        *(["\n".join(["import sys\n", *found])] if found else []),
        f"from leakcheck import scenario\n\n{suspect.source}",
        _function(LEAK, suspect.step, suspect.exception, '@scenario(expect="leak")'),
    ]
    if with_neighbour:
        blocks.append(_function(NEIGHBOUR, suspect.neighbour, "", "@scenario"))
    return "\n\n".join(block.strip("\n") + "\n" for block in blocks)


def file_name(cluster: Cluster) -> str:
    """A module's name: what is called and how, and enough of the fingerprint to tell it from others."""
    words = re.sub(r"\W+", "_", f"{cluster.target}_{cluster.kind}").strip("_").lower()
    return f"{words}_{cluster.fingerprint[:6]}"


def _sentence(cluster: Cluster) -> str:
    ending = f", which ends in {cluster.suspect.exception}" if cluster.suspect.exception else ""
    return f"{cluster.target} ({cluster.kind}){ending}."


def _function(name: str, step: str, exception: str, mark: str) -> str:
    body = indented(step)
    if exception:
        handled = "Exception" if exception not in ("SystemExit", "KeyboardInterrupt") else exception
        body = f"    try:\n{indented(indented(step))}\n    except {handled}:  # {exception}\n        pass"
    return f"{mark}\ndef {name}():\n{body}\n"
