"""Problems of memory: too little of it for the work, or far too much."""

from datasets.lab.core import RUN_SUBJECT, Conf, Evidence, Injection, Knobs, Problem, Spec, Treatment, Verdict, metric
from datasets.lab.problems._executors import (
    LONG,
    executor_subject,
    losses,
    peaks,
    removed,
    run_s,
    waiting_stages,
)
from datasets.lab.problems._sql import settings
from datasets.lab.shim import GcLogs, gc_log, hoarding, work_of

MB = 1 << 20
HEAPS_MB = {1: 1536, 2: 2048, 3: 3072, 4: 4096}
# Shares of the heap that a library's cache holds.
NEAR = {1: 0.6, 2: 0.7, 3: 0.78, 4: 0.85}
# Share of the heap that a library's cache of small objects holds, and how much of it is replaced each second.
PRESSURE = {1: (0.2, 3.0), 2: (0.3, 12.0), 3: (0.4, 30.0), 4: (0.45, 60.0)}
# Executors whose ids are smaller run out of memory.
DYING = {1: 1, 2: 2, 3: 3, 4: 4}
# A collector that gives up after some full collections in a row, instead of going on for half a minute.
SOON_OVER = "-XX:+UseParallelGC -XX:GCTimeLimit=70 -XX:GCHeapFreeLimit=20"
# Share of the heap (without Spark's reserve) for execution and storage.
FRACTIONS = {1: 0.17, 2: 0.11, 3: 0.07, 4: 0.04}
SPILL_CONF: dict[str, Conf] = {"star_join": {"spark.sql.autoBroadcastJoinThreshold": "-1"}}
# Enough for a partition of a quarter not to fit.
SPILL_KNOBS: dict[str, Knobs] = {
    "window_sessions": {"rows": 2_400_000},
    "time_series": {"rows": 3_000_000},
    "cube_report": {"rows": 800_000},
    "web_sessions": {"rows": 1_600_000},
    "ad_auctions": {"rows": 1_000_000},
    "hotel_bookings": {"rows": 800_000},
}


def unused(spec: Spec, strength: int) -> Treatment:
    """Ask for far more heap than the work needs."""
    del spec
    return Treatment(cluster="cluster-2x1-large", conf={"spark.executor.memory": f"{HEAPS_MB[strength]}m"})


def unused_took(evidence: Evidence, strength: int) -> Verdict:
    """Compare the highest use of the heap with what was asked for."""
    asked = HEAPS_MB[strength] * MB
    heap, rss = peaks(evidence, "JVMHeapMemory"), peaks(evidence, "ProcessTreeJVMRSSMemory")
    measured = {
        "asked_bytes": asked,
        "peak_heap_bytes": max(heap.values(), default=0),
        "peak_execution_bytes": max(peaks(evidence, "OnHeapUnifiedMemory").values(), default=0),
        "peak_rss_bytes": max(rss.values(), default=0),
    }
    return Verdict(0 < measured["peak_heap_bytes"] < 0.6 * asked, [RUN_SUBJECT], measured)


def near(spec: Spec, strength: int) -> Treatment:
    """Have most of the heap held by a library's cache."""
    conf = {"spark.executor.memory": "1g", "spark.executor.extraJavaOptions": gc_log(spec)}
    environment = hoarding("large", NEAR[strength])
    return Treatment(cluster="cluster-2x1", conf=conf, environment=environment, actions=[GcLogs()])


def near_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the highest use of the heap."""
    del strength
    heap = peaks(evidence, "JVMHeapMemory")
    whole = 1024 * MB
    subjects = [executor_subject(name) for name, value in sorted(heap.items()) if value >= 0.65 * whole]
    live = {name: log["live_share"] for name, log in evidence.actions["GcLogs"].items()}
    measured = {"heap_bytes": whole, "peak_heap_bytes": heap, "live_share_after_collection": live, **losses(evidence)}
    return Verdict(bool(subjects) and max(live.values(), default=0) >= 0.5, subjects, measured)


def pressure(spec: Spec, strength: int) -> Treatment:
    """Have many small objects live in a small heap, and replace them steadily."""
    options = f"-XX:+UseParallelGC {gc_log(spec)}"
    conf = {"spark.executor.memory": "640m", "spark.executor.extraJavaOptions": options}
    share, churn_mb_s = PRESSURE[strength]
    environment = hoarding("small", share, churn_mb_s)
    return Treatment(cluster="cluster-2x1", conf=conf, environment=environment, actions=[GcLogs()])


def pressure_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the pauses in the executors' own logs of their collectors."""
    del strength
    logs = evidence.actions["GcLogs"]
    shares = {name: round(log["paused_s"] / (log["over_s"] or 1), 4) for name, log in logs.items()}
    measured = {
        "paused_share": shares,
        "full": {name: log["full"] for name, log in logs.items()},
        "paused_s": {name: log["paused_s"] for name, log in logs.items()},
        "gc_time_of_tasks_s": round(sum(metric(task, "JVM GC Time") for task in evidence.tasks()) / 1000, 2),
        "task_run_s": round(run_s(evidence.tasks()), 2),
    }
    subjects = [executor_subject(name) for name, share in sorted(shares.items()) if share >= 0.05]
    return Verdict(bool(subjects), subjects, measured)


