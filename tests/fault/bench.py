"""The program under test, its runs and what they leave: what the cases of matrix.py share."""
import contextlib
import json
import os
import pathlib
import random
import re
import subprocess

STEPS, EVERY = 12, 2  # of a run, and from one checkpoint to the next


class Failure(Exception):
    pass


def expect(good, *what):
    if not good:
        raise Failure(" ".join(str(part) for part in what))


class Bench:
    """The program, its films, and runs on some ranks."""

    def __init__(self, args, scratch):
        self.args, self.scratch = args, scratch
        self.random = random.Random(args.seed)
        data = scratch / "data"
        self.call([args.program, "demo-data", f"--out={data}", "--clips=8", "--held_out=1", "--frames=5", "--height=32",
                   "--width=32"])
        self.recipe = scratch / "recipe.ini"
        self.recipe.write_text(
            f"[model]\npreset = nano\n[data]\npath = {data}/train\nframes = 5\nheight = 32\nwidth = 32\nworkers = 1\n"
            f"[tokenizer]\nchannels = 8\nfit_clips = 8\n[train]\nsteps = {STEPS}\nbatch = 4\nlog_every = 1\nlr = 1e-3\n"
            f"[optim]\nwarmup = 2\n[ckpt]\nevery = {EVERY}\nkeep = 2\n[sample]\nevery = 0\n")

    def environment(self, **more):
        return {**os.environ, "OMP_NUM_THREADS": "1", "HWLOC_HIDE_ERRORS": "2", **more}

    def call(self, command):
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment(), check=False)
        expect(done.returncode == 0, command, done.stdout, done.stderr)
        return done.stdout

    def command(self, ranks, run, options):
        layout = {1: [], 2: ["--parallel.shard=2"], 4: ["--parallel.shard=2"]}[ranks]  # 4: two replicas
        program = [self.args.program, "train", str(self.recipe), f"--train.run_dir={run}", *layout, *options]
        if ranks == 1:
            return program
        return [self.args.mpirun, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *program]

    def start(self, ranks, run, options=(), **environment):
        return subprocess.Popen(self.command(ranks, run, options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, env=self.environment(**environment))

    def train(self, ranks, run, options=(), **environment):
        process = self.start(ranks, run, options, **environment)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def verify(self, folder):
        done = subprocess.run([self.args.program, "ckpt", "verify", str(folder)], capture_output=True, text=True,
                              env=self.environment(), check=False)
        return done.returncode == 0, done.stdout + done.stderr


def losses(run):
    return {line["step"]: line["loss"] for line in map(json.loads, (run / "metrics.jsonl").open()) if "loss" in line}


def losses_so_far(run):
    """Steps of complete lines, while the run writes."""
    return [line["step"] for line in map(json.loads, (run / "metrics.jsonl").read_text().split("\n")[:-1]) if "loss" in line]


def tensors(run, step=STEPS):
    return json.loads((folder_of(run, step) / "manifest.json").read_text())["tensors"]


def folder_of(run, step):
    return run / "checkpoints" / f"step_{step:09d}"


def complete(run):
    """Steps of the folders that carry a checkpoint's final name."""
    return sorted(int(p.name[5:]) for p in (run / "checkpoints").glob("step_*"))


def saved(text):
    return [int(step) for step in re.findall(r"step (\d+): checkpoint of", text)]


def resumed(text):
    found = re.search(r"resumed after step (\d+)", text)
    return int(found[1]) if found else 0


def leftovers(run):
    return [p.name for folder in (run, run / "checkpoints") if folder.is_dir() for p in folder.iterdir()
            if p.name.startswith(("making_", "removing_", "."))]


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child)] + children(int(child))
    return found


def ranks_of(process):
    """Process numbers of the ranks that this launcher has started."""
    out = {}
    for pid in [process.pid] + children(process.pid):
        try:
            text = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
            is_program = pathlib.Path(f"/proc/{pid}/exe").resolve().name == "orrery_faults"
        except OSError:
            continue
        found = re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", text)
        if is_program:
            out[int(found[1]) if found else 0] = pid
    return out


def whole_run(bench, ranks):
    """A run that nobody killed."""
    run = bench.scratch / f"whole_{ranks}"
    if not run.exists():
        code, text = bench.train(ranks, run)
        expect(code == 0, text)
    return run


@contextlib.contextmanager
def small_disk(mount, size):
    """A tmpfs of its own at a new folder; yields whether it could be mounted."""
    mount.mkdir(parents=True)
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)],
                                                   capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(mount)], check=False)
