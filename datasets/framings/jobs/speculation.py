"""One task of a stage hangs in its first attempt; a speculative copy on another host finishes it."""

import time

from pyspark import TaskContext
from pyspark.sql import SparkSession

HANGING_PARTITION = 7
END_OF_KILLED_ATTEMPT_S = 3.0


def work(number: int) -> int:
    """Hang when this is the first attempt of the one partition."""
    context = TaskContext.get()
    hangs = context.partitionId() == HANGING_PARTITION and context.attemptNumber() == 0
    time.sleep(40 if hangs else 0.4)
    return number


def main() -> None:
    """Run one job of eight tasks."""
    spark = SparkSession.builder.appName("speculation").getOrCreate()
    spark.sparkContext.parallelize(range(8), 8).map(work).count()
    time.sleep(END_OF_KILLED_ATTEMPT_S)
    spark.stop()


if __name__ == "__main__":
    main()
