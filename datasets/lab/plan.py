"""The plan: every run of the set, by name. The same for everybody: seeds and versions are dealt out by fixed rules."""

import math
from collections.abc import Sequence
from itertools import count

from datasets.lab.core import SPARK_VERSIONS, STRENGTHS, Injection, Problem, Spec
from datasets.lab.problems import PROBLEMS
from datasets.lab.workloads import WORKLOADS

# Families that are judged on: nothing is trained or calibrated with them, and nobody looks at them before.
JUDGED_FAMILIES = (
    "crop_yields",
    "hotel_bookings",
    "library_loans",
    "port_calls",
    "song_clusters",
    "streaming_tickets",
)
# Judged on once, on 2026-11-23, before rules were mended; training families since.
SEEN_FAMILIES = ("cube_report", "graph_rank", "log_text", "merge_upsert", "tpch_joins")
# The same, later on that day.
SEEN_SECOND_FAMILIES = (
    "bank_ledger",
    "basket_pairs",
    "energy_rollup",
    "streaming_orders",
    "warehouse_load",
    "web_sessions",
)
# The same, for the third time.
SEEN_THIRD_FAMILIES = (
    "ad_auctions",
    "clinic_visits",
    "film_ratings",
    "flight_delays",
    "parcel_routes",
    "streaming_sensors",
)
# A clear majority of runs uses Spark's default, AQE on.
WITHOUT_ADAPTIVE_EVERY = 4
# Strengths of each problem in the first family of each kind that it can be brought about in.
STRENGTHS_OF = {"training": (1, 2, 3, 4)} | dict.fromkeys(("seen", "second", "third", "judged"), (2, 3, 4))
# Strengths of problems in the other families: those at which a rule has something to decide.
ELSEWHERE_STRENGTHS = (2, 3)
# Kinds of families that problems are brought about in once more.
KINDS_SEEN = ("training", "seen", "second")
# What is added to the seeds of each kind: none has those of another.
SEEDS_FROM = {"training": 0, "seen": 100, "second": 200, "third": 300, "judged": 400}
# Clusters of a family's healthy runs, by seed.
HEALTHY_CLUSTERS = {
    1: ("local", "cluster-2x1", "standalone"),
    2: ("local", "cluster-1x2", "cluster-2x1"),
    3: ("local", "cluster-2x1"),
}
# Seeds and clusters of some more, so that a third of the set stays healthy.
MORE_SEED = 4
MORE_SEEDS_THIRD = (4, 5)
MORE_CLUSTERS = ("local", "cluster-2x1", "cluster-1x2", "standalone", "cluster-2x1")
# Two problems at once, in families that both can be brought about in: each pair in both of these strengths ...
SEVERAL_STRENGTHS = (3, 4)
PAIRS: tuple[tuple[str, str, str], ...] = (
    ("star_join", "small-files", "too-many-partitions"),
    ("star_join", "cpu-contention", "driver-bottleneck"),
    ("time_series", "memory-spill", "large-result"),
    ("tpch_joins", "join-explosion", "task-failures"),
    ("log_text", "python-udf-overhead", "driver-bottleneck"),
    ("cube_report", "cpu-contention", "straggler-task"),
)
# ... and in families that were judged on in one of them, in turn.
THIRD_PAIRS: tuple[tuple[str, str, str], ...] = (
    ("ad_auctions", "data-skew", "slow-executor"),
    ("parcel_routes", "task-failures", "large-closure"),
    ("clinic_visits", "missed-broadcast", "large-result"),
    ("flight_delays", "driver-bottleneck", "shuffle-fetch-wait"),
)
JUDGED_PAIRS: tuple[tuple[str, str, str], ...] = (
    ("hotel_bookings", "data-skew", "slow-executor"),
    ("library_loans", "task-failures", "large-closure"),
    ("crop_yields", "missed-broadcast", "large-result"),
    ("port_calls", "driver-bottleneck", "shuffle-fetch-wait"),
)
SECOND_PAIRS: tuple[tuple[str, str, str], ...] = (
    ("web_sessions", "data-skew", "slow-executor"),
    ("bank_ledger", "task-failures", "large-closure"),
    ("warehouse_load", "missed-broadcast", "large-result"),
    ("energy_rollup", "driver-bottleneck", "shuffle-fetch-wait"),
)


def split_of(family: str) -> str:
    """Say which part of the set a family belongs to."""
    return "judged" if family in JUDGED_FAMILIES else "training"


def _kind(family: str) -> str:
    """Say the same, with those apart that were judged on before."""
    if family in SEEN_THIRD_FAMILIES:
        return "third"
    if family in SEEN_SECOND_FAMILIES:
        return "second"
    return "seen" if family in SEEN_FAMILIES else split_of(family)


def _seed(family: str, number: int) -> int:
    """Give a seed: those of each kind of families are used for nothing else."""
    return number + SEEDS_FROM[_kind(family)]


def _name(*parts: object) -> str:
    return "-".join(map(str, parts)).replace("_", "-")


def _stride(length: int) -> int:
    """Give a distance for rows of this length at which versions of Spark and AQE change from row to row."""
    return next(
        number for number in count(length) if math.gcd(number, len(SPARK_VERSIONS) * WITHOUT_ADAPTIVE_EVERY) == 1
    )


def _healthy(families: Sequence[str]) -> list[Spec]:
    clusters = [(seed, cluster) for seed, found in HEALTHY_CLUSTERS.items() for cluster in found]
    specs = []
    for row, (seed, cluster) in enumerate(clusters):
        for at, family in enumerate(families, row * _stride(len(families))):
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


