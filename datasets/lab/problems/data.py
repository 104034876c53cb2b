"""Problems that are in the data or in how it lies."""

from typing import Any

from datasets.lab.core import (
    Evidence,
    Knobs,
    Problem,
    Spec,
    Treatment,
    Verdict,
    bytes_in,
    duration_ms,
    records_in,
    stage_subject,
)
from datasets.lab.problems import _sql

HOT_SHARES = {1: 0.12, 2: 0.3, 3: 0.55, 4: 0.85}
SKEW_CONF = {
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.shuffle.partitions": "16",
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
}
# The steps whose shuffles go by the key that can be hot, and what else the data needs for it.
SKEW_STEPS: dict[str, tuple[str, ...]] = {
    "star_join": ("join", "best"),
    "window_sessions": ("sessions", "next"),
    "rdd_pipeline": ("join",),
    "tpch_joins": ("q3", "q5", "q10"),
    "graph_rank": ("links",),
    "web_sessions": ("sessions",),
    "ad_auctions": ("pace",),
    "hotel_bookings": ("rates",),
}
# The other sides of these joins are too large to be broadcast, with or without the skew.
SKEW_KNOBS: dict[str, Knobs] = {
    "star_join": {"customers": 2_200_000, "rows": 4_000_000},
    "tpch_joins": {"customers": 2_200_000, "rows": 2_400_000},
}


def skew(spec: Spec, strength: int) -> Treatment:
    """Give one key a share of all rows, and shuffle by it in a way that cannot be split."""
    knobs = SKEW_KNOBS.get(spec.family, {}) | {"hot_share": HOT_SHARES[strength]}
    return Treatment(knobs=knobs, conf=dict(SKEW_CONF))


