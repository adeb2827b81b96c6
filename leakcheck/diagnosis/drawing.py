"""Pictures of who refers to what stays, drawn by objgraph in the measured process and by graphviz here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from leakcheck.agent.inquiry import Graph, Picture
from leakcheck.diagnosis.plan import Plan

_SOURCE = "backrefs.dot"


def picture_of(plan: Plan, temporary: Path) -> Picture | None:
    """Where the probe writes the picture's source, and where it finds objgraph; None where no picture is wanted."""
    if plan.options.graph is None:
        return None
    spec = importlib.util.find_spec("objgraph")
    return Picture(str(temporary / _SOURCE), str(Path(spec.origin or "").parent) if spec else "")


def draw(plan: Plan, graph: Graph | None, temporary: Path) -> tuple[list[Path], list[str]]:
    """The picture, and what to say of it; without graphviz its source is kept."""
    folder, source = plan.options.graph, temporary / _SOURCE
    if folder is None or graph is None:
        return [], []
    if graph.no_picture or not source.exists():
        why = graph.no_picture or "no Python object was found that stays"
        return [], [f"no picture of the back-references: {why}"]
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("dot")
    if program is None:
        kept = folder / f"{plan.file_name}.dot"
        shutil.copyfile(source, kept)
        return [kept], [f"graphviz is not installed (apt install graphviz): the picture's source is {kept}"]
    picture = folder / f"{plan.file_name}.svg"
    drawn = subprocess.run(
        [program, "-Tsvg", str(source), "-o", str(picture)], capture_output=True, text=True, timeout=60, check=False
    )
    if drawn.returncode:
        return [], [f"graphviz could not draw the back-references: {drawn.stderr.strip()}"]
    return [picture], [f"picture of the back-references: {picture}"]
