"""What the Spark plugin's tracepoints say is what Spark's event log says of the same run."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import lttng

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from datasets.lab.clusters import MASTERS, WORK, spark_of  # noqa: E402

JOB = Path(__file__).with_name("spark_plugin_job.py")
JARS = sorted((ROOT / "target" / "spark").glob("emberscope-spark-*.jar"))
# Scala 2.12 and 2.13, the oldest and the newest.
VERSIONS = os.environ.get("EMBERSCOPE_SPARK_VERSIONS", "3.5.9 4.3.0").split()
# Either clock may have been read in the millisecond before.
CLOCK_MS = 2
# What a busy machine takes between the driver and the first line of a task, or after its last.
USUAL_DELAY_MS = 100
SETTINGS = {
    "spark.plugins": "io.emberscope.spark.EmberscopePlugin",
    "spark.ui.enabled": "false",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.compress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.adaptive.enabled": "false",
    # Rows that a sort keeps in memory: it spills several times.
    "spark.shuffle.spill.numElementsForceSpillThreshold": "200000",
    "spark.executor.memory": "512m",
}
# Pauses of G1 that a JVM of Java 17 does not count as time of collections, and so the event log does not either.
NOT_COUNTED = {"G1PauseRemark", "G1PauseCleanup"}
STATUS = {"Success": "succeeded", "ExceptionFailure": "failed", "TaskKilled": "killed"}

pytestmark = pytest.mark.skipif(
    not JARS or shutil.which("lttng") is None, reason="make spark-plugin builds the jar; lttng-tools records"
)


@dataclass(frozen=True)
class Run:
    """What a run printed, its event log and its trace."""

    folder: Path
    output: str
    errors: str

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """Read the event log, which newer versions write into a folder."""
        parts = sorted(path for path in (self.folder / "log").rglob("*") if path.is_file())
        lines = [line for part in parts if "appstatus" not in part.name for line in part.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    @cached_property
    def trace(self) -> list[lttng.Event]:
        """Read the trace."""
        return lttng.read(self.folder / "trace")

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """Give the log's events of a kind."""
        return [event for event in self.log if event["Event"].rsplit(".", 1)[-1] == f"SparkListener{kind}"]

    def traced(self, name: str) -> list[lttng.Event]:
        """Give the trace's events of a name."""
        return [event for event in self.trace if event.name == name]

    def warnings(self) -> list[str]:
        """Give what the plugin warned of in the driver's log."""
        return [line for line in self.errors.splitlines() if "WARN EmberscopePlugin" in line]


