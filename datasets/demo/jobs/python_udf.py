"""Delivery zones by a row-at-a-time Python function that built-in functions could replace."""

import argparse
import math

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StringType

EARTH_KM = 6_371.0


def zone(product_id: int, user_id: int) -> str:
    """Name the delivery zone from two made-up positions."""
    a = math.radians(product_id % 180 - 90)
    b = math.radians(user_id % 180 - 90)
    part = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * 0.25
    return f"zone-{int(EARTH_KM * 2 * math.asin(math.sqrt(min(part, 1.0)))) // 500:02d}"


def weekday(at_s: int) -> int:
    """Give the day of the week, 0 is Thursday."""
    return at_s // 86_400 % 7


def by_zone(orders: DataFrame) -> DataFrame:
    """Add up the orders by zone and weekday."""
    zone_of = F.udf(zone, StringType())
    weekday_of = F.udf(weekday, IntegerType())
    return (
        orders.withColumn("zone", zone_of("product_id", "user_id"))
        .withColumn("weekday", weekday_of("at_s"))
        .groupBy("zone", "weekday")
        .agg(F.sum("amount").alias("amount"), F.count("*").alias("orders"))
    )


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    spark = SparkSession.builder.appName("delivery-zones").getOrCreate()
    orders = spark.read.parquet(f"{arguments.data}/orders")
    by_zone(orders).write.mode("overwrite").parquet(f"{arguments.out}/zones")
    spark.stop()


if __name__ == "__main__":
    main()
