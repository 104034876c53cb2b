"""The SQL plans of a run with the values of their metrics, put together from the event log."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datasets.lab.core import Evidence

SHUFFLE_JOINS = ("SortMergeJoin", "ShuffledHashJoin")
JOINS = (*SHUFFLE_JOINS, "BroadcastHashJoin", "BroadcastNestedLoopJoin", "CartesianProduct")
ROWS = "number of output rows"


@dataclass(frozen=True)
class Node:
    """A node of a plan; `metrics` has the values that tasks or the driver reported, by the metric's name.

    The nodes below a cached frame are the same in every plan that reads it: their `accumulators` show that.
    """

    execution: int
    name: str
    text: str
    metrics: dict[str, int]
    accumulators: dict[str, int]
    children: tuple["Node", ...]

    def all(self) -> Iterator["Node"]:
        """Give this node and all below it, from the top."""
        yield self
        for child in self.children:
            yield from child.all()

    def is_join(self) -> bool:
        """Say whether this node joins."""
        return self.name.split(" ")[0] in JOINS

    def rows(self) -> int:
        """Give the rows that this node puts out; where it does not count them, those of the nodes below it."""
        if ROWS in self.metrics:
            return self.metrics[ROWS]
        if "records read" in self.metrics:
            return self.metrics["records read"]
        return max((child.rows() for child in self.children), default=0)


def subject(execution: int) -> dict[str, Any]:
    """Give the subject that is a SQL execution."""
    return {"kind": "sql", "sql_execution_id": execution}


def _values(evidence: Evidence) -> dict[int, int]:
    values: dict[int, int] = defaultdict(int)
    for task in evidence.tasks():
        for found in task["Task Info"].get("Accumulables", []):
            if found.get("Metadata") == "sql" and found.get("Update") is not None:
                values[int(found["ID"])] += max(int(found["Update"]), 0)
    for event in evidence.named("DriverAccumUpdates"):
        for accumulator, value in event["accumUpdates"]:
            values[int(accumulator)] += max(int(value), 0)
    return dict(values)


def _node(info: dict[str, Any], execution: int, values: dict[int, int]) -> Node:
    known = {found["name"]: int(found["accumulatorId"]) for found in info["metrics"]}
    metrics = {name: values[accumulator] for name, accumulator in known.items() if accumulator in values}
    children = tuple(_node(child, execution, values) for child in info["children"])
    return Node(execution, info["nodeName"].strip(), info["simpleString"], metrics, known, children)


def plans(evidence: Evidence, step: str | None = None) -> dict[int, Node]:
    """Give the last known plan of every SQL execution (of a step of the job), by its id."""
    values = _values(evidence)
    wanted = None if step is None else set(evidence.executions_of(step))
    found = {}
    for event in evidence.named("SQLExecutionStart") + evidence.named("SQLAdaptiveExecutionUpdate"):
        execution = int(event["executionId"])
        if wanted is None or execution in wanted:
            found[execution] = _node(event["sparkPlanInfo"], execution, values)
    return found


def nodes(evidence: Evidence, *names: str, step: str | None = None) -> list[Node]:
    """Give all nodes whose name begins with one of these."""
    found = (node for plan in plans(evidence, step).values() for node in plan.all())
    return [node for node in found if node.name.startswith(names)]


def settings(evidence: Evidence) -> dict[str, str]:
    """Give the Spark settings that the run had, as its log states them."""
    for event in evidence.named("EnvironmentUpdate"):
        return dict(event["Spark Properties"])
    return {}