def _more_healthy(families: Sequence[str], number: int = MORE_SEED) -> list[Spec]:
    """Give one more healthy run of each family, with one seed and on all clusters in turn."""
    return [
        Spec(
            name=_name(family, "healthy", MORE_CLUSTERS[at % len(MORE_CLUSTERS)], number),
            family=family,
            seed=_seed(family, number),
            spark=SPARK_VERSIONS[at % len(SPARK_VERSIONS)],
            cluster=MORE_CLUSTERS[at % len(MORE_CLUSTERS)],
            adaptive=at % WITHOUT_ADAPTIVE_EVERY != 0,
        )
        for at, family in enumerate(families, number - MORE_SEED + 1)
    ]


def _families(problem: Problem, kind: str) -> list[str]:
    """Give the first family of a kind that a problem can be brought about in, if there is one."""
    return [family for family in problem.families if _kind(family) == kind][:1]


def _injected_one(problem: Problem, family: str, strength: int, at: int) -> Spec:
    """Give the run with one problem that is dealt out at a place."""
    return Spec(
        name=_name(family, problem.name, strength),
        family=family,
        seed=_seed(family, 10 + strength),
        spark=SPARK_VERSIONS[at % len(SPARK_VERSIONS)],
        cluster=("local", "cluster-2x1")[at // len(STRENGTHS) % 2],
        adaptive=at % WITHOUT_ADAPTIVE_EVERY != 1,
        injections=(Injection(problem.name, strength),),
    )


def _injected() -> list[Spec]:
    """Give the runs with one problem in training families, with those that were judged on before."""
    numbers = count()
    return [
        _injected_one(problem, family, strength, next(numbers))
        for problem in PROBLEMS.values()
        for kind in ("training", "seen")
        for family in _families(problem, kind)
        for strength in STRENGTHS_OF[kind]
    ]


def _injected_in_rounds(kind: str) -> list[Spec]:
    """Give the runs with one problem: each problem once, in one strength or other, then again."""
    strengths = STRENGTHS_OF[kind]
    rounds: list[list[Spec]] = [[] for _ in strengths]
    for row, problem in enumerate(PROBLEMS.values()):
        for family in _families(problem, kind):
            for at, strength in enumerate(strengths):
                place = row * _stride(len(strengths)) + at
                rounds[(row + at) % len(rounds)].append(_injected_one(problem, family, strength, place))
    return [spec for found in rounds for spec in found]


def _elsewhere() -> list[Spec]:
    """Give runs with one problem in all other families that are not judged on, each in one strength, in turn."""
    places = [
        (problem, family)
        for problem in PROBLEMS.values()
        for kind in KINDS_SEEN
        for family in [family for family in problem.families if _kind(family) == kind][1:]
    ]
    return [
        _injected_one(problem, family, ELSEWHERE_STRENGTHS[at % len(ELSEWHERE_STRENGTHS)], at)
        for at, (problem, family) in enumerate(places)
    ]


def _several(pairs: Sequence[tuple[str, str, str]], strengths: Sequence[Sequence[int]]) -> list[Spec]:
    """Give the runs with two problems; the strengths of each pair are dealt out in turn."""
    return [
        Spec(
            name=_name(family, first, "and", second, strength),
            family=family,
            seed=_seed(family, 20 + strength),
            spark=SPARK_VERSIONS[at % len(SPARK_VERSIONS)],
            cluster="cluster-2x1",
            injections=(Injection(first, strength), Injection(second, strength)),
        )
        for at, (family, first, second) in enumerate(pairs)
        for strength in strengths[at % len(strengths)]
    ]


def _training() -> list[Spec]:
    """Order these runs so that a recording that stops early has something of everything."""
    healthy = _healthy([family for family in WORKLOADS if _kind(family) in ("training", "seen")])
    several, injected = _several(PAIRS, [SEVERAL_STRENGTHS]), _injected()
    order = sorted(injected, key=lambda spec: (spec.injections[0].strength % 2, spec.seed, spec.family)) + several
    ratio = max(1, round(len(order) / max(len(healthy), 1)))
    mixed: list[Spec] = []
    while order or healthy:
        mixed += order[:ratio]
        del order[:ratio]
        mixed += healthy[:1]
        del healthy[:1]
    return mixed


def _spread(kind: str, families: Sequence[str], pairs: Sequence[tuple[str, str, str]]) -> list[Spec]:
    """Give the runs of families to judge on: healthy ones, and those with one or two problems, each evenly spread."""
    several = _several(pairs, [(strength,) for strength in SEVERAL_STRENGTHS])
    kinds = [_healthy(families), _injected_in_rounds(kind), several]
    spread = [((at + 0.5) / len(specs), spec) for specs in kinds for at, spec in enumerate(specs)]
    return [spec for _, spec in sorted(spread, key=lambda placed: placed[0])]


PLAN: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        *_training(),
        *_spread("second", SEEN_SECOND_FAMILIES, SECOND_PAIRS),
        *_elsewhere(),
        *_more_healthy([family for family in WORKLOADS if _kind(family) in KINDS_SEEN]),
        *_spread("third", SEEN_THIRD_FAMILIES, THIRD_PAIRS),
        *(spec for number in MORE_SEEDS_THIRD for spec in _more_healthy(SEEN_THIRD_FAMILIES, number)),
        *_spread("judged", JUDGED_FAMILIES, JUDGED_PAIRS),
    )
}