def skew_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the records of the partitions of each stage that goes by the key."""
    del strength
    stages = sorted({stage for step in SKEW_STEPS[evidence.spec.family] for stage in evidence.stages_of(step)})
    subjects: list[dict[str, Any]] = []
    largest: dict[str, Any] = {"largest_over_median": 0.0}
    for stage, tasks in evidence.tasks_of(stages).items():
        sizes = sorted(records_in(task) for task in tasks)
        if len(sizes) < 4 or not sizes[len(sizes) // 2]:
            continue
        ratio = sizes[-1] / sizes[len(sizes) // 2]
        biggest = max(tasks, key=records_in)
        times = sorted(map(duration_ms, tasks))
        last = max(tasks, key=lambda task: int(task["Task Info"]["Finish Time"]))
        if ratio > largest["largest_over_median"]:
            largest = {
                "largest_over_median": round(ratio, 2),
                "largest_records": sizes[-1],
                "largest_bytes": bytes_in(biggest),
                "largest_task_ms": duration_ms(biggest),
                "median_task_ms": times[len(times) // 2],
            }
        if ratio >= 2 and duration_ms(biggest) >= max(duration_ms(last), times[len(times) // 2]):
            subjects.append(stage_subject(stage) | {"partition": biggest["Task Info"].get("Partition ID")})
    return Verdict(bool(subjects), subjects, largest)


FILES = {1: 40, 2: 100, 3: 250, 4: 600}
# Splits of 64 MB keep the tasks few, so that it is the files that cost and not the tasks.
FILES_CONF = {"spark.sql.files.maxPartitionBytes": "64m"}
FILES_KNOBS: dict[str, dict[int, Knobs]] = {
    "compaction": {strength: {"files": files} for strength, files in {1: 60, 2: 160, 3: 500, 4: 1_400}.items()},
    "ingest_csv": {strength: {"write_files": files} for strength, files in {1: 4, 2: 12, 3: 36, 4: 90}.items()},
    "merge_upsert": {strength: {"write_files": files} for strength, files in {1: 40, 2: 120, 3: 400, 4: 1_000}.items()},
    "tpch_joins": {strength: {"files": files} for strength, files in {1: 49, 2: 140, 3: 350, 4: 840}.items()},
    "warehouse_load": {strength: {"files_a_day": files} for strength, files in {1: 5, 2: 15, 3: 45, 4: 120}.items()},
    "clinic_visits": {strength: {"files": files} for strength, files in {1: 60, 2: 170, 3: 500, 4: 1_300}.items()},
    "crop_yields": {strength: {"files": files} for strength, files in {1: 60, 2: 170, 3: 500, 4: 1_300}.items()},
}
SMALL_FILE_BYTES = 4 << 20


def small_files(spec: Spec, strength: int) -> Treatment:
    """Cut the input, or what is written, into many files."""
    knobs = FILES_KNOBS.get(spec.family, {}).get(strength, {"files": FILES[strength]})
    return Treatment(knobs=dict(knobs), conf=dict(FILES_CONF))


def small_files_took(evidence: Evidence, strength: int) -> Verdict:
    """Count files read and written, and take their mean size, against what Spark says it costs to open one (4 MB)."""
    del strength
    read, written = [], []
    for node in _sql.nodes(evidence, ""):
        files, size = node.metrics.get("number of files read", 0), node.metrics.get("size of files read", 0)
        if files:
            read.append((files, size / files, node.execution))
        files, size = node.metrics.get("number of written files", 0), node.metrics.get("written output", 0)
        if files:
            written.append((files, size / files, node.execution))
    found = [row for row in read + written if row[0] >= min(FILES.values()) // 2 and row[1] < SMALL_FILE_BYTES]
    measured = {
        "most_files_read": max((files for files, _, _ in read), default=0),
        "files_read": sum(files for files, _, _ in read),
        "most_files_written": max((files for files, _, _ in written), default=0),
        "smallest_mean_bytes": round(min((mean for _, mean, _ in found), default=0)),
    }
    return Verdict(bool(found), [_sql.subject(execution) for execution in sorted({row[2] for row in found})], measured)


COPIES: dict[str, dict[int, Knobs]] = {
    "star_join": {
        1: {"customer_copies": 2},
        2: {"customer_copies": 3, "customers": 30_000},
        3: {"customer_copies": 5, "customers": 15_000, "rows": 1_300_000},
        4: {"customer_copies": 9, "customers": 8_000, "rows": 900_000},
    },
    "tpch_joins": {
        1: {"customer_copies": 2, "customers": 20_000},
        2: {"customer_copies": 3, "customers": 14_000},
        3: {"customer_copies": 5, "customers": 8_000},
        4: {"customer_copies": 8, "customers": 5_000, "rows": 1_000_000},
    },
    "merge_upsert": {1: {"copies": 2}, 2: {"copies": 3}, 3: {"copies": 6}, 4: {"copies": 12}},
    "warehouse_load": {
        1: {"copies": 2},
        2: {"copies": 3, "customers": 30_000, "rows": 550_000},
        3: {"copies": 5, "customers": 15_000, "rows": 400_000},
        4: {"copies": 9, "customers": 8_000, "rows": 260_000},
    },
    "clinic_visits": {
        1: {"copies": 2},
        2: {"copies": 3, "patients": 30_000},
        3: {"copies": 5, "patients": 15_000},
        4: {"copies": 9, "patients": 8_000},
    },
    "crop_yields": {
        1: {"copies": 2},
        2: {"copies": 3, "fields": 30_000},
        3: {"copies": 5, "fields": 15_000},
        4: {"copies": 9, "fields": 8_000},
    },
}
MULTIPLIED = 1.5


def explosion(spec: Spec, strength: int) -> Treatment:
    """Have each key of the join's smaller side several times over."""
    return Treatment(knobs=dict(COPIES[spec.family][strength]))


def explosion_took(evidence: Evidence, strength: int) -> Verdict:
    """Compare the rows that each join puts out with those of its larger input."""
    del strength
    found, most = set(), 0.0
    for plan in _sql.plans(evidence).values():
        for node in plan.all():
            larger = max((child.rows() for child in node.children), default=0) if node.is_join() else 0
            if larger and _sql.ROWS in node.metrics:
                ratio = node.metrics[_sql.ROWS] / larger
                most = max(most, ratio)
                if ratio >= MULTIPLIED:
                    found.add(node.execution)
    return Verdict(bool(found), list(map(_sql.subject, sorted(found))), {"most_rows_out_over_in": round(most, 2)})


