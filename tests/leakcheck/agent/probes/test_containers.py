"""The search for what grows, in a process of its own: where a chain is longer than can be passed link by link."""

from __future__ import annotations

import textwrap

import pytest

from leakcheck.agent.inquiry import FindContainers, Graph
from leakcheck.agent.probes import containers
from leakcheck.execution.job import Job, ScenarioInfo
from leakcheck.execution.worker import Worker

LINKED = """
    from leakcheck import scenario

    class Node:
        def __init__(self, following=None):
            self.following = following

    head = last = Node()
    for _ in range({links}):
        head = Node(head)

    @scenario
    def at_the_head():
        global head
        head = Node(head)

    @scenario
    def at_the_tail():
        global last
        last.following = Node()
        last = last.following
"""


@pytest.mark.parametrize("name", ["at_the_head", "at_the_tail"])
@pytest.mark.parametrize("links", [1000, 3 * containers._LONG_CHAIN])
def test_a_linked_list_that_grows_is_named_whatever_its_length(tmp_path, name, links):
    file = tmp_path / "linked.py"
    file.write_text(textwrap.dedent(LINKED.format(links=links)))
    job = Job(scenario=ScenarioInfo(id=name, target=str(file), name=name), cwd=tmp_path)
    with Worker(job) as worker:
        worker.open()
        found = worker.ask(FindContainers(11, 101, 31, 20, 96.0, 0.0, values=False, picture=None, seconds=60.0), Graph)
    (chain,) = (each for each in found.containers if each.shape == "deeper")
    assert "".join(node.label for node in chain.path) == "linked.head.following…"
    assert chain.per_iteration == 1.0
    assert 30 <= chain.bytes <= 130
    assert chain.sites
