"""Readings of electricity meters: rolled up by place, priced by tariff, compared with the day before, and billed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import CORES
from datasets.lab.workloads._tables import moments, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

FIRST_SECOND = 1_753_488_000  # 2025-07-26 UTC
DAYS = 14
HOURS = 24 * DAYS
CITIES = 12
DISTRICTS = 60
KINDS = ("flat", "house", "shop", "works")
TARIFFS = 8
BANDS = ("night", "day", "peak")
FIRST_BLOCK_KWH = 0.5
VOLTS = 230.0


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write a reading of each meter for each hour: those of industry, `udf_share` of the meters, lie apart."""
    random = random_of(seed, "readings")
    meters = max(2, knobs["rows"] // HOURS)
    hour, meter = np.repeat(np.arange(HOURS), meters), np.tile(np.arange(meters), HOURS)
    rows = len(hour)
    readings = pa.table(
        {
            "meter_id": meter,
            "at": moments(FIRST_SECOND + hour * 3_600),
            "kwh": random.lognormal(-0.7, 0.6, rows) * (1.3 + np.sin(hour / 24 * 2 * np.pi)),
            "volts": random.normal(VOLTS, 3, rows),
            "register": random.uniform(0, 90_000, meters)[meter] + hour * 0.7 + random.random(rows),
        }
    )
    industry = max(1, round(meters * knobs["udf_share"]))
    files = max(1, round(knobs["files"] * knobs["udf_share"]))
    write(readings.filter(pa.array(meter < industry)), folder / "industry", files)
    write(readings.filter(pa.array(meter >= industry)), folder / "households", knobs["files"])
    random = random_of(seed, "meters")
    district = random.integers(0, DISTRICTS, meters)
    places = {
        "meter_id": np.arange(meters),
        "district": named(district, "district "),
        "city": named(district % CITIES, "city "),
        "kind": pa.array(np.array(KINDS)[random.integers(0, len(KINDS), meters)]),
        "tariff_id": random.integers(0, TARIFFS, meters),
    }
    write(pa.table(places), folder / "meters", 1)
    prices = {
        "tariff_id": np.repeat(np.arange(TARIFFS), len(BANDS)),
        "band": list(BANDS) * TARIFFS,
        "price": random_of(seed, "tariffs").uniform(0.12, 0.45, TARIFFS * len(BANDS)).round(4),
    }
    write(pa.table(prices), folder / "tariffs", 1)


def block_cost(kwh: pd.Series, volts: pd.Series, price: pd.Series) -> pd.Series:
    """Give the cost by blocks of use and by the quality of the load, column by column."""
    beyond = np.maximum(kwh - FIRST_BLOCK_KWH, 0)
    load = 1 + np.abs(volts - VOLTS) / VOLTS
    return pd.Series(price * (kwh + 0.4 * beyond) * np.sqrt(load))


def block_cost_of_one(kwh: float, volts: float, price: float) -> float:
    """Give the cost of one reading."""
    beyond = max(kwh - FIRST_BLOCK_KWH, 0.0)
    load = 1 + abs(volts - VOLTS) / VOLTS
    return float(price * (kwh + 0.4 * beyond) * load**0.5)


def priced(readings: DataFrame, meters: DataFrame, tariffs: DataFrame) -> DataFrame:
    """Give each reading the place of its meter and the price of its hour."""
    hour = F.hour("at")
    band = F.when(hour < 6, BANDS[0]).when(hour < 18, BANDS[1]).otherwise(BANDS[2])
    placed = readings.withColumn("band", band).join(F.broadcast(meters), "meter_id")
    return placed.join(F.broadcast(tariffs), ["tariff_id", "band"])


def run(job: Any) -> None:
    """Roll up by place and day, cube by kind, band and city, compare with the same hour of the day before, and bill."""
    spark, knobs = job.spark, job.knobs
    households, industry, meters, tariffs = (
        spark.read.parquet(job.path(name)) for name in ("households", "industry", "meters", "tariffs")
    )
    readings = spark.read.parquet(job.path("households"), job.path("industry"))
    with job.step("rollup"):
        placed = readings.join(F.broadcast(meters), "meter_id")
        sums = placed.rollup("city", "district", F.to_date("at").alias("day")).agg(F.sum("kwh"), F.avg("volts"))
        job.note("rolled_up", len(sums.collect()))
    driver_work(job, 0.4)
    with job.step("cube"):
        cube = priced(readings, meters, tariffs).cube("kind", "band", "city")
        cube.agg(F.sum(F.col("kwh") * F.col("price")).alias("paid"), F.sum("kwh"), F.max("volts")).collect()
    driver_work(job, 0.3)
    with job.step("day_before"):
        same_hour = Window.partitionBy("meter_id", "hour").orderBy("at")
        before = F.lag("kwh").over(same_hour).alias("before")
        drawn = (F.col("register") - F.lag("register").over(same_hour)).alias("drawn")
        compared = beset(job, readings).withColumn("hour", F.hour("at")).select("*", before, drawn)
        compared.write.mode("overwrite").parquet(job.target("compared"))
    with job.step("jumps"):
        compared = spark.read.parquet(job.target("compared"))
        jump = F.col("kwh") > 4 * F.col("before")
        by_meter = compared.groupBy("meter_id").agg(F.count_if(jump).alias("jumps"), F.max("drawn").alias("drawn"))
        worst = by_meter.join(F.broadcast(meters), "meter_id").orderBy(F.desc("jumps"), "meter_id")
        worst.limit(50).collect()
    driver_work(job, 0.3)
    with job.step("bill"):
        by_column = F.pandas_udf(block_cost, "double")
        # Python workers import pandas once; here, so that no task with data waits for it.
        spark.range(0, CORES, 1, CORES).select(by_column("id", "id", "id")).collect()
        model = F.udf(block_cost_of_one, "double", useArrow=False) if knobs["udf"] == "rows" else by_column
        plain = priced(households, meters, tariffs).withColumn("cost", F.col("kwh") * F.col("price"))
        modelled = priced(industry, meters, tariffs).withColumn("cost", model("kwh", "volts", "price"))
        bills = plain.unionByName(modelled).groupBy("city", F.to_date("at").alias("day"))
        bills.agg(F.sum("cost"), F.max("cost"), F.count("*")).write.mode("overwrite").parquet(job.target("bills"))
    collect_besides(job, readings)


WORKLOAD = Workload(
    name="energy_rollup",
    about="meter readings rolled up, cubed, compared with the day before, billed (SQL/DataFrame, window, pandas UDF)",
    knobs=HEALTHY | {"rows": 800_000, "files": 8, "udf": "pandas", "udf_share": 0.25},
    data_knobs=("rows", "files", "udf_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
