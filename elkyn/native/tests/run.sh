#!/bin/sh
# Builds and runs the C++ tests of the ring under ASan+UBSan, TSan and valgrind, then fuzzes it; warnings are errors.
# FUZZ_SECONDS (default 20) says for how long each; a tool that is missing is named and its check counted as skipped, which
# fails where CI is set.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM
cxx=${CXX:-c++}
flags="-std=c++20 -g -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -pthread"
passed=0 failed=0 skipped=0

say() { printf '\n== %s\n' "$*"; }
skip() { echo "skipped: $*"; skipped=$((skipped + 1)); }
run() { # name, command...
    name=$1; shift
    if "$@"; then passed=$((passed + 1)); else echo "FAILED: $name" >&2; failed=$((failed + 1)); fi
}
quietly() { # log, command...: shows the log only when the command fails
    log=$1; shift
    "$@" >"$log" 2>&1 || { cat "$log"; return 1; }
}
build() { # output, source, flags...
    output=$1 source=$2; shift 2
    # shellcheck disable=SC2086 - the flags are words
    $cxx $flags "$@" -o "$out/$output" "$here/$source.cpp"
}

say "AddressSanitizer and UBSan"
san="-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
# shellcheck disable=SC2086
build asan_unit test_event_queue $san
# shellcheck disable=SC2086
build asan_stress stress_event_queue $san
# shellcheck disable=SC2086
build asan_pace test_pace $san
# shellcheck disable=SC2086
build asan_change_log test_change_log $san
run asan_unit "$out/asan_unit"
run asan_pace "$out/asan_pace"
run asan_change_log "$out/asan_change_log"
run asan_stress "$out/asan_stress" 200000

say "ThreadSanitizer"
build tsan_unit test_event_queue -O1 -fsanitize=thread
# Our own fences pair with atomics that TSan sees; it only lacks a model of the fence itself, which gcc warns about.
build tsan_stress stress_event_queue -O1 -fsanitize=thread -Wno-tsan
# TSan of this compiler's age needs the address layout of an older kernel: no randomisation.
if setarch "$(uname -m)" -R true 2>/dev/null; then still="setarch $(uname -m) -R"; else still=""; fi
run tsan_unit $still "$out/tsan_unit"
run tsan_stress $still "$out/tsan_stress" 100000

say "valgrind"
build plain_unit test_event_queue -O1
build plain_stress stress_event_queue -O1
if command -v valgrind >/dev/null; then
    # The unit tests count allocations by their own operator new: valgrind must not put its own there.
    run valgrind_unit valgrind -q --soname-synonyms=somalloc=nouserintercepts --error-exitcode=9 --leak-check=full --show-leak-kinds=all "$out/plain_unit"
    run valgrind_stress valgrind -q --fair-sched=yes --error-exitcode=9 --leak-check=full "$out/plain_stress" 60000
else
    skip "valgrind not found, install it with: apt-get install valgrind"
fi

say "optimised, as it ships"
build fast_unit test_event_queue -O3
build fast_stress stress_event_queue -O3
run fast_unit "$out/fast_unit"
run fast_stress "$out/fast_stress" 1000000

seconds=${FUZZ_SECONDS:-20}
fuzz() { # source, longest input, flags...
    source=$1 longest=$2; shift 2
    # shellcheck disable=SC2086
    $clang $flags -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -o "$out/$source" "$here/$source.cpp" "$@" &&
    mkdir "$out/$source.corpus" &&
    quietly "$out/$source.log" "$out/$source" -max_total_time="$seconds" -max_len="$longest" -verbosity=0 \
        -artifact_prefix="$out/" -detect_leaks=0 "$out/$source.corpus"
}
say "libFuzzer for $seconds s each"
clang=${CLANGXX:-clang++}
if command -v "$clang" >/dev/null; then
    run fuzz_event_queue fuzz fuzz_event_queue 512
    # Inside an interpreter, whose own memory the sanitizer sees when it comes from malloc.
    # shellcheck disable=SC2046
    PYTHONMALLOC=malloc run fuzz_values fuzz fuzz_values 1024 $("${PYTHON:-python3}" -c "
import sysconfig
of = sysconfig.get_config_var
print('-I' + sysconfig.get_path('include'), '-L' + of('LIBDIR'), '-Wl,-rpath,' + of('LIBDIR'), '-lpython' + of('LDVERSION'))")
else
    skip "clang++ with libFuzzer not found, install it with: apt-get install clang"
fi

echo
echo "native-test: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && { [ -z "${CI:-}" ] || [ "$skipped" -eq 0 ]; }
