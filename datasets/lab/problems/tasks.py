"""Tasks that go wrong by themselves: one that takes long, some that fail, one that always fails."""

from collections import Counter
from typing import Any

from datasets.lab.core import (
    RUN_SUBJECT,
    Evidence,
    Injection,
    Problem,
    Spec,
    Treatment,
    Verdict,
    duration_ms,
    records_in,
    stage_subject,
)
from datasets.lab.problems import _times
from datasets.lab.shim import SlowIo, full_disk

BURN_S = {1: 1.0, 2: 3.0, 3: 7.0, 4: 15.0}


def straggler(spec: Spec, strength: int) -> Treatment:
    """Have one task calculate for longer than the others, over no more data."""
    del spec
    return Treatment(knobs={"burn_s": BURN_S[strength]})


def straggler_took(evidence: Evidence, strength: int) -> Verdict:
    """Find the stage whose middle partition took longer than the others by what was burnt, with no more records."""
    stages = [int(event["Stage Info"]["Stage ID"]) for event in evidence.named("StageCompleted")]
    subjects: list[dict[str, Any]] = []
    most: dict[str, Any] = {"longer_by_ms": 0}
    for stage, tasks in evidence.tasks_of(stages).items():
        burning = next((task for task in tasks if task["Task Info"]["Index"] == len(tasks) // 2), None)
        others = [task for task in tasks if task is not burning]
        if burning is None or len(others) < 2:
            continue
        longer = duration_ms(burning) - _times.median(map(duration_ms, others))
        records = records_in(burning) / max(_times.median(map(records_in, others)), 1)
        if longer < 700 * BURN_S[strength] or records > 1.5:
            continue
        subjects.append(stage_subject(stage) | {"partition": burning["Task Info"].get("Partition ID")})
        if longer > most["longer_by_ms"]:
            most = {
                "longer_by_ms": longer,
                "task_ms": duration_ms(burning),
                "records_over_median": round(records, 2),
                "tasks": len(tasks),
            }
    return Verdict(bool(subjects), subjects, most)


FAIL_SHARES = {1: 0.13, 2: 0.25, 3: 0.5, 4: 1.0}
FAIL_AFTER_S = {1: 0.1, 2: 0.8, 3: 1.5, 4: 3.0}


def failures(spec: Spec, strength: int) -> Treatment:
    """Let tasks fail at their first attempt; only a cluster tries again."""
    cluster = spec.cluster if spec.cluster != "local" else ("cluster-1x2", "cluster-2x1")[strength % 2]
    knobs = {"fail_share": FAIL_SHARES[strength], "fail_after_s": FAIL_AFTER_S[strength]}
    return Treatment(knobs=knobs, cluster=cluster)


def failures_took(evidence: Evidence, strength: int) -> Verdict:
    """Count the task attempts that ended with the exception that was thrown, and the time they had taken."""
    del strength
    failed = [task for task in evidence.tasks() if _meant(task)]
    stages = Counter(int(task["Stage ID"]) for task in failed)
    measured = {"failed_attempts": len(failed), "lost_ms": _times.total_ms(failed)}
    meant_to_fail = any(injection.problem == "job-failure" for injection in evidence.spec.injections)
    return Verdict(
        bool(failed) and (meant_to_fail or not _failed_jobs(evidence)),
        list(map(stage_subject, sorted(stages))),
        measured,
    )


def _meant(task: dict[str, Any]) -> bool:
    stack = str(task["Task End Reason"].get("Full Stack Trace", ""))
    return "BadRecord" in stack or "No space left on device" in stack


def _failed_jobs(evidence: Evidence) -> list[int]:
    return [int(job["Job ID"]) for job in evidence.named("JobEnd") if job["Job Result"]["Result"] != "JobSucceeded"]


LOST_S = {1: 0.0, 4: 5.0}
# How much of shuffle and spill files the disk of an executor takes, at strength 3.
FULL_MB_STRENGTHS = (3,)
FULL_MB = {
    "window_sessions": 16.0,
    "rdd_words": 2.0,
    "cube_report": 10.0,
    "compaction": 20.0,
    "merge_upsert": 10.0,
    "web_sessions": 8.0,
    "ad_auctions": 12.0,
    "hotel_bookings": 10.0,
}


def job_failure(spec: Spec, strength: int) -> Treatment:
    """Let a task fail at every attempt, early or late; or collect too much (2), or have the local disk full (3)."""
    if strength in FULL_MB_STRENGTHS:
        environment = full_disk(spec, FULL_MB[spec.family])
        return Treatment(cluster="cluster-2x1", environment=environment, actions=[SlowIo()], fails=True)
    if strength not in LOST_S:
        return Treatment(knobs={"collect_rows": 30_000}, conf={"spark.driver.maxResultSize": "8m"}, fails=True)
    knobs = {"fail_always": True, "fail_share": 0.13, "fail_after_s": LOST_S[strength]}
    return Treatment(knobs=knobs, fails=True)


def job_failure_took(evidence: Evidence, strength: int) -> Verdict:
    """Look for failed jobs and the exit status."""
    del strength
    failed = _failed_jobs(evidence)
    attempts = [task for task in evidence.tasks() if _meant(task)]
    results = [event["Job Result"].get("Exception", {}).get("Message", "") for event in evidence.named("JobEnd")]
    measured = {
        "exit_status": evidence.exit_status,
        "message": next((str(message).strip().splitlines()[0][:200] for message in results if message), None),
        "failed_jobs": len(failed),
        "failed_attempts": len(attempts),
        "lost_ms": _times.total_ms(attempts),
    }
    subjects = [{"kind": "job", "job_id": job} for job in failed] or [RUN_SUBJECT]
    return Verdict(bool(failed) and evidence.exit_status != 0, subjects, measured)


PROBLEMS = [
    Problem(
        "straggler-task",
        "one task calculates longer over no more data",
        (
            "feature_table",
            "kmeans",
            "rdd_words",
            "cube_report",
            "log_text",
            "basket_pairs",
            "film_ratings",
            "song_clusters",
        ),
        straggler,
        straggler_took,
    ),
    Problem(
        "task-failures",
        "tasks meet a bad record at their first attempt",
        (
            "python_features",
            "star_join",
            "rdd_pipeline",
            "log_text",
            "tpch_joins",
            "bank_ledger",
            "parcel_routes",
            "library_loans",
        ),
        failures,
        failures_took,
    ),
    Problem(
        "job-failure",
        "a task meets a bad record at every attempt, the driver refuses a large result, or the local disk is full",
        (
            "window_sessions",
            "rdd_words",
            "compaction",
            "cube_report",
            "merge_upsert",
            "web_sessions",
            "ad_auctions",
            "hotel_bookings",
        ),
        job_failure,
        job_failure_took,
        # Where it is a task that fails, the failing task is a label as well.
        brings={strength: Injection("task-failures", strength) for strength in (*LOST_S, *FULL_MB_STRENGTHS)},
    ),
]
