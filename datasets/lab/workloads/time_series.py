"""Readings of devices: resampled, rolled up, and each joined with the calibration that held at its time."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_rows, driver_work

FIRST_SECOND = 1_704_067_200  # 2024-01-01 UTC
DAYS = 3
CALIBRATIONS = 20


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write readings and calibrations of devices; the device 0 has `hot_share` of the readings."""
    random = random_of(seed, "readings")
    rows, devices = knobs["rows"], knobs["devices"]
    seconds = np.sort(random.integers(0, DAYS * 86_400, rows))
    readings = {
        "device": keys(random, rows, devices, knobs["hot_share"]),
        "at": moments(FIRST_SECOND + seconds),
        "value": 20 + 6 * np.sin(seconds / 13_750) + random.normal(0, 0.8, rows),
        "volts": random.uniform(3.1, 4.2, rows).round(3),
    }
    write(pa.table(readings), folder / "readings", knobs["files"])
    random = random_of(seed, "calibrations")
    device = np.repeat(np.arange(devices + 1), CALIBRATIONS)
    calibrations = {
        "device": device,
        "at": moments(FIRST_SECOND + random.integers(0, DAYS * 86_400, len(device))),
        "offset": random.normal(0, 0.3, len(device)),
    }
    write(pa.table(calibrations), folder / "calibrations", 1)


def run(job: Any) -> None:
    """Write bars of five minutes, look for outliers in them, and correct readings by their calibration."""
    spark = job.spark
    readings, calibrations = (spark.read.parquet(job.path(name)) for name in ("readings", "calibrations"))
    by_device = Window.partitionBy("device").orderBy("at")
    with job.step("resample"):
        bars = beset(job, readings).groupBy("device", F.window("at", "5 minutes")["start"].alias("bar"))
        bars = bars.agg(
            F.avg("value").alias("mean"),
            F.min("value").alias("low"),
            F.max("value").alias("high"),
            F.max_by("value", "at").alias("close"),
            F.count("*").alias("readings"),
        )
        bars.write.mode("overwrite").parquet(job.target("bars"))
    driver_work(job, 0.5)
    with job.step("rolling"):
        bars = spark.read.parquet(job.target("bars"))
        hour = Window.partitionBy("device").orderBy("bar").rowsBetween(-12, -1)
        before = Window.partitionBy("device").orderBy("bar")
        rolled = bars.withColumn("usual", F.avg("mean").over(hour)).withColumn("spread", F.stddev("mean").over(hour))
        rolled = rolled.withColumn("change", F.col("close") - F.lag("close").over(before))
        odd = F.abs(F.col("mean") - F.col("usual")) > 3 * F.col("spread")
        worst = rolled.groupBy("device").agg(F.count_if(odd).alias("odd"), F.max("change"))
        worst.orderBy(F.desc("odd")).limit(50).collect()
    driver_work(job, 0.5)
    with job.step("as_of"):
        changes = calibrations.select("device", "at", "offset", F.lit(None).cast("double").alias("value"))
        measured = readings.select("device", "at", F.lit(None).cast("double").alias("offset"), "value")
        held = F.last("offset", ignorenulls=True).over(by_device)
        together = changes.unionByName(measured).withColumn("held", F.coalesce(held, F.lit(0.0)))
        corrected = together.filter("value is not null").withColumn("corrected", F.col("value") - F.col("held"))
        corrected.groupBy("device").agg(F.avg("corrected"), F.stddev("corrected"), F.count("*")).write.mode(
            "overwrite"
        ).parquet(job.target("corrected"))
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, readings)


WORKLOAD = Workload(
    name="time_series",
    about="resampling, rolling aggregates and an as-of join by device (SQL/DataFrame, windowing)",
    knobs=HEALTHY | {"rows": 1_600_000, "devices": 400, "hot_share": 0.0, "files": 8},
    data_knobs=("rows", "devices", "hot_share", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
