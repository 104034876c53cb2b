"""Baskets of all orders collected as lists in executors with too small a heap."""

import argparse

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def baskets(orders: DataFrame) -> DataFrame:
    """Sort every order by user and time, then collect each user's orders."""
    wide = orders.withColumn("note", F.sha2(F.col("order_id").cast("string"), 256))
    ordered = wide.repartition(4, "user_id").sortWithinPartitions("user_id", "at_s")
    return ordered.groupBy("user_id").agg(
        F.collect_list(F.struct("at_s", "product_id", "amount", "note")).alias("basket")
    )


def main() -> None:
    """Count what the largest baskets hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    spark = SparkSession.builder.appName("baskets").getOrCreate()
    orders = spark.read.parquet(f"{arguments.data}/orders")
    sized = baskets(orders).select("user_id", F.size("basket").alias("items"))
    sized.groupBy("items").count().write.mode("overwrite").parquet(f"{arguments.out}/baskets")
    spark.stop()


if __name__ == "__main__":
    main()
