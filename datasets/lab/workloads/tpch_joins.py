"""Reports over orders, after TPC-H: line items joined with orders, customers, nations and parts (generated data)."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._frames import side, troubled_frame
from datasets.lab.workloads._tables import keys, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

YEARS = tuple(range(1992, 1999))
FIRST_DAY = 8_035  # 1992-01-01, in days since 1970
ORDER_DAYS = 2_405
PARTS = 20_000
SEGMENTS = ("AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY")
PRIORITIES = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the five tables; line items lie in a folder for each year of shipping, sorted by day."""
    orders = knobs["rows"] // 3
    random = random_of(seed, "orders")
    ordered = random.integers(FIRST_DAY, FIRST_DAY + ORDER_DAYS, orders)
    table = {
        "o_orderkey": np.arange(orders),
        "o_custkey": keys(random, orders, knobs["customers"], knobs["hot_share"]),
        "o_orderdate": _dates(ordered),
        "o_orderpriority": pa.array(np.array(PRIORITIES)[random.integers(0, 5, orders)]),
        "o_clerk": _text(random, orders),
        "o_comment": _text(random, orders),
    }
    write(pa.table(table), folder / "orders", 8)
    _make_lines(folder, seed, knobs, ordered)
    random = random_of(seed, "customer")
    ids = np.repeat(np.arange(knobs["customers"] + 1), knobs["customer_copies"])
    customers = {
        "c_custkey": ids,
        "c_nationkey": random.integers(0, 25, len(ids)),
        "c_mktsegment": pa.array(np.array(SEGMENTS)[random.integers(0, 5, len(ids))]),
        "c_address": _text(random, len(ids)),
    }
    write(pa.table(customers), folder / "customer", 2)
    nations = {"n_nationkey": np.arange(25), "n_name": [f"NATION {nation}" for nation in range(25)]}
    write(pa.table(nations), folder / "nation", 1)
    parts = {"p_partkey": np.arange(PARTS + 1), "p_brand": [f"Brand#{part % 45}" for part in range(PARTS + 1)]}
    write(pa.table(parts), folder / "part", 1)


def _make_lines(folder: Path, seed: int, knobs: Knobs, ordered: np.ndarray) -> None:
    random, rows = random_of(seed, "lineitem"), knobs["rows"]
    orders = random.integers(0, len(ordered), rows)
    shipped = ordered[orders] + random.integers(1, 122, rows)
    by_day = np.argsort(shipped, kind="stable")
    orders, shipped = orders[by_day], shipped[by_day]
    lines = pa.table(
        {
            "l_orderkey": orders,
            "l_partkey": keys(random, rows, PARTS),
            "l_quantity": random.integers(1, 51, rows),
            "l_extendedprice": random.integers(90_000, 10_495_000, rows) / 100,
            "l_discount": random.integers(0, 11, rows) / 100,
            "l_returnflag": pa.array(np.array(["A", "N", "R"])[random.integers(0, 3, rows)]),
            "l_shipdate": _dates(shipped),
        }
    )
    starts = [(np.datetime64(f"{year}-01-01") - np.datetime64("1970-01-01")).astype(int) for year in (*YEARS, 1999)]
    bounds = np.searchsorted(shipped, starts)
    files = max(1, knobs["files"] // len(YEARS))
    for year, begin, end in zip(YEARS, bounds[:-1], bounds[1:], strict=True):
        place = folder / "lineitem" / f"l_shipyear={year}"
        place.mkdir(parents=True)
        cuts = np.linspace(begin, end, files + 1).astype(int)
        for at in range(files):
            part = lines.slice(cuts[at], cuts[at + 1] - cuts[at])
            pq.write_table(part, place / f"part-{at:05}.parquet", row_group_size=128_000)


def _dates(days: np.ndarray) -> pa.Array:
    return pa.array(days.astype(np.int32)).cast(pa.date32())


def _text(random: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(random.integers(0, 1 << 62, rows)).cast(pa.string())


def run(job: Any) -> None:
    """Report years by brand, join line items with orders, and ask three questions of the outcome."""
    spark, knobs = job.spark, job.knobs
    names = ("lineitem", "orders", "customer", "nation", "part")
    lines, orders, customer, nation, part = (spark.read.parquet(job.path(name)) for name in names)
    revenue = F.col("l_extendedprice") * (1 - F.col("l_discount"))
    with job.step("years"):
        for year in YEARS[1 : 1 + knobs["years"]]:
            defeated = F.date_format("l_shipdate", "yyyy") == str(year)
            wanted = lines.filter(F.col("l_shipyear") == year if knobs["prune"] else defeated)
            by_brand = wanted.join(F.broadcast(part), wanted.l_partkey == part.p_partkey).groupBy("p_brand")
            by_brand.agg(F.sum(revenue), F.avg("l_discount"), F.sum("l_quantity")).collect()
    driver_work(job, 0.5)
    with job.step("orders"):
        sold = lines.join(orders, lines.l_orderkey == orders.o_orderkey).drop("l_orderkey", "l_shipyear")
        sold.write.mode("overwrite").parquet(job.target("sold"))
    sold = spark.read.parquet(job.target("sold"))
    customer = side(customer, knobs["broadcast"])
    bought = sold.join(customer, sold.o_custkey == customer.c_custkey)
    with job.step("q3"):
        urgent = bought.groupBy("c_mktsegment", "o_orderpriority").agg(F.sum(revenue), F.max("o_clerk"))
        urgent.collect()
    with job.step("q5"):
        named = bought.join(F.broadcast(nation), bought.c_nationkey == nation.n_nationkey)
        named.groupBy("n_name", F.trunc("o_orderdate", "month")).agg(F.sum(revenue)).collect()
    driver_work(job, 0.5)
    with job.step("q10"):
        best = bought.groupBy("o_custkey", "c_address").agg(F.sum(revenue).alias("revenue"), F.max("o_comment"))
        troubled_frame(job, best).orderBy(F.desc("revenue")).limit(20).collect()
    with job.step("extract"):
        collect_rows(job, sold)


WORKLOAD = Workload(
    name="tpch_joins",
    about="TPC-H-like joins of line items, orders, customers, nations and parts (SQL/DataFrame)",
    knobs=HEALTHY
    | {
        "rows": 1_160_000,
        "files": 14,
        "customers": 40_000,
        "hot_share": 0.0,
        "customer_copies": 1,
        "broadcast": "auto",
        "prune": True,
        "years": 3,
    },
    data_knobs=("rows", "files", "customers", "hot_share", "customer_copies"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "32m"},
)