def dying(spec: Spec, strength: int) -> Treatment:
    """Let a library's cache take all of the heap once a step has begun."""
    marker = work_of(spec) / "out" / f"in-{LONG[spec.family]}"
    environment = hoarding("large", 1.0, executors=DYING[strength], marker=marker)
    return Treatment(
        cluster="cluster-2x1",
        conf={"spark.executor.memory": "512m", "spark.executor.extraJavaOptions": SOON_OVER},
        environment=environment,
        fails=None if strength == 4 else False,
    )


def dying_took(evidence: Evidence, strength: int) -> Verdict:
    """Look for executors that went with the exit code of an OutOfMemoryError, or tasks that ended by one."""
    del strength
    errors = {
        task["Task Info"]["Executor ID"]
        for task in evidence.tasks()
        if "OutOfMemoryError" in str(task["Task End Reason"].get("Class Name"))
    }
    gone = {name: event["Removed Reason"] for name, event in removed(evidence).items()}
    died = sorted(errors & set(gone) | {name for name, reason in gone.items() if "code 52" in reason})
    failed = sum(event["Job Result"]["Result"] != "JobSucceeded" for event in evidence.named("JobEnd"))
    measured = {
        "died": died,
        "tasks_that_ran_out": len(errors),
        "reasons": sorted(set(gone.values()))[:4],
        "failed_jobs": failed,
        **losses(evidence),
    }
    return Verdict(bool(died), [executor_subject(name) for name in died], measured)


def spill(spec: Spec, strength: int) -> Treatment:
    """Leave little memory to execution, and have few partitions."""
    conf = {
        "spark.executor.memory": "640m",
        "spark.memory.fraction": str(FRACTIONS[strength]),
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
    }
    conf |= SPILL_CONF.get(spec.family, {})
    return Treatment(cluster="cluster-2x1", conf=conf, knobs=dict(SPILL_KNOBS.get(spec.family, {})))


def spill_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the bytes that were spilled."""
    del strength
    memory: dict[int, float] = {}
    disk = 0
    for task in evidence.tasks():
        stage = task["Stage ID"]
        memory[stage] = memory.get(stage, 0) + metric(task, "Memory Bytes Spilled")
        disk += metric(task, "Disk Bytes Spilled")
    measured = {
        "memory_bytes_spilled": int(sum(memory.values())),
        "disk_bytes_spilled": disk,
        "stages": sum(value > 0 for value in memory.values()),
        "memory_fraction": settings(evidence).get("spark.memory.fraction"),
        "task_run_s": round(run_s(evidence.tasks()), 2),
    }
    subjects = waiting_stages({stage: value for stage, value in memory.items() if value}, 0.02)
    return Verdict(disk >= MB, subjects, measured)


PROBLEMS = [
    Problem(
        "memory-spill",
        "little execution memory and few partitions",
        ("window_sessions", "time_series", "cube_report", "web_sessions", "ad_auctions", "hotel_bookings"),
        spill,
        spill_took,
    ),
    Problem(
        "gc-pressure",
        "a library's cache of small objects in a small heap, steadily replaced",
        ("feature_table", "star_join", "log_text", "bank_ledger", "parcel_routes", "library_loans"),
        pressure,
        pressure_took,
    ),
    Problem(
        "executor-oom",
        "a library's cache takes the heap until tasks run out of memory",
        ("star_join", "merge_upsert", "warehouse_load", "clinic_visits", "crop_yields"),
        dying,
        dying_took,
    ),
    Problem(
        "unused-memory",
        "far more heap than is used",
        ("time_series", "ingest_csv", "cube_report", "basket_pairs", "film_ratings", "song_clusters"),
        unused,
        unused_took,
    ),
    Problem(
        "memory-near-limit",
        "a library's cache holds most of the heap",
        ("kmeans", "graph_rank", "basket_pairs", "film_ratings", "song_clusters"),
        near,
        near_took,
        # A heap that is this full is collected again and again, more or less.
        brings={4: Injection("gc-pressure", 1)},
    ),
]
