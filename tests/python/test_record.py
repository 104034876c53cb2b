"""`emberscope record` around real jobs: what is in the folder is what the job did, whatever becomes of it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lttng

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from datasets.lab.clusters import MASTERS, WORK, spark_of  # noqa: E402

BINARY = os.environ.get("EMBERSCOPE_BIN", str(ROOT / "target" / "release" / "emberscope"))
JOB = Path(__file__).with_name("record_job.py")
JARS = sorted((ROOT / "target" / "spark").glob("emberscope-spark-*.jar"))
VERSION = os.environ.get("EMBERSCOPE_SPARK_VERSIONS", "3.5.9").split()[0]
TASKS = 8

pytestmark = pytest.mark.skipif(
    not JARS or shutil.which("lttng") is None, reason="make spark-plugin builds the jar; lttng-tools records"
)


@dataclass(frozen=True)
class Recording:
    """What a recording left and said."""

    folder: Path
    code: int
    output: str
    errors: str

    @property
    def manifest(self) -> dict[str, Any]:
        """Read the manifest."""
        return json.loads((self.folder / "recording.json").read_text())

    def names(self) -> set[str]:
        """Give what is in the folder."""
        return {path.name for path in self.folder.iterdir()}

    def traces(self, kind: str) -> list[dict[str, Any]]:
        """Give the traces of a tracer."""
        return [trace for trace in self.manifest["tracers"] if trace["kind"] == kind]

    def events(self, folder: str = "user") -> list[lttng.Event]:
        """Read Spark's tracepoints, less those of other applications that this user runs meanwhile."""
        [log] = self.manifest["event_logs"]
        application = Path(log["path"]).name.removesuffix(".inprogress")
        events = lttng.read(self.folder / folder)
        own = {event["vpid"] for event in events if event.name == "process" and event["app_id"] == application}
        return [event for event in events if event["vpid"] in own]

    def said(self) -> list[str]:
        """Give Emberscope's own lines, among those of the job."""
        return re.findall(r"emberscope: (.*)", self.errors)


def spark_submit(*arguments: str, master: str = "local") -> list[str]:
    """Give the command of the tests' job."""
    spark = spark_of(VERSION, WORK)
    options = ["--master", MASTERS[master], "--driver-memory", "512m", "--driver-java-options", spark.java_options]
    for setting in ("spark.ui.enabled=false", "spark.ui.showConsoleProgress=false", "spark.executor.memory=512m"):
        options += ["--conf", setting]
    options += ["--conf", f"spark.executor.extraJavaOptions={spark.java_options}"]
    return [str(spark.home / "bin" / "spark-submit"), *options, str(JOB), *arguments]


