"""What the plugin keeps in pytest's stash of a session."""

from __future__ import annotations

from typing import Any

import pytest

HOST: pytest.StashKey[Any] = pytest.StashKey()
"""Set in the measured process only: what holds the conversation there."""
MEASURING: pytest.StashKey[Any] = pytest.StashKey()
"""What `--leakcheck` means in this session, a `measuring.Measuring`."""
