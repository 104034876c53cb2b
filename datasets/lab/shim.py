"""More that is done to a run from outside: slow disks, agents in executors, lost shuffle files, a halting driver.

What has to be inside of a JVM comes there by environment variables (LD_PRELOAD, JDK_JAVA_OPTIONS), which the executors
of a local cluster inherit, so that the settings in the event log stay those of an ordinary run.
"""

import re
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from datasets.lab.clusters import WORK, spark_of
from datasets.lab.core import Running, Spec
from datasets.lab.outside import POLL_S, Background, Busy, InTurns, command_line, compiled, executors_of

HERE = Path(__file__).resolve().parent
BLOCK_PORTS = (17_300, 17_331)
PAUSE = re.compile(r"\[(\d+\.\d+)s\].*?Pause.*?(\d+)M->(\d+)M\((\d+)M\) (\d+\.\d+)ms")
UPTIME = re.compile(r"\[(\d+\.\d+)s\]")
IO_KINDS = ("read", "write", "send")


def work_of(spec: Spec) -> Path:
    """Give the working folder that a run will have."""
    return WORK / "runs" / spec.name


def jar(source: str, premain: bool = False) -> Path:  # noqa: FBT001, FBT002 (two forms, no more)
    """Compile a Java source of this folder into a jar, once; it may use what Spark 3.5.9 comes with."""
    code, name = HERE / source, Path(source).stem
    made = WORK / "built" / f"{name}.jar"
    if made.exists() and made.stat().st_mtime >= code.stat().st_mtime:
        return made
    classes = WORK / "built" / name
    classes.mkdir(parents=True, exist_ok=True)
    jars = spark_of("3.5.9", WORK).home / "jars" / "*"
    subprocess.run(["javac", "--release", "17", "-cp", str(jars), "-d", str(classes), str(code)], check=True)
    manifest = classes / "manifest"
    manifest.write_text(f"Premain-Class: {name}\n" if premain else "Created-By: lab\n")
    files = sorted(path.name for path in classes.glob("*.class"))
    subprocess.run(["jar", "cfm", str(made), str(manifest), *files], check=True, cwd=classes)
    return made


def slow_files(spec: Spec, mb_per_s: float) -> dict[str, str]:
    """Give the environment in which executors have a slow disk for local folders, data and what they write."""
    paths = ":".join(str(path) for path in (work_of(spec) / "local", work_of(spec) / "out", WORK / "data"))
    return _slow(spec) | {"LAB_IO_PATHS": paths, "LAB_IO_MB_S": str(mb_per_s)}


def full_disk(spec: Spec, mb: float) -> dict[str, str]:
    """Give the environment in which the disk of the local folders is full when an executor has written so much."""
    return _slow(spec) | {"LAB_IO_PATHS": str(work_of(spec) / "local"), "LAB_IO_FULL_MB": str(mb)}


def slow_blocks(spec: Spec, mb_per_s: float, call_ms: float) -> dict[str, str]:
    """Give the environment in which executors send blocks slowly; needs `spark.blockManager.port` at BLOCK_PORTS[0]."""
    ports = "-".join(map(str, BLOCK_PORTS))
    rate = {"LAB_IO_MB_S": str(mb_per_s), "LAB_IO_CALL_US": str(int(call_ms * 1000))}
    return _slow(spec) | rate | {"LAB_IO_PORTS": ports}


def _slow(spec: Spec) -> dict[str, str]:
    library = compiled("slow_io.c", WORK)
    who = "CoarseGrainedExecutorBackend"
    return {"LD_PRELOAD": str(library), "LAB_IO_WHO": who, "LAB_IO_REPORT": str(work_of(spec) / "io")}


def hoarding(
    kind: str, share: float, churn_mb_s: float = 0, executors: int = 1_000, marker: Path | None = None
) -> dict[str, str]:
    """Give the environment in which an agent in the executors holds a share of the heap."""
    environment = {
        "JDK_JAVA_OPTIONS": f"-javaagent:{jar('Hoard.java', premain=True)}",
        "LAB_HOARD_KIND": kind,
        "LAB_HOARD_SHARE": str(share),
        "LAB_HOARD_CHURN_MB_S": str(churn_mb_s),
        "LAB_HOARD_EXECUTORS": str(executors),
    }
    return environment | ({"LAB_HOARD_MARKER": str(marker)} if marker else {})


