"""Tasks that fail on executor 0 only, so that it is excluded."""

import time
from pathlib import Path

from pyspark.sql import SparkSession


def work(number: int) -> int:
    """Fail in the working directory of executor 0."""
    time.sleep(0.2)
    if Path.cwd().name == "0":
        raise OSError("disk of executor 0 is broken")
    return number


def main() -> None:
    """Run one job of eight tasks."""
    spark = SparkSession.builder.appName("exclusion").getOrCreate()
    spark.sparkContext.parallelize(range(8), 8).map(work).count()
    spark.stop()


if __name__ == "__main__":
    main()
