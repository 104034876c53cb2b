"""The plan: every run of the set, by name. The same for everybody: seeds and versions are dealt out by fixed rules."""

from itertools import count

from datasets.lab.core import SPARK_VERSIONS, STRENGTHS, Injection, Spec
from datasets.lab.problems import PROBLEMS
from datasets.lab.workloads import WORKLOADS

# Families that are judged on: nothing is trained or calibrated with them.
JUDGED_FAMILIES = ("cube_report", "graph_rank", "log_text", "merge_upsert", "tpch_joins")
# A clear majority of runs uses Spark's default, AQE on.
WITHOUT_ADAPTIVE_EVERY = 4
# Strengths of each problem in its training family and in its judged one.
STRENGTHS_OF = {"training": (1, 2, 3, 4), "judged": (2, 3, 4)}
# Clusters of a family's healthy runs, by seed.
HEALTHY_CLUSTERS = {
    1: ("local", "cluster-2x1", "standalone"),
    2: ("local", "cluster-1x2", "cluster-2x1"),
    3: ("local", "cluster-2x1"),
}


def split_of(family: str) -> str:
    """Say which part of the set a family belongs to."""
    return "judged" if family in JUDGED_FAMILIES else "training"


def _seed(family: str, number: int) -> int:
    """Give a seed: those of judged families are used for nothing else."""
    return number + (100 if split_of(family) == "judged" else 0)


def _name(*parts: object) -> str:
    return "-".join(map(str, parts)).replace("_", "-")


def _healthy() -> list[Spec]:
    specs = []
    numbers = count()
    for seed, clusters in HEALTHY_CLUSTERS.items():
        for cluster in clusters:
            for family in WORKLOADS:
                at = next(numbers)
                specs.append(
                    Spec(
                        name=_name(family, "healthy", cluster, seed),
                        family=family,
                        seed=_seed(family, seed),
                        spark=SPARK_VERSIONS[at % len(SPARK_VERSIONS)],
                        cluster=cluster,
                        adaptive=at % WITHOUT_ADAPTIVE_EVERY != 0,
                        dynamic=cluster == "standalone" and at % 2 == 0,
                    )
                )
    return specs


def _injected() -> list[Spec]:
    """Give the runs with one problem, in the first family of each split that it can be brought about in."""
    specs = []
    numbers = count()
    for problem in PROBLEMS.values():
        for split, strengths in STRENGTHS_OF.items():
            for family in [family for family in problem.families if split_of(family) == split][:1]:
                for strength in strengths:
                    at = next(numbers)
                    specs.append(
                        Spec(
                            name=_name(family, problem.name, strength),
                            family=family,
                            seed=_seed(family, 10 + strength),
                            spark=SPARK_VERSIONS[at % len(SPARK_VERSIONS)],
                            cluster=("local", "cluster-2x1")[at // len(STRENGTHS) % 2],
                            adaptive=at % WITHOUT_ADAPTIVE_EVERY != 1,
                            injections=(Injection(problem.name, strength),),
                        )
                    )
    return specs


def _several() -> list[Spec]:
    return [
        Spec(
            name=_name(family, first, "and", second, strength),
            family=family,
            seed=_seed(family, 20 + strength),
            spark=SPARK_VERSIONS[at % len(SPARK_VERSIONS)],
            cluster="cluster-2x1",
            injections=(Injection(first, strength), Injection(second, strength)),
        )
        for at, (family, first, second) in enumerate(PAIRS)
        for strength in (3, 4)
    ]


# Two problems at once, in families that both can be brought about in.
PAIRS: tuple[tuple[str, str, str], ...] = (
    ("star_join", "small-files", "too-many-partitions"),
    ("star_join", "cpu-contention", "driver-bottleneck"),
    ("time_series", "memory-spill", "large-result"),
    ("tpch_joins", "join-explosion", "task-failures"),
    ("log_text", "python-udf-overhead", "driver-bottleneck"),
    ("cube_report", "cpu-contention", "straggler-task"),
)


def _interleaved() -> dict[str, Spec]:
    """Order the plan so that a recording that stops early has something of everything."""
    healthy, several = _healthy(), _several()
    injected = _injected()
    order = sorted(injected, key=lambda spec: (spec.injections[0].strength % 2, spec.seed, spec.family)) + several
    ratio = max(1, round(len(order) / max(len(healthy), 1)))
    mixed: list[Spec] = []
    while order or healthy:
        mixed += order[:ratio]
        del order[:ratio]
        mixed += healthy[:1]
        del healthy[:1]
    return {spec.name: spec for spec in mixed}


PLAN: dict[str, Spec] = _interleaved()
