"""Measurements that came in many files, written again in fewer, in order."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import troubled_frame, write_in_files
from datasets.lab.workloads._tables import keys, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

SENSORS = 20_000


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write measurements in the order of time."""
    random, rows = random_of(seed, "measurements"), knobs["rows"]
    measured = {
        "sensor_id": keys(random, rows, SENSORS),
        "second": np.sort(random.integers(0, 30 * 86_400, rows)),
        "value": random.normal(20, 4, rows),
        "quality": random.integers(0, 4, rows),
        "unit": pa.array(np.array(["K", "Pa", "lx", "dB"])[random.integers(0, 4, rows)]),
        "trace": pa.array(random.integers(0, 1 << 62, rows)).cast(pa.string()),
    }
    write(pa.table(measured), folder / "incoming", knobs["files"])


def run(job: Any) -> None:
    """Look at what came, write it anew, and compare."""
    spark, knobs = job.spark, job.knobs
    incoming = spark.read.parquet(job.path("incoming"))
    with job.step("inventory"):
        days = incoming.groupBy(F.floor(F.col("second") / 86_400).alias("day"), "unit")
        came = {(row["day"], row["unit"]): row["rows"] for row in days.agg(F.count("*").alias("rows")).collect()}
    driver_work(job, 0.5)
    with job.step("compact"):
        clean = incoming.withColumn("day", F.floor(F.col("second") / 86_400)).withColumn("value", F.round("value", 6))
        write_in_files(clean, knobs["rows"], knobs["write_files"], job.target("compacted"))
    driver_work(job, 0.5)
    compacted = spark.read.parquet(job.target("compacted"))
    with job.step("verify"):
        there = {(row["day"], row["unit"]): row["count"] for row in compacted.groupBy("day", "unit").count().collect()}
        job.note("complete", there == came)
    with job.step("sensors"):
        sensors = compacted.groupBy("sensor_id").agg(F.avg("value"), F.max("trace"), F.min("second"))
        troubled_frame(job, sensors).write.mode("overwrite").parquet(job.target("sensors"))
    with job.step("extract"):
        collect_rows(job, compacted)


WORKLOAD = Workload(
    name="compaction",
    about="Parquet files read and written again in fewer files (SQL/DataFrame, ingest)",
    knobs=HEALTHY | {"rows": 2_000_000, "files": 12, "write_files": 6},
    data_knobs=("rows", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
