"""Structured Streaming: counts by window and key over files that keep coming, one batch a second."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

FIRST_SECOND = 1_704_067_200  # 2024-01-01 UTC
FIRST_SECONDS = 4
FILES_A_BATCH = 4
SENSORS = 200
PATIENCE_S = 10.0
SCHEMA = "at TIMESTAMP, sensor BIGINT, value DOUBLE"


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write what comes in each second as four files, of which each second's are newer than those before.

    In the first seconds less comes: `rows_first` in each.
    """
    random = random_of(seed, "readings")
    now = time.time()
    for second in range(knobs["seconds"]):
        rows = knobs["rows_first" if second < FIRST_SECONDS else "rows_per_second"]
        readings = {
            "at": moments(FIRST_SECOND + second + np.sort(random.random(rows))),
            "sensor": keys(random, rows, SENSORS),
            "value": random.normal(20, 5, rows),
        }
        batch = folder / "coming" / f"second-{second:04}"
        write(pa.table(readings), batch, FILES_A_BATCH)
        newest = now - knobs["seconds"] + second
        for path in sorted(batch.iterdir()):
            os.utime(path, (newest, newest))


def counted(readings: DataFrame, work: int) -> DataFrame:
    """Count by window and sensor; `work` rounds of hashing go over each row first."""
    check = F.xxhash64("sensor", "value")
    if work:
        rounds = f"aggregate(sequence(1, {work}), xxhash64(sensor, value), (found, turn) -> xxhash64(found, turn))"
        check = F.expr(rounds)
    hashed = readings.withColumn("check", check)
    by = hashed.groupBy(F.window("at", "5 seconds"), "sensor")
    return by.agg(F.count("*").alias("readings"), F.avg("value").alias("value"), F.max("check").alias("check"))


def run(job: Any) -> None:
    """Report on what is there, then run the stream until all has come."""
    spark, knobs = job.spark, job.knobs
    files = f"{job.path('coming')}/*"
    with job.step("backfill"):
        there = spark.read.schema(SCHEMA).parquet(files)
        there.groupBy("sensor").agg(F.count("*"), F.avg("value"), F.stddev("value")).collect()
        counted(there.limit(1_000), 0).collect()
    driver_work(job, 0.5)
    with job.step("stream"):
        source = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", FILES_A_BATCH).parquet(files)
        query = (
            counted(source.withWatermark("at", "10 seconds"), knobs["work"])
            .writeStream.queryName("counts")
            .outputMode("update")
            .format("noop")
            .option("checkpointLocation", job.target("checkpoint"))
            .trigger(processingTime=f"{knobs['trigger_s']} seconds")
            .start()
        )
        query.processAllAvailable()
        end = time.monotonic() + PATIENCE_S
        while query.status["isTriggerActive"] and time.monotonic() < end:
            time.sleep(0.05)
        progress = query.recentProgress
        query.stop()
    job.note("batch_ms", [batch["durationMs"]["triggerExecution"] for batch in progress])
    job.note("batch_rows", [batch["numInputRows"] for batch in progress])
    driver_work(job, 0.5)
    if knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, there)


WORKLOAD = Workload(
    name="streaming_counts",
    about="windowed counts over a stream of files (Structured Streaming)",
    knobs=HEALTHY | {"rows_per_second": 20_000, "rows_first": 20_000, "seconds": 10, "trigger_s": 1, "work": 0},
    data_knobs=("rows_per_second", "rows_first", "seconds"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.shuffle.partitions": "2"},
)
