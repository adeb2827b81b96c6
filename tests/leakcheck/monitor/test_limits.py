"""Limits from numbers, texts, control groups of both versions, and the machine."""

from __future__ import annotations

import pytest

from leakcheck.monitor.limits import descriptor_limit, memory_limit, parse_size, process_limit

GIB = 1 << 30


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2 GiB", 2 * GIB), ("2g", 2 * GIB), ("500 MB", 5e8), ("1.5KiB", 1536), ("1000", 1000), (7, 7), (1e9, 1e9)],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "lots", "2 parsecs", "-1", 0, -5, float("inf"), float("nan"), "2 GiB 3"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="limit"):
        parse_size(text)


def test_version_2_limits_are_found(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/app/web\n",
            "sys/fs/cgroup/app/web/memory.max": "max\n",
            "sys/fs/cgroup/app/web/pids.max": "64\n",
            "sys/fs/cgroup/app/memory.max": f"{GIB}\n",
            "proc/meminfo": "MemTotal:       8388608 kB\n",
        },
    )
    assert memory_limit(root=root) == (GIB, "cgroup v2")
    assert process_limit(root=root) == (64, "cgroup v2")


def test_version_2_in_a_container_reads_the_root_of_the_mount(tmp_path):
    root = tree(tmp_path, {"proc/self/cgroup": "0::/../../host/path\n", "sys/fs/cgroup/memory.max": f"{GIB // 2}\n"})
    assert memory_limit(root=root) == (GIB // 2, "cgroup v2")


def test_version_1_limits_are_found(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:pids:/a\n4:memory:/docker/abc\n1:name=systemd:/x\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/pids/a/pids.max": "max\n",
        },
    )
    assert memory_limit(root=root) == (GIB, "cgroup v1")
    assert process_limit(root=root) is None


def test_the_tightest_limit_holds_and_the_soft_one_counts(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/7/cgroup": "0::/app\n",
            "sys/fs/cgroup/app/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/app/memory.high": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory.max": f"{5 * GIB}\n",
            "sys/fs/cgroup/app/pids.max": "100\n",
            "sys/fs/cgroup/pids.max": "90\n",
            "proc/meminfo": "MemTotal:       8388608 kB\n",
        },
    )
    assert memory_limit(root=root, pid="7") == (3 * GIB, "cgroup v2")
    assert process_limit(root=root, pid="7") == (90, "cgroup v2")


def test_without_a_group_limit_the_machine_is_the_limit(tmp_path):
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/meminfo": "MemTotal: 1024 kB\n"})
    assert memory_limit(root=root) == (1 << 20, "machine")


def test_without_anything_there_is_none(tmp_path):
    assert memory_limit(root=str(tmp_path)) is None
    assert memory_limit(None) is None


def test_a_given_limit_is_taken_as_it_is():
    assert memory_limit("2 GiB") == (2 * GIB, "given")


def test_this_process_has_a_limit_of_descriptors():
    limit = descriptor_limit()
    assert limit is None or limit.value >= 16