def gc_log(spec: Spec) -> str:
    """Give the options with which each executor's collector writes a log that `GcLogs` reads."""
    return f"-Xlog:gc:file={work_of(spec)}/gc/{{{{EXECUTOR_ID}}}}.log:uptime:filecount=0"


def driver_of(run: Running) -> int | None:
    """Give the process id of a run's driver JVM."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            line = command_line(int(entry.name))
            submits = str(run.work / "spec.json") in line and "org.apache.spark.deploy.SparkSubmit" in line
            if submits and "org.apache.spark.launcher.Main" not in line:
                return int(entry.name)
    return None


class Reports:
    """Reads, at a run's end, what processes left in a folder that is made before."""

    FOLDER = ""

    def start(self, run: Running) -> None:
        """Make the folder."""
        self.folder = run.work / self.FOLDER
        self.folder.mkdir()

    def stop(self) -> dict[str, Any]:
        """Give the figures of each file."""
        return {path.name: self.figures(path.read_bytes()) for path in sorted(self.folder.iterdir())}

    def figures(self, data: bytes) -> dict[str, Any]:
        """Read one file."""
        raise NotImplementedError


class SlowIo(Reports):
    """What `slow_io.c` did, by process."""

    FOLDER = "io"

    def figures(self, data: bytes) -> dict[str, Any]:
        """Give calls, bytes and seconds slept by kind."""
        numbers = struct.unpack("<9Q", data)
        found = {}
        for at, kind in enumerate(IO_KINDS):
            calls, size, slept = numbers[3 * at : 3 * at + 3]
            found |= {f"{kind}_calls": calls, f"{kind}_bytes": size, f"{kind}_slept_s": round(slept / 1e9, 3)}
        return found


class Locks(Reports):
    """What `LockedFiles.java` did, by process."""

    FOLDER = "locks"

    def figures(self, data: bytes) -> dict[str, Any]:
        """Give how often the lock was taken, waited for and held."""
        taken, waited, held = struct.unpack("<3Q", data)
        return {"taken": taken, "waited_s": round(waited / 1e9, 3), "held_s": round(held / 1e9, 3)}


class GcLogs:
    """Reads the logs that the executors' collectors write, as `gc_log` tells them."""

    def start(self, run: Running) -> None:
        """Make the folder."""
        self.folder = run.work / "gc"
        self.folder.mkdir()

    def stop(self) -> dict[str, Any]:
        """Give, by executor, the pauses and what was live after them."""
        found = {}
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            pauses = [match for match in map(PAUSE.search, lines) if match]
            after = [int(match[3]) / int(match[4]) for match in pauses if "Full" in match[0] or "Mixed" in match[0]]
            last = max((float(seen[1]) for seen in map(UPTIME.match, lines) if seen), default=0.0)
            found[path.stem] = {
                "pauses": len(pauses),
                "full": sum("Full" in match[0] for match in pauses),
                "paused_s": round(sum(float(match[5]) for match in pauses) / 1000, 3),
                "over_s": last,
                "live_share": round(max(after or [int(match[3]) / int(match[4]) for match in pauses] or [0.0]), 3),
            }
        return found


class Neighbours(Busy):
    """Busy processes; and how long the run's own threads were ready to run and had no CPU."""

    def __init__(self, processes: int, share: float) -> None:
        """So many, each for a share of the time."""
        super().__init__(processes, share)
        self.waiting = Waiting()

    def start(self, run: Running) -> None:
        """Start them, and the watch."""
        self.waiting.start(run)
        super().start(run)

    def stop(self) -> dict[str, Any]:
        """End them."""
        waited = self.waiting.stop()
        return super().stop() | waited


