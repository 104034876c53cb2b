"""Work out the facts of the framings' logs: `python -m datasets.framings.facts`.

Writes `facts.json` beside this script. The logs are decoded and counted by `datasets/eventlog.py`, which shares
no code with Emberscope; the sums are checked here against Spark's own REST answers (`history-server/stages.json`).
"""

import json
from pathlib import Path
from typing import Any

from datasets import eventlog
from datasets.eventlog import Facts

HERE = Path(__file__).resolve().parent
REST_NAMES = {
    "executorRunTime": "executor_run_time_ms",
    "executorCpuTime": "executor_cpu_time_ns",
    "jvmGcTime": "jvm_gc_time_ms",
    "memoryBytesSpilled": "memory_bytes_spilled",
    "diskBytesSpilled": "disk_bytes_spilled",
    "inputBytes": "input_bytes",
    "inputRecords": "input_records",
    "shuffleReadRecords": "shuffle_read_records",
    "shuffleWriteBytes": "shuffle_write_bytes",
    "shuffleWriteRecords": "shuffle_write_records",
    "shuffleWriteTime": "shuffle_write_time_ns",
}
NO_LOGS = {"stages.json"}


def logs() -> list[Path]:
    """List the logs: files, zips and the folders of rolling logs."""
    found = []
    for version in sorted(HERE.glob("spark-*")):
        for path in sorted(version.iterdir()):
            found += [path] if path.is_file() else sorted(path.iterdir())
    return [path for path in found if path.name not in NO_LOGS]


def differences(facts: Facts, rest: dict[str, dict[str, Any]]) -> list[str]:
    """Compare the stage sums with Spark's; a stage that ran no task has no row here."""
    found = []
    for stage, mine in facts["stage_attempts"].items():
        for theirs, name in REST_NAMES.items():
            if mine[name] != rest[stage][theirs]:
                found.append(f"{stage} {name}: {mine[name]}, Spark says {rest[stage][theirs]}")
    return found


def place_of(log: Path) -> tuple[Path, str]:
    """Give the version's folder of a log and its place inside."""
    version = next(parent for parent in log.parents if parent.parent == HERE)
    return version, log.relative_to(version).parts[0]


def check(log: Path, facts: Facts) -> None:
    """Stop when the sums are not those of Spark's REST API."""
    version, place = place_of(log)
    rest = json.loads((version / "history-server" / "stages.json").read_text())
    if place in rest and (found := differences(facts, rest[place])):
        raise SystemExit(f"{log}: " + "; ".join(found))


def main() -> None:
    """Write the facts of all logs."""
    facts: dict[str, Facts] = {}
    for log in logs():
        facts[str(log.relative_to(HERE))] = found = eventlog.facts_of(log)
        check(log, found)
    (HERE / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
