"""Read Spark event logs of every framing, and count what is in them.

Written apart from Emberscope's own reader (other language, other libraries), so that its tests have
figures that were worked out independently.
"""

import gzip
import io
import json
import re
import struct
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cramjam
import lz4.block
import zstandard

Event = dict[str, Any]
Facts = dict[str, Any]

LZ4_MAGIC = b"LZ4Block"
LZ4_HEADER = struct.Struct("<8sBiii")
LZ4_RAW = 0x10
SNAPPY_MAGIC = b"\x82SNAPPY\x00"
SNAPPY_HEADER_BYTES = 16
LZF_MAGIC = b"ZV"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
GZIP_MAGIC = b"\x1f\x8b"


def framing(data: bytes) -> str:
    """Name the framing of a log from its first bytes."""
    for name, magic in (
        ("zstd", ZSTD_MAGIC),
        ("lz4", LZ4_MAGIC),
        ("snappy", SNAPPY_MAGIC),
        ("lzf", LZF_MAGIC),
        ("gzip", GZIP_MAGIC),
    ):
        if data.startswith(magic):
            return name
    return "plain"


def decode(data: bytes) -> bytes:
    """Undo the framing; what a cut log still holds is given back."""
    decoders = {"zstd": _zstd, "lz4": _lz4, "snappy": _snappy, "lzf": _lzf, "gzip": gzip.decompress}
    decoder = decoders.get(framing(data))
    return decoder(data) if decoder else data


def _zstd(data: bytes) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    out = bytearray()
    while chunk := reader.read(1 << 16):
        out += chunk
    return bytes(out)


def _lz4(data: bytes) -> bytes:
    out, at = bytearray(), 0
    while at + LZ4_HEADER.size <= len(data):
        magic, token, packed, size, _checksum = LZ4_HEADER.unpack_from(data, at)
        if magic != LZ4_MAGIC:
            raise ValueError(f"no LZ4Block at byte {at}")
        at += LZ4_HEADER.size
        block = data[at : at + packed]
        if len(block) < packed:
            break
        out += block if token & 0xF0 == LZ4_RAW else lz4.block.decompress(block, uncompressed_size=size)
        at += packed
    return bytes(out)


def _snappy(data: bytes) -> bytes:
    out, at = bytearray(), SNAPPY_HEADER_BYTES
    while at + 4 <= len(data):
        if data.startswith(SNAPPY_MAGIC, at):
            at += SNAPPY_HEADER_BYTES
            continue
        [size] = struct.unpack_from(">i", data, at)
        block = data[at + 4 : at + 4 + size]
        if len(block) < size:
            break
        out += bytes(cramjam.snappy.decompress_raw(block))
        at += 4 + size
    return bytes(out)


def _lzf(data: bytes) -> bytes:
    out, at = bytearray(), 0
    while at + 5 <= len(data):
        if not data.startswith(LZF_MAGIC, at):
            raise ValueError(f"no LZF chunk at byte {at}")
        packed = data[at + 2] == 1
        [size] = struct.unpack_from(">H", data, at + 3)
        at += 7 if packed else 5
        block = data[at : at + size]
        if len(block) < size:
            break
        out += _lzf_chunk(block) if packed else block
        at += size
    return bytes(out)


