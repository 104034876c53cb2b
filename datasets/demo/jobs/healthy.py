"""Monthly order report: every task does its even share."""

import argparse

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F


def enriched(spark: SparkSession, data: str) -> DataFrame:
    """Orders with their user's country and plan."""
    orders = spark.read.parquet(f"{data}/orders")
    users = spark.read.parquet(f"{data}/users")
    return orders.join(users, "user_id")


def best_customers(rows: DataFrame) -> DataFrame:
    """Rank the orders of each user and add up what the user spent."""
    by_user = Window.partitionBy("user_id").orderBy(F.desc("amount"))
    ranked = rows.withColumn("rank", F.row_number().over(by_user))
    return (
        ranked.where("rank <= 20")
        .groupBy("user_id", "country")
        .agg(
            F.sum("amount").alias("spent"),
            F.count("*").alias("orders"),
            F.stddev("amount").alias("spread"),
        )
    )


def by_country(rows: DataFrame) -> DataFrame:
    """Add up the orders by country, plan and day."""
    day = (F.col("at_s") / 86_400).cast("int").alias("day")
    return rows.groupBy("country", "plan", day).agg(
        F.sum("amount").alias("amount"),
        F.approx_count_distinct("product_id").alias("products"),
        F.percentile_approx("amount", 0.5).alias("median"),
    )


def main() -> None:
    """Write both reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    spark = SparkSession.builder.appName("order-report").getOrCreate()
    rows = enriched(spark, arguments.data).persist()
    best_customers(rows).write.mode("overwrite").parquet(f"{arguments.out}/best_customers")
    by_country(rows).write.mode("overwrite").parquet(f"{arguments.out}/by_country")
    rows.unpersist()
    spark.stop()


if __name__ == "__main__":
    main()
