"""Times of a run, from its task events."""

from collections.abc import Iterable

from datasets.lab.core import Event, Evidence, duration_ms


def median(values: Iterable[int]) -> int:
    """Give the middle value; 0 of none."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0


def span_ms(task: Event) -> tuple[int, int]:
    """Give a task's launch and finish."""
    return int(task["Task Info"]["Launch Time"]), int(task["Task Info"]["Finish Time"])


def gaps_ms(evidence: Evidence) -> list[int]:
    """Give the times, between the first task and the end of the application, in which no task ran."""
    spans = sorted(span_ms(task) for task in evidence.tasks())
    if not spans:
        return []
    ends = [int(event["Timestamp"]) for event in evidence.named("ApplicationEnd")]
    last = max(ends, default=max(end for _, end in spans))
    gaps, reached = [], spans[0][0]
    for start, end in [*spans, (last, last)]:
        if start > reached:
            gaps.append(start - reached)
        reached = max(reached, end)
    return gaps


def lone_ms(evidence: Evidence, stages: Iterable[int]) -> dict[int, int]:
    """Give, for each of these stages, the time in which one of its tasks ran and no other task of the run did."""
    changes: list[tuple[int, int, int]] = []
    for task in evidence.tasks():
        start, end = span_ms(task)
        changes += [(start, 1, int(task["Stage ID"])), (end, -1, int(task["Stage ID"]))]
    alone = dict.fromkeys(stages, 0)
    running: list[int] = []
    reached = 0
    for at, change, stage in sorted(changes):
        if len(running) == 1 and running[0] in alone:
            alone[running[0]] += at - reached
        reached = at
        if change > 0:
            running.append(stage)
        else:
            running.remove(stage)
    return alone


def stage_spans_ms(evidence: Evidence) -> dict[int, int]:
    """Give the time from submission to completion of each stage, all attempts together."""
    spans: dict[int, int] = {}
    for event in evidence.named("StageCompleted"):
        info = event["Stage Info"]
        took = int(info.get("Completion Time") or 0) - int(info.get("Submission Time") or 0)
        spans[int(info["Stage ID"])] = spans.get(int(info["Stage ID"]), 0) + max(took, 0)
    return spans


def total_ms(tasks: Iterable[Event]) -> int:
    """Give the sum of the durations of these tasks."""
    return sum(map(duration_ms, tasks))
