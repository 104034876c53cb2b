"""Two queries over Spark Connect: one that answers and one that fails."""

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession


def main() -> None:
    """Run both queries in one Connect session."""
    spark = SparkSession.builder.appName("connect").remote("local[2]").getOrCreate()
    spark.range(0, 1_000, 1, 4).groupBy().sum("id").collect()
    try:
        spark.sql("select 1 / id from range(3)").collect()
    except PySparkException as error:
        print(error)
    spark.stop()


if __name__ == "__main__":
    main()
