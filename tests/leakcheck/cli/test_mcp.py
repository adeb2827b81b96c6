"""`elkyn-leakcheck mcp`, asked by the protocol's own client over standard input and output."""

from __future__ import annotations

import json
import subprocess
import sys

import anyio
import pytest
from mcp import Client, StdioServerParameters

LEAKS = """
from leakcheck import scenario

KEPT = []

@scenario
def keeps():
    KEPT.append(bytearray(300))

@scenario
def sorts():
    sorted([2, 1])
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "leaks.py").write_text(LEAKS)
    return tmp_path


def asked(folder, *calls):
    """The answers of one server to calls in turn: text and whether it is an error."""

    async def ask():
        server = StdioServerParameters(command=sys.executable, args=["-m", "leakcheck", "mcp"], cwd=folder)
        with anyio.fail_after(200):
            async with Client(server) as client:
                tools = {tool.name for tool in (await client.list_tools()).tools}
                answers = [await client.call_tool(name, arguments) for name, arguments in calls]
        return tools, [(answer.content[0].text, bool(answer.is_error)) for answer in answers]

    return anyio.run(ask)


def test_a_leak_is_found_explained_and_mended(project):
    _, [(first, _), (all_of_it, _), (issue, _)] = asked(
        project,
        ("run", {"targets": ["leaks.py"], "select": "keeps"}),
        ("explain", {}),
        ("explain", {"finding": "keeps", "as_issue": True}),
    )
    told = json.loads(first)
    assert (told["verdict"], told["as_expected"]) == ("leak", False)
    assert told["place"] == "leaks.py:8 in keeps"
    assert "KEPT.append(bytearray(300))" in all_of_it
    assert issue.startswith("# leaks 1 bytearray")
    (project / "leaks.py").write_text(LEAKS.replace("KEPT.append", "len"))
    _, [(after, _)] = asked(project, ("run", {"targets": ["leaks.py"], "select": "keeps"}))
    assert json.loads(after)["as_expected"] is True


def test_a_statement_is_judged(project):
    _, [(text, failed)] = asked(
        project, ("check_statement", {"statement": "json.loads('[1]')", "setup": "import json"})
    )
    assert not failed
    assert json.loads(text)["verdict"] == "clean"


def test_mistakes_are_errors_with_the_tools_own_sentence_and_leave_nothing(project):
    tools, [(lost, failed), (mistyped, failed_too)] = asked(
        project, ("explain", {}), ("run", {"targets": ["leaks.py::keps"]})
    )
    assert tools == {"run", "check_statement", "explain", "sweep", "compare", "prove_fix"}
    assert failed
    assert "run something first" in lost
    assert failed_too
    assert "did you mean keeps?" in mistyped
    assert list((project / "reports").iterdir()) == []


def test_a_fix_is_proven_between_two_revisions(project):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=project, check=True, timeout=60
        )

    (project / "hub.py").write_text("KEPT = []\nkeep = KEPT.append\n")
    (project / "leaks.py").write_text(LEAKS.replace("KEPT = []", "import hub").replace("KEPT.append", "hub.keep"))
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "leaks")
    (project / "hub.py").write_text("keep = len\n")
    git("commit", "-qam", "mended")
    _, [(text, _)] = asked(project, ("prove_fix", {"base": "HEAD~1", "head": "HEAD", "scenarios": ["leaks.py"]}))
    told = json.loads(text)
    kept, other = sorted(told["proofs"], key=lambda each: each["scenario"])
    assert kept["proven"], kept["sentence"]
    assert "would have shown it" in kept["sentence"]
    assert not other["proven"]
    assert "does not leak in BASE" in other["sentence"]
    assert told["exit_code"] == 1


@pytest.mark.slow
def test_a_module_is_swept_and_its_leak_can_be_run(project):
    (project / "shapes.py").write_text(
        "_rows = []\n\n\ndef area(width, height):\n    _rows.append([width, height])\n"
        "    result = width * height\n    _rows.pop()\n    return result\n"
    )
    _, [(text, failed)] = asked(project, ("sweep", {"package": "shapes", "seconds_per_target": 1.0}))
    assert not failed, text
    told = json.loads(text)
    assert (told["leaks"], told["finds"][0]["target"]) == (1, "shapes.area")
    assert told["finds"][0]["exception"] == "TypeError"
    assert (project / told["finds"][0]["scenario"]).is_file()
