"""Make a large plain event log, and its zstd copy, for the benches.

`python benches/make_big_log.py --mb 300` runs a star-schema SQL workload with PySpark on two cores until Spark has
written that much. `python benches/make_big_log.py --repeat 8 LOG` makes a larger, synthetic log from such a real
one: the jobs of LOG, again and again under new ids and later times, between one start and one end.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MB = 1_000_000
PARTITIONS = 400
ROWS = 400_000
FILES = 48
SPARK_ZSTD_LEVEL = 1

QUERIES = (
    "select s.state, i.category, sum(f.price) paid, count(*) n from sales f join stores s using (store_id)"
    " join items i using (item_id) where f.day % {n} <> 1 group by s.state, i.category order by paid desc",
    "select day, count(distinct customer_id) customers, avg(price) price from sales where quantity > {n} % 9"
    " group by day order by day",
    "select * from (select customer_id, price, row_number() over (partition by customer_id order by price desc) place"
    " from sales where day > {n}) where place <= 3 order by price desc limit 100",
    "select a.customer_id, sum(a.price) bought, sum(r.refund) back from sales a join returns r"
    " on a.sale_id = r.sale_id where r.refund > {n} group by a.customer_id having back > 1 order by back limit 50",
)


def session(log_folder: Path) -> "SparkSession":
    """Start Spark with a plain event log in the folder."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 (--repeat works without PySpark)

    builder = SparkSession.builder.master("local[2]").appName("big log")
    settings = {
        "spark.driver.memory": "3g",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": log_folder.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": str(PARTITIONS),
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
        "spark.sql.autoBroadcastJoinThreshold": "100k",
        "spark.log.level": "ERROR",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def make_tables(spark: "SparkSession", folder: Path) -> None:
    """Write the star schema as Parquet and name its tables."""
    tables = {
        "stores": "select id store_id, concat('state ', id % 50) state from range(1000)",
        "items": "select id item_id, concat('category ', id % 40) category from range(20000)",
        "sales": "select id sale_id, id * 7 % 1000 store_id, id * 13 % 20000 item_id, id * 31 % 50000 customer_id,"
        " cast(id % 365 as int) day, cast(id % 9 as int) quantity, id % 997 / 10 price"
        f" from range(0, {ROWS}, 1, {FILES})",
        "returns": f"select id * 5 sale_id, id % 700 refund from range(0, {ROWS // 5}, 1, {FILES // 4})",
    }
    for name, query in tables.items():
        spark.sql(query).write.parquet(str(folder / name))
        spark.read.parquet(str(folder / name)).createOrReplaceTempView(name)


def run_queries(spark: "SparkSession", log_folder: Path, wanted_bytes: int) -> None:
    """Run the queries with changing constants until the log is large enough."""
    number = 0
    while sum(path.stat().st_size for path in log_folder.iterdir()) < wanted_bytes:
        spark.sql(QUERIES[number % len(QUERIES)].format(n=number % 97 + 2)).collect()
        number += 1


def make(wanted_bytes: int, out: Path) -> Path:
    """Run the workload and give the path of its log."""
    with tempfile.TemporaryDirectory() as temporary:
        logs = Path(temporary) / "logs"
        logs.mkdir()
        spark = session(logs)
        make_tables(spark, Path(temporary) / "tables")
        run_queries(spark, logs, wanted_bytes)
        spark.stop()
        [log] = [path for path in logs.iterdir() if not path.name.startswith(".")]
        return Path(shutil.move(log, out / f"big-{wanted_bytes // MB}mb"))


ONCE = re.compile(
    rb'\{"Event":"SparkListener(LogStart|ResourceProfileAdded|BlockManagerAdded|EnvironmentUpdate|ApplicationStart'
    rb'|ExecutorAdded|ApplicationEnd)"'
)
END = b'{"Event":"SparkListenerApplicationEnd"'
NUMBER = re.compile(
    rb'"(?P<key>Stage ID|Job ID|Task ID|RDD ID|ID|executionId|rootExecutionId|accumulatorId|spark\.sql\.execution\.id'
    rb"|spark\.sql\.execution\.root\.id|Launch Time|Finish Time|Getting Result Time|Submission Time|Completion Time"
    rb'|time|Timestamp)":(?P<quote>"?)(?P<number>\d+)'
)
LIST = re.compile(rb'"(?P<key>Stage IDs|Parent IDs)":\[(?P<numbers>[\d,]+)\]')
PAIRS = re.compile(rb'"accumUpdates":\[\[.*?\]\]')
PAIR = re.compile(rb"\[(\d+),")
KINDS = {
    b"Stage ID": "stage",
    b"Stage IDs": "stage",
    b"Job ID": "job",
    b"Task ID": "task",
    b"RDD ID": "rdd",
    b"Parent IDs": "rdd",
    b"ID": "accumulator",
    b"accumulatorId": "accumulator",
    b"executionId": "execution",
    b"rootExecutionId": "execution",
    b"spark.sql.execution.id": "execution",
    b"spark.sql.execution.root.id": "execution",
}
Spans = dict[str, int]


def kind_of(key: bytes) -> str:
    """Say which numbering a key belongs to; every other key that NUMBER knows is a time."""
    return KINDS.get(key, "time")


def spans(log: Path) -> Spans:
    """Find how far each numbering must be shifted for the next copy."""
    highest: Spans = {}
    earliest = None
    with log.open("rb") as lines:
        for line in lines:
            for found in NUMBER.finditer(line):
                kind, number = kind_of(found["key"]), int(found["number"])
                highest[kind] = max(highest.get(kind, 0), number)
                if kind == "time" and number:
                    earliest = min(earliest or number, number)
    return {kind: number + 1 - ((earliest or 0) if kind == "time" else 0) for kind, number in highest.items()}


def shifter(step: Spans, copy: int) -> Callable[[bytes], bytes]:
    """Give the function that renumbers a line for the n-th copy; a time of 0 is none and stays."""

    def moved(kind: str, number: bytes) -> bytes:
        return number if kind == "time" and number == b"0" else str(int(number) + step.get(kind, 0) * copy).encode()

    def number(found: re.Match[bytes]) -> bytes:
        return b'"%b":%b%b' % (found["key"], found["quote"], moved(kind_of(found["key"]), found["number"]))

    def numbers(found: re.Match[bytes]) -> bytes:
        kind = kind_of(found["key"])
        return b'"%b":[%b]' % (found["key"], b",".join(moved(kind, part) for part in found["numbers"].split(b",")))

    def pairs(found: re.Match[bytes]) -> bytes:
        return PAIR.sub(lambda pair: b"[%b," % moved("accumulator", pair[1]), found[0])

    def line(text: bytes) -> bytes:
        text = LIST.sub(numbers, NUMBER.sub(number, text))
        return PAIRS.sub(pairs, text) if b'"accumUpdates"' in text else text

    return line


def repeated(log: Path, copies: int) -> Iterator[bytes]:
    """Give the lines of the synthetic log."""
    step = spans(log)
    end = b""
    for copy in range(copies):
        shifted = shifter(step, copy)
        with log.open("rb") as lines:
            for line in lines:
                if line.startswith(END):
                    end = shifted(line)
                elif copy == 0 or not ONCE.match(line):
                    yield shifted(line)
    yield end


def repeat(log: Path, copies: int, out: Path) -> Path:
    """Write the synthetic log and give its path."""
    made = out / f"{log.name}-synthetic-x{copies}"
    with made.open("wb") as file:
        file.writelines(repeated(log, copies))
    return made


def frames(log: Path) -> Iterator[bytes]:
    """Cut the log where Spark flushes and so ends a frame: after each event that is not about a task."""
    held: list[bytes] = []
    with log.open("rb") as lines:
        for line in lines:
            held.append(line)
            if not line.startswith(b'{"Event":"SparkListenerTask'):
                yield b"".join(held)
                held.clear()
    yield b"".join(held)


def write_zstd(log: Path) -> Path:
    """Compress as Spark does: level 1, many frames."""
    made = log.with_name(f"{log.name}.zstd")
    compressor = zstandard.ZstdCompressor(level=SPARK_ZSTD_LEVEL)
    with made.open("wb") as target:
        target.writelines(compressor.compress(frame) for frame in frames(log) if frame)
    return made


def main() -> None:
    """Make the log that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", type=Path, metavar="LOG", help="the real log to repeat")
    parser.add_argument("--mb", type=int, default=300, help="least size of the real log (default 300)")
    parser.add_argument("--repeat", type=int, metavar="N", help="copies in the synthetic log")
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--no-zstd", action="store_true", help="write no zstd copy")
    arguments = parser.parse_args()
    if (arguments.log is None) != (arguments.repeat is None):
        parser.error("LOG and --repeat go together")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.log:
        made = repeat(arguments.log, arguments.repeat, arguments.out)
    else:
        made = make(arguments.mb * MB, arguments.out)
    for path in [made] if arguments.no_zstd else [made, write_zstd(made)]:
        print(f"{path}: {path.stat().st_size / MB:.1f} MB")


if __name__ == "__main__":
    main()
