#!/usr/bin/env bash
# From a bare machine to films that a world model dreamt, on the CPU: sets up, builds the program, renders demonstration
# films, trains a small model on two MPI ranks and evaluates it on films that it has not seen.
# Everything lands in runs/quickstart; an earlier run's folder is removed first.
set -euo pipefail
cd "$(dirname "$0")/.."

ranks=2
out=runs/quickstart
program=build/cpu/orrery

step() { printf '\n== quick start, %d s: %s\n' "$SECONDS" "$*"; }
trap 'echo "quick start: failed at line $LINENO; the lines above say why" >&2' ERR

step 'set-up'
launch/setup.sh cpu

step 'build'
cmake --preset cpu
cmake --build --preset cpu --target orrery
$program version

step "demonstration films into $out/data"
rm -rf $out
$program demo-data --out=$out/data

step "training on $ranks MPI ranks (launch/quickstart.ini)"
# Open MPI wants to be told that root is meant, and would tie each rank to one core.
as_root=()
[ "$(id -u)" != 0 ] || as_root=(--allow-run-as-root)
threads=$(($(nproc) / ranks))
OMP_NUM_THREADS=$((threads > 0 ? threads : 1)) \
  mpirun "${as_root[@]}" --oversubscribe --bind-to none -n $ranks $program train launch/quickstart.ini < /dev/null

step 'done'
[ -s $out/summary.json ] || { echo "quick start: $out/summary.json is missing" >&2; exit 1; }
cat $out/summary.json
echo
echo 'Films and contact sheets (first frame, truth and sample side by side):'
find "$PWD/$out" \( -name '*.png' -o -name '*.mp4' \) -not -path '*/data/*' | sort
