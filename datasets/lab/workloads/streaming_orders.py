"""Structured Streaming: orders joined with a static table of products, and running totals shown batch by batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._streams import coming, hashed, run_until_all_came, there, write_seconds
from datasets.lab.workloads._tables import keys, named, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_besides, driver_work

PRODUCTS = 1_000
CATEGORIES = 25
STORES = 20
ORDER = "order_id BIGINT, product_id BIGINT, store BIGINT, quantity INT, discount DOUBLE"


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the products, and the orders that come in each second."""
    random = random_of(seed, "orders")

    def orders(second: int, first: int, rows: int) -> dict[str, Any]:
        del second
        return {
            "order_id": np.arange(first, first + rows),
            "product_id": keys(random, rows, PRODUCTS),
            "store": keys(random, rows, STORES),
            "quantity": random.integers(1, 10, rows, dtype=np.int32),
            "discount": random.integers(0, 30, rows) / 100,
        }

    write_seconds(folder, knobs, orders)
    products = np.arange(1, PRODUCTS + 1)
    price = random_of(seed, "products").integers(100, 99_999, PRODUCTS) / 100
    table = {"product_id": products, "category": named(products % CATEGORIES, "category "), "price": price}
    write(pa.table(table), folder / "products", 1)


def totals(orders: DataFrame, products: DataFrame, work: int) -> DataFrame:
    """Sum up by category and store; `work` rounds of hashing go over each order first."""
    sealed = orders.withColumn("seal", hashed(work, "order_id", "discount"))
    sold = sealed.join(F.broadcast(products), "product_id")
    paid = F.sum(F.col("quantity") * F.col("price") * (1 - F.col("discount")))
    return sold.groupBy("category", "store").agg(paid.alias("paid"), F.count("*").alias("orders"), F.max("seal"))


def run(job: Any) -> None:
    """Report on what is there, then run the stream until all has come, and write the board that it kept."""
    spark, knobs = job.spark, job.knobs
    products = spark.read.parquet(job.path("products")).persist()
    with job.step("history"):
        orders = there(job, ORDER)
        totals(orders.limit(1_000), products, 0).collect()
        orders.join(F.broadcast(products), "product_id").groupBy("store").agg(F.count("*"), F.avg("price")).collect()
    driver_work(job, 0.5)
    board: dict[tuple[str, int], tuple[float, int]] = {}

    def shown(updates: DataFrame, batch: int) -> None:
        del batch
        for row in updates.collect():
            board[row["category"], row["store"]] = row["paid"], row["orders"]

    with job.step("stream"):
        stream = totals(coming(job, ORDER), products, knobs["work"])
        run_until_all_came(job, stream.writeStream.queryName("totals").foreachBatch(shown))
    job.note("orders", sum(count for _, count in board.values()))
    driver_work(job, 0.5)
    with job.step("board"):
        rows = [(*place, *sums) for place, sums in sorted(board.items())]
        shape = "category STRING, store BIGINT, paid DOUBLE, orders BIGINT"
        spark.createDataFrame(rows, shape).coalesce(1).write.mode("overwrite").parquet(job.target("board"))
    products.unpersist()
    collect_besides(job, orders)


WORKLOAD = Workload(
    name="streaming_orders",
    about="a stream of orders joined with a static table, running totals by foreachBatch (Structured Streaming)",
    knobs=HEALTHY | {"rows_per_second": 15_000, "rows_first": 15_000, "seconds": 10, "trigger_s": 1, "work": 0},
    data_knobs=("rows_per_second", "rows_first", "seconds"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.shuffle.partitions": "2"},
)
