"""Problems that code brings upon itself."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

from datasets.lab.core import (
    RUN_SUBJECT,
    Evidence,
    Knobs,
    Problem,
    Spec,
    Treatment,
    Verdict,
    duration_ms,
    metric,
    stage_subject,
)
from datasets.lab.problems import _sql, _times
from datasets.lab.shim import jar

# Each shows a different part of the data or code that grows, so that what is thrown away grows with it.
SCAN_KNOBS: dict[str, dict[int, Knobs]] = {
    "star_join": {
        1: {"returns": 1_200_000},
        2: {"returns": 3_000_000},
        3: {"returns": 7_000_000},
        4: {"returns": 14_000_000, "rows": 1_000_000},
    },
    "ingest_csv": {1: {"reports": 1}, 2: {"reports": 4}, 3: {"reports": 9}, 4: {"reports": 18}},
    "tpch_joins": {1: {"years": 1}, 2: {"years": 2}, 3: {"years": 4}, 4: {"years": 6}},
    "warehouse_load": {
        1: {"history": 800_000},
        2: {"history": 2_000_000},
        3: {"history": 3_600_000},
        4: {"history": 5_500_000},
    },
    "clinic_visits": {
        1: {"archive": 1_200_000},
        2: {"archive": 2_800_000},
        3: {"archive": 5_000_000},
        4: {"archive": 9_000_000},
    },
    "crop_yields": {
        1: {"weather": 2_000_000},
        2: {"weather": 5_000_000},
        3: {"weather": 8_000_000},
        4: {"weather": 12_000_000},
    },
}


def scan(spec: Spec, strength: int) -> Treatment:
    """Ask for days by a function of them that nothing can push down, instead of by the partition column."""
    return Treatment(knobs={"prune": False} | SCAN_KNOBS[spec.family][strength])


def scan_took(evidence: Evidence, strength: int) -> Verdict:
    """Compare the rows that scans read with those that the filter right above them leaves."""
    del strength
    found, read, thrown = set(), 0, 0
    for node in _sql.nodes(evidence, "Filter"):
        rows, left = max((child.rows() for child in node.children), default=0), node.metrics.get(_sql.ROWS, 0)
        if rows > 2 * left and any(below.name.startswith("Scan") for below in node.all()):
            found.add(node.execution)
            read += rows
            thrown += rows - left
    measured = {"rows_read": read, "rows_thrown_away": thrown, "executions": len(found)}
    return Verdict(bool(found), list(map(_sql.subject, sorted(found))), measured)


DRIVER_S = {1: 1.0, 2: 2.5, 3: 7.0, 4: 16.0}


def driver(spec: Spec, strength: int) -> Treatment:
    """Parse lines on the driver between the steps."""
    del spec
    return Treatment(knobs={"driver_s": DRIVER_S[strength]})


def driver_took(evidence: Evidence, strength: int) -> Verdict:
    """Sum up the times between the job's steps, and those in which no task ran."""
    steps = evidence.facts["steps"]
    between = sum(after["started"] - before["ended"] for before, after in pairwise(steps))
    gaps = _times.gaps_ms(evidence)
    measured = {
        "between_steps_s": round(between, 2),
        "no_task_ms": sum(gaps),
        "longest_gap_ms": max(gaps, default=0),
        "share_of_wall": round(between / evidence.wall_s, 3),
    }
    took = between >= DRIVER_S[strength] and sum(gaps) >= 1_000 * DRIVER_S[strength]
    return Verdict(took, [RUN_SUBJECT], measured)


ROWS = {1: 4_000, 2: 30_000, 3: 90_000, 4: 200_000}


def result(spec: Spec, strength: int) -> Treatment:
    """Collect rows of 1 KB."""
    del spec
    return Treatment(knobs={"collect_rows": ROWS[strength]})


def result_took(evidence: Evidence, strength: int) -> Verdict:
    """Sum up the result sizes of each stage's tasks; the rows make up nearly all of them."""
    collecting = set(evidence.stages_of("collect") + evidence.stages_of("extract"))
    sizes: dict[int, int] = defaultdict(int)
    for task in evidence.tasks():
        sizes[int(task["Stage ID"])] += metric(task, "Result Size")
    whole = ROWS[strength] * 1_000
    found = [stage for stage, size in sorted(sizes.items()) if stage in collecting and size >= whole / 20]
    measured = {
        "result_bytes": sum(sizes[stage] for stage in found),
        "other_result_bytes": sum(size for stage, size in sizes.items() if stage not in found),
        "getting_result_ms": sum(map(_getting_ms, evidence.tasks())),
    }
    return Verdict(measured["result_bytes"] >= whole / 2, list(map(stage_subject, found)), measured)


def _getting_ms(task: dict[str, Any]) -> int:
    started = int(task["Task Info"].get("Getting Result Time") or 0)
    return int(task["Task Info"]["Finish Time"]) - started if started else 0


CLOSURE_ENTRIES = {1: 20_000, 2: 80_000, 3: 200_000, 4: 400_000}
CLOSURE_TASKS = {1: 16, 2: 24, 3: 32, 4: 48}


def closure(spec: Spec, strength: int) -> Treatment:
    """Let a large table travel with each task of a step."""
    del spec
    knobs = {"closure_entries": CLOSURE_ENTRIES[strength], "closure_tasks": CLOSURE_TASKS[strength]}
    return Treatment(knobs=knobs, conf={"spark.jars": str(jar("LargeClosure.java"))})


