#!/usr/bin/env python3
"""Checks the order of includes (CONTRIBUTING.md): prints each forbidden one as FILE:LINE and exits with 1.

The folders that a folder may include are the LINK list of its orrery_library in CMakeLists.txt, so that the linker and
this check share one list; each name there must stand on a lower level. Headers of other projects are kept to the folders
that wrap them.
"""
import pathlib
import re
import sys

LEVELS = [
    {"base"},
    {"autograd", "media", "text", "ckpt"},
    {"ops", "data", "merge", "metrics"},
    {"model", "flow", "parallel"},
    {"optim"},
    {"rl", "infer"},
    {"train"},
    {"parity", "plan"},
    {"bench"},
    {"cli"},
]
# Pattern of a header, and the folders of src/ and tests/ that may include it.
WRAPPED = [
    (r"lib(av|sw)\w+/", {"src/media", "tests/media"}),
    (r"(hdf5|H5\w+)\.h", {"src/ckpt", "src/data", "tests/ckpt", "tests/data"}),
    (r"mpi\.h", {"src/parallel", "tests/mpi_main.cpp"}),
    (r"nccl\w*\.h", {"src/parallel/cuda"}),
    (r"(cudnn|cublas|cuda|cub/|c10/cuda|ATen/cuda)", {"src/base/cuda", "src/ops/cuda", "src/optim/cuda", "src/parallel/cuda", "tests/parallel", "tests/train"}),
    (r"(unicode/|sentencepiece)", {"src/text", "tests/text"}),
    (r"boost/(?!crc)", {"src/cli"}),
]
BANNED = [
    (r"torch/", "LibTorch serves as ATen alone"),
    (r"ATen/(ATen|Functions|NativeFunctions)\.h", "include the operator's own header, ATen/ops/NAME.h"),
]
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def level_of(folder):
    return next((level for level, names in enumerate(LEVELS) if folder in names), None)


def read_links(cmake):
    """Folder -> folders of its LINK list, from the orrery_library calls."""
    links = {}
    for call in re.finditer(r"orrery_library\(([^)]*)\)", cmake):
        words = call[1].split()
        folder = words[0]
        listed, taking = set(), False
        for word in words:
            if word in ("LINK", "PRIVATE", "CUDA"):
                taking = word == "LINK"
            elif taking and level_of(word) is not None:
                listed.add(word)
        links[folder] = listed
    return links


def check_links(links):
    for folder, listed in links.items():
        if level_of(folder) is None:
            yield f"CMakeLists.txt: folder {folder} has no level in tools/check_includes.py"
            continue
        for other in sorted(listed):
            if level_of(other) >= level_of(folder):
                yield f"CMakeLists.txt: {folder} may not link {other}, which is not below it"


def check_own(path, header, links):
    """One quoted include of a file: its folder must be named, and be allowed."""
    if path.parts[0] == "tests":
        return None  # tests/CMakeLists.txt links what a test may use
    own, other = path.parts[1], header.split("/")[0]
    if "/" not in header or not (pathlib.Path("src") / header).is_file():
        return f'"{header}" is no file under src/'
    if other != own and other not in links.get(own, set()):
        return f'{own} may not include "{header}": {own} links {", ".join(sorted(links.get(own, ()))) or "nothing"}'
    return None


def check_foreign(path, header):
    for pattern, folders in WRAPPED:
        if re.match(pattern, header):
            if not any(path.as_posix() == folder or path.as_posix().startswith(folder + "/") for folder in folders):
                return f"<{header}> is kept to {', '.join(sorted(folders))}"
    for pattern, why in BANNED:
        if re.match(pattern, header):
            return f"<{header}> is banned: {why}"
    return None


def check_file(path, links):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        message = check_foreign(path, found[2])
        if not message and found[1] == '"':
            message = check_own(path, found[2], links)
        if message:
            yield f"{path}:{number}: {message}"


def main():
    links = read_links(pathlib.Path("CMakeLists.txt").read_text())
    problems = list(check_links(links))
    endings = {".h", ".cpp", ".cu", ".cuh"}
    files = [path for top in ("src", "tests") for path in sorted(pathlib.Path(top).rglob("*")) if path.suffix in endings]
    for path in files:
        problems += check_file(path, links)
    print("\n".join(problems) or f"includes: {len(files)} files in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
