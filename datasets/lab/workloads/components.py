"""Which accounts belong together: connected components by spreading the least label (DataFrame joins)."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import kept, side, troubled_frame
from datasets.lab.workloads._tables import random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

COMMUNITY = 20


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write pairs of accounts that were seen together, each from one community; the hub 0 has `hot_share` of them."""
    random, pairs = random_of(seed, "pairs"), knobs["pairs"]
    community = random.integers(0, knobs["vertices"] // COMMUNITY, pairs) * COMMUNITY
    first = community + random.integers(0, COMMUNITY, pairs)
    if knobs["hot_share"]:
        first[random.random(pairs) < knobs["hot_share"]] = 0
    seen = {
        "first": first,
        "second": community + random.integers(0, COMMUNITY, pairs),
        "device": pa.array(random.integers(0, 1 << 62, pairs)).cast(pa.string()),
    }
    write(pa.table(seen), folder / "pairs", knobs["files"])


def run(job: Any) -> None:
    """Make the pairs unique in both directions, then give every account its neighbours' least label, and again."""
    spark, knobs = job.spark, job.knobs
    raw = spark.read.parquet(job.path("pairs"))
    there = raw.select(F.col("first").alias("src"), F.col("second").alias("dst"), "device")
    back = raw.select(F.col("second").alias("src"), F.col("first").alias("dst"), "device")
    both = there.union(back).filter("src <> dst").groupBy("src", "dst").agg(F.count("device").alias("devices"))
    pairs = kept(job, both)
    with job.step("pairs"):
        job.note("pairs", pairs.agg(F.count("devices")).collect()[0][0])
    labels = spark.range(knobs["vertices"]).select("id", F.col("id").alias("component"))
    for _ in range(knobs["iterations"]):
        driver_work(job, 1 / knobs["iterations"])
        with job.step("spread"):
            near = pairs.join(side(labels, knobs["broadcast"]), pairs.src == labels.id)
            heard = near.select(F.col("dst").alias("id"), "component").union(labels)
            labels = heard.groupBy("id").agg(F.min("component").alias("component")).localCheckpoint()
    with job.step("sizes"):
        sizes = labels.groupBy("component").agg(F.count("id").alias("size"))
        found = troubled_frame(job, sizes).groupBy("size").count().orderBy("size").collect()
        job.note("components", sum(row["count"] for row in found))
    with job.step("write"):
        labels.coalesce(4).write.mode("overwrite").parquet(job.target("labels"))
    with job.step("extract"):
        collect_rows(job, raw)


WORKLOAD = Workload(
    name="components",
    about="connected components by label propagation (DataFrame, iterative)",
    knobs=HEALTHY
    | {
        "vertices": 80_000,
        "pairs": 500_000,
        "files": 8,
        "hot_share": 0.0,
        "iterations": 4,
        "cache": True,
        "storage_level": "MEMORY_AND_DISK_DESER",
        "broadcast": "hint",
    },
    data_knobs=("vertices", "pairs", "files", "hot_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
