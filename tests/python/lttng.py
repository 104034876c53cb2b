"""Record with LTTng in user space, and read what was recorded with babeltrace2."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

LINE = re.compile(r"\[(\d+)\.(\d+)\] \(.*?\) (?:\S+ )?(\w+):(\w+): (.*)")
FIELD = re.compile(r'(\w+) = (?:\( "(\w+)" : container = -?\d+ \)|"((?:[^"\\]|\\.)*)"|(-?\d+))')


@dataclass(frozen=True)
class Event:
    """An event: nanoseconds since 1970, its name, and its fields and context."""

    time_ns: int
    name: str
    fields: dict[str, str | int]

    def __getitem__(self, field: str) -> str | int:
        """Give a field."""
        return self.fields[field]


def run(*command: str) -> str:
    """Run a command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def listening() -> bool:
    """Tell whether a session daemon answers."""
    return subprocess.run(["lttng", "list"], capture_output=True, check=False, timeout=60).returncode == 0


@contextmanager
def daemon() -> Iterator[None]:
    """Have a session daemon; the one that was there before, if one was, stays."""
    if listening():
        yield
        return
    process = subprocess.Popen(["lttng-sessiond", "--no-kernel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while not listening():
            assert time.monotonic() < end, "lttng-sessiond does not answer"
            time.sleep(0.1)
        yield
    finally:
        # Somebody else may have come to use it.
        if "currently no" in run("lttng", "list").lower():
            process.terminate()
            process.wait(timeout=30)


@contextmanager
def session(out: Path) -> Iterator[None]:
    """Record all that the plugin emits, as README says to."""
    name = f"emberscope-test-{uuid4().hex[:8]}"
    run("lttng", "create", name, f"--output={out}")
    try:
        run("lttng", "enable-event", f"--session={name}", "--userspace", "emberscope:*")
        types = ["--type=vtid", "--type=vpid", "--type=procname"]
        run("lttng", "add-context", f"--session={name}", "--userspace", *types)
        run("lttng", "start", name)
        yield
        run("lttng", "stop", name)
    finally:
        run("lttng", "destroy", name)


def read(trace: Path) -> list[Event]:
    """Read a trace."""
    text = run("babeltrace2", "--clock-seconds", str(trace))
    return [event(line) for line in text.splitlines()]


def event(line: str) -> Event:
    """Read one line of babeltrace2's text."""
    seconds, nanoseconds, provider, name, rest = LINE.match(line).groups()
    assert provider == "emberscope"
    fields = {}
    for field, label, text, number in FIELD.findall(rest):
        fields[field] = label or (int(number) if number else text)
    return Event(int(seconds) * 10**9 + int(nanoseconds), name, fields)
