"""Clicks of a shop as lines of JSON: typed, cut into sessions by a session window, and asked how far visitors come."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, named, random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_rows, driver_work

FIRST_MS = 1_753_488_000_000  # 2025-07-26 UTC
DAYS = 7
GAP = "30 minutes"
VISITORS = 25_000
VISITS = 8
SECTIONS = 24
KINDS = {"view": 0.62, "search": 0.2, "cart": 0.12, "pay": 0.06}
SYSTEMS = ("android", "ios", "windows", "macos", "linux", "bot")
CLICK = "visitor BIGINT, ts BIGINT, kind STRING, page STRING, device STRUCT<os: STRING, ms: INT>"


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the clicks of a week in the order of time; visitor 0, who did not sign in, has `hot_share` of them."""
    random, rows = random_of(seed, "clicks"), knobs["rows"]
    visitors = keys(random, rows, VISITORS, knobs["hot_share"])
    visits = random.integers(0, DAYS * 86_400_000, (VISITORS + 1, VISITS))
    begun = visits[visitors, random.integers(0, VISITS, rows)]
    millis = FIRST_MS + begun + random.exponential(240_000, rows).astype(np.int64)
    order = np.argsort(millis, kind="stable")
    kinds = np.searchsorted(np.cumsum(list(KINDS.values()))[:-1], random.random(rows))
    lines = pc.binary_join_element_wise(
        '{"visitor":',
        pa.array(visitors[order]).cast(pa.string()),
        ',"ts":',
        pa.array(millis[order]).cast(pa.string()),
        ',"kind":"',
        pa.array(np.array(list(KINDS))[kinds]),
        '","page":"/',
        named(np.minimum(random.geometric(0.12, rows), SECTIONS), "s"),
        "/",
        named(np.minimum(random.geometric(0.03, rows), 200), "p"),
        '","device":{"os":"',
        pa.array(np.array(SYSTEMS)[np.minimum(random.geometric(0.4, rows), len(SYSTEMS)) - 1]),
        '","ms":',
        pa.array(random.integers(3, 4_000, rows)).cast(pa.string()),
        "}}\n",
        "",
    )
    write_text(lines, folder / "clicks", knobs["files"])


def typed(raw: DataFrame) -> DataFrame:
    """Take the clicks of people, with their time as one and the section that the page is in."""
    section = F.split("page", "/").getItem(1).alias("section")
    at, millis = F.timestamp_millis("ts").alias("at"), F.col("device.ms").alias("ms")
    return raw.filter("device.os <> 'bot'").select("visitor", at, "kind", "page", section, "device.os", millis)


def first(kind: str) -> Column:
    """Give the time of the first click of a kind; null where there is none."""
    return F.min(F.when(F.col("kind") == kind, F.col("at"))).alias(kind)


def run(job: Any) -> None:
    """Type the clicks once, then sessions, how far they come, the best pages of each section, and who comes again."""
    spark = job.spark
    with job.step("clean"):
        raw = spark.read.schema(CLICK).json(job.path("clicks"))
        beset(job, typed(raw)).write.mode("overwrite").parquet(job.target("clicks"))
    driver_work(job, 0.5)
    clicks = spark.read.parquet(job.target("clicks"))
    with job.step("sessions"):
        sessions = clicks.groupBy("visitor", F.session_window("at", GAP)).agg(
            F.min("at").alias("began"),
            F.max("at").alias("ended"),
            F.count("*").alias("views"),
            F.sum("ms").alias("ms"),
            *map(first, ("search", "cart", "pay")),
        )
        sessions.drop("session_window").write.mode("overwrite").parquet(job.target("sessions"))
    sessions = spark.read.parquet(job.target("sessions"))
    with job.step("funnel"):
        chosen = F.col("cart") > F.col("search")
        funnel = sessions.groupBy(F.to_date("began").alias("day")).agg(
            F.count("*").alias("sessions"),
            F.count("search").alias("searched"),
            F.count_if(chosen).alias("chosen"),
            F.count_if(chosen & (F.col("pay") > F.col("cart"))).alias("paid"),
            F.percentile_approx("views", [0.5, 0.9]),
        )
        days = funnel.orderBy("day").collect()
        job.note("sessions", sum(day["sessions"] for day in days))
    driver_work(job, 0.5)
    with job.step("pages"):
        pages = clicks.groupBy("section", "page").agg(
            F.count("*").alias("views"), F.approx_count_distinct("visitor").alias("visitors"), F.avg("ms").alias("ms")
        )
        in_section = Window.partitionBy("section").orderBy(F.desc("views"), "page")
        pages.withColumn("place", F.row_number().over(in_section)).filter("place <= 5").collect()
    with job.step("again"):
        by_visitor = Window.partitionBy("visitor").orderBy("began")
        away = F.unix_timestamp("began") - F.unix_timestamp(F.lag("ended").over(by_visitor))
        returns = sessions.select("views", F.floor(away / 3_600).alias("hours")).groupBy("hours")
        returns.agg(F.count("*"), F.avg("views")).orderBy("hours").collect()
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, clicks)


WORKLOAD = Workload(
    name="web_sessions",
    about="JSON clicks typed, cut into sessions by a session window, funnels and best pages (SQL/DataFrame, ingest)",
    knobs=HEALTHY | {"rows": 720_000, "hot_share": 0.0, "files": 8},
    data_knobs=("rows", "hot_share", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
