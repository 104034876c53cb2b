"""Problems that settings bring about, some of them only with data that they do not fit."""

from datasets.lab.core import (
    Conf,
    Evidence,
    Knobs,
    Problem,
    Spec,
    Treatment,
    Verdict,
    duration_ms,
    metric,
    records_in,
    stage_subject,
)
from datasets.lab.problems import _sql, _times

# One reader for all files, however large they are together.
ONE_READER: Conf = {
    "spark.sql.files.maxPartitionBytes": "4g",
    "spark.sql.files.minPartitionNum": "1",
}
ONE_REDUCER: Conf = {"spark.sql.shuffle.partitions": "1"}
FEW_KNOBS: dict[str, dict[int, Knobs]] = {
    "star_join": {1: {"rows": 1_500_000}, 2: {}, 3: {"rows": 2_000_000}, 4: {"rows": 4_000_000}},
    "time_series": {1: {"rows": 450_000}, 2: {"rows": 900_000}, 3: {"rows": 1_600_000}, 4: {"rows": 3_500_000}},
    "tpch_joins": {1: {"rows": 1_000_000}, 2: {"rows": 2_000_000}, 3: {"rows": 2_000_000}, 4: {"rows": 3_000_000}},
    "merge_upsert": {
        1: {"rows": 800_000, "changes": 300_000},
        2: {"rows": 1_600_000},
        3: {"rows": 1_600_000},
        4: {"rows": 2_400_000, "changes": 1_500_000},
    },
    "warehouse_load": {
        1: {"rows": 550_000, "existing": 350_000},
        2: {},
        3: {"rows": 800_000},
        4: {"rows": 1_400_000, "existing": 900_000},
    },
    "clinic_visits": {1: {"rows": 500_000}, 2: {}, 3: {"rows": 600_000}, 4: {"rows": 1_100_000}},
    "crop_yields": {1: {"rows": 600_000}, 2: {}, 3: {}, 4: {"rows": 1_500_000}},
}
FEW_CONF: dict[int, Conf] = {1: ONE_REDUCER, 2: ONE_REDUCER, 3: ONE_REDUCER | ONE_READER, 4: ONE_REDUCER | ONE_READER}
LONE_MS = 300
LONE_RECORDS = 200_000


def few(spec: Spec, strength: int) -> Treatment:
    """Shuffle into one partition, and from strength 3 on read all input in one task."""
    return Treatment(knobs=dict(FEW_KNOBS.get(spec.family, {}).get(strength, {})), conf=dict(FEW_CONF[strength]))


def few_took(evidence: Evidence, strength: int) -> Verdict:
    """Sum up the time in which the only task of a stage ran and nothing else in the run did."""
    del strength
    submitted = (event["Stage Info"] for event in evidence.named("StageSubmitted"))
    single = [int(info["Stage ID"]) for info in submitted if int(info["Number of Tasks"]) == 1]
    alone = _times.lone_ms(evidence, single)
    records = {stage: sum(map(records_in, tasks)) for stage, tasks in evidence.tasks_of(single).items()}
    found = [
        stage for stage, spent in sorted(alone.items()) if spent >= LONE_MS and records.get(stage, 0) >= LONE_RECORDS
    ]
    measured = {
        "alone_ms": sum(alone[stage] for stage in found),
        "alone_share_of_wall": round(sum(alone[stage] for stage in found) / 1000 / evidence.wall_s, 3),
        "records": sum(records[stage] for stage in found),
    }
    return Verdict(bool(found), list(map(stage_subject, found)), measured)


# These families have few shuffles, so that the log stays small, and nearly none right before a write.
MANY = {1: 50, 2: 120, 3: 250, 4: 400}
MANY_TASKS = 40


def many(spec: Spec, strength: int) -> Treatment:
    """Shuffle into far too many partitions, which nothing puts together again."""
    del spec
    partitions = MANY[strength]
    conf = {
        "spark.sql.shuffle.partitions": str(partitions),
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
    }
    return Treatment(conf=conf)


