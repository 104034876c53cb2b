"""A bank's ledger as key-value pairs: transfers posted to accounts, balances by branch, round trips (PySpark RDD)."""

from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import RDD, StorageLevel

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, beset_rdd, carry_along, collect_rows, driver_work

ACCOUNTS = 40_000
CIRCLE = 40
BRANCHES = 120
KINDS = 5
PARTS = 6
FIRST_SECOND = 1_753_488_000  # 2025-07-26 UTC
DAYS = 30

Transfer = tuple[int, int, int, int, int]
Page = tuple[int, int, int]


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write transfers, each inside of a circle of accounts, and the accounts with what they began with."""
    random, rows = random_of(seed, "transfers"), knobs["rows"]
    circle = random.integers(0, ACCOUNTS // CIRCLE, rows) * CIRCLE
    transfers = (
        circle + random.integers(0, CIRCLE, rows),
        circle + random.integers(0, CIRCLE, rows),
        FIRST_SECOND + np.sort(random.integers(0, DAYS * 86_400, rows)),
        random.integers(100, 900_000, rows),
        random.integers(0, KINDS, rows),
    )
    write_text(_lines(*transfers), folder / "transfers", knobs["files"])
    random = random_of(seed, "accounts")
    opening = random.integers(-50_000, 5_000_000, ACCOUNTS)
    accounts = (np.arange(ACCOUNTS), random.integers(0, BRANCHES, ACCOUNTS), opening)
    write_text(_lines(*accounts), folder / "accounts", 2)


def _lines(*columns: np.ndarray) -> pa.Array:
    joined = pc.binary_join_element_wise(*(pa.array(column).cast(pa.string()) for column in columns), ";")
    return pc.binary_join_element_wise(joined, "\n", "")


def posted(transfer: Transfer) -> tuple[tuple[int, int], tuple[int, int]]:
    """Give the two entries that a transfer makes."""
    source, target, _, cents, _ = transfer
    return (source, -cents), (target, cents)


def entered(page: Page, cents: int) -> Page:
    """Add an entry to an account's page: sum, entries, the largest of them."""
    whole, entries, largest = page
    return whole + cents, entries + 1, max(largest, abs(cents))


def joined(left: Page, right: Page) -> Page:
    """Put two parts of an account's page together."""
    return left[0] + right[0], left[1] + right[1], max(left[2], right[2])


def closed(account: tuple[tuple[int, int], Page | None]) -> tuple[int, int, int]:
    """Give an account's branch, its balance and its entries."""
    (branch, opening), page = account
    return (branch, opening, 0) if page is None else (branch, opening + page[0], page[1])


def run(job: Any) -> None:
    """Sum up days, post all transfers, sum up branches, look for money that goes there and back, write statements."""
    context = job.context
    transfers = _transfers(job).persist(StorageLevel.MEMORY_AND_DISK)
    with job.step("days"):
        by_day = transfers.map(lambda one: ((one[2] // 86_400, one[4]), one[3])).reduceByKey(add, PARTS)
        job.note("days", len(by_day.collectAsMap()))
    driver_work(job, 0.5)
    with job.step("balances"):
        accounts = context.textFile(job.path("accounts"), 2).map(lambda line: tuple(map(int, line.split(";"))))
        opened = accounts.map(lambda account: (account[0], account[1:]))
        pages = transfers.flatMap(posted).aggregateByKey((0, 0, 0), entered, joined, PARTS)
        balances = opened.leftOuterJoin(pages, PARTS).mapValues(closed).persist(StorageLevel.MEMORY_AND_DISK)
        job.note("overdrawn", balances.filter(lambda pair: pair[1][1] < 0).count())
    with job.step("branches"):
        by_branch = balances.map(lambda pair: (pair[1][0], (pair[1][1], pair[1][2], abs(pair[1][1]))))
        found = by_branch.reduceByKey(joined, PARTS).sortByKey(numPartitions=2).collect()
        job.note("branches", len(found))
    with job.step("round_trips"):
        ways = transfers.map(lambda one: ((one[0], one[1]), one[3])).reduceByKey(add, PARTS)
        ways = ways.persist(StorageLevel.MEMORY_AND_DISK)
        back = ways.map(lambda way: ((way[0][1], way[0][0]), way[1]))
        trips = ways.join(back, PARTS).filter(lambda trip: trip[0][0] < trip[0][1])
        job.note("round_trips", trips.mapValues(min).values().sum())
        ways.unpersist()
    driver_work(job, 0.5)
    with job.step("statements"):
        in_order = balances.sortBy(lambda pair: (-pair[1][1], pair[0]), numPartitions=4)
        in_order.map(lambda pair: f"{pair[0]};{pair[1][1]};{pair[1][2]}").saveAsTextFile(job.target("statements"))
    carry_along(job, job.path("transfers"))
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, job.spark.read.text(job.path("transfers")))
    transfers.unpersist()


def _transfers(job: Any) -> RDD:
    """Parse the transfers."""

    def parse(line: str) -> Transfer:
        source, target, second, cents, kind = map(int, line.split(";"))
        return source, target, second, cents, kind

    lines = job.context.textFile(job.path("transfers"), PARTS)
    return beset_rdd(job, lines).map(parse)


WORKLOAD = Workload(
    name="bank_ledger",
    about="transfers posted to accounts, aggregated by key, joined with their reverse, sorted and saved (PySpark RDD)",
    knobs=HEALTHY | {"rows": 360_000, "files": 6},
    data_knobs=("rows", "files"),
    make_data=make_data,
    run=run,
)
