"""The tables that `emberscope extract` writes, read by pandas, Polars and DuckDB.

Every format has to hold the same rows: as many, with the same sum in every numeric column and as many nulls in every
column. The binary is named by EMBERSCOPE_BIN. The runs are those under datasets/demo, and Spark's own test logs where
they are beside the project.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EMBERSCOPE_SHARED", ROOT.parent / "shared" / "real"))
FORMATS = ["parquet", "csv", "arrow", "ndjson"]
TABLES = [
    "application",
    "executors",
    "jobs",
    "sql_executions",
    "sql_node_metrics",
    "sql_plan_nodes",
    "stage_attempts",
    "streaming_batches",
    "tasks",
]
# What a reader has to be told of a text format: it would take an id for a number, or an empty column for text.
Types = dict[str, str]


def inputs() -> list[Path]:
    """Return the runs to extract: always the same, in one order."""
    runs = sorted((ROOT / "datasets" / "demo").glob("*.zstd"))
    shared = SHARED / "eventlogs" / "apache-spark" / "spark-events"
    streaming = SHARED / "eventlogs" / "spark-rapids-tools" / "event_logs" / "streaming_eventlog.zstd"
    return runs + [path for path in (shared, streaming) if path.exists()]


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Extract the runs once in every format."""
    binary = os.environ.get("EMBERSCOPE_BIN")
    if not binary:
        pytest.skip("EMBERSCOPE_BIN names no binary")
    directories = {}
    for name in FORMATS:
        directory = tmp_path_factory.mktemp(name)
        command = [binary, "extract", *map(str, inputs()), "--out", str(directory), "--format", name]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        directories[name] = directory
    return directories


def types(directory: Path, table: str) -> Types:
    """Return the type of every column, from the schema of the Parquet file."""
    names = {pl.Int64: "integer", pl.Float64: "float", pl.Boolean: "flag", pl.String: "text"}
    return {name: names[kind] for name, kind in pl.read_parquet_schema(directory / f"{table}.parquet").items()}


def summary(frame: pl.DataFrame, columns: Types) -> dict[str, tuple[int, float]]:
    """Return rows, and nulls and the sum of each column; a sum of lengths for text, of ones for flags."""
    found = {"": (frame.height, float(frame.width))}
    for name, kind in columns.items():
        column = frame[name]
        if kind == "text":
            column = column.str.len_bytes()
        found[name] = (column.null_count(), float(column.cast(pl.Float64).sum()))
    return found


def assert_same(found: dict[str, tuple[int, float]], expected: dict[str, tuple[int, float]], reader: str) -> None:
    """Compare two summaries; sums of floats to a billionth."""
    assert found.keys() == expected.keys(), reader
    for name, (nulls, total) in expected.items():
        assert found[name][0] == nulls, f"{reader}: nulls of {name}"
        assert found[name][1] == pytest.approx(total, rel=1e-9, abs=1e-9), f"{reader}: sum of {name}"


def by_polars(path: Path, columns: Types) -> pl.DataFrame:
    """Read a table with Polars."""
    kinds = {"integer": pl.Int64, "float": pl.Float64, "flag": pl.Boolean, "text": pl.String}
    schema = {name: kinds[kind] for name, kind in columns.items()}
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        ".parquet": lambda: pl.read_parquet(path),
        ".csv": lambda: pl.read_csv(path, schema=schema),
        ".arrow": lambda: pl.read_ipc(path),
        ".ndjson": lambda: pl.read_ndjson(path, schema=schema) if path.stat().st_size else pl.DataFrame(schema=schema),
    }
    return readers[path.suffix]()


def by_pandas(path: Path, columns: Types) -> pl.DataFrame:
    """Read a table with pandas, and hand it to Polars as it is."""
    kinds = {"integer": "Int64", "float": "Float64", "flag": "boolean", "text": "string"}
    dtype = {name: kinds[kind] for name, kind in columns.items()}
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
    elif path.suffix == ".arrow":
        frame = pd.read_feather(path, dtype_backend="numpy_nullable")
    elif path.suffix == ".csv":
        frame = pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=[""])
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        frame = pd.DataFrame(rows, columns=list(columns), dtype=object).astype(dtype)
    assert list(frame.columns) == list(columns)
    return pl.from_pandas(frame.astype(dtype))


def by_duckdb(path: Path, columns: Types) -> pl.DataFrame | None:
    """Read a table with DuckDB; None for Arrow files, which it reads through pyarrow only."""
    kinds = {"integer": "BIGINT", "float": "DOUBLE", "flag": "BOOLEAN", "text": "VARCHAR"}
    declared = "{" + ", ".join(f"'{name}': '{kinds[kind]}'" for name, kind in columns.items()) + "}"
    queries = {
        ".parquet": f"SELECT * FROM read_parquet('{path}')",
        ".csv": f"SELECT * FROM read_csv('{path}', header = true, nullstr = '', columns = {declared})",
        ".ndjson": f"SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {declared})",
    }
    return duckdb.sql(queries[path.suffix]).pl() if path.suffix in queries else None


@pytest.mark.parametrize("table", TABLES)
def test_every_reader_finds_the_same_rows_in_every_format(directories: dict[str, Path], table: str) -> None:
    """Rows, nulls and sums are those of the Parquet file as Polars reads it."""
    columns = types(directories["parquet"], table)
    expected = summary(by_polars(directories["parquet"] / f"{table}.parquet", columns), columns)
    compared = 0
    for name, directory in directories.items():
        for reader in (by_polars, by_pandas, by_duckdb):
            frame = reader(directory / f"{table}.{name}", columns)
            if frame is not None:
                assert_same(summary(frame, columns), expected, f"{reader.__name__} of {table}.{name}")
                compared += 1
    assert compared == 11


def test_only_the_tables_are_written(directories: dict[str, Path]) -> None:
    """No other file is left in the directory, and none is missing."""
    for name, directory in directories.items():
        assert sorted(path.name for path in directory.iterdir()) == [f"{table}.{name}" for table in TABLES]


def test_sums_of_tasks_are_those_of_their_stage_attempts(directories: dict[str, Path]) -> None:
    """One table's sums agree with another's: the tables can be joined by their keys."""
    path = directories["parquet"]
    joined = duckdb.sql(
        f"""
        SELECT stages.task_duration_sum_ms AS whole, parts.ms AS parts, stages.tasks_ended_count AS ended, parts.n AS n
        FROM read_parquet('{path}/stage_attempts.parquet') AS stages
        JOIN (SELECT run, stage_id, stage_attempt, sum(task_duration_ms)::BIGINT AS ms, count(*) AS n
              FROM read_parquet('{path}/tasks.parquet') WHERE status <> 'resubmitted' GROUP BY ALL) AS parts
        USING (run, stage_id, stage_attempt)
        """
    ).fetchnumpy()
    assert len(joined["whole"]) > 10
    assert np.array_equal(joined["whole"], joined["parts"])
    assert np.array_equal(joined["ended"], joined["n"])


def test_extracting_twice_gives_equal_bytes(directories: dict[str, Path], tmp_path: Path) -> None:
    """A second extraction of the same runs is the first one again."""
    command = [
        os.environ["EMBERSCOPE_BIN"],
        "extract",
        *map(str, inputs()),
        "--out",
        str(tmp_path),
        "--format",
        "parquet",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for table in TABLES:
        name = f"{table}.parquet"
        assert (tmp_path / name).read_bytes() == (directories["parquet"] / name).read_bytes(), name
