#!/usr/bin/env python3
"""What a checkpoint under way costs the training step: checkpoint_overhead.py RUN/metrics.jsonl

Of a run with train.log_every=1, whose steps with and without a save in flight alternate. A save's steps are compared with
those between it and its neighbours, so that a machine whose speed drifts does not count: the ratio is the median over the
saves, with its quartiles. The steps in which a save begins or ends belong to neither.
"""
import json
import statistics
import sys


def windows(lines):
    """Step times in turn: between saves, of a save, between saves, ..."""
    ends = {line["step"]: number for number, line in enumerate(lines) if "checkpoint.write_ms" in line}
    out, current = [], []
    for number, line in enumerate(lines):
        if "loss" in line:
            current.append(line["step_ms"])
        if line.get("step") in ends and ("loss" in line or ends[line["step"]] == number):
            out.append(current[1:-1])
            current = []
    return out + [current[1:]]


def main():
    lines = [json.loads(line) for line in open(sys.argv[1])]
    parts = [part[2:] if place == 0 else part for place, part in enumerate(windows(lines))]
    saves = [(parts[i], parts[i - 1] + parts[i + 1]) for i in range(1, len(parts) - 1, 2)]
    saves = [(inside, around) for inside, around in saves if len(inside) > 3 and len(around) > 3]
    ratios = [statistics.median(inside) / statistics.median(around) for inside, around in saves]
    low, middle, high = statistics.quantiles(ratios, n=4)
    median = statistics.median
    figures = [line for line in lines if "checkpoint.write_ms" in line]
    print(f"steps without a save  {median(ms for _, around in saves for ms in around):8.2f} ms")
    print(f"steps with a save     {median(ms for inside, _ in saves for ms in inside):8.2f} ms")
    print(f"ratio                 {middle:8.4f}, quartiles {low:.4f} and {high:.4f}, {len(ratios)} saves")
    print(f"a save                {median(line['checkpoint.bytes'] for line in figures) / 2**20:8.1f} MiB, "
          f"{median(line['checkpoint.write_ms'] for line in figures):.0f} ms, "
          f"{median(len(inside) for inside, _ in saves):.0f} steps")
    print(f"training waited       {median(line['checkpoint.blocked_ms'] for line in figures):8.2f} ms a save")


if __name__ == "__main__":
    main()
