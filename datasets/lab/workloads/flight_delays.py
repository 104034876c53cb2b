"""Delays of flights: causes weighed, weather looked up, each aircraft followed from leg to leg, airports compared."""

import math
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import moments, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

FIRST_SECOND = 1_753_488_000  # 2025-07-26 UTC
DAYS = 28
HOURS = 24 * DAYS
AIRPORTS = 60
STATES = 20
CARRIERS = 12
LEGS = 150
WEIGHTS = {"CA": 1.0, "CR": 0.9, "LA": 0.5, "NA": 0.2, "SE": 0.1, "WX": 0.0}
EARTH_KM = 6_371.0
SPAN = 45.0


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the legs of aircraft in the order of time (regional ones, `udf_share` of all, apart), airports, weather."""
    random = random_of(seed, "flights")
    aircraft = max(2, knobs["rows"] // LEGS)
    shape, rows = (aircraft, LEGS), aircraft * LEGS
    hops = np.concatenate([random.integers(0, AIRPORTS, (aircraft, 1)), random.integers(1, AIRPORTS, shape)], axis=1)
    places = np.cumsum(hops, axis=1) % AIRPORTS
    begin = (np.arange(LEGS) + random.random(shape)) * (DAYS * 86_400 / LEGS)
    order = np.argsort(begin.ravel(), kind="stable")
    tail = np.repeat(np.arange(aircraft), LEGS)[order]
    minutes = [np.floor(random.exponential(scale, rows)).astype(np.int64) for scale in (6, 2, 7, 4, 1, 3)]
    late = sum(minutes) - 12
    codes = [
        pc.binary_join_element_wise(code, pa.array(minutes[at]).cast(pa.string()), "")
        for at, code in enumerate(WEIGHTS)
    ]
    flights = pa.table(
        {
            "flight_id": np.arange(rows),
            "carrier": named(tail % CARRIERS, "carrier "),
            "tail": named(tail, "N"),
            "origin": named(places[:, :-1].ravel()[order], "K"),
            "destination": named(places[:, 1:].ravel()[order], "K"),
            "scheduled": moments(FIRST_SECOND + begin.ravel()[order]),
            "late_out": late,
            "late_in": late + random.integers(-15, 15, rows),
            "causes": pc.binary_join_element_wise(*codes, ";"),
            "fuel_kg": random.normal(9_000, 2_500, rows),
            "route": pc.binary_join_element_wise(*(numbers_as_text(random, rows) for _ in range(3)), " "),
        }
    )
    regional = tail < max(1, round(aircraft * knobs["udf_share"]))
    write(flights.filter(pa.array(regional)), folder / "flights" / "kind=regional", knobs["files"])
    write(flights.filter(pa.array(~regional)), folder / "flights" / "kind=main", knobs["files"])
    random, numbers = random_of(seed, "airports"), np.arange(AIRPORTS)
    airports = {
        "airport": named(numbers, "K"),
        "state": named(numbers % STATES, "state "),
        "latitude": random.uniform(26, 48, AIRPORTS),
        "longitude": random.uniform(-123, -70, AIRPORTS),
    }
    write(pa.table(airports), folder / "airports", 1)
    random, readings = random_of(seed, "weather"), AIRPORTS * HOURS
    weather = {
        "origin": named(np.repeat(numbers, HOURS), "K"),
        "hour": moments(FIRST_SECOND + 3_600 * np.tile(np.arange(HOURS), AIRPORTS)),
        "wind": random.gamma(2, 4, readings),
        "visibility": random.uniform(0.2, 10, readings),
    }
    write(pa.table(weather), folder / "weather", 1)


def blamed(causes: str, late: int) -> float:
    """Give the minutes of a delay that are the carrier's own, from the text of its causes; long ones count less."""
    own = whole = 0.0
    for part in causes.split(";"):
        minutes = SPAN * (1 - math.exp(-int(part[2:]) / SPAN))
        own += WEIGHTS.get(part[:2], 0.0) * minutes
        whole += minutes
    return own * max(late, 0) / whole if whole else 0.0


def longest(causes: str) -> str:
    """Give the code of the cause that took longest, the last by the alphabet where several did."""
    parts = [(int(part[2:]), part[:2]) for part in causes.split(";")]
    return max(parts)[1] if any(minutes for minutes, _ in parts) else "none"


def built_in() -> tuple[Column, Column]:
    """Give the same two in Spark's own functions."""
    minutes = [F.substring(F.split("causes", ";")[at], 3, 9).cast("int") for at in range(len(WEIGHTS))]
    damped = [SPAN * (1 - F.exp(-one / SPAN)) for one in minutes]
    own = reduce(add, (weight * one for weight, one in zip(WEIGHTS.values(), damped, strict=True)))
    share = own / F.nullif(reduce(add, damped), F.lit(0.0))
    most = F.greatest(*(F.struct(one, F.lit(code)) for one, code in zip(minutes, WEIGHTS, strict=True)))
    code = F.when(most["col1"] > 0, most["col2"]).otherwise("none")
    return F.coalesce(share * F.greatest("late_out", F.lit(0)), F.lit(0.0)), code


def row_by_row() -> tuple[Column, Column]:
    """Give the same two by Python functions."""
    return F.udf(blamed, "double", useArrow=False)("causes", "late_out"), F.udf(longest, useArrow=False)("causes")


