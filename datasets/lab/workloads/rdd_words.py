"""Texts counted with RDDs: frequent words, top words by group, weights of texts."""

import heapq
import math
from collections.abc import Iterator
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import RDD, StorageLevel

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, random_of
from datasets.lab.workloads._troubles import HEALTHY, carry_along, collect_rows, driver_work, is_troubled, troubled

VOCABULARY = 20_000
GROUPS = 60
WORDS_A_LINE = 10
TOP = 10
PARTS = 8
WEIGHTED = 2_000
CHUNK_BYTES = 1_024


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write lines of a group's name, a tab and words, in text files."""
    random = random_of(seed, "texts")
    lines = knobs["lines"]
    names = pa.array([f"{'etaoinshrdlu'[number % 12]}word{number}" for number in range(VOCABULARY)])
    drawn = np.minimum(random.zipf(1.25, lines * WORDS_A_LINE) - 1, VOCABULARY - 1)
    words = names.take(pa.array(drawn))
    starts = pa.array(np.arange(0, lines * WORDS_A_LINE + 1, WORDS_A_LINE, dtype=np.int32))
    texts = pc.binary_join(pa.ListArray.from_arrays(starts, words), " ")
    groups = pa.array([f"group{number}" for number in range(GROUPS + 1)]).take(pa.array(keys(random, lines, GROUPS)))
    whole = pc.binary_join_element_wise(groups, texts, "\t")
    (folder / "texts").mkdir()
    bounds = np.linspace(0, lines, knobs["files"] + 1).astype(int)
    for at in range(knobs["files"]):
        part = whole.slice(bounds[at], bounds[at + 1] - bounds[at]).to_pylist()
        (folder / "texts" / f"part-{at:05}.txt").write_text("\n".join(part) + "\n")


def pair(line: str) -> tuple[str, list[str]]:
    """Take a line apart."""
    group, _, text = line.partition("\t")
    return group, text.split(" ")


def tallied(counts: dict[str, int], words: list[str]) -> dict[str, int]:
    """Count words into what is counted already."""
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def merged(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Add counts to counts."""
    for word, count in right.items():
        left[word] = left.get(word, 0) + count
    return left


def frequent(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Give the commonest words."""
    return heapq.nlargest(TOP, counts.items(), key=lambda item: (item[1], item[0]))


def weighted(job: Any, texts: RDD, weights: dict[str, float]) -> float:
    """Sum the weights of all words; their table goes to each executor once."""
    table = job.context.broadcast(weights)

    def weigh(rows: Iterator[tuple[str, list[str]]]) -> Iterator[float]:
        known = table.value
        for group, words in rows:
            tone = 1 + len(group) * len(words) % 256 / 256
            yield tone * sum(known.get(word, 0.0) for word in words)

    whole = texts.mapPartitions(weigh).sum()
    table.destroy()
    return whole


def run(job: Any) -> None:
    """Count all words, the top words of each group, the lengths, and weigh the texts."""
    lines = job.context.textFile(job.path("texts"), PARTS)
    texts = lines.map(pair).persist(StorageLevel.MEMORY_AND_DISK)
    with job.step("words"):
        counted = texts
        if is_troubled(job):
            counted = texts.mapPartitionsWithIndex(troubled(job, texts.getNumPartitions()))
        words = counted.flatMap(lambda row: row[1]).map(lambda word: (word, 1)).reduceByKey(add, PARTS)
        common = words.takeOrdered(WEIGHTED, key=lambda item: (-item[1], item[0]))
    driver_work(job, 0.4)
    with job.step("groups"):
        by_group = texts.combineByKey(lambda words: tallied({}, words), tallied, merged, PARTS)
        top = by_group.mapValues(frequent).collectAsMap()
    with job.step("lengths"):
        count, letters = texts.aggregate(
            (0, 0),
            lambda whole, row: (whole[0] + len(row[1]), whole[1] + sum(map(len, row[1]))),
            lambda left, right: (left[0] + right[0], left[1] + right[1]),
        )
    driver_work(job, 0.6)
    with job.step("weights"):
        weight = weighted(job, texts, {word: 1 / math.sqrt(times) for word, times in common})
    carry_along(job, job.path("texts"))
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, job.spark.read.text(job.path("texts")))
    texts.unpersist()
    job.note("result", {"words": count, "letters": letters, "groups": len(top), "weight": round(weight, 3)})


WORKLOAD = Workload(
    name="rdd_words",
    about="word counts and top words by group with RDDs (Python RDD)",
    knobs=HEALTHY | {"lines": 420_000, "files": 8},
    data_knobs=("lines", "files"),
    make_data=make_data,
    run=run,
)
