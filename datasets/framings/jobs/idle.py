"""Two bursts of work with a rest between them, for executors that come and go."""

import time

from pyspark.sql import SparkSession

REST_SECONDS = 9.0


def work(number: int) -> tuple[int, int]:
    """Take some time."""
    time.sleep(0.4)
    return number % 3, number


def main() -> None:
    """Run a job with a shuffle, rest, and run it again."""
    spark = SparkSession.builder.appName("idle").getOrCreate()
    for _ in range(2):
        pairs = spark.sparkContext.parallelize(range(12), 12).map(work)
        pairs.reduceByKey(max, 2).count()
        time.sleep(REST_SECONDS)
    spark.stop()


if __name__ == "__main__":
    main()
