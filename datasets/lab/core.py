"""What the lab is made of: runs, workloads, injections and what confirms them.

A run is a workload (a *family*), in the form that its knobs give it, on a cluster of some kind, under one version of
Spark. An injection turns a problem on in a stated strength: by other knobs (data or code), other settings, another
cluster, or by something done to the machine from outside while the run lasts. After the run a check of the effect,
made from the event log or from what was done and without any of Emberscope's rules or thresholds, confirms each label
or marks it as not taken.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Knobs = dict[str, Any]
Conf = dict[str, str]
Event = dict[str, Any]

STRENGTHS = {1: "hardly there", 2: "mild", 3: "clear", 4: "severe"}
SPARK_VERSIONS = ("3.5.9", "4.1.4", "4.3.0")
CLUSTERS = (
    "local",
    "cluster-2x1",
    "cluster-1x2",
    "standalone",
    "standalone-2x2",
    "cluster-2x1-large",
    "cluster-3x1",
    "cluster-2x2",
    "cluster-2x4",
    "cluster-4x4",
)


@dataclass(frozen=True)
class Injection:
    """A problem that is turned on in a run."""

    problem: str
    strength: int


@dataclass(frozen=True)
class Spec:
    """One run, in everything that decides what happens in it."""

    name: str
    family: str
    seed: int
    spark: str = "3.5.9"
    cluster: str = "local"
    adaptive: bool = True
    dynamic: bool = False
    injections: tuple[Injection, ...] = ()


class Action(Protocol):
    """Something done to the machine around a run."""

    def start(self, run: "Running") -> None:
        """Begin, before the application is submitted; must not block."""

    def stop(self) -> dict[str, Any]:
        """End, and say what was done, in numbers that a check can use."""


@dataclass(frozen=True)
class Running:
    """What an action knows of the run that it is done to."""

    spec: Spec
    work: Path


@dataclass
class Treatment:
    """What an injection changes; later ones win."""

    knobs: Knobs = field(default_factory=dict)
    conf: Conf = field(default_factory=dict)
    cluster: str | None = None
    dynamic: bool | None = None
    adaptive: bool | None = None
    actions: list[Action] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    # Whether the application ends with an error; None where it may.
    fails: bool | None = False

    def take(self, part: "Treatment") -> None:
        """Add what another changes, which wins."""
        self.knobs |= part.knobs
        self.conf |= part.conf
        self.environment |= part.environment
        self.actions += part.actions
        self.cluster = part.cluster or self.cluster
        self.dynamic = self.dynamic if part.dynamic is None else part.dynamic
        self.adaptive = self.adaptive if part.adaptive is None else part.adaptive
        self.fails = None if None in (self.fails, part.fails) else self.fails or part.fails


@dataclass(frozen=True)
class Verdict:
    """Whether an injection took, where, and the figures that say so."""

    took: bool
    subjects: list[dict[str, Any]]
    measured: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """How a problem of PROBLEMS.md is brought about in the lab, and how its effect is checked."""

    name: str
    how: str
    families: tuple[str, ...]
    treat: Callable[[Spec, int], Treatment]
    confirm: Callable[["Evidence", int], Verdict]
    # Another problem that comes with it because it is a part of the injection, by strength: it is a label as well.
    brings: Mapping[int, Injection] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """A family of runs. `knobs` are the healthy ones; those in `data_knobs` decide the data."""

    name: str
    about: str
    knobs: Mapping[str, Any]
    data_knobs: tuple[str, ...]
    make_data: Callable[[Path, int, Knobs], None]
    run: Callable[["Any"], None]
    conf: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What a check may look at: the events, what the job noted, what actions did, and the run's times."""

    spec: Spec
    knobs: Knobs
    events: list[Event]
    facts: dict[str, Any]
    actions: dict[str, dict[str, Any]]
    exit_status: int
    wall_s: float

    def named(self, name: str) -> list[Event]:
        """Give the events of one name (without package and `SparkListener`)."""
        return [event for event in self.events if event["Event"].rsplit(".", 1)[-1] in (name, f"SparkListener{name}")]

    def tasks(self) -> list[Event]:
        """Give the task ends."""
        return self.named("TaskEnd")

    def stages_of(self, step: str) -> list[int]:
        """Give the ids of the stages that ran in a step of the job, in order."""
        submitted = {info["Stage ID"] for info in (event["Stage Info"] for event in self.named("StageSubmitted"))}
        jobs = [job for job in self.named("JobStart") if (job.get("Properties") or {}).get(STEP_PROPERTY) == step]
        return sorted({stage for job in jobs for stage in job["Stage IDs"]} & submitted)

    def tasks_of(self, stages: list[int]) -> dict[int, list[Event]]:
        """Group the successful task ends of these stages by stage id."""
        groups: dict[int, list[Event]] = {stage: [] for stage in stages}
        for task in self.tasks():
            if task["Stage ID"] in groups and task["Task End Reason"]["Reason"] == "Success":
                groups[task["Stage ID"]].append(task)
        return groups

    def executions_of(self, step: str) -> list[int]:
        """Give the ids of the SQL executions that ran in a step."""
        jobs = [(job.get("Properties") or {}) for job in self.named("JobStart")]
        ids = {job.get("spark.sql.execution.id") for job in jobs if job.get(STEP_PROPERTY) == step}
        return sorted(int(found) for found in ids if found)


STEP_PROPERTY = "lab.step"


RUN_SUBJECT: dict[str, Any] = {"kind": "run"}


def stage_subject(stage: int) -> dict[str, Any]:
    """Give the subject that is a stage."""
    return {"kind": "stage", "stage_id": stage}


def metric(task: Event, *keys: str) -> int:
    """Look a task metric up; 0 where the event has none."""
    value: Any = task.get("Task Metrics") or {}
    for key in keys:
        value = (value or {}).get(key)
    return int(value or 0)


def duration_ms(task: Event) -> int:
    """Give the time from launch to finish."""
    info = task["Task Info"]
    return int(info["Finish Time"]) - int(info["Launch Time"])


def records_in(task: Event) -> int:
    """Give the records that a task read, from storage and shuffles."""
    return metric(task, "Input Metrics", "Records Read") + metric(task, "Shuffle Read Metrics", "Total Records Read")


def bytes_in(task: Event) -> int:
    """Give the bytes that a task read, from storage and shuffles."""
    shuffled = sum(metric(task, "Shuffle Read Metrics", key) for key in ("Local Bytes Read", "Remote Bytes Read"))
    return metric(task, "Input Metrics", "Bytes Read") + shuffled
