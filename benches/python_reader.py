"""The baseline: sum up the task metrics of each stage attempt in good plain Python.

Every line is parsed with orjson, as a careful script would do it; plain and zstd logs.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
Sums = dict[str, int]


@contextmanager
def opened(log: Path) -> Iterator[BinaryIO]:
    """Open the log for reading by lines, through the decompressor when it is zstd."""
    with log.open("rb") as file:
        if file.peek(4)[:4] != ZSTD_MAGIC:
            yield file
            return
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        yield BufferedReader(reader, buffer_size=1 << 20)  # type: ignore[arg-type]


def add(sums: Sums, metrics: dict[str, Any], prefix: str = "") -> None:
    """Add up the numbers of a task's metrics, those of its nested objects under a joined name."""
    for name, value in metrics.items():
        if isinstance(value, int):
            sums[prefix + name] += value
        elif isinstance(value, dict):
            add(sums, value, f"{prefix}{name}: ")


def read(lines: BinaryIO) -> dict[str, Sums]:
    """Sum up the metrics by stage attempt."""
    stages: dict[str, Sums] = defaultdict(lambda: defaultdict(int))
    for line in lines:
        event = orjson.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            sums = stages[f"{event['Stage ID']}.{event['Stage Attempt ID']}"]
            sums["tasks"] += 1
            add(sums, event.get("Task Metrics") or {})
    return stages


def main() -> None:
    """Print the sums as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    with opened(parser.parse_args().log) as lines:
        sys.stdout.buffer.write(orjson.dumps(read(lines), option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