def start(folder: Path, options: Sequence[str], command: Sequence[str], **variables: str) -> subprocess.Popen[str]:
    """Start recording."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = spark_of(VERSION, WORK).environment(folder.parent) | variables
    arguments = [BINARY, "record", "--out", str(folder), "--plugin", str(JARS[-1]), *options, "--", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, cwd=folder.parent, env=environment, stdout=pipe, stderr=pipe, text=True)


def record(folder: Path, options: Sequence[str], command: Sequence[str], **variables: str) -> Recording:
    """Record a run to its end."""
    process = start(folder, options, command, **variables)
    output, errors = process.communicate(timeout=120)
    return Recording(folder, process.returncode, output, errors)


def babeltrace(folder: Path) -> list[str]:
    """Read a trace as text: a line an event."""
    return lttng.run("babeltrace2", "--clock-seconds", str(folder)).splitlines()


def assert_tracers_are_gone(recording: Recording) -> None:
    """Nothing of a recording goes on running."""
    assert f"--output {recording.folder}" not in lttng.run("ps", "-e", "-o", "args=")
    if lttng.listening():
        assert str(recording.folder) not in lttng.run("lttng", "list")


def skip_without_perf(recording: Recording) -> None:
    """Skip what needs the kernel's events where they are forbidden, with the reason."""
    for lack in recording.manifest["not_possible"]:
        if lack["what"] == "the kernel's events":
            pytest.skip(f"{lack['why']}; {lack['remedy']}")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Give a recording of a job with executors apart."""
    folder = tmp_path_factory.mktemp("record") / "run"
    return record(folder, [], spark_submit(str(TASKS), master="cluster-2x1"))


def test_a_run_is_recorded_and_diagnosed(recorded: Recording) -> None:
    """The job's output comes first, then the diagnosis; the manifest says what there is."""
    assert recorded.code == 0, recorded.errors[-4000:]
    assert recorded.output.startswith(f"sum: {sum(range(TASKS))}\n")
    assert "tasks" in recorded.output
    assert recorded.names() - {"kernel"} == {"user", "eventlog", "diagnosis.json", "tools.log", "recording.json"}
    manifest = recorded.manifest
    assert (manifest["schema_version"], manifest["profile"], manifest["exit_code"]) == (1, "light", 0)
    assert (manifest["signal"], manifest["interrupted"], manifest["issues"]) == (None, False, [])
    assert manifest["complete"], manifest
    [log] = manifest["event_logs"]
    assert log["recorded"]
    diagnosis = json.loads((recorded.folder / "diagnosis.json").read_text())
    assert diagnosis["run"]["tasks"]["succeeded"] == TASKS
    assert_tracers_are_gone(recorded)


def test_sparks_trace_has_every_task(recorded: Recording) -> None:
    """Of each executor, and nothing was discarded."""
    [trace] = recorded.traces("lttng-ust")
    assert (trace["discarded_events"], trace["lost_packets"], trace["stopped_early_at_ms"]) == (0, 0, None)
    events = recorded.events(trace["folder"])
    starts = [event for event in events if event.name == "task_start"]
    assert sorted(event["task_id"] for event in starts) == list(range(TASKS))
    assert {event["executor"] for event in events if event.name == "process"} == {"driver", "0", "1"}


def test_the_kernels_trace_has_the_threads_of_tasks_on_the_same_clock(recorded: Recording) -> None:
    """The thread that Spark says ran a task is seen to run within it, and events are as many as perf counted."""
    skip_without_perf(recorded)
    [trace] = recorded.traces("perf")
    lines = babeltrace(recorded.folder / trace["folder"])
    assert len(lines) == trace["events"] > 1000
    assert trace["discarded_events"] == 0
    manifest = recorded.manifest
    # perf's trace counts from the boot; LTTng's is of the time since 1970.
    offset = manifest["clocks"][0]["epoch_ns"] - manifest["clocks"][0]["monotonic_ns"]
    switches = [
        (int(float(found[1]) * 1e9) + offset, int(found[2]))
        for line in lines
        if (found := re.match(r"\[(\d+\.\d+)\].* sched:sched_switch: .*next_pid = (\d+)", line))
    ]
    events = recorded.events()
    ends = {event["task_id"]: event.time_ns for event in events if event.name == "task_end"}
    for task in (event for event in events if event.name == "task_start"):
        span = range(task.time_ns, ends[task["task_id"]] + 1)
        assert any(thread == task["vtid"] and at in span for at, thread in switches), task
    first, last = manifest["started_at_ms"] * 1_000_000, manifest["ended_at_ms"] * 1_000_000
    assert all(first <= event.time_ns <= last for event in events)


def test_clocks_were_read_together(recorded: Recording) -> None:
    """At the start and at the end, to within a millisecond."""
    start_pair, end_pair = recorded.manifest["clocks"]
    lapse = end_pair["monotonic_ns"] - start_pair["monotonic_ns"]
    assert lapse > 1e9
    assert abs(lapse - (end_pair["epoch_ns"] - start_pair["epoch_ns"])) < 1e6
    assert 0 <= start_pair["apart_ns"] < 1e6


