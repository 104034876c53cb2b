"""Loans of a city's libraries: grouped by reader, books read one after another, fines, shelf lists (PySpark RDD)."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import RDD, StorageLevel

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, beset_rdd, carry_along, collect_rows, driver_work

BRANCHES = 40
TITLES = 30_000
KINDS = 12
READERS = 8
PARTS = 6
FIRST_DAY = 20_100
DAYS = 300
ALLOWED_DAYS = 28
CENTS_A_DAY = 20
PHRASES = (
    "the last winter",
    "a brief history",
    "of the garden",
    "and the river",
    "letters from home",
    "an introduction to",
    "modern theory",
    "silence and memory",
    "in the harbour",
    "handbook of machines",
    "for children",
    "the stranger",
    "summer atlas",
    "paper and glass",
    "mountains of salt",
    "ancient languages",
)

Loan = tuple[int, int, int, int, str]
Reader = tuple[list[Loan], int]


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the loans as the branches' desks log them, who the readers are, and what kind each title is."""
    random, readers = random_of(seed, "loans"), knobs["readers"]
    loans = random.integers(2, 8, readers)
    reader = np.repeat(np.arange(readers), loans)
    home = random.integers(0, BRANCHES, readers)
    branch = np.where(random.random(len(reader)) < 0.8, home[reader], random.integers(0, BRANCHES, len(reader)))
    title = np.minimum(random.pareto(1.1, len(reader)) * 400, TITLES - 1).astype(np.int64)
    out = FIRST_DAY + random.integers(0, DAYS, len(reader))
    kept = random.integers(1, 40, len(reader))
    desk = random.integers(1, 6, len(reader))
    order = np.argsort(out, kind="stable")
    columns = (np.char.add("R", (700_000 + reader).astype(str)), title, branch, out, kept, desk)
    labels = _labels(seed).take(pa.array(title[order]))
    write_text(_lines(*(column[order] for column in columns), labels), folder / "loans", knobs["files"])
    random = random_of(seed, "readers")
    card, age = random.integers(0, 4, readers), random.integers(6, 95, readers)
    names = np.char.add("R", (700_000 + np.arange(readers)).astype(str))
    write_text(_lines(names, card, age, home), folder / "readers", 4)
    kinds = random_of(seed, "titles").integers(0, KINDS, TITLES)
    write_text(_lines(np.arange(TITLES), kinds), folder / "titles", 1)


def _labels(seed: int) -> pa.Array:
    """Give what each title's label says: shelf, number, author, name."""
    random, phrases = random_of(seed, "labels"), np.array(PHRASES)
    name = pc.binary_join_element_wise(*map(pa.array, phrases[random.integers(0, len(phrases), (5, TITLES))]), " ")
    shelf, author = random.integers(100, 1_000, TITLES), random.integers(0, 9_000, TITLES)
    number = 9_780_000_000_000 + random.integers(0, 10**10, TITLES)
    parts = (pa.array(column).cast(pa.string()) for column in (shelf, number, author))
    return pc.binary_join_element_wise(*parts, name, "/")


def _lines(*columns: np.ndarray | pa.Array) -> pa.Array:
    joined = pc.binary_join_element_wise(*(pa.array(column).cast(pa.string()) for column in columns), ";")
    return pc.binary_join_element_wise(joined, "\n", "")


def parsed(line: str) -> tuple[int, Loan]:
    """Give a loan by its reader: the day, the title, the branch, for how many days, and the book's label."""
    reader, title, branch, out, kept, _, label = line.split(";")
    return int(reader[1:]), (int(out), int(title), int(branch), int(kept), label)


def history(loans: Any) -> Reader:
    """Put a reader's loans in order, and add up the fines in cents."""
    in_order = sorted(loans)
    return in_order, sum(CENTS_A_DAY * max(kept - ALLOWED_DAYS, 0) for _, _, _, kept, _ in in_order)


def sequences(reader: tuple[int, Reader]) -> Iterator[tuple[tuple[int, int], int]]:
    """Give the titles that were borrowed one after another."""
    for (_, first, *_), (_, after, *_) in pairwise(reader[1][0]):
        if first != after:
            yield (min(first, after), max(first, after)), 1


def summed(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    """Add pairs of numbers."""
    return left[0] + right[0], left[1] + right[1]


def shelved(reader: tuple[int, Reader]) -> Iterator[tuple[tuple[int, int], str]]:
    """Give the lines of the shelf lists, each by branch and day of return."""
    for out, title, branch, kept, label in reader[1][0]:
        yield (branch, out + kept), f"B{branch};{out + kept};T{title};R{reader[0]};{kept};{label}"


def run(job: Any) -> None:
    """Add up branches by week, put histories together, find what is read together, fine readers, list the shelves."""
    context = job.context
    loans = _loans(job).persist(StorageLevel.MEMORY_AND_DISK)
    with job.step("branches"):
        weeks = loans.map(lambda loan: ((loan[1][2], (loan[1][0] - FIRST_DAY) // 7), (1, loan[1][3])))
        job.note("branch_weeks", len(weeks.reduceByKey(summed, PARTS).collectAsMap()))
    driver_work(job, 0.5)
    with job.step("histories"):
        readers = loans.groupByKey(PARTS).mapValues(history).persist(StorageLevel.MEMORY_AND_DISK)
        job.note("fines", readers.map(lambda reader: reader[1][1]).sum())
    with job.step("together"):
        lines = context.textFile(job.path("titles"), 1).map(lambda line: tuple(map(int, line.split(";"))))
        kinds = context.broadcast(dict(lines.collect()))
        pairs = readers.flatMap(sequences).reduceByKey(lambda left, right: left + right, PARTS)
        alike = pairs.filter(lambda pair: kinds.value[pair[0][0]] == kinds.value[pair[0][1]])
        job.note("together", alike.takeOrdered(25, key=lambda pair: (-pair[1], pair[0]))[0][1])
    with job.step("fines"):
        cards = context.textFile(job.path("readers"), 4).map(_card)
        fines = cards.join(readers.mapValues(lambda history: history[1]), PARTS).values()
        by_card = fines.mapValues(lambda cents: (int(cents > 0), cents)).reduceByKey(summed, PARTS).collect()
        job.note("owing", sum(count for _, (count, _) in by_card))
    driver_work(job, 0.5)
    with job.step("shelves"):
        lists = readers.flatMap(shelved).repartitionAndSortWithinPartitions(PARTS, lambda key: key[0])
        lists.values().saveAsTextFile(job.target("shelves"))
    carry_along(job, job.path("loans"))
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, job.spark.read.text(job.path("loans")))
    readers.unpersist()
    loans.unpersist()


def _card(line: str) -> tuple[int, tuple[int, int]]:
    reader, card, age, _ = line.split(";")
    return int(reader[1:]), (int(card), int(age) // 10)


def _loans(job: Any) -> RDD:
    """Read the loans."""
    return beset_rdd(job, job.context.textFile(job.path("loans"), READERS)).map(parsed)


WORKLOAD = Workload(
    name="library_loans",
    about="loans grouped by reader, titles read together, fines joined, shelf lists sorted and saved (PySpark RDD)",
    knobs=HEALTHY | {"readers": 46_000, "files": 8},
    data_knobs=("readers", "files"),
    make_data=make_data,
    run=run,
)
