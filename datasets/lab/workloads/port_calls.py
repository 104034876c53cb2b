"""Ships calling at ports: boxes charged by the calls that brought them, crowded hours, how boxes travel, fleets."""

from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import moments, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, beset, collect_besides, driver_work

FIRST_SECOND = 1_748_736_000  # 2025-06-01 UTC
DAYS = 42
PORTS = 80
BERTHS = 6
SHIPS = 5_000
OWNERS = 40
BOXES_A_CALL = 2.5
VISITS_A_BOX = 4
# Letters of a box's code by what they count in its check digit: eleven and its multiples are left out.
LETTERS = "0123456789A?BCDEFGHIJK?LMNOPQRSTU?VWXYZ"
LINES = ("MSCU", "MAEU", "CMAU", "HLXU", "OOLU", "TGHU", "TEMU", "EGHU")
# Of a tonne, by the first digit of the number of the goods.
RATES = (3.1, 2.6, 4.8, 1.9, 2.2, 3.7, 5.4, 2.9, 6.1, 3.3)
FULL_RATE_T, FURTHER = 12.0, 0.6
SNAPPY_DAYS = 2.0


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the calls in the order of time, their boxes (cooled ones, `udf_share` of all, apart), ships, and ports."""
    random, rows = random_of(seed, "calls"), knobs["rows"]
    calls = max(2, int(rows / BOXES_A_CALL))
    arrived = FIRST_SECOND + np.sort(random.uniform(0, DAYS * 86_400, calls))
    port = random.integers(0, PORTS, calls)
    table = {
        "call_id": np.arange(calls),
        "ship": 9_000_000 + random.integers(0, SHIPS, calls),
        "port": named(port, "P"),
        "berth": random.integers(0, BERTHS, calls),
        "arrived": moments(arrived),
        "sailed": moments(arrived + 3_600 * random.gamma(3, 5, calls)),
        "draught": random.uniform(6, 16, calls).round(2),
        "log": pc.binary_join_element_wise(*(numbers_as_text(random, calls) for _ in range(3)), " "),
    }
    write(pa.table(table), folder / "calls", knobs["files"])
    random = random_of(seed, "boxes")
    call = np.sort(random.integers(0, calls, rows))
    weight, number = random.integers(1_500, 28_000, rows), random.integers(100, 9_900, rows)
    boxes = pa.table(
        {
            "call_id": call,
            "code": _codes(random, rows).take(pa.array(random.integers(0, max(1, rows // VISITS_A_BOX), rows))),
            "goods": pc.binary_join_element_wise(
                pc.utf8_lpad(pa.array(number).cast(pa.string()), 4, "0"),
                pc.binary_join_element_wise(pa.array(weight).cast(pa.string()), "kg", " "),
                ": ",
            ),
            "moved": moments(arrived[call] + random.uniform(600, 9_000, rows)),
            "seal": pc.binary_join_element_wise(*(numbers_as_text(random, rows) for _ in range(2)), "-"),
        }
    )
    cooled = random.random(rows) < knobs["udf_share"]
    write(boxes.filter(pa.array(cooled)), folder / "boxes" / "kind=cooled", knobs["files"])
    write(boxes.filter(pa.array(~cooled)), folder / "boxes" / "kind=dry", knobs["files"])
    random = random_of(seed, "ships")
    ships = {
        "ship": 9_000_000 + np.arange(SHIPS),
        "owner": named(random.integers(0, OWNERS, SHIPS), "owner "),
        "built": random.integers(1985, 2025, SHIPS),
        "tonnage": random.integers(4_000, 210_000, SHIPS),
    }
    write(pa.table(ships), folder / "ships", 1)
    random, numbers = random_of(seed, "ports"), np.arange(PORTS)
    ports = {
        "port": named(numbers, "P"),
        "country": named(numbers % 24, "country "),
        "factor": random.uniform(0.7, 1.6, PORTS).round(3),
    }
    write(pa.table(ports), folder / "ports", 1)


def _codes(random: np.random.Generator, rows: int) -> pa.Array:
    """Give codes of boxes: four letters, six digits and a check digit, which is wrong in one of fifty."""
    count = max(1, rows // VISITS_A_BOX)
    line, serial = random.integers(0, len(LINES), count), random.integers(0, 1_000_000, count)
    letters = np.array([[LETTERS.index(letter) for letter in name] for name in LINES])[line]
    digits = serial[:, None] // 10 ** np.arange(5, -1, -1) % 10
    check = (np.hstack([letters, digits]) * 2 ** np.arange(10)).sum(axis=1) % 11 % 10
    check = np.where(random.random(count) < 0.02, (check + 1) % 10, check)
    parts = (serial // 10, serial % 10 * 10 + check)
    texts = (
        pc.utf8_lpad(pa.array(part).cast(pa.string()), width, "0") for part, width in zip(parts, (5, 2), strict=True)
    )
    return pc.binary_join_element_wise(pa.array(LINES).take(pa.array(line)), *texts, "")


def is_right(code: str) -> bool:
    """Say whether the check digit of a box's code is right."""
    whole = sum(LETTERS.index(letter) * 2**at for at, letter in enumerate(code[:10]))
    return whole % 11 % 10 == int(code[10])


def price(goods: str) -> float:
    """Give what the goods in a box cost at a port of factor one, from the text; beyond some tonnes less."""
    number, weight = goods.split(": ")
    tonnes = int(weight.removesuffix(" kg")) / 1_000
    return RATES[int(number[0])] * (min(tonnes, FULL_RATE_T) + FURTHER * max(tonnes - FULL_RATE_T, 0.0))


