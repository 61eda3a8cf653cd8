#!/usr/bin/env python3
"""What a checkpoint under way costs the training step: checkpoint_overhead.py RUN/metrics.jsonl [SKIP]

Of a run with train.log_every=1: step times with and without a save in flight alternate in it. Prints their medians and
ratio, how many steps a save lasted, and how long training waited. The first SKIP steps (default 3) are left out.
"""
import json
import statistics
import sys


def main():
    skip = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    lines = [json.loads(line) for line in open(sys.argv[1])]
    ends = {line["step"]: number for number, line in enumerate(lines) if "checkpoint.write_ms" in line}
    times = [(number, line["step"], line["step_ms"]) for number, line in enumerate(lines) if "loss" in line]
    begins = {step: number for number, step, _ in times if step in ends}
    saves = [(begins[step], ends[step]) for step in ends if step in begins]
    # The step of the copy and the one in which the save ended are neither.
    with_save, without, lasted = [], [], [0] * len(saves)
    for place, (number, step, ms) in enumerate(times):
        inside = [i for i, (begin, end) in enumerate(saves) if begin < number < end]
        for i in inside:
            lasted[i] += 1
        if step <= skip:
            continue
        if not inside:
            without.append(ms)
        elif saves[inside[0]][0] < times[place - 1][0] and place + 1 < len(times) and times[place + 1][0] < saves[inside[0]][1]:
            with_save.append(ms)
    figures = [line for line in lines if "checkpoint.write_ms" in line]
    median = statistics.median
    print(f"steps without a save  {median(without):8.2f} ms  ({len(without)} steps)")
    print(f"steps with a save     {median(with_save):8.2f} ms  ({len(with_save)} steps)")
    print(f"ratio                 {median(with_save) / median(without):8.4f}")
    print(f"a save                {median(line['checkpoint.bytes'] for line in figures) / 2**20:8.1f} MiB, "
          f"{median(line['checkpoint.write_ms'] for line in figures):.0f} ms, {median(lasted):.0f} steps")
    print(f"training waited       {median(line['checkpoint.blocked_ms'] for line in figures):8.2f} ms a save")


if __name__ == "__main__":
    main()
