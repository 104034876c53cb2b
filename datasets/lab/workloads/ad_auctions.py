"""Auctions of places for ads: bids, impressions and clicks brought together, campaigns paced, users followed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_rows, driver_work

FIRST_SECOND = 1_759_276_800  # 2025-10-01 UTC
DAYS = 4
BIDS = 5  # in each auction
CAMPAIGNS = 2_400
USERS = 30_000
PLACEMENTS = 36
SYSTEMS = ("android", "ios", "windows", "macos", "tv")
SEEN, CLICKED = 0.8, 0.06
BEFORE = 30  # bids of a campaign that its next one is compared with
TOUCHES = 6
REQUEST = "os STRING, floor DOUBLE, user BIGINT"


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write bids, `hot_share` of them by campaign 0, as several exchanges log them, and what came of the auctions."""
    random, rows = random_of(seed, "bids"), knobs["rows"]
    auctions = max(1, rows // BIDS)
    began = np.sort(random.integers(0, DAYS * 86_400_000, auctions))
    user = random.integers(0, USERS, auctions)
    auction = np.minimum(random.permutation(rows) // BIDS, auctions - 1)
    request = pc.binary_join_element_wise(
        '{"os":"',
        pa.array(np.array(SYSTEMS)[user % len(SYSTEMS)][auction]),
        '","floor":',
        pa.array(random.integers(5, 90, rows) / 100).cast(pa.string()),
        ',"user":',
        pa.array(user[auction]).cast(pa.string()),
        "}",
        "",
    )
    bids = {
        "bid_id": np.arange(rows),
        "auction_id": auction,
        "campaign_id": keys(random, rows, CAMPAIGNS, knobs["hot_share"]),
        "at": moments(FIRST_SECOND + (began[auction] + random.integers(0, 120, rows)) / 1_000),
        "price": np.round(random.lognormal(0.3, 0.7, rows), 4),
        "placement": named(auction % PLACEMENTS, "place "),
        "request": request,
    }
    write(pa.table(bids), folder / "bids", knobs["files"])
    random = random_of(seed, "impressions")
    seen = np.flatnonzero(random.random(auctions) < SEEN)
    impressions = {"auction_id": seen, "visible_ms": random.integers(100, 30_000, len(seen))}
    write(pa.table(impressions), folder / "impressions", 2)
    clicked = seen[random_of(seed, "clicks").random(len(seen)) < CLICKED / SEEN]
    clicks = {"auction_id": clicked, "clicked_at": moments(FIRST_SECOND + began[clicked] / 1_000 + 2)}
    write(pa.table(clicks), folder / "clicks", 1)
    campaigns = np.arange(CAMPAIGNS + 1)
    names = {"campaign_id": campaigns, "advertiser": named(campaigns % 300, "advertiser ")}
    write(pa.table(names), folder / "campaigns", 1)


def settled(bids: DataFrame, impressions: DataFrame, clicks: DataFrame) -> DataFrame:
    """Bring all that is known of an auction together: the highest bid wins, and pays what the second one offered."""
    offer = F.struct("price", "campaign_id", "at", "placement", "user").alias("offer")
    events = bids.select("auction_id", offer)
    for outcome in (impressions, clicks):
        events = events.unionByName(outcome, allowMissingColumns=True)
    known = events.groupBy("auction_id").agg(
        F.sort_array(F.collect_list("offer"), asc=False).alias("offers"),
        F.max("visible_ms").alias("visible_ms"),
        F.max("clicked_at").alias("clicked_at"),
    )
    first, second = F.get("offers", F.lit(0)), F.get("offers", F.lit(1))
    winner = [first[name].alias(name) for name in ("campaign_id", "at", "placement", "user")]
    paid = F.coalesce(second["price"], first["price"]).alias("paid")
    return known.select("auction_id", *winner, paid, F.size("offers").alias("bids"), "visible_ms", "clicked_at")


def paced(bids: DataFrame) -> DataFrame:
    """Compare each bid with those of its campaign before it, and give what each campaign offered hour by hour."""
    in_order = Window.partitionBy("campaign_id").orderBy("at", "bid_id")
    before = in_order.rowsBetween(-BEFORE, -1)
    compared = bids.select(
        "campaign_id",
        F.date_trunc("hour", "at").alias("hour"),
        "price",
        "floor",
        F.avg("price").over(before).alias("usual"),
        F.stddev("price").over(before).alias("spread"),
        F.sum("price").over(in_order).alias("offered"),
        (F.unix_millis("at") - F.unix_millis(F.lag("at").over(in_order))).alias("pause_ms"),
    )
    odd = F.abs(F.col("price") - F.col("usual")) > 2 * F.col("spread")
    hours = compared.groupBy("campaign_id", "hour").agg(
        F.sort_array(F.collect_list("price")).alias("prices"),
        F.count_if(odd).alias("odd"),
        F.count_if(F.col("price") < F.col("floor")).alias("below"),
        F.max("offered").alias("offered"),
        F.avg("pause_ms").alias("pause_ms"),
    )
    middle = F.get("prices", F.floor(F.size("prices") / 2).cast("int")).alias("middle")
    return hours.select("campaign_id", "hour", F.size("prices").alias("bids"), middle, "odd", "below", "offered")


def run(job: Any) -> None:
    """Settle the auctions, pace the campaigns, follow the users, and report."""
    spark = job.spark
    names = ("bids", "impressions", "clicks", "campaigns")
    logged, impressions, clicks, campaigns = (spark.read.parquet(job.path(name)) for name in names)
    request = F.from_json("request", REQUEST)
    bids = logged.withColumn("asked", request).select(*logged.drop("request").columns, "asked.*")
    with job.step("settle"):
        settled(bids, impressions, clicks).write.mode("overwrite").parquet(job.target("auctions"))
    driver_work(job, 0.5)
    with job.step("pace"):
        paced(beset(job, bids)).write.mode("overwrite").parquet(job.target("hours"))
    auctions, hours = (spark.read.parquet(job.target(name)) for name in ("auctions", "hours"))
    with job.step("campaigns"):
        sums = hours.groupBy("campaign_id").agg(
            F.sum("bids").alias("bids"),
            F.sum("odd"),
            F.sum("below"),
            F.max("offered").alias("offered"),
            F.avg("middle"),
        )
        dearest = sums.join(F.broadcast(campaigns), "campaign_id").orderBy(F.desc("offered"))
        job.note("bids", sum(row["bids"] for row in dearest.collect()))
    driver_work(job, 0.5)
    with job.step("ways"):
        last = Window.partitionBy("user").orderBy("at", "auction_id").rowsBetween(-TOUCHES, 0)
        way = F.array_sort(F.collect_set("campaign_id").over(last))
        touched = auctions.select("placement", "paid", "visible_ms", "clicked_at", F.size(way).alias("campaigns"))
        ways = touched.groupBy("placement", "campaigns").agg(
            F.count("*").alias("auctions"), F.count("clicked_at").alias("clicks"), F.avg("paid"), F.avg("visible_ms")
        )
        ways.orderBy("placement", "campaigns").collect()
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, logged)


WORKLOAD = Workload(
    name="ad_auctions",
    about="bids, impressions and clicks grouped by auction, campaign and user (DataFrame, windows, collected lists)",
    knobs=HEALTHY | {"rows": 500_000, "hot_share": 0.0, "files": 8},
    data_knobs=("rows", "hot_share", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
