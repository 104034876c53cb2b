"""Executors of a run, from its event log, and the steps in which things are done to them."""

from collections.abc import Iterable
from typing import Any

from datasets.lab.core import Event, Evidence, duration_ms, metric, stage_subject

# The first step of a family, and the one that has the most to do with shuffles or sorts in it.
FIRST = {
    "star_join": "warm",
    "window_sessions": "sessions",
    "time_series": "resample",
    "feature_table": "warm",
    "compaction": "inventory",
    "rdd_pipeline": "shops",
    "merge_upsert": "latest",
    "tpch_joins": "years",
    "graph_rank": "links",
    "web_sessions": "clean",
    "warehouse_load": "stage",
    "energy_rollup": "rollup",
    "flight_delays": "punctuality",
    "port_calls": "berths",
    "ad_auctions": "settle",
    "hotel_bookings": "stays",
    "clinic_visits": "arrivals",
    "crop_yields": "intake",
}
LONG = {
    "star_join": "best",
    "window_sessions": "sessions",
    "time_series": "rolling",
    "feature_table": "features",
    "compaction": "sensors",
    "rdd_pipeline": "join",
    "merge_upsert": "merge",
    "tpch_joins": "orders",
    "graph_rank": "iterate",
    "web_sessions": "sessions",
    "warehouse_load": "merge",
    "energy_rollup": "day_before",
    "flight_delays": "legs",
    "port_calls": "charges",
    "ad_auctions": "pace",
    "hotel_bookings": "rates",
    "clinic_visits": "readmissions",
    "crop_yields": "rotation",
}


def executor_subject(executor: str) -> dict[str, Any]:
    """Give the subject that is an executor."""
    return {"kind": "executor", "executor_id": executor}


def started_ms(evidence: Evidence) -> int:
    """Give the start of the application."""
    return int(evidence.named("ApplicationStart")[0]["Timestamp"])


def ended_ms(evidence: Evidence) -> int:
    """Give the end of the application, or the last task's where the log has no end."""
    ends = [int(event["Timestamp"]) for event in evidence.named("ApplicationEnd")]
    return max(ends or [int(task["Task Info"]["Finish Time"]) for task in evidence.tasks()] or [started_ms(evidence)])


def added(evidence: Evidence) -> dict[str, Event]:
    """Give the events that added executors, by id, without the driver."""
    events = evidence.named("ExecutorAdded")
    return {event["Executor ID"]: event for event in events if event["Executor ID"] != "driver"}


def removed(evidence: Evidence) -> dict[str, Event]:
    """Give the events that removed executors, by id."""
    return {event["Executor ID"]: event for event in evidence.named("ExecutorRemoved")}


def lives_ms(evidence: Evidence) -> dict[str, tuple[int, int, int]]:
    """Give, by executor, when it came and went, and its cores."""
    gone, end = removed(evidence), ended_ms(evidence)
    return {
        name: (
            int(event["Timestamp"]),
            int(gone[name]["Timestamp"]) if name in gone else end,
            int(event["Executor Info"]["Total Cores"]),
        )
        for name, event in added(evidence).items()
    }


def peaks(evidence: Evidence, name: str) -> dict[str, int]:
    """Give the highest value of an executor metric, by executor."""
    found: dict[str, int] = {}

    def see(executor: str, metrics: dict[str, Any] | None) -> None:
        found[executor] = max(found.get(executor, 0), int((metrics or {}).get(name, 0)))

    for task in evidence.tasks():
        see(task["Task Info"]["Executor ID"], task.get("Task Executor Metrics"))
    for event in evidence.named("StageExecutorMetrics"):
        see(event["Executor ID"], event["Executor Metrics"])
    return {executor: value for executor, value in found.items() if executor != "driver"}


def lost(evidence: Evidence) -> list[Event]:
    """Give the task ends whose work was lost with an executor."""
    reasons = ("ExecutorLostFailure", "Resubmitted", "FetchFailed")
    return [task for task in evidence.tasks() if task["Task End Reason"]["Reason"] in reasons]


def retries(evidence: Evidence) -> list[tuple[int, int]]:
    """Give the stage attempts after the first."""
    infos = [event["Stage Info"] for event in evidence.named("StageSubmitted")]
    found = {(int(info["Stage ID"]), int(info["Stage Attempt ID"])) for info in infos}
    return sorted((stage, attempt) for stage, attempt in found if attempt)


def losses(evidence: Evidence) -> dict[str, Any]:
    """Give what loss of executors or of their files cost, in figures."""
    again = set(retries(evidence))
    return {
        "executors_removed": len(removed(evidence)),
        "lost_tasks": len(lost(evidence)),
        "lost_task_s": round(sum(map(duration_ms, lost(evidence))) / 1000, 2),
        "stage_retries": len(again),
        "retried_task_s": round(
            sum(duration_ms(task) for task in evidence.tasks() if (task["Stage ID"], task["Stage Attempt ID"]) in again)
            / 1000,
            2,
        ),
    }


def run_s(tasks: Iterable[Event]) -> float:
    """Give the executor run time of these tasks."""
    return sum(metric(task, "Executor Run Time") for task in tasks) / 1000


def cpu_s(tasks: Iterable[Event]) -> float:
    """Give the executor CPU time of these tasks."""
    return sum(metric(task, "Executor CPU Time") for task in tasks) / 1e9


def scheduler_delay_ms(task: Event) -> int:
    """Give the part of a task's duration that is neither work nor the transport of its result."""
    info = task["Task Info"]
    begun = int(info.get("Getting Result Time") or 0)
    getting = int(info["Finish Time"]) - begun if begun else 0
    known = ("Executor Run Time", "Executor Deserialize Time", "Result Serialization Time")
    return max(duration_ms(task) - getting - sum(metric(task, key) for key in known), 0)


def waiting_stages(tasks_of: dict[int, float], share: float) -> list[dict[str, Any]]:
    """Give as subjects the stages that have at least a share of a whole."""
    whole = sum(tasks_of.values())
    return [stage_subject(stage) for stage, value in sorted(tasks_of.items()) if whole and value >= share * whole]