def many_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at the tasks of stages with many of them: how long they ran, and what they took besides."""
    del strength
    stages = [int(event["Stage Info"]["Stage ID"]) for event in evidence.named("StageCompleted")]
    found, tasks, besides, cpu = [], 0, 0, 0
    runs: list[int] = []
    for stage, ended in evidence.tasks_of(stages).items():
        times = [metric(task, "Executor Run Time") for task in ended]
        if len(ended) < MANY_TASKS or _times.median(times) > 100:
            continue
        found.append(stage)
        tasks += len(ended)
        runs += times
        besides += sum(duration_ms(task) - metric(task, "Executor Run Time") for task in ended)
        cpu += sum(metric(task, "Executor CPU Time") for task in ended) // 1_000_000
    measured = {
        "tasks": tasks,
        "median_run_ms": _times.median(runs),
        "run_ms": sum(runs),
        "cpu_ms": cpu,
        "besides_running_ms": besides,
    }
    return Verdict(bool(found), list(map(stage_subject, found)), measured)


# Spark's own limit for what it broadcasts by itself.
SPARKS_BROADCAST_LIMIT = 10 << 20
NO_BROADCAST: Conf = {
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.adaptive.autoBroadcastJoinThreshold": "-1",
}
MISSED_KNOBS: dict[str, dict[int, Knobs]] = {
    "star_join": {
        1: {"rows": 800_000, "customers": 100_000},
        2: {"rows": 2_000_000},
        3: {"rows": 3_000_000, "customers": 30_000},
        4: {"rows": 5_000_000, "customers": 5_000},
    },
    "components": {
        1: {"broadcast": "shuffle", "iterations": 2},
        2: {"broadcast": "shuffle", "iterations": 3},
        3: {"broadcast": "shuffle", "iterations": 5, "pairs": 1_200_000},
        4: {"broadcast": "shuffle", "iterations": 7, "pairs": 2_000_000},
    },
    "tpch_joins": {
        1: {"rows": 900_000, "customers": 60_000},
        2: {"rows": 1_800_000},
        3: {"rows": 2_700_000, "customers": 30_000},
        4: {"rows": 3_600_000, "customers": 5_000},
    },
    "merge_upsert": {
        1: {"broadcast": "shuffle", "rows": 500_000, "changes": 600_000},
        2: {"broadcast": "shuffle", "rows": 1_200_000, "changes": 600_000},
        3: {"broadcast": "shuffle", "rows": 2_200_000, "changes": 400_000},
        4: {"broadcast": "shuffle", "rows": 3_500_000, "changes": 200_000},
    },
    "warehouse_load": {
        1: {"rows": 500_000},
        2: {"rows": 900_000},
        3: {"rows": 1_400_000, "customers": 30_000},
        4: {"rows": 2_200_000, "customers": 8_000},
    },
    "clinic_visits": {
        1: {"rows": 500_000},
        2: {"rows": 1_000_000},
        3: {"rows": 1_600_000, "patients": 30_000},
        4: {"rows": 2_400_000, "patients": 8_000},
    },
    "crop_yields": {
        1: {"rows": 400_000, "dressings": 300_000},
        2: {"rows": 700_000, "dressings": 500_000},
        3: {"rows": 1_400_000, "fields": 30_000},
        4: {"rows": 2_200_000, "fields": 8_000},
    },
}


def missed(spec: Spec, strength: int) -> Treatment:
    """Forbid broadcasts where one side of a join is small; the larger the other side, the more it costs."""
    return Treatment(knobs=dict(MISSED_KNOBS.get(spec.family, {}).get(strength, {})), conf=dict(NO_BROADCAST))


def missed_took(evidence: Evidence, strength: int) -> Verdict:
    """Find shuffle joins one side of which Spark would have broadcast by its size, and what the other side shuffled."""
    del strength
    found, shuffled, smallest = set(), 0, None
    for node in _sql.nodes(evidence, *_sql.SHUFFLE_JOINS):
        sizes = sorted(filter(None, map(_shuffled_bytes, node.children)))
        if len(sizes) == 2 and sizes[0] <= SPARKS_BROADCAST_LIMIT:
            found.add(node.execution)
            shuffled += sizes[1]
            smallest = sizes[0] if smallest is None else min(smallest, sizes[0])
    measured = {"joins": len(found), "other_sides_shuffled_bytes": shuffled, "smallest_side_bytes": smallest}
    return Verdict(bool(found), list(map(_sql.subject, sorted(found))), measured)


def _shuffled_bytes(node: _sql.Node) -> int:
    """Give the bytes of the nearest exchange below (or at) a side of a join."""
    for below in node.all():
        if below.name.startswith("Exchange"):
            return below.metrics.get("data size", 0)
    return 0


LARGE_KNOBS: dict[str, dict[int, Knobs]] = {
    "star_join": {
        1: {"customers": 300_000},
        2: {"customers": 600_000},
        3: {"customers": 1_200_000},
        4: {"customers": 2_200_000, "rows": 2_000_000},
    },
    "components": {
        1: {"vertices": 260_000},
        2: {"vertices": 500_000},
        3: {"vertices": 1_000_000},
        4: {"vertices": 1_500_000, "pairs": 1_200_000},
    },
    "tpch_joins": {
        1: {"customers": 150_000},
        2: {"customers": 400_000},
        3: {"customers": 900_000},
        4: {"customers": 1_800_000, "rows": 1_800_000},
    },
    "graph_rank": {
        1: {"vertices": 200_000, "iterations": 2},
        2: {"vertices": 300_000, "iterations": 3},
        3: {"vertices": 450_000, "iterations": 3},
        4: {"vertices": 600_000, "iterations": 3},
    },
    "warehouse_load": {
        1: {"customers": 250_000},
        2: {"customers": 500_000},
        3: {"customers": 1_000_000},
        4: {"customers": 1_900_000, "rows": 900_000},
    },
    "clinic_visits": {
        1: {"patients": 250_000},
        2: {"patients": 550_000},
        3: {"patients": 1_100_000},
        4: {"patients": 2_000_000},
    },
    "crop_yields": {
        1: {"fields": 250_000},
        2: {"fields": 550_000},
        3: {"fields": 1_100_000},
        4: {"fields": 2_000_000},
    },
}
# No healthy form broadcasts more rows; some versions of Spark state tens of MB even for few of them.
HEALTHY_ROWS = 130_000


def large_broadcast(spec: Spec, strength: int) -> Treatment:
    """Ask for the broadcast of a side that is far from small."""
    return Treatment(knobs={"broadcast": "hint"} | LARGE_KNOBS.get(spec.family, {}).get(strength, {}))


def large_broadcast_took(evidence: Evidence, strength: int) -> Verdict:
    """Look at what was broadcast beyond Spark's own limit, and at the time that took."""
    del strength
    found = [
        node
        for node in _sql.nodes(evidence, "BroadcastExchange")
        if node.metrics.get("data size", 0) > SPARKS_BROADCAST_LIMIT and node.rows() > HEALTHY_ROWS
    ]
    times = ("time to collect", "time to build", "time to broadcast")
    measured = {
        "broadcasts": len(found),
        "largest_bytes": max((node.metrics["data size"] for node in found), default=0),
        "largest_rows": max((node.rows() for node in found), default=0),
        "ms": sum(node.metrics.get(name, 0) for node in found for name in times),
    }
    return Verdict(bool(found), list(map(_sql.subject, sorted({node.execution for node in found}))), measured)


