"""A small SQL job with a join and a shuffle: the run that each framing holds."""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def main() -> None:
    """Run one query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    rows: int = parser.parse_args().rows
    spark = SparkSession.builder.appName("small").getOrCreate()
    left = spark.range(rows).withColumn("key", F.col("id") % 100)
    right = spark.range(100).withColumnRenamed("id", "key").withColumn("name", F.hex("key"))
    joined = left.join(right, "key")
    joined.groupBy("name").count().collect()
    spark.stop()


if __name__ == "__main__":
    main()
