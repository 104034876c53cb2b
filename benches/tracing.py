"""What tracing costs a Spark job with tasks of about 100 ms, and how many bytes it writes.

Blocks of equal tasks run in one warm application. Between blocks the tracers are started and stopped with the commands
that `emberscope record --dry-run` prints, so that both sides of a pair run in the same JVMs, seconds apart; which side
is first alternates. A third comparison has two applications side by side, one without the plugin and one with it and no
session, which take turns. Medians of the paired differences are given with bootstrap intervals.

    python benches/tracing.py --pairs 20 --python VENV/bin/python

runs with the Python of a virtual environment that has PySpark; perf needs root or CAP_PERFMON.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))
import lttng  # noqa: E402

JOB = Path(__file__).with_name("tracing_job.py")
PLUGIN = "io.emberscope.spark.EmberscopePlugin"
RESAMPLES = 10_000
# What a stopped tracer leaves behind (flushes, page cache) is over after this.
SETTLE_S = 0.3
# The long block that bytes are counted in.
BYTES_BLOCKS = 8
# What is compared, by the word of `--only`.
KINDS = (("user", "user space"), ("kernel", "user space and kernel (light)"), ("idle", "plugin loaded, nobody listens"))


@dataclass(frozen=True)
class Setting:
    """Where and how things run."""

    emberscope: Path
    jar: Path
    python: Path
    master: str
    slots: int
    tasks: int
    work: Path


class Application:
    """A warm Spark application that runs blocks when asked."""

    def __init__(self, setting: Setting, *, plugin: bool) -> None:
        """Start it and wait until it is warm."""
        [home] = setting.python.parents[1].glob("lib/python3*/site-packages/pyspark")
        # Python starts Spark, not the other way round: spark-submit keeps standard input for itself.
        command = ["--master", setting.master]
        settings = ["spark.ui.enabled=false", "spark.sql.adaptive.enabled=false", "spark.ui.showConsoleProgress=false"]
        if plugin:
            command += ["--jars", str(setting.jar)]
            settings.append(f"spark.plugins={PLUGIN}")
        command += [part for value in settings for part in ("--conf", value)]
        environment = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": str(setting.python)}
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "localhost"}
        environment["PYSPARK_SUBMIT_ARGS"] = shlex.join([*command, "pyspark-shell"])
        self.process = subprocess.Popen(
            [str(setting.python), str(JOB), str(setting.tasks), str(setting.slots)],
            cwd=setting.work,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.rows = int(self.process.stdout.readline())

    def calibrate(self) -> None:
        """Have tasks of the right length again: compilers go on for minutes."""
        self.rows = int(self.ask("calibrate"))

    def ask(self, line: str) -> str:
        """Ask the application something."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def block(self, rows: int | None = None) -> float:
        """Run a block, of tasks with that many rows; gives seconds."""
        time.sleep(SETTLE_S)
        return float(self.ask(str(rows or self.rows)))

    def __enter__(self) -> "Application":
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


@contextmanager
def tracing(setting: Setting, *, kernel: bool) -> Iterator[Path]:
    """Trace with the commands of `emberscope record`; gives the folder, where traces are when the `with` ends."""
    folder = Path(tempfile.mkdtemp(dir=setting.work)) / "run"
    options = ["--out", str(folder), "--plugin", str(setting.jar), "--dry-run"]
    if not kernel:
        options.append("--no-kernel")
    page = lttng.run(str(setting.emberscope), "record", *options, "--", "true")
    before, _, after = page.partition("# The job\n")
    perf = None
    try:
        for line in before.splitlines():
            words = shlex.split(line.removesuffix(" & perf=$!"), comments=True)
            if words[:2] == ["perf", "record"]:
                perf = recording(words, folder)
            elif words[:1] in (["lttng"], ["mkdir"]):
                lttng.run(*words)
        assert perf is not None or not kernel, "the kernel cannot be traced here"
        yield folder
    finally:
        if perf is not None:
            perf.send_signal(2)
            perf.wait(timeout=60)
        for line in after.splitlines():
            words = shlex.split(line.partition(" |")[0], comments=True)
            if words[:2] in (["lttng", "stop"], ["lttng", "destroy"]):
                subprocess.run(words, check=False, capture_output=True)


