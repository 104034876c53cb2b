"""Problems of executors: they come late, go too early, die, or have nothing to do."""

from datasets.lab.core import (
    RUN_SUBJECT,
    Evidence,
    Injection,
    Problem,
    Spec,
    Treatment,
    Verdict,
    duration_ms,
    stage_subject,
)
from datasets.lab.outside import Kill
from datasets.lab.problems._executors import (
    FIRST,
    LONG,
    added,
    ended_ms,
    executor_subject,
    lives_ms,
    losses,
    removed,
    retries,
    started_ms,
)
from datasets.lab.shim import LoseShuffle

# Executors that are killed one after the other, in the first step or in the long one, and how long after.
KILLS = {
    1: (("1",), "first", 0.3),
    2: (("1",), "long", 1.2),
    3: (("1", "0"), "long", 1.8),
    4: (("1", "0", "2"), "long", 2.5),
}
LOSSES = {1: ("first", 1), 2: ("long", 1), 3: ("long", 2), 4: ("long", 3)}
WORKERS_LATE_S = {1: 4, 2: 6, 3: 10, 4: 16}
PAUSES_S = {1: 6.0, 2: 8.0, 3: 10.0, 4: 13.0}
# What such pauses are as a driver-bottleneck.
PAUSES_ARE = {1: 2, 2: 3, 3: 3, 4: 3}
TOO_MANY = {1: "cluster-3x1", 2: "cluster-2x2", 3: "cluster-2x4", 4: "cluster-4x4"}
# How much of a median task's time passes before a copy is made, and how many of a stage's tasks have to be done.
EAGER = {1: (0.9, 0.5), 2: (0.6, 0.4), 3: (0.35, 0.25), 4: (0.1, 0.1)}


def loss(spec: Spec, strength: int) -> Treatment:
    """Kill executors while they work."""
    targets, when, after_s = KILLS[strength]
    step = (FIRST if when == "first" else LONG)[spec.family]
    return Treatment(cluster="cluster-2x1", actions=[Kill(targets, step, after_s)])


def loss_took(evidence: Evidence, strength: int) -> Verdict:
    """Look for the killed in the log, and for what was lost with them."""
    del strength
    gone = removed(evidence)
    killed = [name for name in evidence.actions["Kill"].get("killed", []) if name in gone]
    reasons = sorted({gone[name]["Removed Reason"] for name in killed})
    measured = {"killed": killed, "reasons": reasons, **losses(evidence)}
    return Verdict(bool(killed), [executor_subject(name) for name in killed], measured)


def retry(spec: Spec, strength: int) -> Treatment:
    """Delete shuffle files that are still to be read."""
    when, rounds = LOSSES[strength]
    step = (FIRST if when == "first" else LONG)[spec.family]
    return Treatment(cluster="cluster-2x1", actions=[LoseShuffle(step, rounds)])


def retry_took(evidence: Evidence, strength: int) -> Verdict:
    """Look for stages that were run again."""
    del strength
    found = retries(evidence)
    failed = sum(task["Task End Reason"]["Reason"] == "FetchFailed" for task in evidence.tasks())
    subjects = [stage_subject(stage) for stage in sorted({stage for stage, _ in found})]
    measured = {**evidence.actions["LoseShuffle"], "fetch_failed": failed, **losses(evidence)}
    return Verdict(bool(found) and failed > 0, subjects, measured)


def late(spec: Spec, strength: int) -> Treatment:
    """Hold the workers back."""
    del spec
    delay = str(WORKERS_LATE_S[strength])
    return Treatment(cluster="standalone", environment={"LAB_WORKER_DELAYS_S": f"{delay},{delay}"})


