"""A clinic's warehouse in SQL: visits loaded with diagnoses and prices, and reports by patient, town, payer, month."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datasets.lab.core import Knobs, Workload
from datasets.lab.workloads._tables import keys, moments, named, numbers_as_text, random_of, write
from datasets.lab.workloads._troubles import HEALTHY, collect_rows, driver_work

FIRST_SECOND = 1_748_736_000  # 2025-06-01 UTC
DAYS = 180
CLINICS = 40
CODES = 1_600
CHAPTERS = 22
TREATMENTS = 120
TARIFFS = 6
TOWNS = 30
INSURERS = 9
BORN_DAYS = (-16_000, 18_000)  # from 1970
# Two years before that lie in the archive, month by month, of which the reports ask for the last quarter.
MONTHS = [year * 100 + month for year in (2023, 2024, 2025) for month in range(1, 13)][5:29]
QUARTER = MONTHS[-3]
MARKS = {"hint": "/*+ BROADCAST(p) */", "shuffle": "/*+ MERGE(p) */", "auto": ""}

ARRIVALS = """
    SELECT clinic_id, count(*) AS visits, count_if(minutes > 100) AS long_ones, max(note) AS last_note,
        approx_count_distinct(patient_id) AS patients, min(began) AS opened, max(began) AS closed
    FROM visits GROUP BY clinic_id"""
FACT = """
    CREATE TABLE fact_visits (visit_id BIGINT, patient_id BIGINT, clinic_id BIGINT, chapter STRING, severity BIGINT,
        began TIMESTAMP, minutes BIGINT, billed DOUBLE, note STRING)
    USING parquet LOCATION '{place}'"""
LOAD = """
    INSERT OVERWRITE TABLE fact_visits
    SELECT v.visit_id, v.patient_id, v.clinic_id, d.chapter, d.severity, v.began, v.minutes,
        round(t.price * (1 + v.minutes / 60) + d.surcharge, 2), v.note
    FROM visits v
    LEFT JOIN diagnoses d ON v.code = d.code
    LEFT JOIN prices t ON v.treatment = t.treatment AND v.tariff = t.tariff"""
READMISSIONS = """
    WITH course AS (
        SELECT chapter, severity, minutes, billed, began,
            lag(began) OVER same AS before,
            lag(chapter) OVER same AS chapter_before,
            sum(billed) OVER same AS billed_so_far,
            count(*) OVER (PARTITION BY patient_id ORDER BY began
                RANGE BETWEEN INTERVAL 30 DAYS PRECEDING AND CURRENT ROW) AS in_a_month
        FROM fact_visits WINDOW same AS (PARTITION BY patient_id ORDER BY began))
    SELECT chapter, count(*) AS visits, count_if(began < before + INTERVAL 14 DAYS) AS again,
        count_if(chapter = chapter_before) AS for_the_same, avg(in_a_month), max(billed_so_far), sum(minutes * severity)
    FROM course GROUP BY chapter ORDER BY chapter"""
COHORTS = """
    SELECT {mark} p.town, count(*) AS visits, sum(f.billed) AS billed, percentile_approx(f.billed, array(0.5, 0.9)),
        avg(months_between(f.began, p.born) / 12) AS age, approx_count_distinct(f.patient_id) AS patients
    FROM fact_visits f JOIN patients p ON f.patient_id = p.patient_id
    GROUP BY p.town"""
PAYERS = """
    SELECT {mark} p.insurer, f.chapter, date_trunc('MONTH', f.began) AS month, count(*) AS visits,
        sum(f.billed) AS billed, max(f.billed) AS dearest, avg(f.minutes) AS minutes
    FROM fact_visits f JOIN patients p ON f.patient_id = p.patient_id
    GROUP BY p.insurer, f.chapter, date_trunc('MONTH', f.began)"""
QUARTERS = """
    SELECT {by}, count(*) AS visits, sum(paid) AS paid, max(code) AS last_code, percentile_approx(paid, 0.5) AS usual
    FROM archive WHERE {recent} GROUP BY {by}"""


def make_data(folder: Path, seed: int, knobs: Knobs) -> None:
    """Write what the clinics hand in, the three dimensions (`copies` versions of each patient), and the archive."""
    random, rows = random_of(seed, "visits"), knobs["rows"]
    visits = {
        "visit_id": np.arange(rows),
        "patient_id": keys(random, rows, knobs["patients"]),
        "clinic_id": keys(random, rows, CLINICS),
        "code": named(random.integers(0, CODES, rows), "D"),
        "treatment": random.integers(0, TREATMENTS, rows),
        "tariff": random.integers(0, TARIFFS, rows),
        "began": moments(FIRST_SECOND + np.sort(random.integers(0, DAYS * 86_400, rows))),
        "minutes": random.integers(5, 120, rows),
        "note": numbers_as_text(random, rows),
    }
    write(pa.table(visits), folder / "visits", knobs["files"])
    random = random_of(seed, "patients")
    ids = np.repeat(np.arange(1, knobs["patients"] + 1), knobs["copies"])
    patients = {
        "patient_id": ids,
        "born": pa.array(random.integers(*BORN_DAYS, len(ids)).astype(np.int32)).cast(pa.date32()),
        "town": named(random.integers(0, TOWNS, len(ids)), "town "),
        "insurer": named(random.integers(0, INSURERS, len(ids)), "insurer "),
        "address": numbers_as_text(random, len(ids)),
    }
    write(pa.table(patients), folder / "patients", 2)
    random, codes = random_of(seed, "diagnoses"), np.arange(CODES)
    diagnoses = {
        "code": named(codes, "D"),
        "chapter": named(codes % CHAPTERS, "chapter "),
        "severity": random.integers(1, 6, CODES),
        "surcharge": random.integers(0, 4_000, CODES) / 100,
    }
    write(pa.table(diagnoses), folder / "diagnoses", 1)
    each = TREATMENTS * TARIFFS
    prices = {
        "treatment": np.arange(each) // TARIFFS,
        "tariff": np.arange(each) % TARIFFS,
        "price": random_of(seed, "prices").integers(900, 40_000, each) / 100,
    }
    write(pa.table(prices), folder / "prices", 1)
    rows = knobs["archive"] // len(MONTHS)
    for month in MONTHS:
        random, first = random_of(seed, f"archive {month}"), np.datetime64(f"{month // 100}-{month % 100:02}-01", "s")
        settled = {
            "began": moments(first.astype(np.int64) + np.sort(random.integers(0, 28 * 86_400, rows))),
            "clinic_id": keys(random, rows, CLINICS),
            "treatment": random.integers(0, TREATMENTS, rows),
            "code": named(random.integers(0, CODES, rows), "D"),
            "paid": random.integers(900, 90_000, rows) / 100,
        }
        write(pa.table(settled), folder / "archive" / f"month={month}", 1)


def run(job: Any) -> None:
    """See what has come, load it, and answer the reports one after the other."""
    spark, knobs = job.spark, job.knobs
    for name in ("visits", "patients", "diagnoses", "prices", "archive"):
        spark.read.parquet(job.path(name)).createOrReplaceTempView(name)
    mark = MARKS[knobs["broadcast"]]
    with job.step("arrivals"):
        clinics = spark.sql(ARRIVALS).collect()
        job.note("arrived", sum(clinic["visits"] for clinic in clinics))
    with job.step("load"):
        spark.sql(FACT.format(place=job.target("fact_visits")))
        spark.sql(LOAD)
    driver_work(job, 0.5)
    with job.step("readmissions"):
        spark.sql(READMISSIONS).collect()
    with job.step("cohorts"):
        towns = spark.sql(COHORTS.format(mark=mark)).collect()
        job.note("visits", sum(town["visits"] for town in towns))
    driver_work(job, 0.5)
    with job.step("payers"):
        spark.sql(PAYERS.format(mark=mark)).collect()
    with job.step("quarter"):
        recent = f"month >= {QUARTER}" if knobs["prune"] else f"date_format(began, 'yyyyMM') >= '{QUARTER}'"
        for by in ("clinic_id", "treatment"):
            spark.sql(QUARTERS.format(by=by, recent=recent)).collect()
    with job.step("extract"):
        collect_rows(job, spark.table("fact_visits"))


WORKLOAD = Workload(
    name="clinic_visits",
    about="visits loaded into a dimensional model and reported on, all in SQL text (SQL, warehouse, windowing)",
    knobs=HEALTHY
    | {
        "rows": 720_000,
        "patients": 60_000,
        "copies": 1,
        "archive": 600_000,
        "files": 8,
        "broadcast": "auto",
        "prune": True,
    },
    data_knobs=("rows", "patients", "copies", "archive", "files"),
    make_data=make_data,
    run=run,
    conf={"spark.sql.files.maxPartitionBytes": "16m"},
)