def closure_took(evidence: Evidence, strength: int) -> Verdict:
    """Compare what tasks that carry the object take besides running (above all deserializing) with the usual."""
    del strength
    groups = evidence.tasks_of(sorted({int(task["Stage ID"]) for task in evidence.tasks()}))
    besides = {
        stage: [duration_ms(task) - metric(task, "Executor Run Time") for task in tasks]
        for stage, tasks in groups.items()
    }
    usual = _times.median(_times.median(times) for times in besides.values())
    carrying = evidence.stages_of("closure")
    slow = [stage for stage in carrying if _times.median(besides[stage]) >= max(1.5 * usual, usual + 4)]
    measured = {
        "entries": evidence.knobs["closure_entries"],
        "tasks": sum(len(besides[stage]) for stage in slow),
        "median_besides_running_ms": _times.median(time for stage in slow for time in besides[stage]),
        "usual_besides_running_ms": usual,
        "deserialize_ms": sum(metric(task, "Executor Deserialize Time") for stage in slow for task in groups[stage]),
    }
    return Verdict(bool(slow), list(map(stage_subject, slow)), measured)


UDF_SHARES = {1: 0.03, 2: 0.15, 3: 0.5, 4: 1.0}
UDF_KNOBS: dict[str, Knobs] = {
    "python_features": {"rows": 2_000_000},
    "log_text": {"lines": 900_000},
    "energy_rollup": {"rows": 1_200_000},
    "flight_delays": {"rows": 1_000_000},
    "port_calls": {"rows": 900_000},
}
# Families that always have some rows that go another way.
UDF_MIXED = ("log_text", "energy_rollup", "flight_delays", "port_calls")


def udf(spec: Spec, strength: int) -> Treatment:
    """Send a share of the rows through a Python function one by one."""
    share = UDF_SHARES[strength]
    if spec.family in UDF_MIXED:
        share = min(share, 0.98)
    conf = {"spark.sql.execution.pythonUDF.arrow.enabled": "false"}  # whatever the version takes for its default
    return Treatment(knobs=UDF_KNOBS[spec.family] | {"udf": "rows", "udf_share": share}, conf=conf)


def udf_took(evidence: Evidence, strength: int) -> Verdict:
    """Look for the plan nodes that evaluate Python row by row, and the rows and bytes that went through them."""
    del strength
    found = _sql.nodes(evidence, "BatchEvalPython")
    measured = {
        "nodes": len(found),
        "rows": max((node.rows() for node in found), default=0),
        "bytes_sent": sum(node.metrics.get("data sent to Python workers", 0) for node in found),
    }
    executions = sorted({node.execution for node in found if node.rows()})
    return Verdict(bool(executions), list(map(_sql.subject, executions)), measured)


TURNS = {
    "kmeans": {1: 2, 2: 4, 3: 7, 4: 11},
    "components": {1: 1, 2: 3, 3: 5, 4: 8},
    "graph_rank": {1: 1, 2: 3, 3: 6, 4: 10},
    "basket_pairs": {1: 1, 2: 3, 3: 5, 4: 7},
    "film_ratings": {1: 1, 2: 2, 3: 3, 4: 5},
    "song_clusters": {1: 1, 2: 2, 3: 4, 4: 6},
}


def repeated(spec: Spec, strength: int) -> Treatment:
    """Cache nothing, and go over the same data more often."""
    return Treatment(knobs={"cache": False, "iterations": TURNS[spec.family][strength]})


def repeated_took(evidence: Evidence, strength: int) -> Verdict:
    """Count how often the same files were read again, by executions of the steps that iterate."""
    del strength
    reads = source_reads(evidence)
    most = max(reads.values(), key=lambda rows: (len(rows), sum(rows.values())), default={})
    measured = {
        "times_read": len(most),
        "rows_read": sum(most.values()),
        "rows_read_again": sum(most.values()) - max(most.values(), default=0),
    }
    return Verdict(len(most) >= 2, [_sql.subject(execution) for execution in sorted(most)], measured)


def source_reads(evidence: Evidence) -> dict[str, dict[int, int]]:
    """Give, by place, the executions that scanned files there themselves, with the rows of the largest scan."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    seen = set()
    for node in _sql.nodes(evidence, "Scan"):
        place = node.text.partition("Location: ")[2].partition("[")[2].partition("]")[0]
        rows, counter = node.metrics.get(_sql.ROWS, 0), node.accumulators.get(_sql.ROWS)
        if place and rows and counter not in seen:
            seen.add(counter)
            found[place][node.execution] = max(rows, found[place].get(node.execution, 0))
    return dict(found)


PROBLEMS = [
    Problem(
        "full-scan",
        "a filter by a function of a column instead of by the partition column",
        tuple(SCAN_KNOBS),
        scan,
        scan_took,
    ),
    Problem(
        "driver-bottleneck",
        "the driver parses lines between steps",
        (
            "components",
            "star_join",
            "ingest_csv",
            "graph_rank",
            "log_text",
            "energy_rollup",
            "flight_delays",
            "port_calls",
        ),
        driver,
        driver_took,
    ),
    Problem(
        "large-result",
        "rows of 1 KB are collected",
        (
            "time_series",
            "python_features",
            "compaction",
            "merge_upsert",
            "tpch_joins",
            "warehouse_load",
            "clinic_visits",
            "crop_yields",
        ),
        result,
        result_took,
    ),
    Problem(
        "large-closure",
        "a large object travels with each task",
        ("rdd_pipeline", "rdd_words", "log_text", "bank_ledger", "parcel_routes", "library_loans"),
        closure,
        closure_took,
    ),
    Problem(
        "python-udf-overhead",
        "a Python function is called row by row",
        tuple(UDF_KNOBS),
        udf,
        udf_took,
    ),
    Problem(
        "repeated-computation",
        "nothing is cached where data is used again and again",
        tuple(TURNS),
        repeated,
        repeated_took,
    ),
]