def _lzf_chunk(block: bytes) -> bytes:
    out, at = bytearray(), 0
    while at < len(block):
        control = block[at]
        at += 1
        if control < 32:
            out += block[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += block[at]
            at += 1
        back = len(out) - ((control & 0x1F) << 8) - block[at] - 1
        at += 1
        for step in range(length + 2):
            out.append(out[back + step])
    return bytes(out)


def part_order(path: str) -> tuple[int, int, str]:
    """Order the parts of a rolling log: by index, the compacted one before its successors."""
    name = path.rsplit("/", 1)[-1]
    found = re.match(r"events_(\d+)_", name)
    return (int(found[1]) if found else 0, 0 if name.endswith(".compact") else 1, name)


def parts(path: Path) -> list[tuple[str, bytes]]:
    """Give the parts of a log in order: one for a file, several for a folder or a zip.

    Parts that a compacted one replaces are left out, as the History Server leaves them out.
    """
    if path.is_file() and path.read_bytes()[:4] != b"PK\x03\x04":
        return [(path.name, path.read_bytes())]
    found = _zip_parts(path) if path.is_file() else _folder_parts(path)
    found.sort(key=lambda part: part_order(part[0]))
    compacted = [at for at, (name, _) in enumerate(found) if name.endswith(".compact")]
    return found[compacted[-1] :] if compacted else found


def _folder_parts(path: Path) -> list[tuple[str, bytes]]:
    return [(part.name, part.read_bytes()) for part in path.iterdir() if part.name.startswith("events_")]


def _zip_parts(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        return [(name, archive.read(name)) for name in names if "appstatus" not in name]


def lines(path: Path) -> Iterator[bytes]:
    """Give the lines of all parts, without their line ends."""
    for _, data in parts(path):
        yield from decode(data).splitlines()


def events(path: Path) -> tuple[list[Event], int]:
    """Parse every line; the number is that of lines which are no JSON (cut or broken)."""
    parsed, broken = [], 0
    for line in lines(path):
        try:
            parsed.append(json.loads(line))
        except ValueError:
            broken += 1
    return parsed, broken


def short_name(event: Event) -> str:
    """Give the event's name without its package."""
    return str(event["Event"]).rsplit(".", 1)[-1]


def task_ends(found: list[Event]) -> list[Event]:
    """Give the task-end events."""
    return [event for event in found if event["Event"] == "SparkListenerTaskEnd"]


def metric(task: Event, *keys: str) -> int:
    """Look a task metric up; 0 where the event has none."""
    value: Any = task.get("Task Metrics") or {}
    for key in keys:
        value = value.get(key) or {} if key != keys[-1] else value.get(key) or 0
    return int(value)


SUMS: dict[str, tuple[str, ...]] = {
    "executor_run_time_ms": ("Executor Run Time",),
    "executor_cpu_time_ns": ("Executor CPU Time",),
    "executor_deserialize_time_ms": ("Executor Deserialize Time",),
    "jvm_gc_time_ms": ("JVM GC Time",),
    "result_size_bytes": ("Result Size",),
    "memory_bytes_spilled": ("Memory Bytes Spilled",),
    "disk_bytes_spilled": ("Disk Bytes Spilled",),
    "input_bytes": ("Input Metrics", "Bytes Read"),
    "input_records": ("Input Metrics", "Records Read"),
    "output_bytes": ("Output Metrics", "Bytes Written"),
    "output_records": ("Output Metrics", "Records Written"),
    "shuffle_read_local_bytes": ("Shuffle Read Metrics", "Local Bytes Read"),
    "shuffle_read_remote_bytes": ("Shuffle Read Metrics", "Remote Bytes Read"),
    "shuffle_read_records": ("Shuffle Read Metrics", "Total Records Read"),
    "shuffle_fetch_wait_time_ms": ("Shuffle Read Metrics", "Fetch Wait Time"),
    "shuffle_write_bytes": ("Shuffle Write Metrics", "Shuffle Bytes Written"),
    "shuffle_write_records": ("Shuffle Write Metrics", "Shuffle Records Written"),
    "shuffle_write_time_ns": ("Shuffle Write Metrics", "Shuffle Write Time"),
}


def stage_facts(tasks: list[Event]) -> Facts:
    """Sum up the task ends of one stage attempt."""
    facts: Facts = {
        "tasks": len(tasks),
        "failed": sum(bool(task["Task Info"]["Failed"]) for task in tasks),
        "killed": sum(bool(task["Task Info"].get("Killed")) for task in tasks),
        "speculative": sum(bool(task["Task Info"]["Speculative"]) for task in tasks),
    }
    return facts | {name: sum(metric(task, *keys) for task in tasks) for name, keys in SUMS.items()}


def by_stage_attempt(found: list[Event]) -> dict[str, list[Event]]:
    """Group the task ends by `stage.attempt`."""
    groups: dict[str, list[Event]] = defaultdict(list)
    for task in task_ends(found):
        groups[f"{task['Stage ID']}.{task['Stage Attempt ID']}"].append(task)
    return dict(groups)


def reasons(found: list[Event]) -> dict[str, int]:
    """Count the task ends by reason."""
    return dict(sorted(Counter(task["Task End Reason"]["Reason"] for task in task_ends(found)).items()))


def first(found: list[Event], name: str) -> Event:
    """Give the first event of this name, or an empty one."""
    return next((event for event in found if event["Event"] == name), {})


def facts_of(path: Path) -> Facts:
    """Work out everything this module knows about one log."""
    found, broken = events(path)
    start = first(found, "SparkListenerApplicationStart")
    stages = by_stage_attempt(found)
    return {
        "framing": sorted({framing(data) for _, data in parts(path)}),
        "parts": len(parts(path)),
        "decoded_bytes": sum(len(decode(data)) for _, data in parts(path)),
        "lines": len(found) + broken,
        "broken_lines": broken,
        "spark_version": first(found, "SparkListenerLogStart").get("Spark Version"),
        "application_id": start.get("App ID"),
        "application_name": start.get("App Name"),
        "application_ended": bool(first(found, "SparkListenerApplicationEnd")),
        "events": dict(sorted(Counter(short_name(event) for event in found).items())),
        "task_end_reasons": reasons(found),
        "total": stage_facts(task_ends(found)),
        "stage_attempts": {
            key: stage_facts(stages[key]) for key in sorted(stages, key=lambda key: tuple(map(int, key.split("."))))
        },
    }
