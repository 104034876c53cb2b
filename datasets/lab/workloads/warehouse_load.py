"""A nightly load: deliveries joined with their dimensions, merged into a table by day, counted and read back."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import side
from datasets.lab.workloads._tables import keys, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_rows, driver_work

# The eight days from here are hashed by Spark into eight different partitions of eight.
FIRST_DAY = np.datetime64("2025-07-26")
FIRST_SECOND = 1_753_488_000
DAYS = 8
OLD_DAYS = 24
RECENT_DAYS = 2
PRODUCTS = 1_500
REGIONS = 16
# Of so many customers one is not known.
UNKNOWN_EVERY = 200


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the table by day (with older days that nothing comes for), what comes, customers and products."""
    random, existing = random_of(seed, "deliveries"), knobs["existing"]
    days = np.sort(random.integers(0, DAYS, existing))
    _write_days(folder / "deliveries", random, np.arange(existing), days)
    random, old = random_of(seed, "history"), knobs["history"]
    _write_days(folder / "deliveries", random, -1 - np.arange(old), np.sort(random.integers(-OLD_DAYS, 0, old)))
    random, rows = random_of(seed, "incoming"), knobs["rows"]
    changed = random.permutation(existing)[: rows // 2]
    fresh = rows - len(changed)
    order = random.permutation(rows)
    ids = np.concatenate([changed, existing + np.arange(fresh)])[order]
    day = np.concatenate([days[changed], random.integers(0, DAYS, fresh)])[order]
    customers = knobs["customers"]
    incoming = {
        "delivery_id": ids,
        "customer_id": keys(random, rows, customers + max(1, customers // UNKNOWN_EVERY)),
        "product_id": keys(random, rows, PRODUCTS),
        "quantity": random.integers(0, 40, rows),
        "delivered_s": FIRST_SECOND + day * 86_400 + random.integers(0, 86_400, rows),
        "day": _dates(day),
        "note": numbers_as_text(random, rows),
    }
    write(pa.table(incoming), folder / "incoming", knobs["files"])
    random = random_of(seed, "customers")
    ids = np.repeat(np.arange(1, customers + 1), knobs["copies"])
    named_customers = {
        "customer_id": ids,
        "region": named(random.integers(0, REGIONS, len(ids)), "region "),
        "address": numbers_as_text(random, len(ids)),
    }
    write(pa.table(named_customers), folder / "customers", 2)
    products = np.arange(1, PRODUCTS + 1)
    priced = {"product_id": products, "category": named(products % 40, "c"), "price": products % 97 + 0.5}
    write(pa.table(priced), folder / "products", 1)


def _write_days(folder: Path, random: np.random.Generator, ids: np.ndarray, days: np.ndarray) -> None:
    """Write deliveries of these days, which are in order, one file for each day."""
    rows = len(ids)
    deliveries = pa.table(
        {
            "delivery_id": ids,
            "product_id": keys(random, rows, PRODUCTS),
            "region": named(random.integers(0, REGIONS, rows), "region "),
            "quantity": random.integers(0, 40, rows),
            "value": random.integers(0, 400_000, rows) / 100,
            "delivered_s": FIRST_SECOND + days * 86_400 + random.integers(0, 86_400, rows),
        }
    )
    for day in np.unique(days):
        begin, end = np.searchsorted(days, [day, day + 1])
        write(deliveries.slice(begin, end - begin), folder / f"day={FIRST_DAY + day}", 1)


def _dates(days: np.ndarray) -> pa.Array:
    return pa.array(FIRST_DAY + days)


def merged(staged: DataFrame, before: DataFrame) -> DataFrame:
    """Let what comes win over what is there, row by row."""
    names = [name for name in staged.columns if name != "delivery_id"]
    old = before.select("delivery_id", *(F.col(name).alias(f"old_{name}") for name in names))
    both = staged.join(old, "delivery_id", "full_outer")
    return both.select("delivery_id", *(F.coalesce(name, f"old_{name}").alias(name) for name in names))


def written(frame: DataFrame, knobs: Knobs, target: str) -> None:
    """Write each day by one task, in so many files."""
    writer = frame.repartition(DAYS, "day").write.mode("overwrite").partitionBy("day")
    if knobs["files_a_day"] > 1:
        rows = (knobs["existing"] + knobs["rows"] / 2) / DAYS
        writer = writer.option("maxRecordsPerFile", math.ceil(rows / knobs["files_a_day"]))
    writer.parquet(target)


def run(job: Any) -> None:
    """Stage what came with its dimensions, count what is wrong with it, merge, report, and count again."""
    spark, knobs = job.spark, job.knobs
    tables = ("incoming", "customers", "products", "deliveries")
    incoming, customers, products, deliveries = (spark.read.parquet(job.path(name)) for name in tables)
    products = side(products, knobs["broadcast"])
    with job.step("stage"):
        known = beset(job, incoming).join(side(customers, knobs["broadcast"]), "customer_id", "left")
        valued = known.join(products, "product_id", "left")
        value = F.round(F.col("quantity") * F.col("price"), 2).alias("value")
        staged = valued.select("delivery_id", "product_id", "region", "quantity", value, "delivered_s", "day")
        staged.write.mode("overwrite").parquet(job.target("staged"))
    driver_work(job, 0.5)
    staged = spark.read.parquet(job.target("staged"))
    with job.step("quality"):
        wrong = F.count_if(F.col("region").isNull()), F.count_if(F.col("quantity") == 0), F.max("value")
        staged.groupBy("day").agg(F.count("*"), *wrong, F.approx_count_distinct("product_id")).orderBy("day").collect()
    with job.step("merge"):
        if knobs["prune"]:
            touched = deliveries.filter(F.col("day") >= str(FIRST_DAY))
        else:
            since = F.date_format(F.timestamp_seconds(F.lit(FIRST_SECOND)), "yyyy-MM-dd")
            touched = deliveries.filter(F.date_format(F.timestamp_seconds("delivered_s"), "yyyy-MM-dd") >= since)
        written(merged(staged, touched), knobs, job.target("deliveries"))
    driver_work(job, 0.5)
    table = spark.read.parquet(job.target("deliveries"))
    with job.step("report"):
        recent = table.filter(F.col("day") >= str(FIRST_DAY + DAYS - RECENT_DAYS))
        sums = recent.join(products, "product_id").groupBy("region", "category").agg(F.sum("value"), F.sum("quantity"))
        sums.orderBy("region", "category").collect()
    with job.step("counts"):
        days = table.groupBy("day").agg(F.count("*").alias("rows"), F.count("region"), F.max("delivered_s")).collect()
        job.note("rows", sum(day["rows"] for day in days))
    with job.step("extract"):
        collect_rows(job, table)


WORKLOAD = Workload(
    name="warehouse_load",
    about="deliveries joined with dimensions and merged into a table by day (SQL/DataFrame, ingest, upsert)",
    knobs=HEALTHY
    | {
        "rows": 700_000,
        "existing": 450_000,
        "history": 300_000,
        "customers": 60_000,
        "copies": 1,
        "files": 8,
        "files_a_day": 1,
        "broadcast": "auto",
        "prune": True,
    },
    data_knobs=("rows", "existing", "history", "customers", "copies", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
