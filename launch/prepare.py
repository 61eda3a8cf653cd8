#!/usr/bin/env python3
"""Brings data of the cookbook's recipes into the layouts of `orrery train` and `orrery generate`.

  prepare.py captions METADATA.csv FOLDER [--prefix=TEXT]   a caption FOLDER/metas/NAME.txt for each row "NAME.mp4,caption"
  prepare.py samples FOLDER OUT.jsonl [--resolution=H,W]    a sample for each image of FOLDER with its prompt in NAME.txt
"""
import argparse
import csv
import json
import os
import pathlib
import re
import sys


def captions(table, folder, prefix):
    """Writes the captions of a table with one header row; names may have folders before them."""
    metas = pathlib.Path(folder) / "metas"
    metas.mkdir(parents=True, exist_ok=True)
    with open(table, newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    for number, row in enumerate(rows, 2):
        if len(row) < 2 or not row[0].strip():
            sys.exit(f"{table}: row {number} is {row}, wanted a film's name and its caption")
        # A caption with commas may stand without quotes.
        (metas / (pathlib.Path(row[0].strip()).stem + ".txt")).write_text(prefix + ",".join(row[1:]).strip(), encoding="utf-8")
    print(f"{len(rows)} captions in {metas}")


def prompt_of(image):
    """The prompt of NAME.png stands in NAME.txt, or in NAME..txt where a full stop at the sentence's end got lost."""
    for name in (image.stem + ".txt", image.stem + "..txt"):
        if (image.parent / name).is_file():
            return (image.parent / name).read_text(encoding="utf-8").strip()
    sys.exit(f"{image}: no {image.stem}.txt with its prompt beside it")


def samples(folder, out, resolution):
    """Writes a sample of image2world for each image, its path relative to the file."""
    images = sorted(path for path in pathlib.Path(folder).iterdir() if path.suffix in (".png", ".jpg", ".jpeg", ".webp"))
    if not images:
        sys.exit(f"{folder}: no images")
    lines = []
    for number, image in enumerate(images):
        name = f"{number:03d}_" + re.sub(r"[^\w\-.]", "_", image.stem)[:80]
        sample = {"inference_type": "image2world", "name": name, "prompt": prompt_of(image)}
        sample["input_path"] = os.path.relpath(image, pathlib.Path(out).parent)
        lines.append(json.dumps(sample | ({"resolution": resolution} if resolution else {}), ensure_ascii=False))
    pathlib.Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} samples in {out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("captions")
    part.add_argument("table")
    part.add_argument("folder")
    part.add_argument("--prefix", default="")
    part = parts.add_parser("samples")
    part.add_argument("folder")
    part.add_argument("out")
    part.add_argument("--resolution", default="")
    given = parser.parse_args()
    if given.part == "captions":
        captions(given.table, given.folder, given.prefix)
    else:
        samples(given.folder, given.out, given.resolution)


if __name__ == "__main__":
    main()