def recording(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start perf, and wait until it says that it records."""
    control, answer = folder / "control", folder / "answer"
    os.mkfifo(control)
    os.mkfifo(answer)
    command = [*command, f"--control=fifo:{control},{answer}", "--delay=-1"]
    perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    to, told = os.open(control, os.O_RDWR), os.open(answer, os.O_RDWR)
    os.write(to, b"enable\n")
    assert os.read(told, 16).startswith(b"ack")
    os.close(to)
    os.close(told)
    return perf


def traced_block(setting: Setting, application: Application, *, kernel: bool) -> float:
    """Run a block while tracing."""
    with tracing(setting, kernel=kernel) as folder:
        seconds = application.block()
    shutil.rmtree(folder.parent)
    return seconds


def pairs(count: int, off: Callable[[], float], on: Callable[[], float]) -> list[tuple[float, float]]:
    """Run pairs; the side that is first alternates."""
    taken = []
    for at in range(count):
        if at % 2:
            second = on()
            taken.append((off(), second))
        else:
            first = off()
            taken.append((first, on()))
    return taken


def told(name: str, taken: list[tuple[float, float]]) -> dict[str, object]:
    """Give the median of the paired differences in percent, with a bootstrap interval of 95 %, and print it."""
    differences = [100 * (on / off - 1) for off, on in taken]
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    low, high = medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]
    middle = statistics.median(differences)
    seconds = statistics.median(off for off, _ in taken)
    print(
        f"{name:36} {middle:+6.2f} %  (95 %: {low:+.2f} to {high:+.2f}; {len(taken)} pairs of {seconds:.2f} s; "
        f"single pairs {min(differences):+.1f} to {max(differences):+.1f} %)",
        flush=True,
    )
    return {"name": name, "median_percent": middle, "low": low, "high": high, "pairs": taken}


def size(folder: Path) -> int:
    """Give the bytes of a file, or of all files of a folder."""
    return sum(path.stat().st_size for path in (folder, *folder.rglob("*")) if path.is_file())


def volume(setting: Setting, application: Application) -> dict[str, float]:
    """Print how many bytes a second of a task is, of each kind of trace, and what converting takes."""
    with tracing(setting, kernel=True) as folder:
        wall = sum(application.block() for _ in range(BYTES_BLOCKS))
    user, data = folder / ".user.partial", folder / ".perf.data"
    events = lttng.read(user)
    ends = {event["task_id"]: event.time_ns for event in events if event.name == "task_end"}
    starts = {event["task_id"]: event.time_ns for event in events if event.name == "task_start"}
    tasks = sum(ends[task] - start for task, start in starts.items() if task in ends) / 1e9
    began = time.perf_counter()
    lttng.run("perf", "data", "convert", "--input", str(data), "--to-ctf", str(folder / "kernel"))
    converting = time.perf_counter() - began
    found = {
        "user_bytes_per_task_second": size(user) / tasks,
        "kernel_bytes_per_task_second": size(folder / "kernel") / tasks,
        "perf_data_bytes_per_task_second": size(data) / tasks,
        "converting_seconds_per_second": converting / wall,
    }
    mean_ms = 1000 * tasks / len(starts)
    print(f"{len(starts)} tasks of {mean_ms:.0f} ms in {wall:.1f} s of blocks, {tasks:.1f} task-seconds")
    for name, value in found.items():
        print(f"{name:36} {value:,.2f}" if value < 10 else f"{name:36} {value:,.0f}", flush=True)
    shutil.rmtree(folder.parent)
    return found


def main() -> None:
    """Measure and print; `--json` keeps every pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20, help="pairs of each comparison (10 at least)")
    parser.add_argument("--only", choices=[kind for kind, _ in KINDS], help="one comparison, and nothing else")
    parser.add_argument("--tasks", type=int, default=40, help="tasks of a block")
    parser.add_argument("--master", default="local-cluster[2,1,1024]")
    parser.add_argument("--slots", type=int, default=2, help="tasks that run at once with that master")
    parser.add_argument("--python", type=Path, required=True, help="the Python of a virtual environment with PySpark")
    parser.add_argument("--emberscope", type=Path, default=ROOT / "target" / "release" / "emberscope")
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    options = parser.parse_args()
    [jar] = (ROOT / "target" / "spark").glob("emberscope-spark-*.jar")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp", prefix="emberscope-tracing-")))
        setting = Setting(
            options.emberscope, jar, options.python.absolute(), options.master, options.slots, options.tasks, work
        )
        stack.enter_context(lttng.daemon())
        found, bytes_written = [], {}
        with Application(setting, plugin=True) as application:
            print(f"{setting.master}, blocks of {setting.tasks} tasks, {application.rows:,} rows a task", flush=True)
            for kind, name in KINDS:
                if options.only not in (None, kind):
                    continue
                application.calibrate()
                if kind == "idle":
                    with Application(setting, plugin=False) as without:
                        off = partial(without.block, application.rows)
                        found.append(told(name, pairs(options.pairs, off, application.block)))
                else:
                    on = partial(traced_block, setting, application, kernel=kind == "kernel")
                    found.append(told(name, pairs(options.pairs, application.block, on)))
            if options.only is None:
                application.calibrate()
                bytes_written = volume(setting, application)
    if options.json:
        options.json.write_text(json.dumps({"comparisons": found, "bytes": bytes_written}, indent=1) + "\n")


if __name__ == "__main__":
    main()
