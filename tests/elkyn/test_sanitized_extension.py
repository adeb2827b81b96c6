"""The extension itself, built under AddressSanitizer and UBSan, through the tests that touch it most."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The package is found in the folder given first, whatever an editable install says.
PROGRAM = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if isinstance(finder, type)]  # the interpreter's own
sys.path.insert(0, sys.argv[1])
import elkyn._native
assert elkyn._native.__file__.startswith(sys.argv[1]), elkyn._native.__file__
import pytest
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:leakcheck", "-m", "not slow", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_the_extension_is_clean_under_address_sanitizer(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if shutil.which("cmake") is None or compiler is None:
        pytest.skip("cmake or g++ not found, install them with: apt-get install cmake g++")
    build = tmp_path / "build"
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DELKYN_SANITIZE=ON", "-DELKYN_WERROR=ON"]
    subprocess.run(
        [*configure, f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_CXX_COMPILER={compiler}"],
        check=True,
        capture_output=True,
    )
    subprocess.run(["cmake", "--build", str(build), "--parallel", "2"], check=True, capture_output=True)
    package = tmp_path / "site" / "elkyn"
    shutil.copytree(ROOT / "elkyn", package, ignore=shutil.ignore_patterns("native", "*.so", "__pycache__"))
    for library in build.glob("_native*.so"):
        shutil.copy(library, package)
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    slices = [
        "test_known_faults.py",
        "test_contract.py",
        "test_flatten.py",
        "test_resume.py",
        "events/test_delivery.py",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(package.parent), *(str(ROOT / "tests" / "elkyn" / name) for name in slices),
         "-k", "not test_09 and not test_16 and not test_24"],
        env=os.environ | {
            "LD_PRELOAD": ":".join(runtimes), "PYTHONMALLOC": "malloc",
            # Leaks of the interpreter itself are not ours to count; those of the extension nanobind reports.
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        },
        capture_output=True, text=True, check=False, timeout=800, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "ERROR: AddressSanitizer" not in done.stderr
    assert "runtime error" not in done.stderr