def built_in() -> tuple[Column, Column]:
    """Give the same two in Spark's own functions."""
    values = [F.expr(f"instr('{LETTERS}', substring(code, {at + 1}, 1)) - 1") * 2**at for at in range(10)]
    right = reduce(add, values) % 11 % 10 == F.substring("code", 11, 1).cast("int")
    tonnes = F.regexp_extract("goods", r": ([0-9]+) kg$", 1).cast("int") / 1_000
    rate = F.array(*map(F.lit, RATES))[F.substring("goods", 1, 1).cast("int")]
    full, further = F.least(tonnes, F.lit(FULL_RATE_T)), F.greatest(tonnes - FULL_RATE_T, F.lit(0.0))
    return right, rate * (full + FURTHER * further)


def row_by_row() -> tuple[Column, Column]:
    """Give the same two by Python functions."""
    return F.udf(is_right, "boolean", useArrow=False)("code"), F.udf(price, "double", useArrow=False)("goods")


def priced(boxes: DataFrame, right: Column, cost: Column) -> DataFrame:
    """Add whether a box's code is right, and what its goods cost."""
    return boxes.withColumn("is_right", right).withColumn("price", cost)


def charged(boxes: DataFrame, calls: DataFrame, ships: DataFrame, ports: DataFrame) -> DataFrame:
    """Bring boxes to the calls that they came with; old ships and boxes that stay for long cost more."""
    of_call = calls.select("call_id", "ship", "port", "arrived", "sailed", "log")
    known = boxes.join(of_call, "call_id").join(F.broadcast(ships), "ship").join(F.broadcast(ports), "port")
    days = (F.unix_timestamp("sailed") - F.unix_timestamp("moved")) / 86_400
    waiting = F.greatest(days - SNAPPY_DAYS, F.lit(0.0))
    old = F.when(F.col("built") < 2_000, 1.2).otherwise(1.0)
    return known.withColumn("paid", F.col("price") * F.col("factor") * old * (1 + waiting)).drop("factor", "built")


def crowded(calls: DataFrame) -> DataFrame:
    """Count the ships that lie in each port in each hour, and say how often they were more than the berths."""
    hours = F.sequence(F.date_trunc("hour", "arrived"), F.date_trunc("hour", "sailed"), F.expr("INTERVAL 1 HOUR"))
    lying = calls.select("port", "draught", F.explode(hours).alias("hour"))
    by_hour = lying.groupBy("port", "hour").agg(F.count("*").alias("ships"), F.max("draught").alias("deepest"))
    many = F.count_if(F.col("ships") > BERTHS).alias("crowded")
    return by_hour.groupBy("port").agg(many, F.max("ships"), F.avg("deepest"), F.max_by("hour", "ships"))


def journeys(charges: DataFrame) -> DataFrame:
    """Put the ports of each box in order, and count what goes from one to the next."""
    seen = charges.filter("is_right").groupBy("code").agg(F.collect_list(F.struct("moved", "port")).alias("seen"))
    in_order = seen.filter(F.size("seen") > 1).select(F.array_sort("seen").alias("seen"))
    legs = in_order.select(
        F.explode(
            F.arrays_zip(
                F.expr("slice(seen, 1, size(seen) - 1)").alias("from"),
                F.expr("slice(seen, 2, size(seen) - 1)").alias("to"),
            )
        ).alias("leg")
    )
    days = (F.unix_timestamp("leg.to.moved") - F.unix_timestamp("leg.from.moved")) / 86_400
    by_leg = legs.groupBy(F.col("leg.from.port").alias("port"), F.col("leg.to.port").alias("next"))
    return by_leg.agg(F.count("*").alias("boxes"), F.avg(days).alias("days"))


def run(job: Any) -> None:
    """Report the berths, charge the boxes and write that, then crowded hours, journeys of boxes, and fleets."""
    spark, knobs = job.spark, job.knobs
    calls, boxes, ships, ports = (spark.read.parquet(job.path(name)) for name in ("calls", "boxes", "ships", "ports"))
    with job.step("berths"):
        hours = (F.unix_timestamp("sailed") - F.unix_timestamp("arrived")) / 3_600
        by_week = calls.groupBy("port", "berth", F.weekofyear("arrived").alias("week"))
        job.note("weeks", len(by_week.agg(F.count("*"), F.sum(hours), F.max("draught")).collect()))
    driver_work(job, 0.4)
    with job.step("charges"):
        ways = {"dry": built_in(), "cooled": row_by_row() if knobs["udf"] == "rows" else built_in()}
        dry, cooled = (priced(boxes.filter(F.col("kind") == kind), *way) for kind, way in ways.items())
        every = beset(job, dry.unionByName(cooled))
        charged(every, calls, ships, ports).write.mode("overwrite").parquet(job.target("charges"))
    driver_work(job, 0.3)
    charges = spark.read.parquet(job.target("charges"))
    with job.step("crowds"):
        crowded(calls).orderBy(F.desc("crowded"), "port").limit(20).collect()
    with job.step("journeys"):
        journeys(charges).write.mode("overwrite").parquet(job.target("journeys"))
    driver_work(job, 0.3)
    with job.step("fleets"):
        by_ship = charges.groupBy("owner", "ship").agg(
            F.sum("paid").alias("paid"), F.count("*").alias("boxes"), F.approx_count_distinct("seal").alias("seals")
        )
        by_owner = by_ship.groupBy("owner").agg(F.sum("paid"), F.max_by("ship", "paid"), F.sum("boxes"), F.sum("seals"))
        job.note("owners", len(by_owner.collect()))
    collect_besides(job, charges)


WORKLOAD = Workload(
    name="port_calls",
    about="boxes joined with the calls of ships, exploded hours, journeys from sorted lists (SQL/DataFrame, ETL)",
    knobs=HEALTHY | {"rows": 480_000, "files": 8, "udf": "none", "udf_share": 0.25},
    data_knobs=("rows", "files", "udf_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
