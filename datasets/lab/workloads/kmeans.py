"""k-means written by hand over a cached DataFrame: points parsed from text once, many passes over them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

DIMENSIONS = 8
TRUE_CLUSTERS = 12
PARTS = 8
CORES = 2


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write points around some centres, each as one text of numbers, as measuring devices send them."""
    random = random_of(seed, "points")
    rows = knobs["rows"]
    centres = random.uniform(-50, 50, (TRUE_CLUSTERS, DIMENSIONS))
    points = centres[random.integers(0, TRUE_CLUSTERS, rows)] + random.normal(0, 6, (rows, DIMENSIONS))
    columns = [pa.array(points[:, at].round(3)).cast(pa.string()) for at in range(DIMENSIONS)]
    text = pc.binary_join_element_wise(*columns, ",")
    write(pa.table({"point_id": np.arange(rows, dtype=np.int64), "vector": text}), folder / "points", knobs["files"])


def parsed(raw: DataFrame) -> DataFrame:
    """Give a column for each number of the text, and the points evenly in eight parts."""
    parts = F.split("vector", ",")
    columns = [parts.getItem(at).cast("double").alias(f"x{at}") for at in range(DIMENSIONS)]
    return raw.repartition(PARTS).select("point_id", *columns)


def nearest(centres: np.ndarray, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give a batch's points, the number of each point's centre and its squared distance."""
    points = np.column_stack([batch.column(f"x{at}").to_numpy() for at in range(DIMENSIONS)])
    distances = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    found = distances.argmin(axis=1)
    return points, found, distances[np.arange(len(points)), found]


def moved(points: DataFrame, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Do one pass: give the means of what is nearest to each centre, and the sum of squared distances."""
    count = len(centres)

    def sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        whole, loss = np.zeros((count, DIMENSIONS + 1)), 0.0
        for batch in batches:
            found_points, found, distances = nearest(centres, batch)
            whole[:, 0] += np.bincount(found, minlength=count)
            for at in range(DIMENSIONS):
                whole[:, at + 1] += np.bincount(found, weights=found_points[:, at], minlength=count)
            loss += float(distances.sum())
        yield pa.RecordBatch.from_arrays([pa.array([whole.tobytes()]), pa.array([loss])], names=["sums", "loss"])

    partial = points.mapInArrow(sums, "sums binary, loss double").collect()
    whole = np.sum([np.frombuffer(row["sums"]).reshape(count, -1) for row in partial], axis=0)
    means = whole[:, 1:] / np.maximum(whole[:, :1], 1)
    return np.where(whole[:, :1] > 0, means, centres), sum(row["loss"] for row in partial)


def run(job: Any) -> None:
    """Parse and cache the points, iterate, and report the sizes of the clusters."""
    knobs = job.knobs
    points = parsed(job.spark.read.parquet(job.path("points")))
    if knobs["cache"]:
        points = points.persist(getattr(StorageLevel, knobs["storage_level"]))
    with job.step("prepare"):
        # Python workers import Arrow and pandas once; here, so that no task with data waits for it.
        job.spark.range(0, CORES, 1, CORES).mapInArrow(lambda batches: batches, "id long").collect()
        ranges = points.agg(F.count("*"), *(F.stddev(f"x{at}") for at in range(DIMENSIONS))).first()
    centres = np.random.default_rng(job.seed).uniform(-50, 50, (knobs["clusters"], DIMENSIONS))
    driver_work(job, 0.5)
    losses = []
    with job.step("iterate"):
        for turn in range(knobs["iterations"]):
            centres, loss = moved(beset(job, points) if turn == 1 else points, centres)
            losses.append(loss)
    driver_work(job, 0.5)
    with job.step("assign"):

        def assigned(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                _, found, distances = nearest(centres, batch)
                columns = [batch.column("point_id"), pa.array(found), pa.array(distances)]
                yield pa.RecordBatch.from_arrays(columns, names=["point_id", "cluster", "distance"])

        of = points.mapInArrow(assigned, "point_id long, cluster long, distance double")
        of.groupBy("cluster").agg(F.count("*"), F.avg("distance"), F.max("distance")).collect()
    collect_besides(job, points)
    if knobs["cache"]:
        points.unpersist()
    job.note("points", ranges[0])
    job.note("losses", losses)


WORKLOAD = Workload(
    name="kmeans",
    about="k-means by hand over a cached DataFrame (ML-like iteration)",
    knobs=HEALTHY
    | {
        "rows": 500_000,
        "files": 8,
        "clusters": 12,
        "iterations": 8,
        "cache": True,
        "storage_level": "MEMORY_AND_DISK",
    },
    data_knobs=("rows", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
