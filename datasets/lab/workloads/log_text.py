"""Web server logs: text parsed by regular expressions, counted by hour, address and page; agents counted by an RDD."""

from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, beset_rdd, carry_along, collect_rows, driver_work

PATTERN = r'^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+) [^"]*" (\d{3}) (\d+) "([^"]*)"$'
FIELDS = ("address", "time", "method", "url", "status", "bytes", "agent")
FIRST_SECOND = 1_780_000_000
DAYS = 7


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write lines in the order of time; the last `udf_share` of them lie in a folder of their own."""
    random, lines = random_of(seed, "log"), knobs["lines"]
    octets = [pa.array(random.integers(1, 255, lines)).cast(pa.string()) for _ in range(4)]
    seconds = FIRST_SECOND + np.sort(random.integers(0, DAYS * 86_400, lines))
    times = pc.strftime(pa.array(seconds).cast(pa.timestamp("s")), format="%d/%b/%Y:%H:%M:%S +0000")
    pages = np.array([f"/shop/{number % 97}/item-{number * 7_919}.html" for number in range(4_000)])
    agents = np.array([f"Mozilla/5.0 (kind {number}; rv:{number * 3}.0) Engine/{number}" for number in range(40)])
    seen = np.minimum(random.pareto(1.2, lines) * 60, len(pages) - 1).astype(int)
    statuses = np.array(["200", "200", "200", "200", "206", "301", "304", "404", "500", "503"])
    text = pc.binary_join_element_wise(
        pc.binary_join_element_wise(*octets, "."),
        " - - [",
        times,
        '] "GET ',
        pa.array(pages[seen]),
        ' HTTP/1.1" ',
        pa.array(statuses[random.integers(0, 10, lines)]),
        " ",
        pa.array(random.integers(200, 90_000, lines)).cast(pa.string()),
        ' "',
        pa.array(agents[random.integers(0, 40, lines)]),
        '"\n',
        "",
    )
    legacy = round(lines * knobs["udf_share"])
    write_text(text.slice(0, lines - legacy), folder / "logs", knobs["files"])
    if legacy:
        files = max(1, round(knobs["files"] * knobs["udf_share"]))
        write_text(text.slice(lines - legacy), folder / "legacy", files)


def _by_expressions(lines: Any) -> Any:
    return lines.select(*(F.regexp_extract("value", PATTERN, at + 1).alias(name) for at, name in enumerate(FIELDS)))


def _by_python(lines: Any) -> Any:
    import re  # noqa: PLC0415 (goes with the function to the workers)

    pattern, nothing = PATTERN, ("",) * len(FIELDS)

    def parse(line: str) -> tuple[str, ...]:
        found = re.match(pattern, line)
        return found.groups() if found else nothing

    schema = ", ".join(f"{name} string" for name in FIELDS)
    return lines.select(F.udf(parse, schema, useArrow=False)("value").alias("line")).select("line.*")


def run(job: Any) -> None:
    """Parse once and write, then count what was written; count the agents from the text."""
    spark, knobs = job.spark, job.knobs
    folders = [job.path("logs")] + ([job.path("legacy")] if knobs["udf_share"] else [])
    with job.step("parse"):
        if knobs["udf"] == "rows" and knobs["udf_share"]:
            parsed = _by_expressions(spark.read.text(folders[0])).union(_by_python(spark.read.text(folders[1])))
        else:
            parsed = _by_expressions(spark.read.text(folders))
        time = F.to_timestamp("time", "dd/MMM/yyyy:HH:mm:ss Z").alias("time")
        numbers = (F.col(name).cast("int").alias(name) for name in ("status", "bytes"))
        typed = parsed.select("address", time, "method", "url", *numbers, "agent")
        typed.write.mode("overwrite").parquet(job.target("requests"))
    driver_work(job, 0.5)
    requests = spark.read.parquet(job.target("requests"))
    with job.step("hours"):
        by_hour = requests.groupBy(F.date_trunc("hour", "time").alias("hour"), "status")
        by_hour.agg(F.count("*"), F.sum("bytes")).orderBy("hour", "status").collect()
    with job.step("urls"):
        top = requests.groupBy("url").agg(F.count("*").alias("hits"), F.approx_count_distinct("address"))
        top.orderBy(F.desc("hits"), "url").limit(50).collect()
    with job.step("visitors"):
        visitors = requests.groupBy("address").agg(F.count("*").alias("hits"), F.max("url").alias("last"))
        visitors.write.mode("overwrite").parquet(job.target("visitors"))
    driver_work(job, 0.5)
    with job.step("agents"):
        job.note("agents", len(_agents(job, ",".join(folders)).collect()))
    carry_along(job, ",".join(folders))
    with job.step("extract"):
        collect_rows(job, requests)


def _agents(job: Any, folders: str) -> Any:
    """Count requests by agent and network zone."""

    def zone_and_agent(line: str) -> tuple[tuple[int, str], int]:
        first, second, _ = line.split(".", 2)
        zone = (int(first) * 31 + int(second)) % 8
        return (zone, line[line.rindex(" ") + 1 : -1]), 1

    lines = job.context.textFile(folders, 8)
    return beset_rdd(job, lines).map(zone_and_agent).reduceByKey(add, 4)


WORKLOAD = Workload(
    name="log_text",
    about="text logs parsed by regular expressions and counted (SQL functions and an RDD)",
    knobs=HEALTHY | {"lines": 440_000, "files": 8, "udf": "none", "udf_share": 0.0},
    data_knobs=("lines", "files", "udf_share"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
