"""Structured Streaming: vibration of machines by window and harmonic; loud harmonics are kept (memory sink)."""

import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._streams import FILES_A_BATCH, run_until_all_came
from datasets.lab.workloads._tables import random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

MACHINES = 8
WINDOW_S = 4
# Before more comes, so many seconds are calm.
CALM_SECONDS = 9
FIRST_MICROSECOND = 1_759_276_800_000_000  # 2025-10-01 UTC
READING = "microsecond BIGINT, machine INT, swing DOUBLE"
LOUD = 0.5


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the readings of each second as CSV, of which each second's files are newer than those before."""
    random, now = random_of(seed, "readings"), time.time()
    tuned = random.integers(1, 9, MACHINES)
    for second in range(knobs["seconds"]):
        rows = knobs["rows_first" if second < CALM_SECONDS else "rows_per_second"]
        machine = random.integers(0, MACHINES, rows)
        elapsed = second + np.sort(random.random(rows))
        swing = np.cos(2 * math.pi * tuned[machine] * elapsed / WINDOW_S) * 2 + random.normal(0, 0.3, rows)
        moments = FIRST_MICROSECOND + np.round(elapsed * 1e6).astype(np.int64)
        columns = (moments, machine, np.round(swing, 4))
        line = pc.binary_join_element_wise(*(pa.array(column).cast(pa.string()) for column in columns), ",")
        come = folder / "coming" / f"second-{second:04}"
        write_text(pc.binary_join_element_wise(line, "\n", ""), come, FILES_A_BATCH)
        newest = now - knobs["seconds"] + second
        for path in sorted(come.iterdir()):
            os.utime(path, (newest, newest))


def timed(readings: DataFrame) -> DataFrame:
    """Give the moment of each reading as a timestamp, and as a part of its window."""
    part = F.col("microsecond") % (WINDOW_S * 1_000_000) / (WINDOW_S * 1e6)
    return readings.select(F.timestamp_micros("microsecond").alias("at"), part.alias("part"), "machine", "swing")


def spectrum(readings: DataFrame, harmonics: int) -> DataFrame:
    """Give, by window, machine and harmonic, how far the readings swing with it."""
    each = readings.withColumn("window", F.window("at", f"{WINDOW_S} seconds"))
    each = each.withColumn("harmonic", F.explode(F.sequence(F.lit(1), F.lit(harmonics))))
    angle = F.col("part") * F.col("harmonic") * (2 * math.pi)
    sums = each.groupBy("window", "machine", "harmonic").agg(
        F.sum(F.col("swing") * F.cos(angle)).alias("real"),
        F.sum(F.col("swing") * F.sin(angle)).alias("imaginary"),
        F.count("*").alias("readings"),
    )
    return sums.withColumn("amplitude", 2 * F.hypot("real", "imaginary") / F.col("readings"))


def loud(amplitudes: DataFrame) -> DataFrame:
    """Keep the harmonics that swing far."""
    found = amplitudes.filter(F.col("amplitude") > LOUD)
    return found.select(F.col("window.start").alias("window"), "machine", "harmonic", "amplitude", "readings")


def run(job: Any) -> None:
    """Look at the first second's spectrum, then run the stream until all has come, and write what was loud."""
    spark, knobs = job.spark, job.knobs
    with job.step("baseline"):
        first = timed(spark.read.schema(READING).csv(job.path("coming/second-0000")))
        loud(spectrum(first, knobs["harmonics"])).orderBy("machine", "harmonic").collect()
        first.groupBy("machine").agg(F.count("*"), F.avg("swing"), F.stddev("swing")).collect()
    driver_work(job, 0.5)
    with job.step("stream"):
        source = spark.readStream.schema(READING).option("maxFilesPerTrigger", FILES_A_BATCH)
        coming = timed(source.csv(f"{job.path('coming')}/*")).withWatermark("at", "6 seconds")
        kept = loud(spectrum(coming, knobs["harmonics"]))
        run_until_all_came(job, kept.writeStream.queryName("spectra").format("memory"))
    driver_work(job, 0.5)
    with job.step("report"):
        last = F.max_by("amplitude", "readings").alias("amplitude")  # of a window that was shown several times
        board = spark.table("spectra").groupBy("window", "machine", "harmonic").agg(last)
        board.coalesce(1).write.mode("overwrite").parquet(job.target("loud"))
    if knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, spark.read.schema(READING).csv(f"{job.path('coming')}/*"))


WORKLOAD = Workload(
    name="streaming_sensors",
    about="amplitudes of harmonics by window and machine over a stream of CSV files, to memory (Structured Streaming)",
    knobs=HEALTHY | {"rows_per_second": 15_000, "rows_first": 15_000, "seconds": 10, "trigger_s": 1, "harmonics": 12},
    data_knobs=("rows_per_second", "rows_first", "seconds"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.shuffle.partitions": "2"},
)
