"""What several DataFrame families have in common."""

import math
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import functions as F

from datasets.lab.workloads._troubles import is_troubled, troubled

CORES = 2


def side(frame: Any, broadcast: str) -> Any:
    """Mark the small side of a join: `hint` broadcasts it, `shuffle` forbids that, `auto` leaves it to Spark."""
    if broadcast == "hint":
        return F.broadcast(frame)
    return frame.hint("merge") if broadcast == "shuffle" else frame


def kept(job: Any, frame: Any) -> Any:
    """Cache a frame when the knob `cache` says so, at the storage level of the knob of that name."""
    if not job.knobs["cache"]:
        return frame
    return frame.persist(getattr(StorageLevel, job.knobs["storage_level"]))


def troubled_frame(job: Any, frame: Any, partitions: int = 8) -> Any:
    """Pass a small frame through Python when the knobs of `troubled` are on; else it stays as it is."""
    if not is_troubled(job):
        return frame
    rows = frame.repartition(partitions).rdd.mapPartitionsWithIndex(troubled(job, partitions))
    return job.spark.createDataFrame(rows, frame.schema, verifySchema=False)


def write_in_files(frame: Any, rows: int, files: int, target: str) -> None:
    """Write a frame of so many rows as Parquet in so many files, by at most eight tasks."""
    writer = frame.repartition(min(files, 4 * CORES)).write.mode("overwrite")
    if files > 4 * CORES:
        writer = writer.option("maxRecordsPerFile", math.ceil(rows / files))
    writer.parquet(target)