# Rows that come each second after a calm beginning, rounds of hashing over each, and for how many seconds they come.
LAG_KNOBS: dict[str, dict[int, Knobs]] = {
    "streaming_counts": {
        1: {"rows_first": 4_000, "rows_per_second": 20_000, "work": 1_000, "seconds": 14},
        2: {"rows_first": 4_000, "rows_per_second": 25_000, "work": 1_200, "seconds": 13},
        3: {"rows_first": 3_000, "rows_per_second": 30_000, "work": 1_500, "seconds": 12},
        4: {"rows_first": 2_000, "rows_per_second": 40_000, "work": 1_700, "seconds": 10},
    },
    "streaming_orders": {
        1: {"rows_first": 3_000, "rows_per_second": 18_000, "work": 900, "seconds": 14},
        2: {"rows_first": 3_000, "rows_per_second": 24_000, "work": 1_200, "seconds": 13},
        3: {"rows_first": 2_000, "rows_per_second": 32_000, "work": 1_500, "seconds": 12},
        4: {"rows_first": 2_000, "rows_per_second": 40_000, "work": 1_700, "seconds": 10},
    },
    "streaming_sensors": {
        1: {"rows_first": 3_000, "rows_per_second": 70_000, "harmonics": 128, "seconds": 19},
        2: {"rows_first": 3_000, "rows_per_second": 110_000, "harmonics": 128, "seconds": 19},
        3: {"rows_first": 3_000, "rows_per_second": 170_000, "harmonics": 128, "seconds": 19},
        4: {"rows_first": 3_000, "rows_per_second": 260_000, "harmonics": 128, "seconds": 19},
    },
    "streaming_tickets": {
        1: {"rows_first": 3_000, "rows_a_batch": 55_000, "parts": 500, "batches": 12},
        2: {"rows_first": 3_000, "rows_a_batch": 65_000, "parts": 600, "batches": 12},
        3: {"rows_first": 3_000, "rows_a_batch": 85_000, "parts": 800, "batches": 11},
        4: {"rows_first": 3_000, "rows_a_batch": 100_000, "parts": 1_000, "batches": 11},
    },
}
# What the families' queries are named.
QUERIES = {
    "streaming_counts": "counts",
    "streaming_orders": "totals",
    "streaming_sensors": "spectra",
    "streaming_tickets": "board",
}


def lag(spec: Spec, strength: int) -> Treatment:
    """Let more come, and do more with it, than is done in a second."""
    return Treatment(knobs=dict(LAG_KNOBS[spec.family][strength]))


def lag_took(evidence: Evidence, strength: int) -> Verdict:
    """Compare the times of the batches, as the query's progress stated them to the job, with the trigger."""
    del strength
    trigger = 1_000 * evidence.knobs["trigger_s"]
    batches = [ms for ms, rows in zip(evidence.facts["batch_ms"], evidence.facts["batch_rows"], strict=True) if rows]
    late = [ms for ms in batches[1:] if ms > trigger]
    middle = sorted(batches)[len(batches) // 2] if batches else 0
    measured = {"batches": len(batches), "late_batches": len(late), "middle_batch_ms": middle, "trigger_ms": trigger}
    took = bool(batches) and 2 * len(late) >= len(batches) - 1
    return Verdict(took, [{"kind": "streaming-query", "name": QUERIES[evidence.spec.family]}], measured)


PROBLEMS = [
    Problem("data-skew", "one key has a share of all rows", tuple(SKEW_STEPS), skew, skew_took),
    Problem(
        "small-files",
        "the data lies in many small files, or is written so",
        (
            "compaction",
            "star_join",
            "ingest_csv",
            "merge_upsert",
            "tpch_joins",
            "warehouse_load",
            "clinic_visits",
            "crop_yields",
        ),
        small_files,
        small_files_took,
    ),
    Problem(
        "join-explosion",
        "the keys of a join's smaller side are not unique",
        tuple(COPIES),
        explosion,
        explosion_took,
    ),
    Problem("streaming-lag", "more comes than is processed in time", tuple(LAG_KNOBS), lag, lag_took),
]
