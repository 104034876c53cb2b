"""Bookings of hotels: brought together with their searches, held against the rates asked, laid out night by night."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_rows, driver_work

FIRST_DAY = 20_179  # 2025-04-01
DAYS = 150
HOTELS = 1_600
CITIES = 45
GUESTS = 70_000
CHANNELS = ("agency", "app", "phone", "website", "walk-in")
CURRENCIES = ("CHF", "CZK", "DKK", "EUR", "GBP", "NOK", "PLN", "SEK")
SEARCHED = 1.3  # searches, by bookings: the others led to none
RATES = 0.4  # changes of rates, by bookings
RECENT = 20  # bookings of a hotel that its next one is compared with
BANDS = 10
REGULAR = 6  # stays from which on a guest is a regular one


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write bookings, `hot_share` of them with hotel 0, the searches before them, and the rates of the hotels."""
    random, rows = random_of(seed, "bookings"), knobs["rows"]
    searches = round(rows * SEARCHED)
    search = random.permutation(searches)[:rows]
    booked = np.sort(random.random(rows) * DAYS) * 86_400
    arrival = FIRST_DAY + (booked // 86_400 + random.exponential(18, rows)).astype(np.int32)
    bookings = {
        "booking_id": np.arange(rows),
        "search_id": search,
        "hotel_id": keys(random, rows, HOTELS, knobs["hot_share"]),
        "guest_id": random.integers(0, GUESTS, rows),
        "booked_at": moments(FIRST_DAY * 86_400 + booked),
        "arrival": pa.array(arrival.astype(np.int32)).cast(pa.date32()),
        "nights": np.minimum(random.geometric(0.42, rows), 9).astype(np.int32),
        "price": np.round(random.lognormal(4.6, 0.4, rows), 2),
        "channel": pa.array(np.array(CHANNELS)[random.integers(0, len(CHANNELS), rows)]),
        "cancelled": random.random(rows) < 0.15,
    }
    write(pa.table(bookings), folder / "bookings", knobs["files"])
    random = random_of(seed, "searches")
    before = np.full(searches, np.nan)
    before[search] = booked
    idle = np.isnan(before)
    before[idle] = random.random(int(idle.sum())) * DAYS * 86_400
    looked = {
        "search_id": np.arange(searches),
        "searched_at": moments(FIRST_DAY * 86_400 + before - random.exponential(7_000, searches)),
        "persons": random.integers(1, 6, searches).astype(np.int32),
        "budget": np.round(random.lognormal(4.8, 0.5, searches), 0),
        "results": random.integers(1, 400, searches),
        "device": named(random.integers(0, 60, searches), "device "),
        "session": numbers_as_text(random, searches),
    }
    write(pa.table(looked), folder / "searches", knobs["files"])
    random, changes = random_of(seed, "rates"), round(rows * RATES)
    rates = {
        "hotel_id": keys(random, changes, HOTELS, knobs["hot_share"]),
        "changed_at": moments((FIRST_DAY + np.sort(random.random(changes)) * DAYS) * 86_400),
        "asked": np.round(random.lognormal(4.6, 0.3, changes), 2),
    }
    write(pa.table(rates), folder / "rates", 4)
    random, numbers = random_of(seed, "hotels"), np.arange(HOTELS + 1)
    hotels = {
        "hotel_id": numbers,
        "city": named(numbers % CITIES, "city "),
        "stars": random.integers(2, 6, HOTELS + 1),
        "rooms": random.integers(20, 300, HOTELS + 1),
        "currency": pa.array(np.array(CURRENCIES)[numbers % len(CURRENCIES)]),
    }
    write(pa.table(hotels), folder / "hotels", 1)
    days = np.repeat(np.arange(DAYS + 1, dtype=np.int32), len(CURRENCIES))
    exchange = {
        "day": pa.array(FIRST_DAY + days).cast(pa.date32()),
        "currency": pa.array(np.tile(CURRENCIES, DAYS + 1)),
        "euros": np.round(random.uniform(0.05, 1.2, len(days)), 4),
    }
    write(pa.table(exchange), folder / "exchange", 1)


def as_stays(bookings: DataFrame, searches: DataFrame, hotels: DataFrame, exchange: DataFrame) -> DataFrame:
    """Give each booking what was searched before it, and its price in euros."""
    known = (
        bookings.join(searches, "search_id")
        .withColumn("day", F.to_date("booked_at"))
        .join(F.broadcast(hotels.select("hotel_id", "currency")), "hotel_id")
        .join(F.broadcast(exchange), ["currency", "day"])
    )
    return known.select(
        "booking_id",
        "hotel_id",
        "guest_id",
        "booked_at",
        "arrival",
        "nights",
        "channel",
        "cancelled",
        "device",
        "session",
        "results",
        F.round(F.col("price") * F.col("euros"), 2).alias("price"),
        (F.col("price") > F.col("budget") * F.col("persons")).alias("beyond"),
        F.datediff("arrival", "day").alias("ahead"),
        (F.unix_timestamp("booked_at") - F.unix_timestamp("searched_at")).alias("wavered_s"),
    )


def held_against(stays: DataFrame, rates: DataFrame) -> DataFrame:
    """Find the rate that was asked when a booking was made, and give what each hotel sold day by day."""
    sold = stays.select("hotel_id", F.col("booked_at").alias("at"), "price", "ahead", "beyond", "wavered_s")
    both = sold.unionByName(rates.withColumnRenamed("changed_at", "at"), allowMissingColumns=True)
    in_time = Window.partitionBy("hotel_id").orderBy("at")
    by_price = Window.partitionBy("hotel_id").orderBy("price")
    recent = in_time.rowsBetween(-RECENT, -1)
    asked = both.select(
        "hotel_id",
        "at",
        "price",
        "ahead",
        "beyond",
        "wavered_s",
        F.last("asked", ignorenulls=True).over(in_time).alias("asked"),
        F.avg("price").over(recent).alias("usual"),
        F.avg("ahead").over(recent).alias("usually_ahead"),
    )
    banded = asked.filter("price is not null").withColumn("band", F.ntile(BANDS).over(by_price))
    return banded.groupBy("hotel_id", F.to_date("at").alias("day")).agg(
        F.count("*").alias("bookings"),
        F.sum("price").alias("price"),
        F.avg(F.col("price") - F.col("asked")).alias("over_asked"),
        F.avg(F.col("price") / F.col("usual")).alias("over_usual"),
        F.count_if(F.col("ahead") < F.col("usually_ahead")).alias("late"),
        F.count_if("beyond").alias("beyond"),
        F.max("band").alias("band"),
        F.avg("wavered_s").alias("wavered_s"),
    )


def occupied(stays: DataFrame, hotels: DataFrame) -> DataFrame:
    """Lay the stays out night by night, and give how full and how dear the hotels of each city are by weekday."""
    night = F.explode(F.sequence("arrival", F.date_add("arrival", F.col("nights") - 1))).alias("night")
    nights = stays.filter("not cancelled").select("hotel_id", "price", night)
    sold = nights.groupBy("hotel_id", "night").agg(F.count("*").alias("sold"), F.sum("price").alias("price"))
    week = Window.partitionBy("hotel_id").orderBy("night").rowsBetween(-6, 0)
    smooth = sold.withColumn("in_week", F.avg("sold").over(week)).join(F.broadcast(hotels), "hotel_id")
    return smooth.groupBy("city", F.dayofweek("night").alias("weekday")).agg(
        F.avg(F.col("sold") / F.col("rooms")).alias("full"),
        F.max(F.col("in_week") / F.col("rooms")).alias("fullest_week"),
        F.sum("price").alias("price"),
        F.sum("sold").alias("nights"),
    )


def run(job: Any) -> None:
    """Make stays of the bookings, hold them against the rates, and report on nights, hotels and guests."""
    spark = job.spark
    names = ("bookings", "searches", "rates", "hotels", "exchange")
    bookings, searches, rates, hotels, exchange = (spark.read.parquet(job.path(name)) for name in names)
    with job.step("stays"):
        as_stays(bookings, searches, hotels, exchange).write.mode("overwrite").parquet(job.target("stays"))
    driver_work(job, 0.5)
    stays = spark.read.parquet(job.target("stays"))
    with job.step("rates"):
        held_against(beset(job, stays), rates).write.mode("overwrite").parquet(job.target("days"))
    with job.step("nights"):
        cities = occupied(stays, hotels).orderBy("city", "weekday").collect()
        job.note("nights", sum(row["nights"] for row in cities))
    driver_work(job, 0.5)
    with job.step("best"):
        sums = spark.read.parquet(job.target("days")).groupBy("hotel_id")
        sums = sums.agg(F.sum("price").alias("price"), F.sum("bookings").alias("bookings"), F.avg("over_asked"))
        in_city = Window.partitionBy("city").orderBy(F.desc("price"), "hotel_id")
        places = sums.join(F.broadcast(hotels), "hotel_id").withColumn("place", F.row_number().over(in_city))
        places.filter("place <= 3").orderBy("city", "place").collect()
    with job.step("guests"):
        by_guest = Window.partitionBy("guest_id").orderBy("booked_at", "booking_id")
        again = stays.select(
            "channel",
            "price",
            "cancelled",
            F.least(F.row_number().over(by_guest), F.lit(REGULAR)).alias("stay"),
            F.datediff("arrival", F.lag("arrival").over(by_guest)).alias("since"),
            (F.col("channel") == F.lag("channel").over(by_guest)).alias("same_way"),
        )
        guests = again.groupBy("channel", "stay").agg(
            F.count("*"), F.avg("price"), F.avg("since"), F.count_if("cancelled"), F.count_if("same_way")
        )
        guests.orderBy("channel", "stay").collect()
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, bookings)


WORKLOAD = Workload(
    name="hotel_bookings",
    about="hotel bookings joined with searches, rates as of a time, nights of stays (DataFrame, joins, windows)",
    knobs=HEALTHY | {"rows": 500_000, "hot_share": 0.0, "files": 8},
    data_knobs=("rows", "hot_share", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