# Shares of the heap for execution and storage together, on one local executor of 1 GB.
MEMORY_FRACTIONS: dict[str, dict[int, str]] = {
    "kmeans": {1: "0.027", 2: "0.022", 3: "0.016", 4: "0.011"},
    "rdd_pipeline": {1: "0.03", 2: "0.022", 3: "0.015", 4: "0.008"},
    "cube_report": {1: "0.06", 2: "0.045", 3: "0.03", 4: "0.02"},
    "graph_rank": {1: "0.05", 2: "0.04", 3: "0.03", 4: "0.02"},
    "basket_pairs": {1: "0.02", 2: "0.016", 3: "0.013", 4: "0.01"},
    "film_ratings": {1: "0.08", 2: "0.07", 3: "0.026", 4: "0.016"},
    "song_clusters": {1: "0.019", 2: "0.017", 3: "0.0145", 4: "0.012"},
}


def eviction(spec: Spec, strength: int) -> Treatment:
    """Cache in memory only, where there is not enough; what calculates may take nearly all, so as not to spill."""
    conf = {
        "spark.memory.fraction": MEMORY_FRACTIONS[spec.family][strength],
        "spark.memory.storageFraction": "0.1",
        "spark.sql.execution.sortBeforeRepartition": "false",
        "spark.eventLog.logBlockUpdates.enabled": "true",
    }
    return Treatment(knobs={"storage_level": "MEMORY_ONLY"}, conf=conf, cluster="local")


