#!/usr/bin/env bash
# Packs built programs with the libraries they need, to run on a host where nothing can be built:
#   launch/pack.sh [--preset cuda] [--host-torch] OUT.tar.xz [PROGRAM...]
#   --preset      which build of CMakePresets.json
#   --host-torch  leaves out LibTorch and CUDA's libraries: the host has 2.11.0 for CUDA 13 as the torch of its python3.
#                 Tens of megabytes instead of gigabytes.
# PROGRAM: orrery, or a test such as test_ops_gpu; orrery alone if none is named. Unpack anywhere; BUNDLE/run PROGRAM
# ARGUMENTS... starts one, also behind mpirun. What is left to the host: glibc, the GPU driver, and Open MPI 4, which knows
# its network.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=cuda host_torch=no
while [ $# -gt 0 ]; do
  case $1 in
    --preset) preset=${2:?--preset wants a name}; shift ;;
    --host-torch) host_torch=yes ;;
    -*) echo "pack: error: unknown argument '$1', wanted --preset NAME or --host-torch" >&2; exit 2 ;;
    *) break ;;
  esac
  shift
done
out=${1:?pack: error: no OUT.tar.xz given}
shift
programs=("${@:-orrery}")

bundle=$(mktemp -d)
trap 'rm -rf "$bundle"' EXIT
mkdir "$bundle/bin" "$bundle/lib"
for name in "${programs[@]}"; do
  built=$(find "build/$preset" -maxdepth 4 -type f -name "$name" -perm -u+x | head -1)
  [ -n "$built" ] || { echo "pack: error: build/$preset has no program $name (cmake --build --preset $preset --target $name)" >&2; exit 2; }
  cp "$built" "$bundle/bin/$name"
  strip "$bundle/bin/$name"
done

# Library paths of the programs that are not the host's to give.
system='^(linux-vdso|ld-linux|libc|libm|libdl|librt|libpthread|libutil|libresolv|libcuda|libnvidia-ml)\.|'
system+='^lib(mpi|open-pal|open-rte|hwloc|event)[_a-z]*[.-]'
for name in "${programs[@]}"; do
  ldd "$(find "build/$preset" -maxdepth 4 -type f -name "$name" -perm -u+x | head -1)"
done | awk '/=> not found/ { print "pack: error: " $1 " is not found" > "/dev/stderr"; exit 1 } $2 == "=>" { print $1, $3 }' |
  sort -u | while read -r name path; do
  [[ $name =~ $system ]] && continue
  [ $host_torch = yes ] && [[ $path =~ /(torch|nvidia)/ ]] && continue
  cp -L "$path" "$bundle/lib/$name"
done
strip --strip-unneeded "$bundle"/lib/* 2>/dev/null || true  # some wheels' libraries refuse

[ $host_torch = yes ] || cp -L .deps/nvidia/cudnn/lib/*.so* "$bundle/lib/"  # opened at run time, so ldd does not name them

cat > "$bundle/run" <<'RUN'
#!/usr/bin/env bash
# run PROGRAM ARGUMENTS...: a program of this bundle with its libraries.
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ ! -e "$here/lib/libtorch_cpu.so" ]; then
  # Found, not imported: that would take seconds.
  site=$(python3 -c 'import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec("torch").origin).parent.parent)') ||
    { echo "run: error: this bundle wants the host's LibTorch, and its python3 has no torch" >&2; exit 2; }
  export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$site/torch/lib:$(find "$site"/nvidia -maxdepth 2 -name lib | paste -sd:)
fi
program=${1:?run: error: no program named; there are: $(ls "$here/bin" | paste -sd' ')}
shift
exec "$here/bin/$program" "$@"
RUN
chmod +x "$bundle/run"
git rev-parse HEAD > "$bundle/commit" 2>/dev/null || true
mkdir -p "$(dirname "$out")"
tar -C "$bundle" -cf - . | xz -T0 -3 > "$out"
echo "pack: $out: ${programs[*]}, $(ls "$bundle/lib" | wc -l) libraries, $(du -h "$out" | cut -f1)"
