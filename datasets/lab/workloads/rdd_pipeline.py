"""Payments as key-value pairs: parsed, joined with their users, grouped, sorted and saved (PySpark RDD)."""

from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, beset_rdd, carry_along, driver_work

USERS = 20_000
COUNTRIES = 50


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write payments and users as text; the user 0 has `hot_share` of all payments."""
    random, rows = random_of(seed, "payments"), knobs["rows"]
    columns = (
        keys(random, rows, USERS, knobs["hot_share"]),
        random.integers(0, 500, rows),
        random.integers(1_780_000_000, 1_782_000_000, rows),
        random.integers(100, 99_999, rows),
    )
    write_text(_lines(columns), folder / "payments", knobs["files"])
    users = np.arange(USERS + 1)
    write_text(_lines((users, random.integers(0, COUNTRIES, len(users)))), folder / "users", 2)


def _lines(columns: tuple[np.ndarray, ...]) -> pa.Array:
    joined = pc.binary_join_element_wise(*(pa.array(column).cast(pa.string()) for column in columns), ",")
    return pc.binary_join_element_wise(joined, "\n", "")


def run(job: Any) -> None:
    """Sum up by shop, join with the users, sum up by country and day, and save in order of the amount."""
    context, knobs = job.context, job.knobs
    payments = _payments(job)
    if knobs["cache"]:
        payments = payments.persist(getattr(StorageLevel, knobs["storage_level"]))
    with job.step("shops"):
        by_shop = payments.map(lambda payment: (payment[1][0], payment[1][2]))
        grouped = knobs["grouping"] == "group"
        sums = by_shop.groupByKey(8).mapValues(sum) if grouped else by_shop.reduceByKey(add, 8)
        job.note("shops", len(sums.collect()))
    driver_work(job, 0.5)
    users = context.textFile(job.path("users"), 2).map(lambda line: tuple(map(int, line.split(","))))
    with job.step("join"):
        joined = payments.join(users, 8)
        days = joined.map(lambda pair: ((pair[1][1], pair[1][0][1] // 86_400), pair[1][0][2])).reduceByKey(add, 8)
        job.note("days", days.count())
    driver_work(job, 0.5)
    with job.step("sort"):
        # Sorting goes over it three times: to count, to take a sample, and to sort.
        spent = payments.mapValues(lambda payment: payment[2]).reduceByKey(add, 8).persist(StorageLevel.MEMORY_AND_DISK)
        lines = spent.sortBy(lambda pair: -pair[1], numPartitions=4).map(lambda pair: f"{pair[0]},{pair[1]}")
        lines.saveAsTextFile(job.target("spent"))
    carry_along(job, job.path("payments"))


def _payments(job: Any) -> Any:
    """Parse the payments."""

    def parse(line: str) -> tuple[int, tuple[int, int, int]]:
        user, shop, second, amount = map(int, line.split(","))
        return user, (shop, second, amount * (100 + user % 8))

    lines = job.context.textFile(job.path("payments"), 8)
    return beset_rdd(job, lines).map(parse)


WORKLOAD = Workload(
    name="rdd_pipeline",
    about="payments parsed, joined, reduced, sorted and saved as key-value pairs (PySpark RDD)",
    knobs=HEALTHY
    | {
        "rows": 390_000,
        "files": 8,
        "hot_share": 0.0,
        "grouping": "reduce",
        "cache": True,
        "storage_level": "MEMORY_AND_DISK",
    },
    data_knobs=("rows", "files", "hot_share"),
    make_data=make_data,
    run=run,
)
