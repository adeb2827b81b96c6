"""What the contract says, where two of its sentences meet: each test is named after the one that would break."""

from pathlib import Path

import elkyn


def test_04_a_pattern_elsewhere_does_not_disturb_a_write_that_grows_the_map(tmp_path: Path) -> None:
    with elkyn.open(tmp_path / "data", durability="none", map_size=1 << 20) as store:
        store.watch("/*").subscribe(lambda _: None)
        for n in range(20):
            store.set(f"/a/{n}", "x" * 200_000)
        assert len(store.keys("/a")) == 20
