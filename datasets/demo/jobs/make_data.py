"""Make the input of the demo jobs: a web shop's events, orders, users and raw orders.

Every value is a function of the row's number and a fixed seed, so two calls make equal rows.
"""

import argparse
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

SEED = 20_240_607
FILES = 8
USERS = 400_000
EVENTS = 12_000_000
ORDERS = 6_000_000
RAW_ORDERS = 1_200_000
ANONYMOUS_SHARE_PERCENT = 45
BAD_RECORD_EVERY = 150_001


def draw(salt: int, bound: int) -> Column:
    """Draw a number in [0, bound), fixed by the row's id and the salt."""
    return F.pmod(F.xxhash64(F.col("id"), F.lit(SEED + salt)), F.lit(bound))


def users(spark: SparkSession) -> DataFrame:
    """One row a registered user."""
    return spark.range(1, USERS + 1, 1, FILES).select(
        F.col("id").alias("user_id"),
        F.concat(F.lit("user-"), F.col("id")).alias("name"),
        draw(1, 60).cast("int").alias("country"),
        draw(2, 4).cast("int").alias("plan"),
    )


def events(spark: SparkSession) -> DataFrame:
    """Page views; user 0 is everybody who is not logged in, the hot key."""
    anonymous = draw(3, 100) < ANONYMOUS_SHARE_PERCENT
    return spark.range(0, EVENTS, 1, FILES).select(
        F.when(anonymous, F.lit(0)).otherwise(draw(4, USERS) + 1).alias("user_id"),
        (F.lit(1_700_000_000) + draw(5, 86_400 * 7)).alias("at_s"),
        draw(6, 5_000).cast("int").alias("page_id"),
        draw(7, 30_000).cast("int").alias("view_ms"),
    )


def orders(spark: SparkSession) -> DataFrame:
    """Orders, spread evenly over the users."""
    return spark.range(0, ORDERS, 1, FILES).select(
        F.col("id").alias("order_id"),
        (draw(8, USERS) + 1).alias("user_id"),
        draw(9, 20_000).cast("int").alias("product_id"),
        (draw(10, 50_000) / 100).alias("amount"),
        (F.lit(1_700_000_000) + draw(11, 86_400 * 28)).alias("at_s"),
    )


def raw_orders(spark: SparkSession) -> DataFrame:
    """Orders as text from a partner; a few amounts have a decimal comma and a currency."""
    amount = F.format_string("%.2f", draw(12, 50_000) / 100)
    bad = (F.col("id") % BAD_RECORD_EVERY) == (BAD_RECORD_EVERY - 1)
    return spark.range(0, RAW_ORDERS, 1, FILES).select(
        F.col("id").alias("order_id"),
        draw(13, 4_000).alias("shop_id"),
        F.when(bad, F.lit("12,50 EUR")).otherwise(amount).alias("amount"),
    )


def main() -> None:
    """Write the four tables under --data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    spark = SparkSession.builder.appName("make demo data").getOrCreate()
    tables = {"users": users(spark), "events": events(spark), "orders": orders(spark), "raw_orders": raw_orders(spark)}
    for name, table in tables.items():
        table.write.mode("overwrite").parquet(str(data / name))
    spark.stop()


if __name__ == "__main__":
    main()
