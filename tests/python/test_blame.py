"""What kernel traces tell of runs whose cause was injected from outside (datasets/traces)."""

import csv
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from test_models import emberscope

TRACES = Path(__file__).parents[2] / "datasets/traces"
#: Below this share of a task's time, and this time, nothing is blamed: the JIT compiler takes a quarter of some.
LEAST_SHARE = 0.3
LEAST_MS = 50
Row = dict[str, str]


def number(row: Row, column: str) -> float:
    """Give a value; 0 where there is none."""
    return float(row[column] or 0)


#: Which tasks the cause must have reached, by what the event log says of them: the kernel's trace has no part in it.
AFFECTED: dict[str, Callable[[Row], bool]] = {
    "busy-processes": lambda row: number(row, "executor_run_time_ms") >= 100,
    "slow-disk": lambda row: number(row, "input_bytes") > 0,
    "lock": lambda row: number(row, "input_bytes") > 0,
    "slow-network": lambda row: (
        number(row, "shuffle_fetch_wait_time_ms") >= 0.5 * number(row, "executor_run_time_ms")
        and number(row, "executor_run_time_ms") >= 100
    ),
    "stopped": lambda row: number(row, "executor_run_time_ms") >= 500,
    "small-heap": lambda row: (
        number(row, "jvm_gc_time_ms") >= 0.25 * number(row, "executor_run_time_ms")
        and number(row, "executor_run_time_ms") >= 100
    ),
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a recording."""
    out = tmp_path_factory.mktemp("traces")

    def unpacked(name: str) -> Path:
        if not (out / name).exists():
            with tarfile.open(TRACES / f"{name}.tar.xz") as tar:
                tar.extractall(out, filter="data")
        return out / name

    return unpacked


def tasks(recording: Path, tmp_path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Give what was done to a run, and its tasks since."""
    scenario = json.loads((recording / "scenario.json").read_text())
    log = recording / "eventlog"
    done = emberscope("extract", "--out", tmp_path, "--tables", "tasks", "--format", "csv", "--trace", recording, log)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "tasks.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["stage_id"]) >= scenario["first_stage"]]
    return scenario, rows


def blamed(row: Row) -> str | None:
    """Give the cause that kept a task from running longest, if it is worth telling."""
    behind = {name[len("os_behind_") : -len("_time_ns")]: number(row, name) for name in row if "os_behind" in name}
    cause = max(behind, key=lambda cause: behind[cause])
    least = max(LEAST_SHARE * number(row, "os_traced_time_ns"), LEAST_MS * 1e6)
    return cause if behind[cause] >= least else None


@pytest.mark.parametrize("name", list(AFFECTED))
def test_the_injected_cause_is_the_one_that_is_blamed(
    name: str, recording: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of the tasks that it reached, 95 % have it as their largest."""
    scenario, rows = tasks(recording(name), tmp_path)
    affected = [row for row in rows if AFFECTED[name](row)]
    assert len(affected) >= 5
    named = [row for row in affected if blamed(row) == scenario["cause"]]
    others = [(row["task_id"], blamed(row)) for row in affected if row not in named]
    assert len(named) >= 0.95 * len(affected), others


@pytest.mark.parametrize("name", ["healthy", "healthy-files"])
def test_nothing_is_blamed_in_a_healthy_run(name: str, recording: Callable[[str], Path], tmp_path: Path) -> None:
    """Tasks of some length run nearly all of the time."""
    _, rows = tasks(recording(name), tmp_path)
    assert len(rows) >= 30
    assert [(row["task_id"], blamed(row)) for row in rows if blamed(row)] == []


@pytest.mark.parametrize("name", [*AFFECTED, "healthy", "healthy-files"])
def test_states_and_causes_sum_to_a_task_and_a_task_to_what_spark_measured(
    name: str, recording: Callable[[str], Path], tmp_path: Path
) -> None:
    """States sum to the traced time within 1 %, causes to the rest of it, and it fits into the event log's times."""
    _, rows = tasks(recording(name), tmp_path)
    traced = [row for row in rows if row["os_traced_time_ns"]]
    assert len(traced) >= 0.95 * len(rows)
    for row in traced:
        whole = number(row, "os_traced_time_ns")
        behind = sum(number(row, column) for column in row if column.startswith("os_behind"))
        named = [c for c in row if c.startswith("os_") and c.endswith("_time_ns") and "behind" not in c]
        states = sum(number(row, column) for column in named if column != "os_traced_time_ns")
        assert abs(states - whole) <= 0.01 * whole
        assert abs(behind + number(row, "os_on_cpu_time_ns") - whole) <= 0.01 * whole
        launched, finished = number(row, "launched_at"), number(row, "finished_at")
        # The trace ends before the task's result is serialized.
        assert 0.95 * number(row, "executor_run_time_ms") - 10 <= whole / 1e6 <= finished - launched + 2


def test_the_thread_time_on_the_cpu_is_what_the_jvm_measured(recording: Callable[[str], Path], tmp_path: Path) -> None:
    """Spark asks the JVM for a task's CPU time: the kernel's events say the same, but for time that is unknown."""
    _, rows = tasks(recording("healthy"), tmp_path)
    long = [row for row in rows if number(row, "executor_run_time_ms") >= 100]
    assert len(long) >= 20
    for row in long:
        of_jvm = number(row, "executor_cpu_time_ns") + number(row, "executor_deserialize_cpu_time_ns")
        of_kernel = number(row, "os_on_cpu_time_ns")
        assert 0.95 * of_jvm <= of_kernel + number(row, "os_unknown_time_ns")
        assert of_kernel <= 1.05 * of_jvm
    unknown = sum(number(row, "os_unknown_time_ns") for row in long)
    assert unknown <= 0.02 * sum(number(row, "os_traced_time_ns") for row in long)


@pytest.mark.parametrize(
    ("name", "problem", "words"),
    [
        ("busy-processes", "cpu-contention", "python"),
        ("slow-disk", "disk-io-bound", "for a disk"),
        ("lock", "lock-contention", "other tasks of the same executor held"),
    ],
)
def test_a_finding_is_proven_and_names_who_it_was(
    name: str, problem: str, words: str, recording: Callable[[str], Path]
) -> None:
    """With the trace the problem is told and sure; without, a guess at most."""
    folder = recording(name)

    def findings(*more: object) -> dict[str, Any]:
        done = emberscope("diagnose", "--no-models", "--format", "json", *more, folder / "eventlog")
        return {found["problem"]: found for found in json.loads(done.stdout)["findings"]}

    proven = findings("--trace", folder)[problem]
    assert proven["confidence"] >= 0.9
    assert words in proven["summary"]
    assert "the kernel's trace shows it" in proven["summary"]
    guessed = findings().get(problem)
    assert guessed is None or guessed["confidence"] < 0.9


@pytest.mark.parametrize("name", ["healthy", "healthy-files"])
def test_a_trace_of_a_healthy_run_proves_nothing(name: str, recording: Callable[[str], Path]) -> None:
    """No finding that a trace could prove."""
    folder = recording(name)
    done = emberscope("diagnose", "--format", "json", "--trace", folder, folder / "eventlog")
    problems = {found["problem"] for found in json.loads(done.stdout)["findings"]}
    assert problems & {"cpu-contention", "disk-io-bound", "lock-contention"} == set()


def test_a_folder_without_traces_is_an_error_that_names_it(recording: Callable[[str], Path], tmp_path: Path) -> None:
    """The run is not diagnosed as if the trace had been read."""
    done = emberscope("diagnose", "--trace", tmp_path, recording("healthy") / "eventlog")
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "no trace in it" in done.stderr


def test_a_cut_trace_tells_what_it_holds_and_that_it_was_cut(recording: Callable[[str], Path], tmp_path: Path) -> None:
    """Tasks before the cut have their states, those after it none, and the report says so."""
    source, cut = recording("healthy"), tmp_path / "cut"
    for path in source.rglob("*"):
        if path.is_file():
            target = cut / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            target.write_bytes(content[: len(content) * 2 // 3] if path.name.startswith("perf_stream") else content)
    done = emberscope("diagnose", "--format", "json", "--trace", cut, cut / "eventlog")
    assert done.returncode == 0, done.stderr
    codes = {issue["code"] for issue in json.loads(done.stdout)["import_issues"]}
    assert "unreadable-trace" in codes
