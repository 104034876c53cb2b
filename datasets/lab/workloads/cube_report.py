"""A wide fact table summed up along many dimensions at once, and sorted."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import kept, troubled_frame
from datasets.lab.workloads._tables import keys, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

STORES = 300


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write baskets and the stores they were bought in."""
    random, rows = random_of(seed, "baskets"), knobs["rows"]

    def names(prefix: str, count: int) -> pa.Array:
        return pa.array(np.array([f"{prefix} {at}" for at in range(count)])[random.integers(0, count, rows)])

    baskets = {
        "basket_id": np.arange(rows),
        "store_id": keys(random, rows, STORES),
        "customer_id": keys(random, rows, 80_000),
        "channel": names("channel", 4),
        "segment": names("segment", 5),
        "category": names("category", 30),
        "month": random.integers(1, 13, rows),
        "quantity": random.integers(1, 20, rows),
        "price": random.integers(100, 99_999, rows) / 100,
        "discount": random.integers(0, 30, rows) / 100,
        "receipt": pa.array(random.integers(0, 1 << 62, rows)).cast(pa.string()),
    }
    write(pa.table(baskets), folder / "baskets", knobs["files"])
    stores = {"store_id": np.arange(1, STORES + 1), "region": [f"region {store % 8}" for store in range(STORES)]}
    write(pa.table(stores), folder / "stores", 1)


def run(job: Any) -> None:
    """Derive what the reports need, once; then a report for each step."""
    spark, knobs = job.spark, job.knobs
    baskets, stores = (spark.read.parquet(job.path(name)) for name in ("baskets", "stores"))
    located = baskets.join(F.broadcast(stores), "store_id")
    paid = F.round(F.col("price") * F.col("quantity") * (1 - F.col("discount")), 2)
    person = F.conv(F.substring(F.sha2(F.concat_ws("/", "customer_id", "region"), 256), 1, 15), 16, 10).cast("long")
    facts = kept(job, located.withColumn("paid", paid).withColumn("person", person).drop("customer_id", "price"))
    with job.step("derive"):
        facts.agg(F.sum("paid"), F.max("person")).collect()
    driver_work(job, 0.5)
    with job.step("rollup"):
        facts.rollup("region", "store_id", "month").agg(F.sum("paid"), F.avg("discount")).count()
    with job.step("cube"):
        cube = facts.cube("region", "channel", "segment", "month").agg(F.sum("paid").alias("paid"), F.count("*"))
        troubled_frame(job, cube).write.mode("overwrite").parquet(job.target("cube"))
    with job.step("sets"):
        facts.createOrReplaceTempView("facts")
        sets = "GROUPING SETS ((category, month), (category, channel), (segment, region), ())"
        spark.sql(f"SELECT category, month, channel, segment, region, sum(paid) FROM facts GROUP BY {sets}").collect()
    driver_work(job, 0.5)
    with job.step("percentiles"):
        tails = F.percentile_approx("paid", [0.05, 0.5, 0.95, 0.99], 1_000)
        facts.groupBy("region", "category").agg(tails, F.max("paid")).collect()
    with job.step("distinct"):
        facts.groupBy("region", "month").agg(F.countDistinct("person"), F.sum("quantity")).collect()
    with job.step("sort"):
        parts = facts.repartitionByRange(knobs["sort_partitions"], "person", "paid")
        parts.sortWithinPartitions("person", "paid").write.mode("overwrite").parquet(job.target("sorted"))
    with job.step("extract"):
        collect_rows(job, facts)


WORKLOAD = Workload(
    name="cube_report",
    about="rollup, cube, grouping sets, percentiles, distinct counts and a sort of a wide table (SQL/DataFrame)",
    knobs=HEALTHY
    | {
        "rows": 410_000,
        "files": 8,
        "sort_partitions": 6,
        "cache": True,
        "storage_level": "MEMORY_AND_DISK_DESER",
    },
    data_knobs=("rows", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