def eviction_took(evidence: Evidence, strength: int) -> Verdict:
    """Follow the cached blocks through the log's block updates: how many were ever held, dropped, and held at once."""
    del strength
    partitions: dict[int, int] = {}
    for event in evidence.named("StageSubmitted"):
        for rdd in event["Stage Info"]["RDD Info"]:
            if rdd["Storage Level"]["Use Memory"] and not rdd["Storage Level"]["Use Disk"]:
                partitions[int(rdd["RDD ID"])] = int(rdd["Number of Partitions"])
    held: dict[int, set[str]] = {rdd: set() for rdd in partitions}
    most, dropped, stored = dict.fromkeys(partitions, 0), dict.fromkeys(partitions, 0), dict.fromkeys(partitions, 0)
    for event in evidence.named("BlockUpdated"):
        update = event["Block Updated Info"]
        kind, _, rest = str(update["Block ID"]).partition("_")
        rdd = int(rest.split("_")[0]) if kind == "rdd" else -1
        if rdd not in held:
            continue
        if update["Storage Level"]["Use Memory"]:
            stored[rdd] += 1
            held[rdd].add(update["Block ID"])
            most[rdd] = max(most[rdd], len(held[rdd]))
        elif update["Block ID"] in held[rdd]:
            held[rdd].discard(update["Block ID"])
            dropped[rdd] += 1
    short = [rdd for rdd, count in partitions.items() if most[rdd] < count or stored[rdd] > count]
    measured = {
        "partitions": sum(partitions[rdd] for rdd in short),
        "held_at_most": sum(most[rdd] for rdd in short),
        "times_stored": sum(stored[rdd] for rdd in short),
        "times_dropped": sum(dropped[rdd] for rdd in short),
        "spilled_bytes": sum(metric(task, "Disk Bytes Spilled") for task in evidence.tasks()),
    }
    return Verdict(bool(short), [{"kind": "rdd", "rdd_id": rdd} for rdd in short], measured)


PROBLEMS = [
    Problem(
        "too-few-partitions",
        "all goes through one task at a time",
        ("time_series", "star_join", "merge_upsert", "tpch_joins", "warehouse_load", "clinic_visits", "crop_yields"),
        few,
        few_took,
    ),
    Problem(
        "too-many-partitions",
        "shuffles go into hundreds of partitions",
        ("python_features", "star_join", "merge_upsert", "warehouse_load", "clinic_visits", "crop_yields"),
        many,
        many_took,
    ),
    Problem(
        "missed-broadcast",
        "no side of a join may be broadcast",
        ("components", "star_join", "tpch_joins", "merge_upsert", "warehouse_load", "clinic_visits", "crop_yields"),
        missed,
        missed_took,
    ),
    Problem(
        "large-broadcast",
        "a large side is broadcast by a hint",
        ("star_join", "components", "graph_rank", "tpch_joins", "warehouse_load", "clinic_visits", "crop_yields"),
        large_broadcast,
        large_broadcast_took,
    ),
    Problem(
        "cache-eviction",
        "what is cached does not fit into the memory there is for it",
        tuple(MEMORY_FRACTIONS),
        eviction,
        eviction_took,
    ),
]
