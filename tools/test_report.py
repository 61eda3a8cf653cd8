#!/usr/bin/env python3
"""Says after a ctest run which GoogleTest cases were skipped and why, and how long the fast tests took.

test_report.py BUILD_FOLDER FAST_LIMIT_S
Exits with 1 when the fast tests took longer than the limit; 0 is no limit.
"""
import pathlib
import re
import sys


def read_cases(log):
    """(outcome, ctest's name, case, reason) of each GoogleTest case in ctest's log of all output."""
    cases, said, test = [], [], ""
    for line in re.sub(r"\x1b\[[\d;]*m", "", log).splitlines():
        begin = re.match(r"\d+/\d+ Testing: (\S+)", line)
        end = re.match(r"\[(       OK|  FAILED |  SKIPPED) \] (\S+?)(?:, where .*)? \(\d+ ms\)", line)
        if begin:
            test = begin[1]
        elif line.startswith("[ RUN      ] "):
            said = []
        elif end:
            reason = " ".join(said[said.index("Skipped") + 1 :]) if "Skipped" in said else ""
            cases.append((end[1].strip(), test, end[2], reason))
        else:  # "FILE:LINE: Skipped" stands before the message that the test gave
            said.append("Skipped" if line.endswith(": Skipped") else line.strip())
    return cases


def fast_seconds(summary):
    """Time of the tests labelled fast, from ctest's label summary; None when none ran."""
    found = re.search(r"^fast\s+=\s+([\d.]+) sec\*proc", summary, re.MULTILINE)
    return float(found[1]) if found else None


def main():
    build, limit = pathlib.Path(sys.argv[1]), float(sys.argv[2])
    cases = read_cases((build / "Testing/Temporary/LastTest.log").read_text(errors="replace"))
    skipped = [case for case in cases if case[0] == "SKIPPED"]
    failed = [case for case in cases if case[0] == "FAILED"]
    passed = len(cases) - len(skipped) - len(failed)
    print(f"GoogleTest cases: {passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    for _, test, name, reason in skipped:
        print(f"  skipped {test} {name}: {reason or 'no reason given'}")
    for _, test, name, _ in failed:
        print(f"  FAILED  {test} {name}")
    seconds = fast_seconds((build / "tests.log").read_text(errors="replace"))
    if seconds is None:
        return 0
    print(f"fast tests: {seconds:.1f} s" + (f" (limit {limit:.0f} s)" if limit else ""))
    if limit and seconds > limit:
        print(f"WARNING: the fast tests took longer than {limit:.0f} s; the long ones belong into *_slow_test.cpp")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
