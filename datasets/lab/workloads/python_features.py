"""Features of card payments, made with pandas UDFs, or with Python that is called row by row."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, advised, beset, collect_besides, driver_work

EARTH_KM = 6_371.0
CORES = 2


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write payments: who, where, how much; the share that goes through Python row by row lies apart."""
    random = random_of(seed, "payments")
    rows = knobs["rows"]
    payments = {
        "payment_id": np.arange(rows, dtype=np.int64),
        "merchant": named(keys(random, rows, 500), "merchant "),
        "amount": random.lognormal(3.5, 1.1, rows).round(2),
        "latitude": random.uniform(36.0, 60.0, rows).round(5),
        "longitude": random.uniform(-9.0, 30.0, rows).round(5),
        "home_latitude": random.uniform(36.0, 60.0, rows).round(5),
        "home_longitude": random.uniform(-9.0, 30.0, rows).round(5),
    }
    table, apart = pa.table(payments), round(rows * by_row(knobs))
    write(table.slice(apart), folder / "payments", knobs["files"])
    if apart:
        write(table.slice(0, apart), folder / "legacy", knobs["files"])


def by_row(knobs: Knobs) -> float:
    """Give the share of the rows that go through Python one by one while others do not."""
    return float(knobs["udf_share"]) if knobs["udf"] == "rows" and knobs["udf_share"] < 1 else 0.0


def kilometres(lat: pd.Series, lon: pd.Series, home_lat: pd.Series, home_lon: pd.Series) -> pd.Series:
    """Give the great-circle distance, column by column."""
    lat, lon, home_lat, home_lon = (np.radians(column) for column in (lat, lon, home_lat, home_lon))
    inner = np.sin((lat - home_lat) / 2) ** 2 + np.cos(lat) * np.cos(home_lat) * np.sin((lon - home_lon) / 2) ** 2
    return pd.Series(2 * EARTH_KM * np.arcsin(np.sqrt(inner)))


def kilometres_of_one(lat: float, lon: float, home_lat: float, home_lon: float) -> float:
    """Give the great-circle distance of one row."""
    lat, lon, home_lat, home_lon = map(math.radians, (lat, lon, home_lat, home_lon))
    inner = math.sin((lat - home_lat) / 2) ** 2
    inner += math.cos(lat) * math.cos(home_lat) * math.sin((lon - home_lon) / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(inner))


def surprise(amount: pd.Series, distance: pd.Series) -> pd.Series:
    """Score how unusual a payment is, column by column."""
    return pd.Series(1 / (1 + np.exp(-(0.4 * np.log1p(amount) + distance / 900 - 3))))


def surprise_of_one(amount: float, distance: float) -> float:
    """Score how unusual one payment is."""
    return 1 / (1 + math.exp(-(0.4 * math.log1p(amount) + distance / 900 - 3)))


def kilometres_built_in(lat: str, lon: str, home_lat: str, home_lon: str) -> Column:
    """Give the great-circle distance in Spark's own functions."""
    lats, lons = F.radians(lat) - F.radians(home_lat), F.radians(lon) - F.radians(home_lon)
    inner = F.sin(lats / 2) ** 2 + F.cos(F.radians(lat)) * F.cos(F.radians(home_lat)) * F.sin(lons / 2) ** 2
    return 2 * EARTH_KM * F.asin(F.sqrt(inner))


def surprise_built_in(amount: str, distance: str) -> Column:
    """Score how unusual a payment is in Spark's own functions."""
    return 1 / (1 + F.exp(-(0.4 * F.log1p(amount) + F.col(distance) / 900 - 3)))


def with_features(payments: DataFrame, udf: str, legacy: DataFrame | None) -> DataFrame:
    """Add distance and score; `udf="rows"` sends rows through Python one by one, or only those of `legacy`."""
    if udf == "built-in":
        whole = payments if legacy is None else payments.unionByName(legacy)
        return _added(whole, kilometres_built_in, surprise_built_in)
    by_column = F.pandas_udf(kilometres, "double"), F.pandas_udf(surprise, "double")
    one_by_one = F.udf(kilometres_of_one, "double"), F.udf(surprise_of_one, "double")
    if legacy is not None:
        return _added(payments, *by_column).unionByName(_added(legacy, *one_by_one))
    return _added(payments, *(one_by_one if udf == "rows" else by_column))


def _added(frame: DataFrame, distance: Any, score: Any) -> DataFrame:
    where = ("latitude", "longitude", "home_latitude", "home_longitude")
    return frame.withColumn("distance", distance(*where)).withColumn("score", score("amount", "distance"))


def run(job: Any) -> None:
    """Write the features, compare each payment with its merchant's others, and score all with a model."""
    spark, knobs = job.spark, job.knobs
    payments = spark.read.parquet(job.path("payments"))
    with job.step("warm"):
        payments.groupBy("merchant").agg(F.max("amount")).count()
        # Python workers import pandas once; here, so that no task with data waits for it.
        spark.range(0, CORES, 1, CORES).select(F.pandas_udf(surprise, "double")("id", "id")).collect()
    driver_work(job, 0.4)
    with job.step("features"):
        legacy = spark.read.parquet(job.path("legacy")) if by_row(knobs) else None
        udf = "built-in" if advised(job, "built-in functions") else knobs["udf"]
        features = with_features(beset(job, payments), udf, legacy)
        features.write.mode("overwrite").parquet(job.target("features"))
    driver_work(job, 0.3)
    features = spark.read.parquet(job.target("features"))
    with job.step("merchants"):
        merchants = features.groupBy("merchant").agg(
            F.avg("amount").alias("usual"), F.stddev("amount").alias("spread"), F.avg("distance").alias("far")
        )
        compared = features.join(F.broadcast(merchants), "merchant")
        compared = compared.withColumn("z", (F.col("amount") - F.col("usual")) / F.col("spread"))
        size = F.least(F.abs(F.round("z")), F.lit(6.0)).alias("size")
        compared.groupBy(size).agg(F.count("*"), F.avg("score")).collect()
    driver_work(job, 0.3)
    with job.step("model"):
        weights = np.random.default_rng(job.seed).normal(size=(3, knobs["units"]))

        def scored(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            for frame in frames:
                inputs = np.column_stack([np.log1p(frame["amount"]), frame["distance"] / 1_000, frame["score"]])
                found = np.tanh(inputs @ weights).mean(axis=1)
                yield pd.DataFrame({"merchant": frame["merchant"], "found": found})

        wanted = features.select("merchant", "amount", "distance", "score")
        by_model = wanted.mapInPandas(scored, "merchant string, found double").groupBy("merchant")
        by_model.agg(F.avg("found").alias("found")).orderBy(F.desc("found")).limit(20).collect()
    collect_besides(job, payments)


WORKLOAD = Workload(
    name="python_features",
    about="feature engineering with pandas UDFs (Python UDF)",
    knobs=HEALTHY | {"rows": 660_000, "files": 8, "udf": "pandas", "udf_share": 1.0, "units": 48},
    data_knobs=("rows", "files", "udf", "udf_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
