"""Things done to the machine while a run lasts."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from datasets.lab.core import Running

POLL_S = 0.1


def command_line(pid: int) -> list[str]:
    """Give a process's arguments; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def executors_of(name: str) -> dict[str, int]:
    """Give the process ids of a run's executors by executor id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        arguments = command_line(int(entry.name))
        is_executor = any(part.endswith("CoarseGrainedExecutorBackend") for part in arguments)
        if is_executor and f"-Dlab.run={name}" in arguments:
            found[arguments[arguments.index("--executor-id") + 1]] = int(entry.name)
    return found


class Background:
    """An action that is a thread."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.over = threading.Event()
        self.done: dict[str, Any] = {}
        self.thread: threading.Thread | None = None

    def start(self, run: Running) -> None:
        """Begin the thread."""
        self.thread = threading.Thread(target=self.act, args=(run,), daemon=True)
        self.thread.start()

    def stop(self) -> dict[str, Any]:
        """End it and give what it did."""
        self.over.set()
        if self.thread:
            self.thread.join()
        return self.done

    def act(self, run: Running) -> None:
        """Do it until `over` is set."""
        raise NotImplementedError

    def executor(self, run: Running, executor: str) -> int | None:
        """Wait for an executor and give its process id; None when the run is over first."""
        while not self.over.wait(POLL_S):
            if pid := executors_of(run.spec.name).get(executor):
                return pid
        return None

    def step(self, run: Running, name: str) -> bool:
        """Wait until the job notes that it is in a step; false when the run is over first."""
        marker = run.work / "out" / f"in-{name}"
        while not marker.exists():
            if self.over.wait(POLL_S):
                return False
        return True


class InTurns(Background):
    """SIGSTOP and SIGCONT to a process in turns: it stands still for a share of each period."""

    PERIOD_S = 0.5

    def __init__(self, share: float) -> None:
        """`share` of the time stands still."""
        super().__init__()
        self.share = share

    def halt(self, pid: int | None) -> None:
        """Stop and continue until the run is over, and note for how long it stood still."""
        stopped_s, started = 0.0, time.monotonic()
        try:
            while pid and not self.over.is_set():
                os.kill(pid, signal.SIGSTOP)
                begin = time.monotonic()
                time.sleep(self.PERIOD_S * self.share)
                os.kill(pid, signal.SIGCONT)
                stopped_s += time.monotonic() - begin
                self.over.wait(self.PERIOD_S * (1 - self.share))
        except ProcessLookupError:
            pass
        self.done |= {"stopped_s": round(stopped_s, 3), "over_s": round(time.monotonic() - started, 3)}


class StopAndContinue(InTurns):
    """An executor stands still for a share of the time."""

    def __init__(self, executor: str, share: float) -> None:
        """Halt this executor for that share."""
        super().__init__(share)
        self.target = executor

    def act(self, run: Running) -> None:
        """Wait for the executor, and halt it."""
        self.done["executor"] = self.target
        self.halt(self.executor(run, self.target))


class Kill(Background):
    """SIGKILL to executors, once a step of the job has begun."""

    def __init__(self, executors: tuple[str, ...], step: str, after_s: float) -> None:
        """Kill these `after_s` after the step began, one after the other."""
        super().__init__()
        self.targets, self.at_step, self.after_s = executors, step, after_s

    def act(self, run: Running) -> None:
        """Wait for the step, and kill."""
        killed: list[str] = []
        self.done = {"killed": killed}
        if not self.step(run, self.at_step):
            return
        for target in self.targets:
            pid = self.executor(run, target)
            if pid is None or self.over.wait(self.after_s):
                return
            try:
                os.kill(pid, signal.SIGKILL)
                killed.append(target)
            except ProcessLookupError:
                pass


# Uses a CPU for a share of each tenth of a second, for as long as the recorder lives.
BUSY = """
import os, sys, time
share, parent = float(sys.argv[1]), os.getppid()
while os.getppid() == parent:
    begin = time.monotonic()
    while time.monotonic() < begin + 0.1 * share:
        pass
    time.sleep(max(begin + 0.1 - time.monotonic(), 0))
"""


class Busy:
    """Processes that do nothing but use CPU."""

    def __init__(self, processes: int, share: float = 1.0) -> None:
        """So many of them, each for a share of the time."""
        self.count, self.share = processes, share
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, run: Running) -> None:
        """Start them, each in a session of its own: the scheduler deals CPU out by sessions."""
        del run
        loop = [sys.executable, "-c", BUSY, str(self.share)]
        self.processes = [subprocess.Popen(loop, start_new_session=True) for _ in range(self.count)]

    def stop(self) -> dict[str, Any]:
        """End them, and say how much CPU they had."""
        ticks = os.sysconf("SC_CLK_TCK")
        used = 0.0
        for process in self.processes:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            used += (int(fields[11]) + int(fields[12])) / ticks
            process.kill()
            process.wait()
        return {"processes": self.count, "share": self.share, "cpu_s": round(used, 2)}


def compiled(source: str, work: Path) -> Path:
    """Compile a C source of this folder into a shared library under `work`, once."""
    library = work / "built" / f"{Path(source).stem}.so"
    code = Path(__file__).resolve().parent / source
    if not library.exists() or library.stat().st_mtime < code.stat().st_mtime:
        library.parent.mkdir(parents=True, exist_ok=True)
        gcc = shutil.which("gcc") or "cc"
        subprocess.run([gcc, "-O2", "-shared", "-fPIC", "-o", str(library), str(code), "-ldl"], check=True)
    return library
