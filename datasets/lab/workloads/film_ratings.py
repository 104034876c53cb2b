"""What members think of films: reviews made ready once, and a model of factors fitted by coordinate descent."""

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
from datasets.lab.workloads._frames import kept
from datasets.lab.workloads._tables import named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

FIRST_SECOND = 1_753_488_000  # 2025-07-26 UTC
DAYS = 360
MEMBERS = 20_000
FILMS = 1_500
GENRES = 18
DECADES = 8
PARTS = 8
FACTORS = 3
MEAN = 3.2
RIDGE = 2.0
HASHES = 16
BAND = 2
WELL = 3.8
PHRASES = 20_000


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write reviews, by members whose taste is near to that of some films, in the order of time; and the films."""
    random, rows = random_of(seed, "reviews"), knobs["rows"]
    members = random.integers(0, MEMBERS, rows)
    films = np.minimum(random.pareto(1.2, rows) * 90, FILMS - 1).astype(np.int64)
    tastes, kinds = (random.normal(0, 0.7, (count, FACTORS)) for count in (MEMBERS, FILMS))
    liked = (tastes[members] * kinds[films]).sum(axis=1) + random.normal(0, 0.4, FILMS)[films]
    stars = np.clip(np.round(2 * (MEAN + liked + random.normal(0, 0.5, rows))) / 2, 0.5, 5)
    seconds = FIRST_SECOND + np.sort(random.integers(0, DAYS * 86_400, rows))
    words = random.integers(0, 900, (PHRASES, 12)).astype(str)
    phrases = pa.array([f"w{' w'.join(words[at, : 3 + at % 9])}" for at in range(PHRASES)])
    reviews = {
        "member": members,
        "film_code": named(films, "tt00"),
        "stars": pc.binary_join_element_wise(pa.array(stars).cast(pa.string()), "of 5", " "),
        "at": pc.strftime(pa.array(seconds).cast(pa.timestamp("s")), format="%d.%m.%Y %H:%M:%S"),
        "review": phrases.take(pa.array(random.integers(0, PHRASES, rows))),
    }
    write(pa.table(reviews), folder / "reviews", knobs["files"])
    random, numbers = random_of(seed, "films"), np.arange(FILMS)
    table = {
        "film": numbers,
        "title": named(numbers, "film "),
        "genre": named(random.integers(0, GENRES, FILMS), "genre "),
        "decade": 1950 + 10 * random.integers(0, DECADES, FILMS),
    }
    write(pa.table(table), folder / "films", 1)


def ready(reviews: DataFrame) -> DataFrame:
    """Bring all of a member into one of eight parts, and make numbers of what members wrote."""
    stars = F.regexp_extract("stars", r"^([0-9.]+) of 5$", 1).cast("double")
    at = F.to_timestamp("at", "dd.MM.yyyy HH:mm:ss")
    age = (F.lit(FIRST_SECOND + DAYS * 86_400) - F.unix_timestamp(at)) / 86_400
    return reviews.repartition(PARTS, "member").select(
        "member",
        F.regexp_extract("film_code", "^tt0*([0-9]+)$", 1).cast("int").alias("film"),
        stars.alias("stars"),
        (F.exp(-age / DAYS) * F.log1p(F.size(F.split("review", " ")))).alias("weight"),
    )


def dot(but: int | None = None) -> Column:
    """Give the product of a member's factors with a film's, but for one."""
    return reduce(add, (F.col(f"p{at}") * F.col(f"q{at}") for at in range(FACTORS) if at != but))


def fitted(ratings: DataFrame, members: DataFrame, films: DataFrame, key: str, factor: int) -> DataFrame:
    """Fit one factor of each member, or of each film, to what the rest of the model leaves of its ratings."""
    own, other, table = ("p", "q", members) if key == "member" else ("q", "p", films)
    known = ratings.join(F.broadcast(members), "member").join(F.broadcast(films), "film")
    left = F.col("stars") - MEAN - F.col(f"{own}_bias") - F.col(f"{other}_bias") - dot(factor)
    along = F.col(f"{other}{factor}")
    bias = left + F.col(f"{own}_bias") - F.col(f"{own}{factor}") * along
    same = [name for name in table.columns if name not in (key, f"{own}{factor}", f"{own}_bias")]
    moved = known.groupBy(key).agg(
        (F.sum(F.col("weight") * left * along) / (RIDGE + F.sum(F.col("weight") * along**2))).alias(f"{own}{factor}"),
        (F.sum(F.col("weight") * bias) / (RIDGE + F.sum("weight"))).alias(f"{own}_bias"),
        *(F.first(name).alias(name) for name in same),
    )
    return moved.select(*table.columns).localCheckpoint()


def similar(ratings: DataFrame) -> DataFrame:
    """Give pairs of films that the same members liked, by bands of the smallest hashes of those members."""
    smallest = [F.min(F.xxhash64(F.lit(at), "member")).alias(f"h{at}") for at in range(HASHES)]
    signed = ratings.filter(F.col("stars") >= WELL).groupBy("film").agg(*smallest)
    bands = [F.xxhash64(F.lit(at), *(f"h{at + more}" for more in range(BAND))) for at in range(0, HASHES, BAND)]
    alike = signed.select("film", F.explode(F.array(*bands)).alias("band")).groupBy("band")
    alike = alike.agg(F.sort_array(F.collect_set("film")).alias("films")).filter(F.size("films") > 1)
    pairs = alike.select(F.col("films")[0].alias("film"), F.explode(F.slice("films", 2, 5)).alias("other"))
    return pairs.groupBy("film", "other").agg(F.count("*").alias("bands"))


def run(job: Any) -> None:
    """Make the reviews ready and keep them, fit the model, see how well it fits, name likenesses and tastes."""
    spark, knobs = job.spark, job.knobs
    titles = F.broadcast(spark.read.parquet(job.path("films")))
    ratings = kept(job, ready(spark.read.parquet(job.path("reviews"))))
    with job.step("prepare"):
        job.note("ratings", ratings.agg(F.count("stars"), F.avg("stars"), F.max("weight")).first()[0])
    driver_work(job, 0.5)
    start = [((F.hash("film", F.lit(at)) % 1_000) / 2_000).alias(f"q{at}") for at in range(FACTORS)]
    films = titles.select("film", *start, F.lit(0.0).alias("q_bias"))
    zeros = (F.lit(0.0).alias(name) for name in (*(f"p{at}" for at in range(FACTORS)), "p_bias"))
    members = spark.range(0, MEMBERS, 1, 2).select(F.col("id").alias("member"), *zeros)
    with job.step("fit"):
        for turn in range(knobs["iterations"]):
            given = beset(job, ratings) if turn == 1 else ratings
            members = fitted(given, members, films, "member", turn % FACTORS)
            films = fitted(ratings, members, films, "film", turn % FACTORS)
    driver_work(job, 0.5)
    known = ratings.join(F.broadcast(members), "member").join(F.broadcast(films), "film").join(titles, "film")
    known = known.withColumn("left", F.col("stars") - MEAN - F.col("p_bias") - F.col("q_bias") - dot())
    with job.step("errors"):
        by_kind = known.groupBy("genre", "decade").agg(F.sqrt(F.avg(F.col("left") ** 2)).alias("error"), F.count("*"))
        job.note("errors", [row["error"] for row in by_kind.orderBy(F.desc("error")).limit(10).collect()])
    with job.step("similar"):
        others = titles.select(F.col("film").alias("other"), F.col("title").alias("other_title"))
        found = similar(ratings).join(titles, "film").join(F.broadcast(others), "other")
        found.orderBy(F.desc("bands"), "film", "other").limit(100).collect()
    with job.step("tastes"):
        tastes = known.groupBy("member", "genre").agg(F.sum("left").alias("more"), F.count("*").alias("seen"))
        best = Window.partitionBy("member").orderBy(F.desc("more"), "genre")
        tastes = tastes.withColumn("place", F.row_number().over(best)).filter("place <= 3")
        tastes.write.mode("overwrite").parquet(job.target("tastes"))
    collect_besides(job, ratings)
    if knobs["cache"]:
        ratings.unpersist()


WORKLOAD = Workload(
    name="film_ratings",
    about="a factor model of ratings by coordinate descent, likenesses by MinHash (ML-like iteration, DataFrames only)",
    knobs=HEALTHY
    | {
        "rows": 600_000,
        "files": 8,
        "iterations": 5,
        "cache": True,
        "storage_level": "MEMORY_AND_DISK_DESER",
    },
    data_knobs=("rows", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
