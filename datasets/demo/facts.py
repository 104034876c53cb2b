"""Say what is true about the demo runs: `python -m datasets.demo.facts [--write]`.

Works from the logs alone and shares no code with Emberscope. `--write` renews `facts.json` beside this script.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from datasets import eventlog
from datasets.eventlog import Event, Facts

HERE = Path(__file__).resolve().parent


def duration_ms(task: Event) -> int:
    """Give the task's time from launch to finish."""
    return int(task["Task Info"]["Finish Time"] - task["Task Info"]["Launch Time"])


def shape(tasks: list[Event]) -> Facts:
    """Say how even the tasks of a stage attempt are, and which partition was the last to finish."""
    records = [eventlog.metric(task, "Shuffle Read Metrics", "Total Records Read") for task in tasks]
    last = max(tasks, key=lambda task: task["Task Info"]["Finish Time"])
    longest = max(tasks, key=duration_ms)
    return {
        "wall_clock_ms": last["Task Info"]["Finish Time"] - min(task["Task Info"]["Launch Time"] for task in tasks),
        "duration_median_ms": median(map(duration_ms, tasks)),
        "duration_max_ms": duration_ms(longest),
        "longest_partition": longest["Task Info"].get("Partition ID", longest["Task Info"]["Index"]),
        "last_partition": last["Task Info"].get("Partition ID", last["Task Info"]["Index"]),
        "shuffle_records_median": median(records),
        "shuffle_records_max": max(records),
    }


def wall_clock_ms(found: list[Event]) -> int | None:
    """Give the time from the application's start to its end."""
    end = eventlog.first(found, "SparkListenerApplicationEnd").get("Timestamp")
    start = eventlog.first(found, "SparkListenerApplicationStart").get("Timestamp")
    return end - start if end and start else None


def failures(found: list[Event]) -> Facts:
    """Give the failed stages' first lines, the failed jobs and the executors that went away."""
    stages = [event["Stage Info"] for event in found if event["Event"] == "SparkListenerStageCompleted"]
    jobs = [event for event in found if event["Event"] == "SparkListenerJobEnd"]
    removed = [event for event in found if event["Event"] == "SparkListenerExecutorRemoved"]
    return {
        "failed_stages": {
            f"{stage['Stage ID']}.{stage['Stage Attempt ID']}": stage["Failure Reason"].splitlines()[0]
            for stage in stages
            if stage.get("Failure Reason")
        },
        "failed_jobs": [event["Job ID"] for event in jobs if event["Job Result"]["Result"] == "JobFailed"],
        "executors_removed": {event["Executor ID"]: event["Removed Reason"] for event in removed},
    }


def facts_of(log: Path) -> Facts:
    """Work out the facts of one demo run."""
    facts = eventlog.facts_of(log)
    found, _ = eventlog.events(log)
    facts["wall_clock_ms"] = wall_clock_ms(found)
    facts |= failures(found)
    for key, tasks in eventlog.by_stage_attempt(found).items():
        facts["stage_attempts"][key] |= shape(tasks)
    return facts


def main() -> None:
    """Print or write the facts of all demo runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew facts.json")
    facts = {log.name: facts_of(log) for log in sorted(HERE.glob("*.zstd"))}
    text = json.dumps(facts, indent=1) + "\n"
    if parser.parse_args().write:
        (HERE / "facts.json").write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
