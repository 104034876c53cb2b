"""Keep event logs small: `python -m datasets.lab.pack` packs those that are not yet, and corrects their records.

Spark ends a zstd block after every event and compresses at level 1, which takes about four times the room that the
same bytes take in one frame. What is in the log stays byte for byte; a log whose last frame is cut stays as it is, so
that it is cut still.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import zstandard

LEVEL = 12


def packed(data: bytes) -> bytes:
    """Give the same events in one zstd frame with a checksum; the same bytes where a frame is cut."""
    events = bytearray()
    rest = data
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        events += frame.decompress(rest)
        if not frame.eof:
            return data
        rest = frame.unused_data
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(bytes(events))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def as_record(record: dict[str, Any]) -> bytes:
    """Give a record as it is written."""
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()


def pack(log: Path, record: Path) -> int:
    """Pack a log and correct its record, each whole or not at all; says how many bytes are gained."""
    before = log.read_bytes()
    after = packed(before)
    if len(after) >= len(before):
        return 0
    known = json.loads(record.read_text())
    if known["log_sha256"] != hashlib.sha256(before).hexdigest():
        raise SystemExit(f"{log} is not the log of {record}")
    known |= {"log_bytes": len(after), "log_sha256": hashlib.sha256(after).hexdigest()}
    write_whole(log, after)
    write_whole(record, as_record(known))
    return len(before) - len(after)


def main() -> None:
    """Pack all logs of the set."""
    here = Path(__file__).resolve().parent
    logs = sorted((here / "logs").glob("*.zstd"))
    gained = sum(pack(log, here / "records" / f"{log.stem}.json") for log in logs)
    print(f"{len(logs)} logs, {gained} bytes gained")


if __name__ == "__main__":
    main()
