"""A farming cooperative's harvests: yields worked out by crop, rotations, dressings and weather, in SQL text."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_besides, driver_work

# Spark hashes these eight into eight different partitions of eight.
CROPS = ("barley", "clover", "oats", "onions", "peas", "potatoes", "rye", "wheat")
DRY_PERCENT = 14  # moisture that a price is for
# Weather has been measured for longer than yields, and the last two years of it are what the report asks for.
YEARS = range(2018, 2026)
SEASONS = YEARS[2:]
RECENT = YEARS[-2]
LOADS_A_PASS = 2  # trailers that one field fills
HARVEST_DAYS = (190, 280)
SILOS = 60
FARMS = 3_000
SOILS = 14
REGIONS = 18
PRODUCTS = 240
STATIONS = 80
STATION_FILES = 2  # of each year
MARKS = {"hint": "/*+ BROADCAST(f) */", "shuffle": "/*+ MERGE(f) */", "auto": ""}

INTAKE = """
    SELECT silo_id, month(weighed) AS month, count(*) AS loads, sum(kg) / 1000 AS tonnes, avg(moisture) AS moisture,
        count_if(moisture > 18) AS wet, stddev(moisture) AS unevenness, approx_count_distinct(ticket) AS tickets
    FROM harvests GROUP BY silo_id, month(weighed)"""
YIELDS = """
    WITH carried AS (
        SELECT {mark} h.field_id, h.season, h.crop, f.farm_id, f.soil, f.hectares, h.weighed,
            h.kg * (100 - h.moisture) / (100 - c.dry_percent) AS dry_kg, c.price
        FROM harvests h JOIN fields f ON h.field_id = f.field_id JOIN crops c ON h.crop = c.crop)
    SELECT /*+ REPARTITION(8, crop) */ field_id, season, farm_id, soil, hectares, count(*) AS loads,
        round(sum(dry_kg) / 1000 / hectares, 3) AS t_per_ha, round(sum(dry_kg * price) / 1000, 2) AS worth,
        min(weighed) AS first_load, max(weighed) AS last_load, crop
    FROM carried GROUP BY field_id, season, crop, farm_id, soil, hectares"""
ROTATION = """
    WITH grown AS (
        SELECT field_id, array_sort(collect_list(struct(season, crop, t_per_ha))) AS years
        FROM yields GROUP BY field_id),
    followed AS (
        SELECT inline(transform(sequence(1, size(years) - 1), place -> struct(
            years[place - 1].crop AS before, years[place].crop, years[place].season, years[place].t_per_ha)))
        FROM grown WHERE size(years) > 1)
    SELECT before, crop, count(*) AS fields, avg(t_per_ha) AS t_per_ha, regr_slope(t_per_ha, season) AS trend,
        percentile_approx(t_per_ha, array(0.25, 0.75)) AS spread
    FROM followed GROUP BY before, crop"""
LANDLORDS = """
    SELECT a.region, a.tenure, y.soil, y.season, count(*) AS crops, sum(y.worth) AS worth,
        sum(y.worth) / sum(y.hectares) AS worth_per_ha, max(y.t_per_ha) AS best,
        avg(date_diff(y.last_load, y.first_load)) AS days
    FROM yields y JOIN farms a ON y.farm_id = a.farm_id
    GROUP BY a.region, a.tenure, y.soil, y.season"""
DRESSINGS = """
    SELECT {mark} f.soil, p.nutrient, quarter(d.spread_at) AS quarter, count(*) AS passes,
        sum(d.kg * p.share) AS pure_kg, avg(d.kg * p.share / f.hectares) AS kg_per_ha,
        stddev(d.kg / f.hectares) AS unevenness, approx_count_distinct(d.driver) AS drivers
    FROM dressings d JOIN fields f ON d.field_id = f.field_id JOIN products p ON d.product_id = p.product_id
    GROUP BY f.soil, p.nutrient, quarter(d.spread_at)"""
WARMTH = """
    SELECT station_id, sum(greatest(celsius - 5, 0)) / 24 AS degree_days, count_if(celsius < 0) AS frost,
        min_by(measured, celsius) AS coldest, percentile_approx(celsius, 0.5) AS usual
    FROM weather WHERE {recent} GROUP BY station_id"""
RAIN = """
    SELECT weekofyear(measured) AS week, avg(rain_mm) AS rain_mm, max(gust) AS gust,
        count_if(rain_mm > 10) AS downpours
    FROM weather WHERE {recent} GROUP BY weekofyear(measured)"""


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write the loads that were weighed, dressings, the dimensions (`copies` entries a field), and the weather."""
    random, passes = random_of(seed, "harvests"), knobs["rows"] // LOADS_A_PASS
    field, year = keys(random, passes, knobs["fields"]), np.sort(random.integers(0, len(SEASONS), passes))
    rotated = np.where(random.random(passes) < 0.2, random.integers(0, len(CROPS), passes), field * 5 + year * 3)
    began = _starts(SEASONS)[year] + random.integers(*HARVEST_DAYS, passes) * 86_400
    order = np.lexsort((began, year))
    rows = passes * LOADS_A_PASS
    harvests = {
        "load_id": np.arange(rows),
        "field_id": np.repeat(field[order], LOADS_A_PASS),
        "season": np.repeat(year[order] + SEASONS[0], LOADS_A_PASS),
        "crop": pa.array(CROPS).take(pa.array(np.repeat(rotated[order] % len(CROPS), LOADS_A_PASS))),
        "silo_id": keys(random, rows, SILOS),
        "weighed": moments(np.repeat(began[order], LOADS_A_PASS) + random.integers(20_000, 80_000, rows)),
        "kg": random.integers(4_000, 26_000, rows),
        "moisture": random.integers(100, 240, rows) / 10,
        "ticket": numbers_as_text(random, rows),
    }
    write(pa.table(harvests), folder / "harvests", knobs["files"])
    random, rows = random_of(seed, "dressings"), knobs["dressings"]
    dressings = {
        "field_id": keys(random, rows, knobs["fields"]),
        "product_id": keys(random, rows, PRODUCTS),
        "spread_at": moments(_starts(SEASONS)[0] + np.sort(random.integers(0, len(SEASONS) * 365 * 86_400, rows))),
        "kg": random.integers(50, 4_000, rows) / 2,
        "driver": named(random.integers(0, 4_000, rows), "driver "),
    }
    write(pa.table(dressings), folder / "dressings", 8)
    _write_dimensions(folder, seed, knobs)
    rows = knobs["weather"] // len(YEARS)
    for year, start in zip(YEARS, _starts(YEARS), strict=True):
        random = random_of(seed, f"weather {year}")
        measured = {
            "station_id": keys(random, rows, STATIONS),
            "measured": moments(start + np.sort(random.integers(0, 365 * 86_400, rows))),
            "celsius": random.integers(-120, 350, rows) / 10,
            "rain_mm": random.integers(0, 120, rows) / 10,
            "gust": random.integers(0, 30, rows),
        }
        write(pa.table(measured), folder / "weather" / f"year={year}", STATION_FILES)