def submit(version: str, master: str, folder: Path, *arguments: str, **settings: str) -> Run:
    """Run the job of the tests."""
    spark = spark_of(version, WORK)
    for name in ("log", "tmp"):
        (folder / name).mkdir(parents=True)
    java = f"{spark.java_options} -Djava.io.tmpdir={folder / 'tmp'}"
    options = {
        **SETTINGS,
        "spark.eventLog.dir": (folder / "log").as_uri(),
        "spark.executor.extraJavaOptions": spark.java_options,
        **{key.replace("__", "."): value for key, value in settings.items()},
    }
    command = [str(spark.home / "bin" / "spark-submit"), "--master", master, "--jars", str(JARS[-1])]
    command += ["--driver-memory", "512m", "--driver-java-options", java]
    command += [part for key, value in options.items() for part in ("--conf", f"{key}={value}")]
    done = subprocess.run(
        [*command, str(JOB), *arguments],
        cwd=folder,
        env=spark.environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Run(folder, done.stdout, done.stderr)


@pytest.fixture(scope="module", autouse=True)
def daemon() -> Iterator[None]:
    """Have LTTng's session daemon for all tests, also for those that record nothing."""
    with lttng.daemon():
        yield


@pytest.fixture(
    scope="module",
    params=[(version, kind) for version in VERSIONS for kind in ("cluster-2x1", "local")],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Give a run that was recorded, for each version of Spark, with executors apart and within the driver."""
    version, kind = request.param
    folder = tmp_path_factory.mktemp("recorded")
    with lttng.session(folder / "trace"):
        return submit(version, MASTERS[kind], folder)


def test_tasks_are_those_of_the_log(recorded: Run) -> None:
    """Ids, executor and status of every task, each with a start and an end in one thread."""
    names = ("task_id", "stage_id", "stage_attempt", "partition", "attempt", "executor")
    starts = Counter(tuple(event[name] for name in names) for event in recorded.traced("task_start"))
    ends = Counter((*(event[name] for name in names), event["status"]) for event in recorded.traced("task_end"))
    logged = Counter(
        (
            end["Task Info"]["Task ID"],
            end["Stage ID"],
            end["Stage Attempt ID"],
            end["Task Info"]["Partition ID"],
            end["Task Info"]["Attempt"],
            end["Task Info"]["Executor ID"],
            STATUS[end["Task End Reason"]["Reason"]],
        )
        for end in recorded.logged("TaskEnd")
    )
    assert ends == logged
    assert starts == Counter(task[:-1] for task in logged)
    assert {task[-1] for task in logged} == {"succeeded", "failed", "killed"}
    threads = {event["task_id"]: event["vtid"] for event in recorded.traced("task_start")}
    assert threads == {event["task_id"]: event["vtid"] for event in recorded.traced("task_end")}
    assert all(event["vtid"] != event["vpid"] for event in recorded.traced("task_start"))


def test_times_of_tasks_are_those_of_the_log(recorded: Run) -> None:
    """A task is launched, starts, ends and is finished in this order, and the log is some milliseconds wider."""
    starts = {event["task_id"]: event.time_ns / 1e6 for event in recorded.traced("task_start")}
    ends = {event["task_id"]: event.time_ns / 1e6 for event in recorded.traced("task_end")}
    before, after = [], []
    for end in recorded.logged("TaskEnd"):
        task = end["Task Info"]
        # The driver takes a cancelled task for finished before it is.
        killed = end["Task End Reason"]["Reason"] == "TaskKilled"
        before.append(starts[task["Task ID"]] - task["Launch Time"])
        after.append(0 if killed else task["Finish Time"] - ends[task["Task ID"]])
    assert min(before) >= -CLOCK_MS
    assert min(after) >= -CLOCK_MS
    print(f"median ms from launch {statistics.median(before):.1f}, to finish {statistics.median(after):.1f}")
    assert statistics.median(before) < USUAL_DELAY_MS
    assert statistics.median(after) < USUAL_DELAY_MS


def test_jobs_stages_executors_and_sql_are_those_of_the_log(recorded: Run) -> None:
    """Everything that the driver's listener tells."""
    assert {(event["job_id"], event["time_ms"]) for event in recorded.traced("job_start")} == {
        (job["Job ID"], job["Submission Time"]) for job in recorded.logged("JobStart")
    }
    assert {(event["job_id"], event["status"]) for event in recorded.traced("job_end")} == {
        (job["Job ID"], "succeeded" if job["Job Result"]["Result"] == "JobSucceeded" else "failed")
        for job in recorded.logged("JobEnd")
    }
    stages = [end["Stage Info"] for end in recorded.logged("StageCompleted")]
    ids = ("stage_id", "stage_attempt")
    assert {(*(event[name] for name in ids), event["status"]) for event in recorded.traced("stage_end")} == {
        (stage["Stage ID"], stage["Stage Attempt ID"], "failed" if "Failure Reason" in stage else "succeeded")
        for stage in stages
    }
    names = (*ids, "tasks", "name")
    assert {tuple(event[name] for name in names) for event in recorded.traced("stage_start")} == {
        (stage["Stage ID"], stage["Stage Attempt ID"], stage["Number of Tasks"], stage["Stage Name"])
        for stage in stages
    }
    assert {(event["executor"], event["cores"]) for event in recorded.traced("executor_added")} == {
        (added["Executor ID"], added["Executor Info"]["Total Cores"]) for added in recorded.logged("ExecutorAdded")
    }
    sql = {start["executionId"] for start in recorded.logged("SQLExecutionStart")}
    assert {event["sql_execution_id"] for event in recorded.traced("sql_start")} == sql
    assert {(event["sql_execution_id"], event["status"]) for event in recorded.traced("sql_end")} == {
        (execution, "succeeded") for execution in sql
    }
    assert {event["job_id"]: event["sql_execution_id"] for event in recorded.traced("job_start")} == {
        job["Job ID"]: int(job["Properties"].get("spark.sql.execution.id", -1)) for job in recorded.logged("JobStart")
    }
    [application] = recorded.traced("application_start")
    [start] = recorded.logged("ApplicationStart")
    assert (application["app_id"], application["name"]) == (start["App ID"], "plugin-test")
    assert application["time_ms"] == start["Timestamp"]
    [end] = recorded.traced("application_end")
    assert end["time_ms"] == recorded.logged("ApplicationEnd")[0]["Timestamp"]


def test_shuffle_and_spill_are_the_metrics_of_the_log(recorded: Run) -> None:
    """The sums of each task that read from a shuffle, or spilled; in its own thread, before its end."""
    metrics = {end["Task Info"]["Task ID"]: end.get("Task Metrics") or {} for end in recorded.logged("TaskEnd")}
    fetched, spilled = {}, {}
    for task, metric in metrics.items():
        read = metric.get("Shuffle Read Metrics", {})
        if read.get("Local Blocks Fetched", 0) + read.get("Remote Blocks Fetched", 0):
            names = ("Local Blocks Fetched", "Remote Blocks Fetched", "Local Bytes Read", "Remote Bytes Read")
            fetched[task] = [read["Fetch Wait Time"], *(read[name] for name in names), read["Total Records Read"]]
        if metric.get("Memory Bytes Spilled"):
            spilled[task] = [metric["Memory Bytes Spilled"], metric["Disk Bytes Spilled"]]
    fields = ("fetch_wait_ms", "local_blocks", "remote_blocks", "local_bytes", "remote_bytes", "records")
    assert sums(recorded, "shuffle_fetch", fields) == fetched
    assert sums(recorded, "spill", ("memory_bytes", "disk_bytes")) == spilled
    assert fetched
    assert spilled
    ends = {event["task_id"]: event for event in recorded.traced("task_end")}
    for event in (*recorded.traced("shuffle_fetch"), *recorded.traced("spill")):
        end = ends[event["task_id"]]
        assert event["vtid"] == end["vtid"]
        assert event.time_ns <= end.time_ns


def sums(run: Run, name: str, fields: tuple[str, ...]) -> dict[str | int, list[str | int]]:
    """Give fields of the events of a name, by task."""
    return {event["task_id"]: [event[field] for field in fields] for event in run.traced(name)}


def pauses(run: Run) -> dict[int, list[tuple[int, int]]]:
    """Give the pauses of each JVM, and see that starts and ends take turns."""
    found = defaultdict(list)
    open_pauses: dict[int, lttng.Event] = {}
    for event in run.trace:
        if event.name == "gc_start":
            assert event["vpid"] not in open_pauses
            open_pauses[event["vpid"]] = event
        elif event.name == "gc_end":
            start = open_pauses.pop(event["vpid"])
            assert (start["pause"], start["vtid"]) == (event["pause"], event["vtid"])
            found[event["vpid"]].append((start.time_ns, event.time_ns))
    return found


def test_pauses_are_the_time_that_the_log_gives_to_collections(recorded: Run) -> None:
    """The pauses within each task sum to what the log has as its GC time, but for those that the JVM does not count."""
    offset = clock_offset(recorded)
    not_counted = [
        (event["vpid"], event["begin_ns"] + offset, event["end_ns"] + offset)
        for event in recorded.traced("safepoint")
        if event["operation"] in NOT_COUNTED
    ]
    by_process = pauses(recorded)
    for process, begin, end in not_counted:
        by_process[process] = [pause for pause in by_process[process] if not begin <= pause[0] <= end]
    starts = {event["task_id"]: event for event in recorded.traced("task_start")}
    ends = {event["task_id"]: event for event in recorded.traced("task_end")}
    measured_ms = logged_ms = 0.0
    for end in recorded.logged("TaskEnd"):
        task = end["Task Info"]["Task ID"]
        logged_ms += (end.get("Task Metrics") or {}).get("JVM GC Time", 0)
        begin, until = starts[task].time_ns, ends[task].time_ns
        for pause_begin, pause_end in by_process[starts[task]["vpid"]]:
            measured_ms += max(min(pause_end, until) - max(pause_begin, begin), 0) / 1e6
    print(f"pauses within tasks {measured_ms:.0f} ms, the log's JVM GC Time {logged_ms:.0f} ms")
    assert logged_ms > 0
    assert abs(measured_ms - logged_ms) < 0.1 * logged_ms + 20


def test_every_pause_is_within_a_safepoint(recorded: Run) -> None:
    """Safepoints carry the trace's monotonic clock, so that they can be laid beside its other events."""
    offset = clock_offset(recorded)
    by_process = pauses(recorded)
    safepoints = defaultdict(list)
    for event in recorded.traced("safepoint"):
        assert event["begin_ns"] <= event["reached_ns"] <= event["end_ns"] <= event.time_ns - offset
        safepoints[event["vpid"]].append((event["begin_ns"] + offset, event["end_ns"] + offset))
    looked_at = 0
    for process, stops in safepoints.items():
        first, last = min(stops)[0], max(stops)[1]
        within = [pause for pause in by_process[process] if first <= pause[0] and pause[1] <= last]
        looked_at += len(within)
        # The line of the log is written some microseconds after the end.
        assert all(any(begin <= pause[0] and pause[1] <= end + 100_000 for begin, end in stops) for pause in within)
    assert looked_at
    assert any(event["operation"] not in {"", "G1CollectForAllocation"} for event in recorded.traced("safepoint"))


def clock_offset(run: Run) -> int:
    """Give what the trace's times have over the clock that its events were stamped with, which is monotonic."""
    text = lttng.run("babeltrace2", "--clock-cycles", str(run.folder / "trace"))
    cycles = [int(line[1 : line.index("]")]) for line in text.splitlines()]
    [offset] = {event.time_ns - clock for event, clock in zip(run.trace, cycles, strict=True)}
    return offset


def test_processes_tie_the_clocks(recorded: Run) -> None:
    """Each JVM says who it is and reads both clocks at once."""
    [start] = recorded.logged("ApplicationStart")
    executors = {added["Executor ID"] for added in recorded.logged("ExecutorAdded")}
    told = recorded.traced("process")
    assert {event["executor"] for event in told} == {*executors, "driver"}
    assert {event["app_id"] for event in told} <= {start["App ID"], ""}
    assert {event["executor"] for event in told if event["app_id"]} == {*executors, "driver"}
    assert all(abs(event.time_ns - event["epoch_ns"]) < 50_000_000 for event in told)


def test_collections_are_told_with_cause_and_bytes(recorded: Run) -> None:
    """What the JVM notifies of after a collection."""
    told = recorded.traced("gc_info")
    assert told
    assert all(event["collector"] and event["action"] and event["cause"] for event in told)
    assert all(event["duration_ms"] >= 0 and event["before_bytes"] > 0 for event in told)
    assert all(abs(event.time_ns / 1e6 - event["start_ms"] - event["duration_ms"]) < 500 for event in told)


def test_the_jar_has_the_version_of_the_program() -> None:
    """Maven and Cargo each have it."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    folder = ROOT / "crates" / "emberscope-spark"
    artifact = f"<artifactId>emberscope-spark</artifactId>\n  <version>{version}</version>"
    assert artifact in (folder / "pom.xml").read_text()
    assert f"emberscope-spark-{version}.jar" in (folder / "Makefile").read_text()


@pytest.mark.parametrize(("setting", "every"), [("3", 3), ("none", 1)])
def test_one_task_in_so_many_is_told(setting: str, every: int, tmp_path: Path) -> None:
    """By the task's id, with its start and its end; a setting that is no number is warned of, and samples nothing."""
    with lttng.session(tmp_path / "trace"):
        run = submit(VERSIONS[0], MASTERS["local"], tmp_path, "quick", spark__emberscope__sample=setting)
    tasks = {end["Task Info"]["Task ID"] for end in run.logged("TaskEnd")}
    expected = {task for task in tasks if task % every == 0}
    assert len(expected) >= 3
    for name in ("task_start", "task_end"):
        assert {event["task_id"] for event in run.traced(name)} == expected
    assert len(run.logged("JobStart")) == len(run.traced("job_start"))
    assert ("no whole number over 0" in run.errors) == (setting == "none")


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_session_nothing_is_said(version: str, tmp_path: Path) -> None:
    """The job's result is right, nobody is warned, and no file stays."""
    run = submit(version, MASTERS["local"], tmp_path, "quick")
    assert "sum: 28" in run.output
    assert not run.warnings()
    assert "Emberscope:" not in run.errors
    assert not list((tmp_path / "tmp").glob("emberscope-*"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("library", ["absent", "no-library"])
def test_without_the_library_there_is_one_warning(version: str, library: str, tmp_path: Path) -> None:
    """The job goes on, whether the library is not there or cannot be loaded, and is warned of once."""
    path = tmp_path / f"{library}.so"
    if library == "no-library":
        path.write_text("this is no library")
    run = submit(version, MASTERS["local"], tmp_path / "run", "quick", spark__emberscope__library=str(path))
    assert "sum: 28" in run.output
    [warning] = run.warnings()
    assert str(path) in warning
