#!/usr/bin/env bash
# All tests that need GPUs, and what they should find, on a host with one or more:
#   tests/gpu/run.sh [--bundle FILE.tar.xz] [--quick | --speed]
# Builds the preset cuda here for the cards that are here (FFmpeg optional: without it films can be neither read nor
# written, and CMake says so; the headers of cudnn-frontend are wanted in .deps/include), or takes a bundle made elsewhere:
#   launch/pack.sh --host-torch FILE.tar.xz orrery test_ops_gpu test_optim_gpu test_model_gpu test_train_gpu test_infer_gpu \
#       test_bench_gpu test_parallel_gpu nccl_fault_ranks test_parallel_nccl test_infer_nccl test_train_nccl
# --quick leaves out compute-sanitizer and the timings, --speed all but the timings, of which a film of the released size on
# as many GPUs as are here takes minutes. What is not here (a second GPU, compute-sanitizer) is named and skipped; anything
# that fails ends it with 1 after the rest has run.
set -uo pipefail
cd "$(dirname "$0")/../.."

bundle='' what=all
while [ $# -gt 0 ]; do
  case $1 in
    --bundle) bundle=${2:?--bundle wants a file}; shift ;;
    --quick) what=checks ;;
    --speed) what=timings ;;
    *) echo "gpu: error: unknown argument '$1', wanted --bundle FILE, --quick or --speed" >&2; exit 2 ;;
  esac
  shift
done
export NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0} HWLOC_HIDE_ERRORS=2
failed=()
step() { printf '\n== %4d s  %s\n' "$SECONDS" "$*"; }
expect() {  # NAME COMMAND...: runs it, keeps its log, shows its end
  local name=$1 log=build/gpu_tests/$1.log
  shift
  step "$name"
  if "$@" > "$log" 2>&1; then grep -E 'passed|PASSED|SKIPPED|worst|ERROR SUMMARY|^speed:|tests ran' "$log" | sort -u | head -60
  else
    failed+=("$name")
    grep -E 'FAILED|Failure|error|ERROR|expected|Expected|actual' "$log" | head -40
    echo "gpu: $name FAILED; its whole output: $log"
  fi
}
mkdir -p build/gpu_tests

step "machine"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || { echo 'gpu: no GPU here' >&2; exit 2; }
gpus=$(nvidia-smi -L | wc -l)
if [ -n "$bundle" ]; then
  rm -rf build/gpu_tests/bundle && mkdir -p build/gpu_tests/bundle && tar -xJf "$bundle" -C build/gpu_tests/bundle || exit 2
  program() { echo build/gpu_tests/bundle/run "$@"; }
else
  step "build"
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  [ "$arch" = 90 ] && arch=90a
  ffmpeg=ON
  pkg-config --exists libavformat libavcodec libswscale || { ffmpeg=OFF; echo 'gpu: no FFmpeg here: built without films'; }
  site=$(python3 -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("torch").origin).parent.parent)' 2> /dev/null || true)
  cmake --preset cuda -DORRERY_CUDA_ARCHS="$arch" -DORRERY_FFMPEG=$ffmpeg ${site:+-DORRERY_SITE_PACKAGES="$site"} &&
    cmake --build --preset cuda || exit 1
  program() { if [ "$1" = orrery ]; then echo build/cuda/orrery "${@:2}"; else echo build/cuda/tests/"$*"; fi; }
fi
ranks() { echo mpirun --allow-run-as-root --oversubscribe -n "$1" -x LD_LIBRARY_PATH -x NCCL_NVLS_ENABLE; }

checks() {
  expect ops $(program test_ops_gpu) --gtest_filter="-*Speed*"
  expect optim $(program test_optim_gpu) --gtest_filter="-*Speed*"
  expect model $(program test_model_gpu)
  expect train $(program test_train_gpu) --gtest_filter="-*Speed*"
  expect films $(program test_infer_gpu) --gtest_filter="-*Speed*"
  expect films_1 $(program test_infer_nccl) --gtest_filter="FilmTimes*:-*Speed*"
  expect bench $(program test_bench_gpu)
  expect parity $(program orrery) parity --device=cuda tests/golden/{dit,flow,sampler,optim,ema,distill,vae,text}_*.safetensors
  expect faults $(program test_parallel_gpu)
  local n
  for n in 2 4; do
    if [ "$gpus" -lt "$n" ]; then step "$n GPUs: skipped, $gpus here"; continue; fi
    expect "collectives_$n" $(ranks "$n") $(program test_parallel_nccl) --gtest_filter="-*Speed*"
    expect "films_$n" $(ranks "$n") $(program test_infer_nccl) --gtest_filter="-*Speed*"
    expect "steps_$n" $(ranks "$n") $(program test_train_nccl) --gtest_filter="-*Speed*"
  done
}
sanitizer() {
  if ! command -v compute-sanitizer > /dev/null; then step "compute-sanitizer: skipped, not here"; return; fi
  local tool
  for tool in memcheck racecheck; do
    local check=(compute-sanitizer --tool "$tool" --error-exitcode 9)
    expect "${tool}_ops" "${check[@]}" $(program test_ops_gpu) --gtest_filter='Fused*:Shapes/Fused*:Types/ConvKernels*:-*Speed*'
    expect "${tool}_optim" "${check[@]}" $(program test_optim_gpu) --gtest_filter='CudaAdamW*:GradClipCuda*:-*Speed*'
    expect "${tool}_fsdp" "${check[@]}" $(program test_parallel_gpu) --gtest_filter='CopyEach*:-*Speed*'
  done
}
timings() {
  expect speed $(program test_ops_gpu) --gtest_filter='*Speed*'
  expect optim_speed $(program test_optim_gpu) --gtest_filter='*Speed*'
  expect evaluation_speed $(program test_infer_gpu) --gtest_filter='*Speed*'
  local n=$((gpus >= 4 ? 4 : gpus >= 2 ? 2 : 1)) mpirun=''
  [ "$n" = 1 ] || mpirun=$(ranks "$n")
  expect film_speed $mpirun $(program test_infer_nccl) --gtest_filter='*Speed*'
}
[ $what = timings ] || checks
[ $what = all ] && sanitizer
[ $what = checks ] || timings

step "done: ${#failed[@]} failed${failed[0]:+: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ]
