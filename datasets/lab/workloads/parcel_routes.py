"""Parcels scanned at depots: scans grouped to routes, legs weighed, promises kept or not, manifests (PySpark RDD)."""

from collections.abc import Iterator
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import RDD, StorageLevel

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import random_of, write_text
from datasets.lab.workloads._troubles import HEALTHY, beset_rdd, carry_along, collect_rows, driver_work

DEPOTS = 96
READERS = 8
PARTS = 6
FIRST_SECOND = 1_756_684_800  # 2025-09-01 UTC
DAYS = 14

Stop = tuple[int, int]
Route = tuple[int, list[Stop]]
Leg = tuple[int, int, int]


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write scans in the order of time, what was promised for each parcel, and where the depots are."""
    random, parcels = random_of(seed, "scans"), knobs["parcels"]
    stops = random.integers(3, 6, parcels)
    parcel = np.repeat(np.arange(parcels), stops)
    rides = random.integers(3_600, 40_000, len(parcel))
    first = np.cumsum(stops) - stops
    rides[first] = random.integers(0, DAYS * 86_400, parcels)
    travelled = np.cumsum(rides)
    second = FIRST_SECOND + travelled - np.repeat(travelled[first] - rides[first], stops)
    depot = np.cumsum(random.integers(1, DEPOTS, len(parcel))) % DEPOTS  # never twice the same in a row
    grams = np.repeat(random.integers(80, 25_000, parcels), stops) + random.integers(-5, 6, len(parcel))
    order = np.argsort(second, kind="stable")
    belt = random.integers(1, 30, len(parcel))
    scans = (column[order] for column in (_codes("P", 40_000_000 + parcel), _codes("D", depot), second, grams, belt))
    write_text(_lines(*scans), folder / "scans", knobs["files"])
    random = random_of(seed, "promises")
    promised = second[first] + random.integers(20_000, 140_000, parcels)
    zone, service = random.integers(0, 24, parcels), random.integers(0, 3, parcels)
    write_text(_lines(_codes("P", 40_000_000 + np.arange(parcels)), zone, service, promised), folder / "promises", 4)
    places = random_of(seed, "depots").integers(0, 900, (2, DEPOTS))
    write_text(_lines(_codes("D", np.arange(DEPOTS)), *places), folder / "depots", 1)


def _codes(letter: str, numbers: np.ndarray) -> np.ndarray:
    return np.char.add(letter, numbers.astype(str))


def _lines(*columns: np.ndarray) -> pa.Array:
    joined = pc.binary_join_element_wise(*(pa.array(column).cast(pa.string()) for column in columns), "|")
    return pc.binary_join_element_wise(joined, "\n", "")


def routed(scans: Any) -> Route:
    """Put a parcel's scans in order; the weight is the middle one of what the scales said."""
    stops = sorted((second, depot) for second, depot, _ in scans)
    weights = sorted(grams for _, _, grams in scans)
    return weights[len(weights) // 2], stops


def legs(route: tuple[int, Route]) -> Iterator[tuple[Stop, Leg]]:
    """Give what lies between two depots: one ride, its seconds, its weight."""
    grams, stops = route[1]
    for (left, start), (came, end) in pairwise(stops):
        yield (start, end), (1, came - left, grams)


def together(left: Leg, right: Leg) -> Leg:
    """Add rides to rides."""
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


def departures(route: tuple[int, Route]) -> Iterator[tuple[Stop, str]]:
    """Give the lines of the manifests that a parcel is on, each by depot and time."""
    parcel, (grams, stops) = route
    for (left, start), (came, end) in pairwise(stops):
        yield (start, left), f"D{start}|{left}|P{parcel}|{grams}|D{end}|{came}"


def slowness(places: dict[int, Stop], ride: tuple[Stop, Leg]) -> float:
    """Give the seconds a kilometre of the rides between two depots."""
    ((x_from, y_from), (x_to, y_to)), (count, seconds, _) = (places[depot] for depot in ride[0]), ride[1]
    return seconds / count / (1 + abs(x_from - x_to) + abs(y_from - y_to))


def run(job: Any) -> None:
    """Sum up depots by day, put routes together, weigh legs, look at what was promised, and write the manifests."""
    context = job.context
    scans = _scans(job).persist(StorageLevel.MEMORY_AND_DISK)
    with job.step("depots"):
        handled = scans.map(lambda scan: ((scan[1][1], scan[1][0] // 86_400), scan[1][2])).reduceByKey(add, PARTS)
        job.note("depot_days", len(handled.collectAsMap()))
    driver_work(job, 0.5)
    with job.step("routes"):
        routes = scans.groupByKey(PARTS).mapValues(routed).persist(StorageLevel.MEMORY_AND_DISK)
        job.note("stops", routes.map(lambda route: len(route[1][1])).sum())
    with job.step("corridors"):
        lines = context.textFile(job.path("depots"), 1).map(lambda line: tuple(map(int, line[1:].split("|"))))
        places = context.broadcast({depot: (x, y) for depot, x, y in lines.collect()})
        corridors = routes.flatMap(legs).reduceByKey(together, PARTS)
        slowest = corridors.takeOrdered(25, key=lambda ride: (-slowness(places.value, ride), ride[0]))
        job.note("slowest", slowest[0][0])
    with job.step("promises"):
        promises = context.textFile(job.path("promises"), 4).map(_promise)
        kept = promises.join(routes, PARTS).map(lambda pair: (pair[1][0][0], _lateness(*pair[1])))
        by_zone = kept.reduceByKey(together, PARTS).sortByKey(numPartitions=2).collect()
        job.note("late", sum(late for _, (_, late, _) in by_zone))
    driver_work(job, 0.5)
    with job.step("manifests"):
        sheets = routes.flatMap(departures).repartitionAndSortWithinPartitions(PARTS, lambda key: key[0])
        sheets.values().saveAsTextFile(job.target("manifests"))
    carry_along(job, job.path("scans"))
    if job.knobs["collect_rows"]:
        with job.step("collect"):
            collect_rows(job, job.spark.read.text(job.path("scans")))
    routes.unpersist()
    scans.unpersist()


def _promise(line: str) -> tuple[int, tuple[Stop, int]]:
    zone, service, promised = map(int, line[line.index("|") + 1 :].split("|"))
    return int(line[1 : line.index("|")]), ((zone, service), promised)


def _lateness(promise: tuple[Stop, int], route: Route) -> Leg:
    """Give one parcel, whether it came late, and by how many seconds."""
    late = max(route[1][-1][0] - promise[1], 0)
    return 1, int(late > 0), late


def _scans(job: Any) -> RDD:
    """Parse the scans: by parcel, the second, the depot and the grams."""

    def parse(line: str) -> tuple[int, tuple[int, int, int]]:
        parcel, depot, second, grams, _ = line.split("|")
        return int(parcel[1:]), (int(second), int(depot[1:]), int(grams))

    lines = job.context.textFile(job.path("scans"), READERS)
    return beset_rdd(job, lines).map(parse)


WORKLOAD = Workload(
    name="parcel_routes",
    about="scans grouped to routes, legs reduced, joined with promises, sorted within depots and saved (PySpark RDD)",
    knobs=HEALTHY | {"parcels": 54_000, "files": 8},
    data_knobs=("parcels", "files"),
    make_data=make_data,
    run=run,
)
