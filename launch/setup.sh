#!/usr/bin/env bash
# Installs what a build needs: launch/setup.sh [cpu] [cuda] [lint] [fuzz]. Without an argument: cpu.
#   cpu   Debian packages by apt-get, LibTorch and two small NVIDIA wheels into .deps/
#   cuda  also the other NVIDIA libraries, and nvcc where no CUDA 13 toolkit is found
#   lint  also clang-format
#   fuzz  also clang with libFuzzer
# Run it as often as you like: what is there already is left alone. It may be interrupted at any point. Root, or sudo
# for the Debian packages. The pins are in launch/pins.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/pins.sh
source launch/pins.sh

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }

# The nvcc of a CUDA 13 toolkit on the machine, or nothing.
toolkit_nvcc() {
  local nvcc
  for nvcc in "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc /usr/local/cuda-13*/bin/nvcc; do
    if [ -x "$nvcc" ] && "$nvcc" --version | grep -q 'release 13\.'; then
      echo "$nvcc"
      return
    fi
  done
}

missing_debian() {
  local name
  for name in "$@"; do
    case "$(dpkg-query -W -f='${Status}' "$name" 2>/dev/null || true)" in
      *' ok installed') ;;
      *) echo "$name" ;;
    esac
  done
}

install_debian() {
  local missing sudo=() bytes
  mapfile -t missing < <(missing_debian "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get > /dev/null || die "these Debian packages are missing and apt-get is not here: ${missing[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || die "run as root, or install sudo, or have root run: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  say "Debian packages missing: ${missing[*]}"
  say "reading Debian's package lists"
  "${sudo[@]}" apt-get update -qq
  bytes=$(apt-get install -qq --print-uris --no-install-recommends "${missing[@]}" | awk '{ sum += $3 } END { print sum + 0 }')
  say "apt-get downloads $(megabytes "$bytes") with what they depend on"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" < /dev/null > /dev/null
}

# .deps/.installed/NAME==VERSION holds the sha256 of the wheel, then the files that came from it.
is_unpacked() {  # requirement, sha256
  local stamp=.deps/.installed/$1 first=
  [ -f "$stamp" ] && read -r first < "$stamp" && [ "$first" = "$2" ]
}

remove_other_versions() {  # requirement
  local stamp
  for stamp in .deps/.installed/"${1%%==*}"==*; do
    [ -f "$stamp" ] || continue
    tail -n +2 "$stamp" | (cd .deps && xargs -r -d '\n' rm -f)
    rm "$stamp"
  done
}

unpack() {  # wheel, requirement, sha256, patterns...
  local wheel=$1 requirement=$2 sha256=$3 folder=.deps/.new/unpacked
  shift 3
  rm -rf "$folder"
  unzip -q "$wheel" "$@" -d "$folder"
  find "$folder" \( -name '*.py' -o -name libtorch_python.so -o -name '*.alt.so*' \) -delete  # nothing of ours loads these
  chmod -R a+rX "$folder"
  remove_other_versions "$requirement"
  cp -alf "$folder"/. .deps/  # hard links: a file appears whole or not at all
  { echo "$sha256"; (cd "$folder" && find . -type f); } > .deps/.new/stamp
  mv .deps/.new/stamp ".deps/.installed/$requirement"
  rm -rf "$folder" "$wheel"
}

missing_wheels() {  # lines of launch/pins.sh
  local requirement bytes sha256 patterns
  while read -r requirement bytes sha256 patterns; do
    [ -z "$requirement" ] || is_unpacked "$requirement" "$sha256" || echo "$requirement $bytes $sha256 $patterns"
  done <<< "$1"
}

announce_wheels() {  # lines of launch/pins.sh
  [ "$(uname -sm)" = 'Linux x86_64' ] || die "the pinned wheels are for Linux x86_64, this is $(uname -sm)"
  say 'wheels missing in .deps/, with the size of the download from PyPI:'
  awk '{ printf "  %-32s %7.1f MB\n", $1, $2 / 1e6; sum += $2 } END { printf "  %-32s %7.1f MB\n", "together", sum / 1e6 }' <<< "$1"
}

install_wheels() {  # lines of launch/pins.sh
  local requirement bytes sha256 patterns wheel
  rm -rf .deps/.new
  mkdir -p .deps/.new/wheels .deps/.installed
  awk '{ print $1 " --hash=sha256:" $3 }' <<< "$1" > .deps/.new/requirements.txt
  python3 -m pip download --no-cache-dir --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --require-hashes -r .deps/.new/requirements.txt -d .deps/.new/wheels --quiet
  while read -r requirement bytes sha256 patterns; do
    wheel=$(find .deps/.new/wheels -name "$(wheel_prefix "$requirement")-*.whl")
    read -ra patterns <<< "$patterns"
    say "unpacking $requirement"
    unpack "$wheel" "$requirement" "$sha256" "${patterns[@]}"
  done <<< "$1"
  rm -rf .deps/.new
}

wheel_prefix() {  # name==version, as a wheel's file name begins
  local name=${1%%==*}
  echo "${name//-/_}-${1##*==}"
}

main() {
  local word cuda=0 lint=0 fuzz=0 debian wheels=$wheels_cpu
  for word in "$@"; do
    case $word in
      cpu) ;;
      cuda) cuda=1 ;;
      lint) lint=1 ;;
      fuzz) fuzz=1 ;;
      *) die "unknown argument '$word', wanted cpu, cuda, lint or fuzz" ;;
    esac
  done
  debian=("${debian_build[@]}" "${debian_libraries[@]}" "${debian_tests[@]}")
  [ $lint = 0 ] || debian+=("${debian_lint[@]}")
  [ $fuzz = 0 ] || debian+=("${debian_fuzz[@]}")
  if [ $cuda = 1 ]; then
    wheels+=$wheels_cuda
    [ -n "$(toolkit_nvcc)" ] || wheels+=$wheels_nvcc
  fi
  mkdir -p .deps
  exec 9> .deps/.lock
  flock 9  # a second set-up in the same clone waits for the first
  wheels=$(missing_wheels "$wheels")
  if [ -n "$wheels" ]; then
    announce_wheels "$wheels"
    python3 -m pip --version > /dev/null 2>&1 || debian+=(python3-pip)
  fi
  install_debian "${debian[@]}"
  [ -z "$wheels" ] || install_wheels "$wheels"
  [ ! -x .deps/nvidia/cu13/bin/nvcc ] || ln -sfn lib .deps/nvidia/cu13/lib64  # where nvcc looks for its libraries
  say "ready ($*)"
}

main "${@:-cpu}"