def weighed(flights: DataFrame, own: Column, cause: Column) -> DataFrame:
    """Add how much of a delay is the carrier's own, and the longest cause, from the text."""
    return flights.withColumn("own", own).withColumn("cause", cause)


def kilometres() -> Column:
    """Give the length of the great circle from origin to destination."""
    up, along = (F.radians(f"to_{name}") - F.radians(f"from_{name}") for name in ("latitude", "longitude"))
    inner = (
        F.sin(up / 2) ** 2 + F.cos(F.radians("to_latitude")) * F.cos(F.radians("from_latitude")) * F.sin(along / 2) ** 2
    )
    return 2 * EARTH_KM * F.asin(F.sqrt(inner))


def located(flights: DataFrame, airports: DataFrame, weather: DataFrame) -> DataFrame:
    """Add how far each flight goes, and the weather of its hour at its origin."""
    for end, key in (("from", "origin"), ("to", "destination")):
        names = (F.col(name).alias(f"{end}_{name}") for name in ("state", "latitude", "longitude"))
        flights = flights.join(F.broadcast(airports.select(F.col("airport").alias(key), *names)), key)
    flights = flights.withColumn("km", kilometres()).withColumn("hour", F.date_trunc("hour", "scheduled"))
    flights = flights.join(F.broadcast(weather), ["origin", "hour"], "left")
    return flights.drop("from_latitude", "from_longitude", "to_latitude", "to_longitude", "hour")


def followed(flights: DataFrame) -> DataFrame:
    """Say of each leg where its aircraft came from, how late, and how much of that it took along."""
    by_time = Window.partitionBy("tail").orderBy("scheduled")
    before = {"late_before": "late_in", "from_before": "origin", "route_before": "route"}
    flights = flights.select("*", *(F.lag(name).over(by_time).alias(alias) for alias, name in before.items()))
    usual = F.avg("late_in").over(by_time.rowsBetween(Window.unboundedPreceding, -1))
    knock_on = F.greatest(F.least("late_before", "late_out"), F.lit(0))
    again = F.substring("route", 1, 12) == F.substring("route_before", 1, 12)
    flights = flights.withColumn("usual", usual).withColumn("knock_on", knock_on).withColumn("again", again)
    return flights.drop("route_before")


WORST_ROUTES = """
    SELECT * FROM (
      SELECT origin, destination, count(*) AS flights, avg(late_in) AS late, avg(own) AS own,
             approx_count_distinct(route) AS ways,
             rank() OVER (PARTITION BY origin ORDER BY avg(late_in) DESC, destination) AS place
      FROM legs GROUP BY origin, destination
    ) WHERE place <= 3 ORDER BY late DESC, origin, place
"""


def run(job: Any) -> None:
    """Report punctuality, follow the aircraft and write their legs, then crowds, routes and weather from these."""
    spark, knobs = job.spark, job.knobs
    flights, airports, weather = (spark.read.parquet(job.path(name)) for name in ("flights", "airports", "weather"))
    with job.step("punctuality"):
        in_time = F.avg(F.when(F.col("late_in") < 15, 1.0).otherwise(0.0))
        days = flights.groupBy("carrier", F.to_date("scheduled").alias("day"))
        job.note("days", len(days.agg(in_time, F.percentile_approx("late_in", 0.9)).collect()))
    driver_work(job, 0.4)
    with job.step("legs"):
        regional, main = (flights.filter(F.col("kind") == kind) for kind in ("regional", "main"))
        ways = row_by_row() if knobs["udf"] == "rows" else built_in()
        both = weighed(main, *built_in()).unionByName(weighed(regional, *ways))
        legs = followed(located(beset(job, both), airports, weather))
        legs.write.mode("overwrite").parquet(job.target("legs"))
    driver_work(job, 0.3)
    legs = spark.read.parquet(job.target("legs"))
    with job.step("crowds"):
        second = F.unix_timestamp("scheduled")
        last_hour = Window.partitionBy("origin", F.to_date("scheduled")).orderBy(second).rangeBetween(-3_600, 0)
        crowd = legs.select("origin", "late_out", "knock_on", F.count("*").over(last_hour).alias("crowd"))
        crowd.groupBy("origin", "crowd").agg(F.avg("late_out"), F.avg("knock_on"), F.count("*")).write.mode(
            "overwrite"
        ).parquet(job.target("crowds"))
    with job.step("routes"):
        legs.createOrReplaceTempView("legs")
        job.note("worst", len(spark.sql(WORST_ROUTES).collect()))
    driver_work(job, 0.3)
    with job.step("weather"):
        gusts = F.least(F.floor(F.col("wind") / 5), F.lit(6)).alias("gusts")
        by_wind = legs.groupBy("cause", gusts, (F.col("visibility") < 2).alias("fog"))
        by_wind.agg(F.avg("late_out"), F.avg("usual"), F.sum("own"), F.count_if("again"), F.sum("km")).collect()
    collect_besides(job, legs)


WORKLOAD = Workload(
    name="flight_delays",
    about="flights with weather and airports, aircraft followed by windows, ranked routes (SQL/DataFrame, ETL)",
    knobs=HEALTHY | {"rows": 420_000, "files": 8, "udf": "none", "udf_share": 0.25},
    data_knobs=("rows", "files", "udf_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