def test_a_taken_folder_is_refused(recorded: Recording) -> None:
    """Nothing runs, and nothing of it changes."""
    before = (recorded.folder / "recording.json").read_bytes()
    again = record(recorded.folder, [], spark_submit("1"))
    assert again.code == 2
    assert "is there and not empty" in again.errors
    assert "sum:" not in again.output
    assert (recorded.folder / "recording.json").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_recording_that_is_interrupted_is_whole(number: signal.Signals, tmp_path: Path) -> None:
    """The job gets the signal, what was traced until its end is kept, and the exit code says which signal it was."""
    options = ["--no-diagnose"] if number == signal.SIGTERM else ["--no-diagnose", "--no-kernel"]
    process = start(tmp_path / "run", options, spark_submit("1000"))
    assert process.stdout.readline() == "started\n"
    time.sleep(1)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    run = Recording(tmp_path / "run", process.returncode, output, errors)
    assert run.code == 128 + number, errors[-4000:]
    manifest = run.manifest
    assert manifest["interrupted"]
    assert manifest["exit_code"] == 128 + number or manifest["signal"] == number
    assert any(event.name == "task_start" for event in run.events())
    assert run.names() <= {"user", "kernel", "eventlog", "tools.log", "recording.json"}
    if number == signal.SIGTERM and not manifest["not_possible"]:
        [trace] = run.traces("perf")
        assert len(babeltrace(run.folder / trace["folder"])) == trace["events"]
    assert_tracers_are_gone(run)


@pytest.mark.parametrize("end", ["well", "fail"])
def test_a_ring_buffer_is_written_when_the_job_fails(end: str, tmp_path: Path) -> None:
    """A python program that starts Spark itself: success leaves no trace, failure the last events of both tracers."""
    python = str(spark_of(VERSION, WORK).python)
    command, fails = [python, str(JOB), "4", end], end == "fail"
    arguments = "--master local[2] --conf spark.ui.enabled=false"
    run = record(tmp_path / "run", ["--ring-buffer=8M", "--no-diagnose"], command, PYSPARK_SUBMIT_ARGS=arguments)
    assert run.code == (3 if fails else 0), run.errors[-4000:]
    manifest = run.manifest
    assert manifest["snapshots"] == (["failed"] if fails else [])
    assert manifest["ring_buffer"]
    if not fails:
        assert manifest["tracers"] == []
        assert run.names() == {"eventlog", "tools.log", "recording.json"}
        return
    events = run.events()
    assert sum(event.name == "task_end" for event in events) == 4
    if not manifest["not_possible"]:
        [trace] = run.traces("perf")
        assert len(babeltrace(run.folder / trace["folder"])) == trace["events"] > 100


def test_what_is_too_large_stops_and_says_so(tmp_path: Path) -> None:
    """The job goes on to its end; the trace is short, and the manifest says since when."""
    options = ["--no-diagnose", "--max-size=64K", "--sample=2"]
    run = record(tmp_path / "run", options, spark_submit("8"))
    assert run.code == 0, run.errors[-4000:]
    skip_without_perf(run)
    manifest = run.manifest
    assert not manifest["complete"]
    assert manifest["sample"] == 2
    for trace in manifest["tracers"]:
        assert manifest["started_at_ms"] < trace["stopped_early_at_ms"] <= manifest["ended_at_ms"]
    assert any("--max-size" in line for line in run.said())


def test_a_dry_run_prints_and_does_nothing(tmp_path: Path) -> None:
    """The commands are those that a run writes into its log."""
    process = start(tmp_path / "run", ["--dry-run"], spark_submit("1"))
    page, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "lttng enable-event --userspace" in page
    assert f"--jars {JARS[-1]}" in page
    assert not (tmp_path / "run").exists()
    assert subprocess.run(["sh", "-n"], input=page, text=True, check=False).returncode == 0


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before any tracer starts."""
    run = record(tmp_path / "run", [], ["no-such-program"])
    assert (run.code, run.errors) == (2, "emberscope: no-such-program: no such program\n")
    assert not (tmp_path / "run").exists()
