"""Compare Emberscope with a Python reader and with spark-rapids-tools' profiling on the same event logs.

Each reader runs `--pairs` times, in turns, so that whatever else the machine does meets all of them. CPU seconds and
the peak resident set are those the kernel counted for the child. `--memory` measures ours alone, on a big log.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
import zstandard

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MB = 1_000_000
MIB_PER_KIB = 1 / 1024
FIRST_CPU = 0
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
Command = Callable[[Path, Path], list[str]]


@dataclass(frozen=True)
class Cost:
    """What one run of a reader took."""

    cpu_s: float
    wall_s: float
    peak_mib: float


def emberscope(binary: Path, verb: str) -> Command:
    """Build the command of ours; `diagnose` writes JSON, `extract` writes all tables."""
    if verb == "diagnose":
        return lambda log, out: [str(binary), "diagnose", str(log), "--format", "json", "--out", str(out / "diagnosis")]
    return lambda log, out: [str(binary), "extract", str(log), "--out", str(out / "tables")]


def python_reader(log: Path, _out: Path) -> list[str]:
    """Build the command of the Python baseline."""
    return [sys.executable, str(HERE / "python_reader.py"), str(log)]


def rapids(log: Path, out: Path) -> list[str]:
    """Build the command of spark-rapids-tools' profiling."""
    return [str(HERE / "rapids.sh"), str(log), str(out / "rapids")]


def measure(command: list[str], *, one_thread: bool) -> Cost:
    """Run a command and ask the kernel what it cost; with `one_thread` it stays on one core."""
    environment = {**os.environ, "EMBERSCOPE_THREADS": "1"} if one_thread else dict(os.environ)
    pin = ["taskset", "-c", str(FIRST_CPU)] if one_thread else []
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen([*pin, *command], env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in (0, 1):
            errors.seek(0)
            sys.stderr.buffer.write(errors.read()[-2_000:])
            raise SystemExit(f"{' '.join(command)}: exit status {child.returncode}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(cpu_s, time.perf_counter() - start, usage.ru_maxrss * MIB_PER_KIB)


def run_once(build: Command, log: Path, *, one_thread: bool) -> Cost:
    """Measure one reader once, with a fresh folder for what it writes."""
    with tempfile.TemporaryDirectory() as out:
        return measure(build(log, Path(out)), one_thread=one_thread)


def is_zstd(log: Path) -> bool:
    """Tell a zstd log by its first bytes."""
    with log.open("rb") as file:
        return file.read(4) == ZSTD_MAGIC


def decoded_bytes(log: Path) -> int:
    """Give the size of the log's text."""
    if not is_zstd(log):
        return log.stat().st_size
    with log.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return sum(map(len, iter(lambda: reader.read(1 << 20), b"")))


def count_tasks(log: Path) -> int:
    """Count the task ends."""
    done = subprocess.run([*python_reader(log, log)], capture_output=True, check=True)
    return sum(stage["tasks"] for stage in orjson.loads(done.stdout).values())


def compare(log: Path, readers: dict[str, Command], pairs: int, slow_pairs: int) -> None:
    """Print one table for a log; the slow reader gets fewer turns."""
    costs: dict[str, list[Cost]] = {name: [] for name in readers}
    for turn in range(pairs):
        for name, build in readers.items():
            if name != "rapids" or turn < slow_pairs:
                costs[name].append(run_once(build, log, one_thread=name != "rapids"))
    size = decoded_bytes(log) / MB
    first_name, first_costs = next(iter(costs.items()))
    first = median(cost.cpu_s for cost in first_costs)
    print(f"\n{log.name}: {size:.0f} MB of JSON{' in zstd' if is_zstd(log) else ''}\n")
    print(f"| reader | runs | CPU s (median) | MB per CPU s | CPU s / {first_name} | wall s | peak RSS MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, found in costs.items():
        cpu = median(cost.cpu_s for cost in found)
        wall, peak = median(cost.wall_s for cost in found), max(cost.peak_mib for cost in found)
        print(
            f"| {name} | {len(found)} | {cpu:.2f} | {size / cpu:.0f} | {cpu / first:.1f} | {wall:.2f} | {peak:.0f} |",
            flush=True,
        )


def memory(log: Path, binary: Path) -> None:
    """Print the peak resident set of `diagnose` and `extract`, and what `extract` adds by task."""
    tasks, size = count_tasks(log), decoded_bytes(log)
    costs = {
        (verb, threads): run_once(emberscope(binary, verb), log, one_thread=threads == "one")
        for verb in ("diagnose", "extract")
        for threads in ("one", "all")
    }
    print(f"\n{log.name}: {size / MB:.0f} MB of JSON, {tasks} tasks\n")
    print("| command | threads | peak RSS MiB | bytes a task over diagnose | CPU s | wall s |")
    print("|---|---|---:|---:|---:|---:|")
    for (verb, threads), cost in costs.items():
        more = (cost.peak_mib - costs["diagnose", threads].peak_mib) * 1024 * 1024 / max(tasks, 1)
        added = f"{more:.0f}" if verb == "extract" else ""
        print(f"| {verb} | {threads} | {cost.peak_mib:.1f} | {added} | {cost.cpu_s:.2f} | {cost.wall_s:.2f} |")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "emberscope")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each reader (default 5)")
    parser.add_argument("--rapids-pairs", type=int, default=2, help="runs of spark-rapids-tools (default 2)")
    parser.add_argument("--readers", default="extract,python,rapids", help="any of extract, diagnose, python, rapids")
    parser.add_argument("--memory", action="store_true", help="measure the memory of ours alone")
    arguments = parser.parse_args()
    known: dict[str, Command] = {
        "extract": emberscope(arguments.binary, "extract"),
        "diagnose": emberscope(arguments.binary, "diagnose"),
        "python": python_reader,
        "rapids": rapids,
    }
    chosen = arguments.readers.split(",")
    if unknown := set(chosen) - set(known):
        parser.error(f"no such reader: {', '.join(sorted(unknown))}")
    if shutil.which("taskset") is None:
        parser.error("taskset is needed (Debian: util-linux)")
    for log in arguments.logs:
        if arguments.memory:
            memory(log, arguments.binary)
        else:
            compare(log, {name: known[name] for name in chosen}, arguments.pairs, arguments.rapids_pairs)


if __name__ == "__main__":
    main()
