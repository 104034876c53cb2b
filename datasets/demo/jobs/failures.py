"""Partner orders: one executor is killed on the way, then bad amounts fail the job."""

import argparse
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType

VICTIM_EXECUTOR = "0"
SAFE_PARTITIONS = 4


def parent_of(pid: int) -> int:
    """Give the parent's process id, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])


def executor_pid() -> int:
    """Find the executor's JVM above this Python worker."""
    pid = os.getppid()
    while "java" not in Path(f"/proc/{pid}/comm").read_text():
        pid = parent_of(pid)
    return pid


def merge_shop(rows: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Pass the rows on; on the way executor 0 is killed once, as the kernel's OOM killer would do it.

    An executor of a standalone cluster runs in a folder that is named after its id.
    """
    merged = list(rows)
    late = TaskContext.get().partitionId() >= SAFE_PARTITIONS
    if late and Path.cwd().name == VICTIM_EXECUTOR:
        os.kill(executor_pid(), signal.SIGKILL)
    return iter(merged)


def count_by_shop(raw: DataFrame) -> int:
    """Count the orders of each shop, by RDD, as the old job did it."""
    pairs = raw.select("shop_id").rdd.map(lambda row: (row["shop_id"], 1))
    return pairs.reduceByKey(lambda a, b: a + b, 8).mapPartitions(merge_shop).count()


def parse_amount(text: str) -> float:
    """Read an amount such as 12.50."""
    value = float(text)
    if value < 0:
        raise ValueError(f"amount below zero: {text}")
    return value


def total_by_shop(raw: DataFrame) -> DataFrame:
    """Add up the parsed amounts."""
    parse = F.udf(parse_amount, DoubleType())
    return raw.withColumn("value", parse("amount")).groupBy("shop_id").agg(F.sum("value"))


def main() -> None:
    """Count the shops, then write their totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    spark = SparkSession.builder.appName("partner-orders").getOrCreate()
    try:
        raw = spark.read.parquet(f"{arguments.data}/raw_orders")
        count_by_shop(raw)
        total_by_shop(raw).write.mode("overwrite").parquet(f"{arguments.out}/totals")
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
