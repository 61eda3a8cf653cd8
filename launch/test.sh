#!/usr/bin/env bash
# Sets up, builds and runs the tests on the CPU: launch/test.sh [--fast] [--preset cpu|asan|cuda].
#   --fast    only the tests that together stay under 90 s
#   --preset  another build of CMakePresets.json
# Names what was skipped (tests whose fixtures or devices are not here), warns when the fast tests are slow (with CI=true
# that is a failure), and ends with ctest's summary.
set -euo pipefail
cd "$(dirname "$0")/.."

fast_limit_s=90  # together, on two cores; 0: no limit
preset=cpu labels=gpu
while [ $# -gt 0 ]; do
  case $1 in
    --fast) labels='gpu|slow|multi' ;;
    --preset) preset=${2:?--preset wants a name}; shift ;;
    *) echo "test: error: unknown argument '$1', wanted --fast or --preset NAME" >&2; exit 2 ;;
  esac
  shift
done

[ "$preset" = cpu ] || fast_limit_s=0

launch/setup.sh "${preset/asan/cpu}"
cmake --preset "$preset"
cmake --build --preset "$preset"

log=build/$preset/tests.log status=0
ctest --test-dir "build/$preset" --label-exclude "$labels" --parallel "$(nproc)" --output-on-failure --no-tests=error \
  --output-log "$log" || status=$?

echo
tools/test_report.py "build/$preset" "$fast_limit_s" || [ "${CI:-}" != true ] || status=1
grep -E 'tests passed|Total Test time' "$log"
exit $status
