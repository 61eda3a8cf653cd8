#!/usr/bin/env bash
# Builds and runs the fuzzers of the file readers: launch/fuzz.sh [--seed=N] [--runs=N] [SECONDS [NAME...]]. Without arguments:
# 60 s each, all, from another random seed each time. --seed=N repeats a run; --runs=N ends a fuzzer after so many inputs.
# Each begins with tests/fuzz/corpus/NAME and the golden files of its format; inputs that it finds stay in
# build/fuzz/corpus/NAME, and one that crashes, leaks or hangs in build/fuzz/found/. Fails if there is such a one.
set -euo pipefail
cd "$(dirname "$0")/.."

seed=0 runs=-1  # libFuzzer: by the clock; no limit
while :; do
  case ${1:-} in
    --seed=*) seed=${1#--seed=} ;;
    --runs=*) runs=${1#--runs=} ;;
    *) break ;;
  esac
  shift
done
seconds=${1:-60}
[ $# -eq 0 ] || shift
names=("${@:-safetensors torch_file dcp_metadata dcp_folder hf_index manifest ini jsonl tokenizer_json requests}")
read -ra names <<< "${names[*]}"

launch/setup.sh cpu fuzz
cmake --preset fuzz
cmake --build --preset fuzz --target fuzzers

seeds() {  # name: copies its seeds to the folder that the fuzzer begins with
  local folder=build/fuzz/seeds/$1
  rm -rf "$folder"
  mkdir -p "$folder" "build/fuzz/corpus/$1" build/fuzz/found
  case $1 in
    tokenizer_json) cp tests/golden/tok_toy.json "$folder" ;;
    ini) cp launch/quickstart.ini "$folder" ;;
    safetensors) cp tests/golden/st_*.safetensors "$folder" ;;
    torch_file) find tests/golden -maxdepth 1 -name 'pt_*' ! -name '*.safetensors' -size -16k -exec cp -t "$folder" {} + ;;
    dcp_metadata)
      local metadata
      for metadata in tests/golden/dcp_*/.metadata tests/golden/dcp_*/*/.metadata; do
        cp "$metadata" "$folder/$(tr / _ <<< "${metadata#tests/golden/}")"
      done ;;
    dcp_folder)
      local part
      for part in tests/golden/dcp_tiny/*; do
        { cat "$part/.metadata"; printf '\n--distcp--\n'; cat "$part/__0_0.distcp"; printf '\n--distcp--\n'; cat "$part/__1_0.distcp"; } \
          > "$folder/$(basename "$part")"
      done ;;
  esac
  [ ! -d "tests/fuzz/corpus/$1" ] || cp tests/fuzz/corpus/"$1"/* "$folder"
}

# The LibTorch wheel is not instrumented: containers that cross its border look overflown.
run() {  # name
  local longest=65536
  [ "$1" != dcp_folder ] || longest=131072
  ASAN_OPTIONS=detect_container_overflow=0 "build/fuzz/fuzz/$1" -seed="$seed" -runs="$runs" -max_total_time="$seconds" -max_len="$longest" -timeout=10 \
    -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 -artifact_prefix="build/fuzz/found/$1-" \
    "build/fuzz/corpus/$1" "build/fuzz/seeds/$1" > "build/fuzz/$1.log" 2>&1
}

status=0 running=()
finish() {  # waits for the first of those running
  local name=${running[0]%%:*} pid=${running[0]##*:}
  running=("${running[@]:1}")
  if wait "$pid"; then
    echo "fuzz: $name: $(awk '/number_of_executed_units/ { print $2 }' "build/fuzz/$name.log") inputs, nothing found"
  else
    echo "fuzz: $name FAILED; the end of build/fuzz/$name.log:"
    tail -40 "build/fuzz/$name.log"
    status=1
  fi
}
for name in "${names[@]}"; do
  seeds "$name"
  [ ${#running[@]} -lt "$(nproc)" ] || finish
  run "$name" &
  running+=("$name:$!")
done
while [ ${#running[@]} -gt 0 ]; do finish; done
exit $status