def late_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at when executors came, against when there was work for them."""
    begin = started_ms(evidence)
    came = sorted(int(event["Timestamp"]) - begin for event in added(evidence).values())
    jobs = [int(job["Submission Time"]) - begin for job in evidence.named("JobStart")]
    first, work = (min(times, default=0) / 1000 for times in (came, jobs))
    measured = {
        "workers_late_s": WORKERS_LATE_S[strength],
        "executors_after_s": [at / 1000 for at in came],
        "first_job_after_s": work,
        "waited_s": round(max(first - work, 0.0), 3),
    }
    return Verdict(measured["waited_s"] >= 0.5, [RUN_SUBJECT], measured)


def churn(spec: Spec, strength: int) -> Treatment:
    """Let executors go as soon as they are idle, and have the driver pause."""
    del spec
    timeout = "2s"
    conf = {
        "spark.dynamicAllocation.minExecutors": "0",
        "spark.dynamicAllocation.executorIdleTimeout": timeout,
        "spark.dynamicAllocation.cachedExecutorIdleTimeout": timeout,
        "spark.dynamicAllocation.shuffleTracking.timeout": timeout,
    }
    return Treatment(cluster="standalone", dynamic=True, conf=conf, knobs={"driver_s": PAUSES_S[strength]})


def churn_took(evidence: Evidence, strength: int) -> Verdict:
    """Count executors that came and went."""
    del strength
    end = ended_ms(evidence)
    gone = {name: event for name, event in removed(evidence).items() if int(event["Timestamp"]) < end}
    lives = [(to - start) / 1000 for start, to, _ in lives_ms(evidence).values()]
    measured = {
        "added": len(added(evidence)),
        "removed": len(gone),
        "lives_s": sorted(lives),
        "reasons": sorted({event["Removed Reason"] for event in gone.values()})[:3],
    }
    return Verdict(len(added(evidence)) > 2 and len(gone) > 0, [RUN_SUBJECT], measured)


def idle(spec: Spec, strength: int) -> Treatment:
    """Ask for more cores than there are tasks, for little data."""
    conf = {
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.files.maxPartitionBytes": "128m",
        "spark.sql.files.minPartitionNum": "1",
        "spark.executor.memory": "700m",
    }
    return Treatment(cluster=TOO_MANY[strength], conf=conf, knobs=dict(SMALL[spec.family]))


SMALL = {
    "star_join": {"rows": 900_000, "files": 2},
    "feature_table": {"rows": 700_000, "files": 2},
    "window_sessions": {"rows": 500_000, "files": 2},
    "merge_upsert": {"rows": 500_000, "changes": 250_000, "files": 2},
    "cube_report": {"rows": 250_000, "files": 2, "sort_partitions": 2},
    "web_sessions": {"rows": 350_000, "files": 2},
    "ad_auctions": {"rows": 320_000, "files": 2},
    "hotel_bookings": {"rows": 500_000, "files": 2},
}


def idle_took(evidence: Evidence, strength: int) -> Verdict:
    """Compare the core-time that was held with what tasks had, and see whether all cores ever had some."""
    del strength
    changes: list[tuple[int, int]] = []
    for task in evidence.tasks():
        info = task["Task Info"]
        changes += [(int(info["Launch Time"]), 1), (int(info["Finish Time"]), -1)]
    lives = lives_ms(evidence).values()
    cores = sum(count for _, _, count in lives)
    together = full = reached = 0
    for at, change in sorted(changes):
        full += at - reached if together >= cores else 0
        together, reached = together + change, at
    held = sum((to - start) * count for start, to, count in lives) / 1000
    used = sum(map(duration_ms, evidence.tasks())) / 1000
    measured = {
        "cores": cores,
        "all_cores_had_tasks_s": round(full / 1000, 2),
        "held_core_s": round(held, 1),
        "used_core_s": round(used, 1),
    }
    return Verdict(full / 1000 < 0.1 * evidence.wall_s and used < held / 2, [RUN_SUBJECT], measured)


def eager(spec: Spec, strength: int) -> Treatment:
    """Make copies of tasks that are not slow."""
    del spec
    multiplier, quantile = EAGER[strength]
    conf = {
        "spark.speculation": "true",
        "spark.speculation.interval": "50ms",
        "spark.speculation.multiplier": str(multiplier),
        "spark.speculation.quantile": str(quantile),
        "spark.speculation.efficiency.enabled": "false",
        "spark.speculation.minTaskRuntime": "50ms",
        "spark.sql.shuffle.partitions": "5",
        "spark.sql.files.minPartitionNum": "5",
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
    }
    return Treatment(cluster="standalone-2x2", conf=conf)


def eager_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the time of the attempts that were thrown away because another was there first."""
    del strength
    tasks = evidence.tasks()
    copied = {_task(task) for task in tasks if task["Task Info"]["Speculative"]}
    wasted = [task for task in tasks if _task(task) in copied and task["Task End Reason"]["Reason"] == "TaskKilled"]
    seconds = sum(map(duration_ms, wasted)) / 1000
    whole = sum(map(duration_ms, tasks)) / 1000
    measured = {"copies": len(copied), "killed": len(wasted), "wasted_s": round(seconds, 2), "task_s": round(whole, 2)}
    return Verdict(seconds >= 0.005 * whole and bool(wasted), [RUN_SUBJECT], measured)


def _task(task: dict[str, object]) -> tuple[object, object, object]:
    info = task["Task Info"]
    assert isinstance(info, dict)
    return task["Stage ID"], task["Stage Attempt ID"], info["Index"]


PROBLEMS = [
    Problem(
        "executor-loss",
        "SIGKILL to executors in a step",
        ("window_sessions", "star_join", "merge_upsert", "web_sessions", "ad_auctions", "hotel_bookings"),
        loss,
        loss_took,
    ),
    Problem(
        "stage-retry",
        "shuffle files of one executor are deleted before they are read",
        ("star_join", "time_series", "tpch_joins", "energy_rollup", "flight_delays", "port_calls"),
        retry,
        retry_took,
    ),
    Problem(
        "slow-start",
        "the workers of a standalone cluster come late",
        ("ingest_csv", "log_text", "bank_ledger", "parcel_routes", "library_loans"),
        late,
        late_took,
    ),
    Problem(
        "executor-churn",
        "idle executors are given back at once while the driver pauses",
        ("time_series", "cube_report", "web_sessions", "ad_auctions", "hotel_bookings"),
        churn,
        churn_took,
        # The pauses are the driver's own work.
        brings={strength: Injection("driver-bottleneck", least) for strength, least in PAUSES_ARE.items()},
    ),
    Problem(
        "idle-cores",
        "more cores than tasks, for little data",
        ("feature_table", "window_sessions", "cube_report", "web_sessions", "ad_auctions", "hotel_bookings"),
        idle,
        idle_took,
        # Few tasks for many cores: where they have enough to do, there are too few partitions.
        brings={strength: Injection("too-few-partitions", strength) for strength in TOO_MANY},
    ),
    Problem(
        "speculation-waste",
        "copies of tasks that are not slow",
        ("feature_table", "log_text", "bank_ledger", "parcel_routes", "library_loans"),
        eager,
        eager_took,
    ),
]
