"""What is bought together: purchases made ready once, factorised by alternating least squares, and counted in pairs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import CORES, kept
from datasets.lab.workloads._tables import keys, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

SHOPPERS = 24_000
ITEMS = 600
BEST = 150
PARTS = 8
FACTORS = 6
SUMS = FACTORS * FACTORS + FACTORS
RIDGE = 0.5
SPAN_S = 90 * 86_400


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write purchases, in which each shopper has a taste for some of the items, and the items."""
    random, rows = random_of(seed, "purchases"), knobs["rows"]
    shoppers = keys(random, rows, SHOPPERS)
    liked = np.minimum(random.pareto(1.1, rows) * 25, ITEMS - 1).astype(np.int64)
    cents = random.integers(50, 20_000, rows)
    purchases = {
        "shopper": shoppers,
        "sku": named((liked + shoppers % 6 * 40) % ITEMS, "SKU-"),
        "quantity": random.integers(1, 6, rows),
        "price": pc.binary_join_element_wise(pa.array(cents / 100).cast(pa.string()), "EUR", " "),
        "second": random.integers(0, SPAN_S, rows),
    }
    write(pa.table(purchases), folder / "purchases", knobs["files"])
    items = np.arange(ITEMS)
    write(pa.table({"item": items, "sku": named(items, "SKU-"), "name": named(items, "item ")}), folder / "items", 1)


def ready(purchases: DataFrame, items: DataFrame) -> DataFrame:
    """Look items up, weigh purchases by what was paid, and bring all of a shopper into one of eight parts."""
    price = F.regexp_extract("price", r"^([0-9.]+) EUR$", 1).cast("double")
    weight = F.log1p(price * F.col("quantity")).alias("weight")
    known = purchases.join(F.broadcast(items.select("sku", "item")), "sku")
    return known.select("shopper", "item", weight, "second").repartition(PARTS, "shopper")


def summed(keys_of: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the distinct keys, and the sums of the rows of each."""
    order = np.argsort(keys_of, kind="stable")
    found, starts = np.unique(keys_of[order], return_index=True)
    return found, np.add.reduceat(values[order], starts)


def equations(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give what each row adds to the normal equations of its key."""
    products = (vectors[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1)
    return np.hstack([products, weights[:, None] * vectors])


def solved(sums: np.ndarray) -> np.ndarray:
    """Solve the normal equations of all keys."""
    squares = sums[:, : FACTORS * FACTORS].reshape(-1, FACTORS, FACTORS) + RIDGE * np.eye(FACTORS)
    return np.linalg.solve(squares, sums[:, FACTORS * FACTORS :, None])[:, :, 0]


def swept(purchases: DataFrame, factors: np.ndarray) -> np.ndarray:
    """Do one sweep: fit the shoppers to the items' factors, then the items to the shoppers."""

    def partial(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        parts = list(frames)
        if not parts:
            return
        whole = pd.concat(parts)
        shoppers, items = whole["shopper"].to_numpy(), whole["item"].to_numpy()
        weights = whole["weight"].to_numpy() * np.exp(whole["second"].to_numpy() / SPAN_S - 1)
        known, sums = summed(shoppers, equations(factors[items], weights))
        tastes = solved(sums)[np.searchsorted(known, shoppers)]
        found, sums = summed(items, equations(tastes, weights))
        yield pd.DataFrame({"item": found} | {f"s{at}": sums[:, at] for at in range(SUMS)})

    columns = [f"s{at}" for at in range(SUMS)]
    schema = "item long, " + ", ".join(f"{name} double" for name in columns)
    by_item = purchases.mapInPandas(partial, schema).groupBy("item")
    rows = by_item.agg(*(F.sum(name).alias(name) for name in columns)).collect()
    moved = factors.copy()
    moved[[row["item"] for row in rows]] = solved(np.array([row[1:] for row in rows]))
    return moved


def pairs(purchases: DataFrame, best: list[int]) -> DataFrame:
    """Count the shoppers who bought both of two of these items, part by part."""
    places = np.full(ITEMS, -1)
    places[best] = np.arange(len(best))

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = list(batches)
        if not parts:
            return
        whole = pa.Table.from_batches(parts)
        place = places[whole["item"].to_numpy()]
        shoppers, at = np.unique(whole["shopper"].to_numpy()[place >= 0], return_inverse=True)
        bought = np.zeros((len(shoppers), len(best)), dtype=np.float32)
        bought[at, place[place >= 0]] = 1
        first, second = np.triu_indices(len(best), 1)
        together = (bought.T @ bought)[first, second].astype(np.int64)
        columns = [np.array(best)[first], np.array(best)[second], together]
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=["item", "other", "together"])

    partial = purchases.mapInArrow(counted, "item long, other long, together long")
    return partial.groupBy("item", "other").agg(F.sum("together").alias("together"))


def run(job: Any) -> None:
    """Make the purchases ready and keep them, sweep over them, and name the pairs of the best items."""
    spark, knobs = job.spark, job.knobs
    items = spark.read.parquet(job.path("items"))
    purchases = kept(job, ready(spark.read.parquet(job.path("purchases")), items))
    with job.step("prepare"):
        # Python workers import pandas and Arrow once; here, so that no task with data waits for it.
        spark.range(0, CORES, 1, CORES).mapInPandas(lambda frames: frames, "id long").collect()
        job.note("purchases", purchases.agg(F.count("weight"), F.max("second")).first()[0])
    driver_work(job, 0.5)
    factors, changes = np.random.default_rng(job.seed).normal(0.5, 0.2, (ITEMS, FACTORS)), []
    with job.step("sweeps"):
        for turn in range(knobs["iterations"]):
            moved = swept(beset(job, purchases) if turn == 1 else purchases, factors)
            changes.append(float(np.abs(moved - factors).mean()))
            factors = moved
    job.note("changes", changes)
    driver_work(job, 0.5)
    with job.step("best"):
        by_item = purchases.groupBy("item").agg(F.sum("weight").alias("weight"))
        best = [row["item"] for row in by_item.orderBy(F.desc("weight")).limit(BEST).collect()]
    with job.step("pairs"):
        names = items.select("item", "name")
        others = items.select(F.col("item").alias("other"), F.col("name").alias("other_name"))
        named_pairs = pairs(purchases, best).join(F.broadcast(names), "item").join(F.broadcast(others), "other")
        named_pairs.orderBy(F.desc("together"), "item", "other").limit(100).collect()
    collect_besides(job, purchases)
    if knobs["cache"]:
        purchases.unpersist()


WORKLOAD = Workload(
    name="basket_pairs",
    about="alternating least squares and pair counts by hand over a cached DataFrame (ML-like iteration, pandas)",
    knobs=HEALTHY
    | {
        "rows": 800_000,
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
