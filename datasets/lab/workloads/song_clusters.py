"""Songs by how they sound: analyses read once, a mixture of sounds fitted by classification EM, artists and years."""

import math
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import kept
from datasets.lab.workloads._tables import named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

# What an analysis says of a song, and what that is divided by.
SOUNDS = {
    "tempo": 200.0,
    "loudness": 30.0,
    "energy": 1.0,
    "dance": 1.0,
    "voice": 1.0,
    "strings": 1.0,
    "live": 1.0,
    "mood": 1.0,
}
SIZE = len(SOUNDS)
STYLES = 8
ARTISTS = 3_000
FIRST_YEAR, YEARS = 1960, 65
LEAST_SPREAD = 0.02
PARTS = 8


class Style(NamedTuple):
    """One part of the mixture: its share of all songs, its centre, and how far its songs are from that."""

    share: float
    centre: list[float]
    spread: float


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write songs, each with its analysis as one text; artists are true to one or two styles."""
    random, rows = random_of(seed, "songs"), knobs["rows"]
    centres = random.uniform(0.15, 0.85, (STYLES, SIZE))
    artist = random.integers(0, ARTISTS, rows)
    usual, other = random.integers(0, STYLES, (2, ARTISTS))
    style = np.where(random.random(rows) < 0.7, usual[artist], other[artist])
    heard = centres[style] + random.normal(0, 1, (rows, SIZE)) * random.uniform(0.05, 0.12, STYLES)[style][:, None]
    said = [
        pc.binary_join_element_wise(name, pa.array((heard[:, at] * scale).round(6)).cast(pa.string()), "=")
        for at, (name, scale) in enumerate(SOUNDS.items())
    ]
    minutes, seconds = random.integers(2, 7, rows), random.integers(10, 60, rows)
    songs = {
        "song_id": np.arange(rows),
        "artist": named(artist, "artist "),
        "released": pc.binary_join_element_wise(
            pa.array(FIRST_YEAR + random.integers(0, YEARS, rows)).cast(pa.string()),
            pa.array(random.integers(10, 13, rows)).cast(pa.string()),
            "-",
        ),
        "length": pc.binary_join_element_wise(*(pa.array(part).cast(pa.string()) for part in (minutes, seconds)), ":"),
        "analysis": pc.binary_join_element_wise(*said, "; "),
    }
    write(pa.table(songs), folder / "songs", knobs["files"])


def ready(songs: DataFrame) -> DataFrame:
    """Make numbers of what is said of a song: its sound as one array, its year, its length in seconds."""
    parts = F.split("length", ":")
    said = songs.repartition(PARTS, "song_id").withColumn("said", F.str_to_map("analysis", F.lit("; "), F.lit("=")))
    sound = F.array(*(F.col("said")[name].cast("double") / scale for name, scale in SOUNDS.items()))
    return said.select(
        "song_id",
        "artist",
        F.regexp_extract("released", r"^([0-9]{4})-", 1).cast("int").alias("year"),
        (parts[0].cast("int") * 60 + parts[1].cast("int")).alias("seconds"),
        sound.alias("sound"),
    )


def numbers(values: list[float]) -> Column:
    """Give an array of these."""
    return F.array(*map(F.lit, values))


def unlikely(style: Style) -> Column:
    """Say how unlikely a song of this style would sound as it does (the negative logarithm, but for a constant)."""
    squares = F.zip_with("sound", numbers(style.centre), lambda heard, usual: (heard - usual) * (heard - usual))
    distance = F.aggregate(squares, F.lit(0.0), lambda sum_of, square: sum_of + square)
    return distance / (2 * style.spread**2) + (SIZE * math.log(style.spread) - math.log(style.share))


def told_apart(songs: DataFrame, styles: list[Style]) -> DataFrame:
    """Give each song the style that it is likeliest of."""
    every = (F.struct(unlikely(style).alias("cost"), F.lit(at).alias("style")) for at, style in enumerate(styles))
    best = songs.withColumn("best", F.least(*every))
    return best.withColumn("cost", F.col("best.cost")).withColumn("style", F.col("best.style")).drop("best")


def fitted(songs: DataFrame, styles: list[Style]) -> tuple[list[Style], float]:
    """Do one turn: tell the songs apart, and see what those of each style have in common."""
    of = [F.col("sound")[at] for at in range(SIZE)]
    sums = (F.sum(one).alias(f"sum_{at}") for at, one in enumerate(of))
    squares = F.sum(reduce(add, (one * one for one in of))).alias("squares")
    by_style = told_apart(songs, styles).groupBy("style")
    found = by_style.agg(F.count("*").alias("songs"), F.sum("cost").alias("cost"), squares, *sums).collect()
    whole = sum(row["songs"] for row in found)
    moved = {row["style"]: _style(row, whole) for row in found}
    return [moved.get(at, style) for at, style in enumerate(styles)], sum(row["cost"] for row in found) / whole


def _style(row: Row, whole: int) -> Style:
    count = row["songs"]
    centre = [row[f"sum_{at}"] / count for at in range(SIZE)]
    variance = (row["squares"] / count - sum(one * one for one in centre)) / SIZE
    return Style(count / whole, centre, max(math.sqrt(max(variance, 0.0)), LEAST_SPREAD))


def run(job: Any) -> None:
    """Read the analyses and keep them, fit the mixture, list the songs by style, and report artists and years."""
    spark, knobs = job.spark, job.knobs
    songs = kept(job, ready(spark.read.parquet(job.path("songs"))))
    with job.step("prepare"):
        usual = songs.agg(F.count("seconds"), *(F.avg(F.col("sound")[at]) for at in range(SIZE))).first()
    job.note("songs", usual[0])
    driver_work(job, 0.5)
    near = np.array(usual[1:]) + np.random.default_rng(job.seed).normal(0, 0.15, (STYLES, SIZE))
    styles, costs = [Style(1 / STYLES, centre.tolist(), 0.2) for centre in near], []
    with job.step("fit"):
        for turn in range(knobs["iterations"]):
            styles, cost = fitted(beset(job, songs) if turn == 1 else songs, styles)
            costs.append(cost)
    job.note("costs", costs)
    driver_work(job, 0.5)
    with job.step("list"):
        told_apart(songs, styles).drop("sound").write.mode("overwrite").parquet(job.target("listed"))
    listed = spark.read.parquet(job.target("listed"))
    with job.step("artists"):
        by_artist = listed.groupBy("artist").pivot("style", list(range(STYLES))).count().na.fill(0)
        songs_of = [F.col(str(at)) for at in range(STYLES)]
        most = F.greatest(*(F.struct(F.col(str(at)).alias("songs"), F.lit(at).alias("style")) for at in range(STYLES)))
        true_to = by_artist.select(most.alias("most"), reduce(add, songs_of).alias("songs"))
        share = F.col("most.songs") / F.col("songs")
        true_to.groupBy("most.style").agg(F.count("*"), F.avg(share), F.max(share)).collect()
    with job.step("years"):
        middle = F.percentile_approx("cost", [0.1, 0.5, 0.9])
        years = listed.groupBy("style", "year").agg(F.count("*").alias("songs"), F.avg("seconds"), middle)
        job.note("years", len(years.collect()))
    collect_besides(job, songs)
    if knobs["cache"]:
        songs.unpersist()


WORKLOAD = Workload(
    name="song_clusters",
    about="a mixture of sounds fitted by classification EM with array functions (ML-like iteration, DataFrames only)",
    knobs=HEALTHY
    | {
        "rows": 200_000,
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