def _write_dimensions(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write fields, farms, crops and products."""
    random, ids = random_of(seed, "fields"), np.repeat(np.arange(1, knobs["fields"] + 1), knobs["copies"])
    fields = {
        "field_id": ids,
        "farm_id": ids % FARMS + 1,
        "soil": named(random.integers(0, SOILS, len(ids)), "soil "),
        "hectares": random.integers(20, 400, len(ids)) / 10,
        "parcel": numbers_as_text(random, len(ids)),
    }
    write(pa.table(fields), folder / "fields", 2)
    random = random_of(seed, "farms")
    farms = {
        "farm_id": np.arange(1, FARMS + 1),
        "region": named(random.integers(0, REGIONS, FARMS), "region "),
        "tenure": named(random.integers(0, 3, FARMS), "tenure "),
    }
    write(pa.table(farms), folder / "farms", 1)
    prices = random_of(seed, "crops").integers(120, 500, len(CROPS))
    write(pa.table({"crop": CROPS, "dry_percent": [DRY_PERCENT] * len(CROPS), "price": prices}), folder / "crops", 1)
    products = np.arange(1, PRODUCTS + 1)
    spread = {"product_id": products, "nutrient": named(products % 9, "nutrient "), "share": products % 47 / 50}
    write(pa.table(spread), folder / "products", 1)


def _starts(years: range) -> np.ndarray:
    """Give the first second of each year."""
    return np.array([f"{year}-01-01" for year in years], dtype="datetime64[s]").astype(np.int64)


def run(job: Any) -> None:
    """Look at what was weighed, keep yields by crop, and report on them, on dressings and on the weather."""
    spark, knobs = job.spark, job.knobs
    for name in ("harvests", "fields", "farms", "crops", "products", "dressings", "weather"):
        spark.read.parquet(job.path(name)).createOrReplaceTempView(name)
    mark = MARKS[knobs["broadcast"]]
    with job.step("intake"):
        silos = spark.sql(INTAKE).collect()
        job.note("loads", sum(silo["loads"] for silo in silos))
    with job.step("yields"):
        spark.sql(YIELDS.format(mark=mark)).write.partitionBy("crop").parquet(job.target("yields"))
    yields = spark.read.parquet(job.target("yields"))
    yields.createOrReplaceTempView("yields")
    driver_work(job, 0.5)
    with job.step("rotation"):
        spark.sql(ROTATION).collect()
    with job.step("landlords"):
        spark.sql(LANDLORDS).collect()
    driver_work(job, 0.5)
    with job.step("dressings"):
        spark.sql(DRESSINGS.format(mark=mark)).collect()
    with job.step("weather"):
        recent = f"year >= {RECENT}" if knobs["prune"] else f"date_format(measured, 'yyyy') >= '{RECENT}'"
        for report in (WARMTH, RAIN):
            spark.sql(report.format(recent=recent)).collect()
    collect_besides(job, yields)


WORKLOAD = Workload(
    name="crop_yields",
    about="harvests, fields and weather: yields kept by crop, rotations, dressings (SQL, star joins, arrays)",
    knobs=HEALTHY
    | {
        "rows": 900_000,
        "dressings": 700_000,
        "fields": 80_000,
        "copies": 1,
        "weather": 800_000,
        "files": 8,
        "broadcast": "auto",
        "prune": True,
    },
    data_knobs=("rows", "dressings", "fields", "copies", "weather", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
