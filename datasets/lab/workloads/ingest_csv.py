"""CSV and JSON text brought into Parquet by day, and the first report from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, named, numbers_as_text, random_of
from datasets.lab.workloads._troubles import HEALTHY, collect_besides, driver_work

DAYS = 8
RECENT_DAYS = 2
PARTS = 8
# The eight days from here are hashed by Spark into eight different partitions of eight.
FIRST_DAY = np.datetime64("2024-09-08")
ORDER = "order_id BIGINT, ordered_at STRING, customer STRING, country STRING, amount STRING, note STRING"
CLICK = "click_id BIGINT, user STRING, page STRUCT<path: STRING, millis: INT>, tags ARRAY<STRING>"


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write orders as CSV and clicks as JSON lines."""
    random = random_of(seed, "orders")
    rows = knobs["rows"]
    seconds = np.sort(random.integers(0, DAYS * 86_400, rows))
    cents = random.integers(100, 99_999, rows)
    orders = {
        "order_id": np.arange(rows, dtype=np.int64),
        "ordered_at": pa.array(FIRST_DAY.astype("datetime64[s]") + seconds).cast(pa.string()),
        "customer": named(keys(random, rows, 40_000), " Customer "),
        "country": named(random.integers(0, 30, rows), "country "),
        "amount": pc.binary_join_element_wise(pa.array(cents / 100).cast(pa.string()), "EUR", " "),
        "note": numbers_as_text(random, rows),
    }
    (folder / "orders").mkdir()
    table = pa.table(orders)
    bounds = np.linspace(0, rows, knobs["files"] + 1).astype(int)
    for at in range(knobs["files"]):
        part = table.slice(bounds[at], bounds[at + 1] - bounds[at])
        csv.write_csv(part, folder / "orders" / f"orders-{at:05}.csv")
    random = random_of(seed, "clicks")
    rows = knobs["clicks"]
    millis = pa.array(random.integers(3, 4_000, rows)).cast(pa.string())
    lines = pc.binary_join_element_wise(
        '{"click_id": ',
        pa.array(np.arange(rows)).cast(pa.string()),
        ', "user": "',
        named(keys(random, rows, 20_000), "user "),
        '", "page": {"path": "/',
        named(random.integers(0, 400, rows), "page"),
        '", "millis": ',
        millis,
        '}, "tags": ["',
        named(random.integers(0, 20, rows), "tag"),
        '", "new"]}',
        "",
    )
    (folder / "clicks").mkdir()
    bounds = np.linspace(0, rows, knobs["files"] + 1).astype(int)
    for at in range(knobs["files"]):
        text = "\n".join(lines.slice(bounds[at], bounds[at + 1] - bounds[at]).to_pylist())
        (folder / "clicks" / f"clicks-{at:05}.json").write_text(text + "\n")


def cleaned(orders: DataFrame) -> DataFrame:
    """Give texts their types."""
    return orders.select(
        "order_id",
        F.to_timestamp("ordered_at").alias("ordered_at"),
        F.trim(F.lower("customer")).alias("customer"),
        "country",
        F.regexp_extract("amount", r"^([0-9.]+) EUR$", 1).cast("double").alias("amount"),
        "note",
    ).withColumn("day", F.to_date("ordered_at"))


def spread(orders: DataFrame, write_files: int) -> DataFrame:
    """Arrange rows so that each day is written into so many files: for one, each day's rows come together."""
    if write_files == 1:
        return orders.repartition(PARTS, "day")
    return orders.repartition(write_files)


def run(job: Any) -> None:
    """Bring in orders and clicks, and report from the newest days."""
    spark, knobs = job.spark, job.knobs
    with job.step("orders"):
        orders = cleaned(spark.read.csv(job.path("orders"), schema=ORDER, header=True))
        spread(orders, knobs["write_files"]).write.mode("overwrite").partitionBy("day").parquet(job.target("orders"))
    driver_work(job, 0.5)
    with job.step("clicks"):
        clicks = spark.read.json(job.path("clicks"), schema=CLICK)
        flat = clicks.select("click_id", "user", "page.path", "page.millis", F.element_at("tags", 1).alias("tag"))
        flat.write.mode("overwrite").parquet(job.target("clicks"))
    driver_work(job, 0.5)
    orders = spark.read.parquet(job.target("orders"))
    first = str(FIRST_DAY + DAYS - RECENT_DAYS)
    for turn in range(knobs["reports"]):
        with job.step("report" if turn == 0 else f"report-{turn + 1}"):
            recent = F.col("day") >= first
            if not knobs["prune"]:
                recent = F.date_format("ordered_at", "yyyy-MM-dd") >= first
            by_country = orders.filter(recent).groupBy("country")
            report = by_country.agg(F.sum("amount"), F.countDistinct("customer"), F.max("note"))
            report.orderBy("country").collect()
    with job.step("slowest"):
        by_page = spark.read.parquet(job.target("clicks")).groupBy("path")
        pages = by_page.agg(F.avg("millis").alias("millis"), F.count("*"))
        pages.orderBy(F.desc("millis")).limit(20).collect()
    collect_besides(job, orders)


WORKLOAD = Workload(
    name="ingest_csv",
    about="CSV and JSON text brought into Parquet by day (ingest)",
    knobs=HEALTHY | {"rows": 500_000, "clicks": 280_000, "files": 8, "write_files": 1, "prune": True, "reports": 1},
    data_knobs=("rows", "clicks", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
