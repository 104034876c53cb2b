"""Web events cut into sessions with window functions, and what the sessions say."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_rows, driver_work

FIRST_SECOND = 1_704_067_200  # 2024-01-01 UTC
DAYS = 7
GAP_S = 30 * 60
USERS = 30_000
VISITS = 12


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the events of a week; the user 0 has `hot_share` of them."""
    random = random_of(seed, "events")
    rows = knobs["rows"]
    users = keys(random, rows, USERS, knobs["hot_share"])
    visits = random.integers(0, DAYS * 86_400, (USERS + 1, VISITS))
    seconds = visits[users, random.integers(0, VISITS, rows)] + random.exponential(240, rows)
    events = {
        "user_id": users,
        "at": moments(FIRST_SECOND + seconds),
        "page": named(np.minimum(random.geometric(0.02, rows), 300), "/page/"),
        "bytes": random.integers(200, 90_000, rows),
    }
    write(pa.table(events), folder / "events", knobs["files"])


def with_sessions(events: DataFrame) -> DataFrame:
    """Count up the sessions of each user: a new one begins after half an hour without an event."""
    by_user = Window.partitionBy("user_id").orderBy("at")
    gap = F.unix_timestamp("at") - F.unix_timestamp(F.lag("at").over(by_user))
    starts = F.when(gap.isNull() | (gap > GAP_S), 1).otherwise(0)
    return events.withColumn("starts", starts).withColumn("session", F.sum("starts").over(by_user))


def run(job: Any) -> None:
    """Write the sessions, then report on them by day, by landing page, and on what users do next."""
    spark = job.spark
    events = spark.read.parquet(job.path("events"))
    with job.step("sessions"):
        sessions = (
            with_sessions(beset(job, events))
            .groupBy("user_id", "session")
            .agg(
                F.min("at").alias("began"),
                F.max("at").alias("ended"),
                F.count("*").alias("views"),
                F.sum("bytes").alias("bytes"),
                F.min_by("page", "at").alias("landing"),
            )
        )
        sessions.write.mode("overwrite").parquet(job.target("sessions"))
    driver_work(job, 0.5)
    with job.step("daily"):
        sessions = spark.read.parquet(job.target("sessions"))
        length = F.unix_timestamp("ended") - F.unix_timestamp("began")
        days = sessions.groupBy(F.to_date("began").alias("day")).agg(
            F.count("*"), F.avg(length), F.avg("views"), F.countDistinct("user_id")
        )
        days.orderBy("day").collect()
    with job.step("landing"):
        pages = sessions.groupBy("landing").agg(F.count("*").alias("sessions"), F.avg("views"), F.sum("bytes"))
        pages.orderBy(F.desc("sessions")).limit(20).collect()
    driver_work(job, 0.5)
    with job.step("next"):
        by_user = Window.partitionBy("user_id").orderBy("at")
        steps = events.withColumn("next", F.lead("page").over(by_user)).filter("next is not null")
        steps.groupBy("page", "next").count().orderBy(F.desc("count")).limit(50).collect()
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, events)


WORKLOAD = Workload(
    name="window_sessions",
    about="web events cut into sessions with window functions (SQL/DataFrame, windowing)",
    knobs=HEALTHY | {"rows": 990_000, "hot_share": 0.0, "files": 8},
    data_knobs=("rows", "hot_share", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
