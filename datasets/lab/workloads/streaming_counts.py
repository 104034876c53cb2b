"""Structured Streaming: counts by window and key over files that keep coming, one batch a second."""

from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._streams import coming, hashed, run_until_all_came, there, write_seconds
from datasets.lab.workloads._tables import keys, moments, random_of
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

FIRST_SECOND = 1_704_067_200  # 2024-01-01 UTC
SENSORS = 200
SCHEMA = "at TIMESTAMP, sensor BIGINT, value DOUBLE"


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the readings that come in each second."""
    random = random_of(seed, "readings")

    def readings(second: int, first: int, rows: int) -> dict[str, Any]:
        del first
        return {
            "at": moments(FIRST_SECOND + second + np.sort(random.random(rows))),
            "sensor": keys(random, rows, SENSORS),
            "value": random.normal(20, 5, rows),
        }

    write_seconds(folder, knobs, readings)


def counted(readings: DataFrame, work: int) -> DataFrame:
    """Count by window and sensor; `work` rounds of hashing go over each row first."""
    checked = readings.withColumn("check", hashed(work, "sensor", "value"))
    by = checked.groupBy(F.window("at", "5 seconds"), "sensor")
    return by.agg(F.count("*").alias("readings"), F.avg("value").alias("value"), F.max("check").alias("check"))


def run(job: Any) -> None:
    """Report on what is there, then run the stream until all has come."""
    with job.step("backfill"):
        readings = there(job, SCHEMA)
        readings.groupBy("sensor").agg(F.count("*"), F.avg("value"), F.stddev("value")).collect()
        counted(readings.limit(1_000), 0).collect()
    driver_work(job, 0.5)
    with job.step("stream"):
        counts = counted(coming(job, SCHEMA).withWatermark("at", "10 seconds"), job.knobs["work"])
        run_until_all_came(job, counts.writeStream.queryName("counts").format("noop"))
    driver_work(job, 0.5)
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, readings)


WORKLOAD = Workload(
    name="streaming_counts",
    about="windowed counts over a stream of files (Structured Streaming)",
    knobs=HEALTHY | {"rows_per_second": 20_000, "rows_first": 20_000, "seconds": 10, "trigger_s": 1, "work": 0},
    data_knobs=("rows_per_second", "rows_first", "seconds"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.shuffle.partitions": "2"},
)
