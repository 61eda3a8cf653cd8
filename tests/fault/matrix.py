#!/usr/bin/env python3
"""Kills training runs at every point of a save and at random times, and damages what they leave, with orrery_faults.

    matrix.py --program=build/cpu/tests/fault/orrery_faults [--mpirun=mpirun] [--kills=200] [--seed=1]

After each kill the next start must go on, by itself, from the newest complete checkpoint that was on disk, and no
checkpoint that the log called saved may be gone or damaged. Every few kills the run is let finish: its losses and all bytes
of its last checkpoint must be those of a run that nobody killed. Then come single faults: a failing rank, a full disk, a
read-only folder, clocks that jump, damage, two jobs in one folder. Prints a table; ends with 1 if anything was not so.
"""
import argparse
import collections
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bench import (EVERY, STEPS, Bench, Failure, complete, expect, folder_of, leftovers, losses, losses_so_far,
                   ranks_of, resumed, saved, small_disk, tensors, whole_run)

KILLS_TO_A_RUN = 8


class Killer:
    """Runs on one number of ranks that are killed again and again."""

    def __init__(self, bench, ranks):
        self.bench, self.ranks = bench, ranks
        self.run = bench.scratch / f"killed_{ranks}"
        self.seconds = time.monotonic()
        code, text = bench.train(ranks, bench.scratch / f"whole_{ranks}", ORRERY_FAULT_LOG=str(bench.scratch / "passes"))
        self.seconds = time.monotonic() - self.seconds
        expect(code == 0, text)
        self.points = collections.Counter((bench.scratch / "passes").read_text().splitlines())
        (bench.scratch / "passes").unlink()
        self.rows = collections.defaultdict(collections.Counter)
        self.must_have = 0
        self.kills_of_run = 0

    def after_start(self, text):
        """What every start of the series must show."""
        on_disk = self.before
        expect(resumed(text) == (on_disk[-1] if on_disk else 0), "resumed after", resumed(text), "with", on_disk, text)
        expect(resumed(text) >= self.must_have, "a saved checkpoint was lost:", self.must_have, text)
        expect("damaged" not in text, text)

    def kill(self, row, **fault):
        """One start that is killed (unless it ends before), and what it left."""
        self.before = complete(self.run) if (self.run / "checkpoints").is_dir() else []
        process = self.bench.start(self.ranks, self.run, **({} if "after" in fault else
                                                           {"ORRERY_FAULT": fault["fault"]}))
        if "after" in fault:
            time.sleep(fault["after"])
            alive = ranks_of(process)
            if alive:
                try:
                    os.kill(alive[self.bench.random.choice(sorted(alive))], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        text, _ = process.communicate(timeout=120)
        if re.search(r"step \d+/\d+", text):
            self.after_start(text)
        self.must_have = max([self.must_have] + saved(text))
        counts = self.rows[row]
        if process.returncode == 0:
            counts["not reached"] += 1
            if "after" in fault:  # the machine is faster than it was
                self.seconds = 0.7 * fault["after"]
            return self.finish()
        counts["kills"] += 1
        counts["in a save"] += bool(leftovers(self.run))
        found = complete(self.run) if (self.run / "checkpoints").is_dir() else []
        if found:
            good, words = self.bench.verify(self.run)
            expect(good, "corrupt after", row, fault, words)
        expect(self.must_have == 0 or self.must_have <= found[-1], "lost", self.must_have, found, fault)
        self.kills_of_run += 1
        if self.kills_of_run >= KILLS_TO_A_RUN:
            self.finish()

    def finish(self):
        """Lets the run end, compares it with the one that nobody killed, and begins anew."""
        self.before = complete(self.run) if (self.run / "checkpoints").is_dir() else []
        code, text = self.bench.train(self.ranks, self.run)
        expect(code == 0, "the last start ended with", code, text)
        self.after_start(text)
        expect(not leftovers(self.run), leftovers(self.run))
        whole = self.bench.scratch / f"whole_{self.ranks}"
        expect(losses(self.run) == losses(whole), "other losses", losses(self.run), losses(whole))
        expect(tensors(self.run) == tensors(whole), "other bytes in the last checkpoint")
        expect((self.run / "checkpoints/latest").read_text() == f"step_{STEPS:09d}\n", "latest")
        self.rows["runs finished and compared, bit for bit"]["runs"] += 1
        shutil.rmtree(self.run)
        self.must_have = self.kills_of_run = 0

    def series(self, kills):
        """Half at named points, each in turn with a random occurrence of it, half at random times."""
        names = sorted({(line.split()[1]) for line in self.points})
        for i in range(kills):
            if i % 3 == 2:
                self.kill("random time", after=self.bench.random.uniform(0.2, 1.1 * self.seconds))
                continue
            name = names[(i - i // 3) % len(names)]
            rank, passes = self.bench.random.choice([(line.split()[0], n) for line, n in sorted(self.points.items())
                                                     if line.split()[1] == name])
            # Mostly among the first passes: a run that went on from a checkpoint has fewer saves before it.
            most = passes if self.bench.random.random() < 0.3 else max(1, passes // 3)
            self.kill(name, fault=f"{name}:{self.bench.random.randint(1, most)}:{rank}:kill")
        if self.kills_of_run:
            self.finish()


def failing_rank(bench):
    """A rank that throws at any point of a save: the save fails on all, training goes on, the one before stays."""
    for point in ("stage", "shard.create", "shard.write", "shard.fsync", "shard.rename", "index.write", "publish.manifest",
                  "publish.rename", "shard.fsync_folder"):
        rank = 0 if point.startswith("publish") else 1
        run = bench.scratch / "failing"
        code, text = bench.train(2, run, ORRERY_FAULT=f"{point}:2:{rank}:throw")
        expect(code == 0, text)
        expect(f"checkpoint FAILED, training goes on: rank {rank}: injected at {point}" in text or
               f"rank {rank}: injected at {point}" in text, point, text)
        expect(text.count("checkpoint FAILED") == 1 and STEPS in saved(text), point, text)
        expect(not leftovers(run) and losses(run) == losses(whole_run(bench, 2)), point, text)
        shutil.rmtree(run)


def late_failure(bench):
    """What fails once a checkpoint has its name is told, and the checkpoint counts."""
    for point in ("publish.fsync_folder", "publish.latest", "remove.rename", "remove.files"):
        run = bench.scratch / "late"
        code, text = bench.train(2, run, ORRERY_FAULT=f"{point}:2:0:throw")
        expect(code == 0 and "FAILED" not in text and f"injected at {point}" in text, point, code, text)
        expect(saved(text) == list(range(EVERY, STEPS + 1, EVERY)), point, text)
        expect((run / "checkpoints/latest").read_text() == f"step_{STEPS:09d}\n", point)
        expect(bench.verify(run)[0] and losses(run) == losses(whole_run(bench, 2)), point)
        shutil.rmtree(run)


def slow_copy(bench):
    """The optimizer waits for the copy of the state, however long it takes."""
    for ranks in (1, 2):
        run, whole = bench.scratch / "slow", whole_run(bench, ranks)
        code, text = bench.train(ranks, run, [f"--train.steps={STEPS}"],
                                 ORRERY_FAULT=f"stage:{STEPS // EVERY - 1}:0:delay")
        expect(code == 0, text)
        for step in (STEPS - EVERY, STEPS):
            expect(tensors(run, step) == tensors(whole, step), "other bytes after step", step)
        waited = [float(ms) for ms in re.findall(r"training waited ([0-9.]+) ms", text)]
        expect(max(waited) > 200, "nothing waited for the copy:", waited)
        shutil.rmtree(run)


NO_DISK = "SKIPPED: no tmpfs can be mounted here"


def full_disk(bench):
    """A tmpfs too small for two checkpoints: saves fail by name, the first stays good, training ends with an error."""
    mount = bench.scratch / "small"
    with small_disk(mount, "8m") as mounted:
        if not mounted:
            return NO_DISK
        code, text = bench.train(2, mount / "run", ["--ckpt.keep=0"])
        expect(code == 1 and "checkpoint FAILED" in text and ("No space left" in text or "disk full" in text), code, text)
        expect(complete(mount / "run") and not leftovers(mount / "run"), text)
        good, words = bench.verify(mount / "run")
        expect(good, words)
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        newest = complete(mount / "run")[-1]
        code, text = bench.train(2, mount / "run", ["--ckpt.keep=0"])
        expect(code == 0 and resumed(text) == newest, text)
        expect(losses(mount / "run") == losses(whole_run(bench, 2)), text)
    return ""


def turns_read_only(bench):
    """A file system that turns read-only under a run and back: its saves fail meanwhile, training goes on."""
    run, options = bench.scratch / "turning", ["--train.steps=400", "--ckpt.every=10", "--ckpt.keep=0"]
    mount = run / "checkpoints"

    def remount(how):
        while subprocess.run(["mount", "-o", f"remount,{how}", str(mount)], capture_output=True, check=False).returncode:
            expect(process.poll() is None, "ended before it could be remounted", how)  # busy while a save writes

    def wait_for_step(step):
        while not (run / "metrics.jsonl").exists() or max(losses_so_far(run), default=0) < step:
            expect(process.poll() is None, "ended early")
            time.sleep(0.02)

    with small_disk(mount, "512m") as mounted:
        if not mounted:
            return NO_DISK
        process = bench.start(2, run, options)
        try:
            wait_for_step(30)
            remount("ro")
            frozen = max(losses_so_far(run))
            wait_for_step(frozen + 40)
            remount("rw")
            text, _ = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
        expect(process.returncode == 0, text)
        expect(text.count("checkpoint FAILED, training goes on") >= 2, text)
        expect(complete(run)[-1] == 400, text)
        good, words = bench.verify(run)
        expect(good, words)
    return f"{text.count('checkpoint FAILED')} saves failed, {len(saved(text))} did not"


def read_only(bench):
    """A file system that is read-only when a run starts: refused by name, the checkpoint stays."""
    mount = bench.scratch / "frozen"
    with small_disk(mount, "64m") as mounted:
        if not mounted:
            return NO_DISK
        code, text = bench.train(1, mount / "run", [f"--train.steps={EVERY}"])
        expect(code == 0, text)
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        code, text = bench.train(1, mount / "run")
        expect(code == 2 and "cannot be" in text and "run" in text, code, text)
        expect(bench.verify(mount / "run")[0], "damaged")
        subprocess.run(["mount", "-o", "remount,rw", str(mount)], check=True)
        code, text = bench.train(1, mount / "run")
        expect(code == 0 and resumed(text) == EVERY, text)
    return ""


def clocks(bench):
    """File times far in the past and the future: the newest is the one of most steps."""
    run = bench.scratch / "clocks"
    expect(bench.train(1, run, [f"--train.steps={2 * EVERY}"])[0] == 0, "first part")
    for step, when in ((EVERY, 4e9), (2 * EVERY, 1e8)):
        for path in [folder_of(run, step), *folder_of(run, step).iterdir()]:
            os.utime(path, (when, when))
    os.utime(run / "lock", (4e9, 4e9))
    code, text = bench.train(1, run)
    expect(code == 0 and resumed(text) == 2 * EVERY, text)
    expect(losses(run) == losses(whole_run(bench, 1)), text)
    return ""


def damage(bench):
    """Flipped bits, missing and cut files: set aside by name, and the checkpoint before is taken."""
    def flip(path):
        data = bytearray(path.read_bytes())
        bit = bench.random.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)

    def cut(path):
        os.truncate(path, path.stat().st_size // 2)

    whole = losses(whole_run(bench, 2))
    for what, name in ((flip, "manifest.json"), (cut, "manifest.json"), (cut, "rank_00001.h5"),
                       (pathlib.Path.unlink, "rank_00001.h5"), (pathlib.Path.unlink, "manifest.json"),
                       (flip, "tokenizer.safetensors"), (flip, "rank_00000.h5"), (flip, "rank_00001.h5")):
        run = bench.scratch / "damaged"
        expect(bench.train(2, run, [f"--train.steps={2 * EVERY}"])[0] == 0, "first part")
        what(folder_of(run, 2 * EVERY) / name)
        expect(not bench.verify(folder_of(run, 2 * EVERY))[0], "verify finds nothing", what, name)
        code, text = bench.train(2, run)
        expect(code == 0 and losses(run) == whole, what, name, text)
        outside = what is flip and name.endswith(".h5") and resumed(text) == 2 * EVERY  # a bit that no tensor needs
        expect(outside or (resumed(text) == EVERY and "damaged checkpoint set aside" in text), what, name, text)
        shutil.rmtree(run)
    return ""


def two_jobs(bench):
    """The second is refused while the first lives, and takes over as soon as it is dead."""
    run = bench.scratch / "shared"
    first = bench.start(1, run, ["--train.steps=100000", "--ckpt.every=100000"])
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").stat().st_size:
        expect(first.poll() is None, "ended early")
        time.sleep(0.05)
    code, text = bench.train(1, run)
    expect(code == 2 and f"another job runs in this folder: process {first.pid} on" in text, code, text)
    first.kill()
    first.wait()
    first.stdout.close()
    code, text = bench.train(1, run)
    expect(code == 0, text)
    return ""


def layouts(bench):
    """4 -> 2 -> 1 -> 4 ranks in float64: the losses of a run on one rank, to the order of sums."""
    exact = ["--numerics.dtype=float64"]
    whole, run = bench.scratch / "exact", bench.scratch / "moved"
    expect(bench.train(1, whole, exact)[0] == 0, "whole")
    for ranks, steps in ((4, 3), (2, 6), (1, 9), (4, STEPS)):
        code, text = bench.train(ranks, run, exact + [f"--train.steps={steps}"])
        expect(code == 0, text)
    a, b = losses(run), losses(whole)
    expect(a.keys() == b.keys(), a, b)
    worst = max(abs(a[step] - b[step]) / abs(b[step]) for step in b)
    expect(worst < 1e-12, worst, a, b)
    return f"worst relative difference {worst:.1e}"


def straight(bench):
    """40 steps = 20 + kill + 20, bit for bit."""
    for ranks in (1, 2, 4):
        options = ["--train.steps=40", "--ckpt.every=20"]
        whole, run = bench.scratch / f"straight_{ranks}", bench.scratch / f"broken_{ranks}"
        expect(bench.train(ranks, whole, options)[0] == 0, "whole")
        first = bench.start(ranks, run, options)
        while not folder_of(run, 20).exists():
            expect(first.poll() is None, "ended early")
            time.sleep(0.005)
        alive = ranks_of(first)
        os.kill(alive[bench.random.choice(sorted(alive))], signal.SIGKILL)
        first.communicate()
        code, text = bench.train(ranks, run, options)
        expect(code == 0 and resumed(text) == 20, text)
        expect(losses(run) == losses(whole) and len(losses(run)) == 40, "losses")
        expect(tensors(run, 40) == tensors(whole, 40), "bytes")
    return ""


def print_rows(killer):
    for row, counts in sorted(killer.rows.items()):
        if "runs" in counts:
            print(f"{killer.ranks:>5}  {row}: {counts['runs']}")
            continue
        print(f"{killer.ranks:>5}  {row:<42} {counts['kills']:>5} {counts['in a save']:>9} "
              f"{counts['not reached']:>11}")
    sys.stdout.flush()
    return sum(counts["kills"] for counts in killer.rows.values())


def kill_series(bench, kills):
    print(f"\n{'ranks':>5}  {'killed at':<42} {'kills':>5} {'in a save':>9} {'not reached':>11}")
    total = 0
    for ranks, share in ((1, 0.3), (2, 0.5), (4, 0.2)):
        killer = Killer(bench, ranks)
        try:
            killer.series(round(kills * share))
        finally:
            total += print_rows(killer)
    expect(total >= 0.6 * kills, "only", total, "kills of", kills, "reached their point")
    print(f"total  {total} kills; after each the next start went on from the newest complete checkpoint, no checkpoint was\n"
          "lost or damaged, and nobody had to do anything\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="orrery-fault-"))
    status = 0
    try:
        bench = Bench(args, scratch)
        if not args.only:
            kill_series(bench, args.kills)
        for case in (straight, layouts, failing_rank, late_failure, slow_copy, full_disk, read_only, turns_read_only, clocks, damage,
                     two_jobs):
            if args.only and case.__name__ != args.only:
                continue
            begin = time.monotonic()
            remark = case(bench) or ""
            print(f"{case.__name__:<14} passed  {time.monotonic() - begin:5.1f} s  {remark}".replace(
                "passed ", "" if remark.startswith("SKIPPED") else "passed "), flush=True)
    except (Failure, subprocess.TimeoutExpired) as error:
        print(f"FAILED: {error}", flush=True)
        status = 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
