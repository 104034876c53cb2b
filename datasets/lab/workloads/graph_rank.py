"""The importance of pages, by power iteration over a graph of links (DataFrame joins)."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import kept, side, troubled_frame
from datasets.lab.workloads._tables import random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

MOST_LINKS = 60


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write a graph whose degrees follow a power law up to a cap; a hub (page 0) has `hot_share` of all links."""
    random, pages = random_of(seed, "links"), knobs["vertices"]
    degrees = np.minimum(3 + (random.pareto(1.3, pages) * 4).astype(np.int64), MOST_LINKS)
    source = np.repeat(np.arange(1, pages + 1), degrees)
    if knobs["hot_share"]:
        source[random.random(len(source)) < knobs["hot_share"]] = 0
    weights = 1 / np.sqrt(np.arange(pages) + 50.0)
    steps = np.cumsum(weights)
    popular = np.searchsorted(steps, random.random(len(source)) * steps[-1])
    target = random.permutation(pages)[np.minimum(popular, pages - 1)] + 1
    order = random.permutation(len(source))
    links = {"src": source[order], "dst": target[order], "clicks": random.integers(1, 1_000, len(source))}
    write(pa.table(links), folder / "links", knobs["files"])


def run(job: Any) -> None:
    """Normalise the links once, then let the ranks flow along them again and again."""
    spark, knobs = job.spark, job.knobs
    raw = spark.read.parquet(job.path("links"))
    everywhere = Window.partitionBy("src")
    share = F.col("clicks") / F.sum("clicks").over(everywhere)
    links = kept(job, raw.select("src", "dst", share.alias("share")))
    with job.step("links"):
        job.note("links", links.agg(F.count("share"), F.max("share")).collect()[0][0])
    pages = spark.range(knobs["vertices"] + 1)
    ranks = pages.select("id", F.lit(1.0).alias("rank"))
    for _ in range(knobs["iterations"]):
        driver_work(job, 1 / knobs["iterations"])
        with job.step("iterate"):
            given = links.join(side(ranks, knobs["broadcast"]), links.src == ranks.id)
            parts = given.select(F.col("dst").alias("id"), (F.col("rank") * F.col("share")).alias("part"))
            summed = parts.union(pages.select("id", F.lit(0.0))).groupBy("id")
            ranks = summed.agg((0.15 + 0.85 * F.sum("part")).alias("rank")).localCheckpoint()
    with job.step("top"):
        top = troubled_frame(job, ranks).orderBy(F.desc("rank"), "id").limit(100).collect()
        job.note("best", top[0]["id"])
    with job.step("extract"):
        collect_rows(job, raw)


WORKLOAD = Workload(
    name="graph_rank",
    about="PageRank by repeated joins over a power-law graph (DataFrame, iterative)",
    knobs=HEALTHY
    | {
        "vertices": 100_000,
        "files": 8,
        "hot_share": 0.0,
        "iterations": 6,
        "cache": True,
        "storage_level": "MEMORY_AND_DISK_DESER",
        "broadcast": "hint",
    },
    data_knobs=("vertices", "files", "hot_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