class Waiting(Background):
    """Reads from /proc how long the threads of the executors (or of a driver without any) ran and waited for a CPU."""

    def act(self, run: Running) -> None:
        """Look twice a second, and keep the last figures of each thread."""
        threads: dict[tuple[int, str], tuple[int, int]] = {}
        while not self.over.wait(5 * POLL_S):
            pids = list(executors_of(run.spec.name).values()) or [pid for pid in (driver_of(run),) if pid]
            for pid in pids:
                for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                    try:
                        ran, waited, _ = map(int, path.read_text().split())
                    except (OSError, ValueError):
                        continue
                    threads[pid, path.parent.name] = ran, waited
        self.done = {
            "ran_s": round(sum(ran for ran, _ in threads.values()) / 1e9, 2),
            "waited_s": round(sum(waited for _, waited in threads.values()) / 1e9, 2),
        }


class HaltDriver(InTurns):
    """The driver's JVM stands still for a share of the time, from the first step on."""

    PERIOD_S = 0.8

    def act(self, run: Running) -> None:
        """Wait for the first step, and halt the driver."""
        while not list((run.work / "out").glob("in-*")):
            if self.over.wait(POLL_S):
                return
        self.halt(driver_of(run))


class LoseShuffle(Background):
    """Deletes files of a shuffle from one executor's folder before they are read, and what is made anew as well."""

    FILES = 2
    PAUSE_S = 1.5
    NAME = re.compile(r"shuffle_(\d+)_(\d+)_\d+\.index")

    def __init__(self, step: str, rounds: int) -> None:
        """In a step, so many times."""
        super().__init__()
        self.at_step, self.rounds = step, rounds
        self.seen: dict[int, set[str]] = {}

    def act(self, run: Running) -> None:
        """Wait for the step's first shuffle to be written, delete some of one executor's files, and so on."""
        self.done = {"rounds": 0, "files": 0}
        if not self.step(run, self.at_step):
            return
        old = set(self.look(run))
        shuffle: int | None = None
        while not self.over.wait(POLL_S / 5) and self.done["rounds"] < self.rounds:
            for found in set(self.look(run)) - old:
                self.seen.setdefault(found, set())
            if shuffle is None and self.seen:
                shuffle = min(self.seen)
            if shuffle is not None and self.fresh(run, shuffle):
                self.delete(run, shuffle)
                self.done["rounds"] += 1
                # What is made anew comes later than that.
                self.over.wait(self.PAUSE_S)
                self.seen[shuffle] |= {path.name for path in self.names(run, shuffle)}

    def delete(self, run: Running, shuffle: int) -> None:
        """Delete the next files that one executor writes of a shuffle, as they come."""
        victim = self.fresh(run, shuffle)[0].parents[1]
        end = time.monotonic() + self.PAUSE_S
        deleted = 0
        while deleted < self.FILES and time.monotonic() < end and not self.over.is_set():
            for path in self.fresh(run, shuffle):
                if victim in path.parents and deleted < self.FILES:
                    path.unlink(missing_ok=True)
                    path.with_suffix(".data").unlink(missing_ok=True)
                    self.seen[shuffle].add(path.name)
                    deleted += 1
            time.sleep(POLL_S / 5)
        self.done["files"] += deleted

    def look(self, run: Running) -> list[int]:
        """Give the shuffles of which there are files."""
        return [int(match[1]) for match in map(self.NAME.fullmatch, (path.name for path in self.files(run))) if match]

    def files(self, run: Running) -> list[Path]:
        """Give all index files; none while folders come and go."""
        try:
            return sorted((run.work / "local").glob("**/blockmgr-*/*/shuffle_*.index"))
        except OSError:
            return []

    def names(self, run: Running, shuffle: int) -> list[Path]:
        """Give the index files of one shuffle."""
        return [path for path in self.files(run) if path.name.startswith(f"shuffle_{shuffle}_")]

    def fresh(self, run: Running, shuffle: int) -> list[Path]:
        """Give those index files that were not there before the last deletion."""
        return [path for path in self.names(run, shuffle) if path.name not in self.seen[shuffle]]
