"""Sales joined with their dimensions and summed up: the commonest shape of a report."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, advised, beset, collect_besides, driver_work

DAYS = 12
FIRST_SECOND = 1_704_067_200  # 2024-01-01 UTC
RECENT_DAYS = 3


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write sales, customers, items, and the returns of each day in a folder of its own."""
    random = random_of(seed, "sales")
    rows = knobs["rows"]
    sales = pa.table(
        {
            "sale_id": np.arange(rows, dtype=np.int64),
            "customer_id": keys(random, rows, knobs["customers"], knobs["hot_share"]),
            "item_id": keys(random, rows, 2_000),
            "day": random.integers(0, 365, rows),
            "quantity": random.integers(1, 10, rows),
            "price": random.integers(100, 99_999, rows) / 100,
            "comment": numbers_as_text(random, rows),
        }
    )
    write(sales, folder / "sales", knobs["files"])
    random = random_of(seed, "customers")
    ids = np.repeat(np.arange(knobs["customers"] + 1, dtype=np.int64), knobs["customer_copies"])
    customers = {
        "customer_id": ids,
        "segment": named(random.integers(0, 12, len(ids)), "segment "),
        "address": numbers_as_text(random, len(ids)),
    }
    write(pa.table(customers), folder / "customers", 2)
    items = np.arange(2_001, dtype=np.int64)
    write(pa.table({"item_id": items, "category": named(items % 40, "c")}), folder / "items", 1)
    random = random_of(seed, "returns")
    for day in range(DAYS):
        rows = knobs["returns"] // DAYS
        returns = {
            "returned_s": FIRST_SECOND + day * 86_400 + np.sort(random.integers(0, 86_400, rows)),
            "item_id": keys(random, rows, 2_000),
            "amount": random.integers(100, 99_999, rows) / 100,
        }
        write(pa.table(returns), folder / "returns" / f"day={day}", 1)


def run(job: Any) -> None:
    """Join and sum up: by segment, by category, the best customers, and what came back in the last days."""
    spark, knobs = job.spark, job.knobs
    sales, customers, items = (spark.read.parquet(job.path(name)) for name in ("sales", "customers", "items"))
    with job.step("warm"):
        sales.groupBy("quantity").count().collect()
    driver_work(job, 0.3)
    if knobs["broadcast"] == "hint":
        customers = F.broadcast(customers)
    if advised(job, "unique keys"):
        customers = customers.dropDuplicates(["customer_id"])
    joined = beset(job, sales).join(customers, "customer_id")
    with job.step("join"):
        by_segment = joined.groupBy("segment").agg(F.sum("price"), F.countDistinct("customer_id"), F.max("comment"))
        by_segment.collect()
    driver_work(job, 0.4)
    with job.step("items"):
        sales.join(F.broadcast(items), "item_id").groupBy("category", "day").agg(F.sum("price")).write.mode(
            "overwrite"
        ).parquet(job.target("by_category"))
    driver_work(job, 0.3)
    with job.step("best"):
        bought = sales.join(customers, "customer_id")
        paid = F.sum(F.col("price") * F.col("quantity")).alias("paid")
        best = bought.groupBy("customer_id").agg(paid, F.max("comment"))
        best.orderBy(F.desc("paid")).limit(100).collect()
    with job.step("recent"):
        returns = spark.read.parquet(job.path("returns"))
        if knobs["prune"]:
            returns = returns.filter(F.col("day") >= DAYS - RECENT_DAYS)
        elif advised(job, "bare column"):
            returns = returns.filter(F.col("returned_s") >= FIRST_SECOND + (DAYS - RECENT_DAYS) * 86_400)
        else:
            first = F.timestamp_seconds(F.lit(FIRST_SECOND + (DAYS - RECENT_DAYS) * 86_400))
            written = F.date_format(F.timestamp_seconds("returned_s"), "yyyy-MM-dd")
            returns = returns.filter(written >= F.date_format(first, "yyyy-MM-dd"))
        returns.join(F.broadcast(items), "item_id").groupBy("category").agg(F.sum("amount"), F.count("*")).collect()
    collect_besides(job, sales)


WORKLOAD = Workload(
    name="star_join",
    about="a fact table joined with a dimension and summed up (SQL/DataFrame)",
    knobs=HEALTHY
    | {
        "rows": 1_650_000,
        "customers": 60_000,
        "hot_share": 0.0,
        "customer_copies": 1,
        "files": 8,
        "broadcast": "auto",
        "returns": 660_000,
        "prune": True,
    },
    data_knobs=("rows", "customers", "hot_share", "customer_copies", "files", "returns"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
