"""Making data: the same bytes for the same seed, by NumPy and Arrow, without Spark."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def random_of(seed: int, name: str) -> np.random.Generator:
    """Give a generator of its own to each table."""
    return np.random.Generator(np.random.PCG64([seed, *name.encode()]))


def write(table: pa.Table, folder: Path, files: int, compression: str = "snappy") -> None:
    """Write a table as Parquet, in so many files of equal numbers of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, table.num_rows, files + 1).astype(int)
    for at in range(files):
        part = table.slice(bounds[at], bounds[at + 1] - bounds[at])
        pq.write_table(part, folder / f"part-{at:05}.parquet", compression=compression)


def write_text(lines: pa.Array | pa.ChunkedArray, folder: Path, files: int) -> None:
    """Write lines, each with its line break, in so many text files of equal numbers of lines."""
    folder.mkdir(parents=True)
    whole = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    bounds = np.linspace(0, len(whole), files + 1).astype(int)
    for at in range(files):
        part = whole.slice(bounds[at], bounds[at + 1] - bounds[at])
        offsets = np.frombuffer(part.buffers()[1], dtype=np.int32)[part.offset : part.offset + len(part) + 1]
        (folder / f"part-{at:05}.txt").write_bytes(part.buffers()[2][int(offsets[0]) : int(offsets[-1])])


def keys(random: np.random.Generator, rows: int, distinct: int, hot_share: float = 0.0) -> np.ndarray:
    """Give keys from 1 to `distinct`, evenly; the key 0 has `hot_share` of all rows on top."""
    found = random.integers(1, distinct + 1, rows, dtype=np.int64)
    if hot_share:
        found[random.random(rows) < hot_share] = 0
    return found


def named(numbers: np.ndarray, prefix: str) -> pa.Array:
    """Give `prefix` and the number as text, for each of these numbers from 0."""
    names = pa.array([f"{prefix}{number}" for number in range(int(numbers.max(initial=0)) + 1)])
    return names.take(pa.array(numbers))


def numbers_as_text(random: np.random.Generator, rows: int) -> pa.Array:
    """Give text that hardly compresses: large numbers in decimal."""
    return pa.array(random.integers(0, 1 << 62, rows)).cast(pa.string())


def moments(seconds: np.ndarray) -> pa.Array:
    """Give seconds since 1970 as timestamps."""
    return pa.array(np.asarray(seconds * 1_000_000, dtype=np.int64)).cast(pa.timestamp("us", tz="UTC"))
