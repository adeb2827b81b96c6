from __future__ import annotations

from leakcheck.agent.inquiry import Node
from leakcheck.agent.probes.growing import Growing, Path, together

TABLE = (Node("app.tenants", "dict"),)


def below(*keys: str) -> dict[int, Path]:
    return {node: (*TABLE, Node(key, "dict")) for node, key in enumerate(keys)}


def wider(nodes: int, rate: float = 0.25) -> list[Growing]:
    return [Growing(node, rate, "wider") for node in range(nodes)]


def test_what_differs_in_keys_only_is_one_cause() -> None:
    (one,) = together(wider(4), below("['a']", "['b']", "['c']", '["d\'s"]'))
    assert one.growing.per_iteration == 1.0
    assert one.nodes == (0, 1, 2, 3)
    assert one.path == (*TABLE, Node("[*]", "dict"))


def test_two_may_be_two_causes() -> None:
    assert [each.path[-1].label for each in together(wider(2), below("['a']", "['b']"))] == ["['a']", "['b']"]


def test_a_key_that_all_share_keeps_its_name() -> None:
    paths = {node: (*TABLE, Node(f"['{node}']", "dict"), Node("['log']", "list")) for node in range(3)}
    (one,) = together(wider(3), paths)
    assert "".join(label for label, _ in one.path) == "app.tenants[*]['log']"


def test_attributes_are_no_keys_and_the_fastest_comes_first() -> None:
    found = together([*wider(3), Growing(3, 0.5, "wider")], below(".a", ".b", ".c", ".d"))
    assert [each.nodes for each in found] == [(3,), (0,), (1,), (2,)]
