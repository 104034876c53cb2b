"""A wide table of features for each customer: many aggregates, a pivot, and a small result taken to pandas."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

CATEGORIES = 16
CHANNELS = 4
SPANS = (7, 30, 90)
LAST_DAY = 365


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write orders; the customer 0 has `hot_share` of them."""
    random = random_of(seed, "orders")
    rows = knobs["rows"]
    orders = {
        "order_id": np.arange(rows, dtype=np.int64),
        "customer_id": keys(random, rows, knobs["customers"], knobs["hot_share"]),
        "category": named(np.minimum(random.geometric(0.15, rows) - 1, CATEGORIES - 1), "category "),
        "channel": named(random.integers(0, CHANNELS, rows), "channel "),
        "day": random.integers(0, LAST_DAY, rows),
        "amount": random.lognormal(3.2, 0.9, rows).round(2),
        "items": random.integers(1, 12, rows),
    }
    write(pa.table(orders), folder / "orders", knobs["files"])


def aggregates() -> list[Column]:
    """Give the features that are aggregates."""
    found = [F.count("*").alias("orders"), F.max("day").alias("last_day"), F.min("day").alias("first_day")]
    found += [F.stddev("amount").alias("amount_spread"), F.avg("items").alias("items")]
    for days in SPANS:
        recent = F.when(F.col("day") >= LAST_DAY - days, F.col("amount"))
        found += [F.sum(recent).alias(f"amount_{days}"), F.count(recent).alias(f"orders_{days}")]
        found += [F.max(recent).alias(f"largest_{days}")]
    for channel in range(CHANNELS):
        share = F.when(F.col("channel") == f"channel {channel}", 1).otherwise(0)
        found.append(F.avg(share).alias(f"channel_{channel}"))
    return found


def run(job: Any) -> None:
    """Build the table, keep it, and look at it in small."""
    spark = job.spark
    orders = spark.read.parquet(job.path("orders"))
    with job.step("warm"):
        orders.groupBy("channel").agg(F.count("*"), F.max("day")).collect()
    driver_work(job, 0.4)
    with job.step("features"):
        wide = beset(job, orders).groupBy("customer_id").agg(*aggregates())
        wide.write.mode("overwrite").parquet(job.target("features"))
    driver_work(job, 0.3)
    with job.step("pivot"):
        names = [f"category {number}" for number in range(CATEGORIES)]
        pivot = orders.groupBy("customer_id").pivot("category", names).agg(F.sum("amount"))
        pivot = pivot.select("customer_id", *(F.col(name).alias(name.replace(" ", "_")) for name in names))
        pivot.write.mode("overwrite").parquet(job.target("pivot"))
    with job.step("result"):
        features, pivot = (spark.read.parquet(job.target(name)) for name in ("features", "pivot"))
        table = features.join(pivot, "customer_id")
        group = F.least(F.floor(F.coalesce(F.col("amount_90"), F.lit(0.0)) / 100), F.lit(20)).alias("group")
        favourite = F.greatest(*(F.col(name.replace(" ", "_")) for name in names))
        small = table.groupBy(group).agg(F.count("*").alias("customers"), F.avg(favourite), F.avg("items"))
        result = small.orderBy("group").toPandas()
    driver_work(job, 0.3)
    job.note("groups", len(result))
    collect_besides(job, orders)


WORKLOAD = Workload(
    name="feature_table",
    about="wide aggregates and a pivot for each customer, a small result to pandas (SQL/DataFrame)",
    knobs=HEALTHY | {"rows": 1_800_000, "customers": 60_000, "hot_share": 0.0, "files": 8},
    data_knobs=("rows", "customers", "hot_share", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
