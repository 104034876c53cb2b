"""Time our models and scikit-learn's on the same tables, in turns.

`python benches/learn.py [--pairs N] [--libraries]`, with numpy and scikit-learn in that Python. Prints the median
seconds of each, for one thread and for two, and how often ours is faster.
Ours is `cargo build --release --workspace --examples`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
MEASURE = ROOT / "target" / "release" / "examples" / "measure"
ROWS = 100_000


def ours(threads: int, *arguments: str) -> dict[str, float]:
    """Run our side; gives the figures that it prints."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run([MEASURE, *arguments], env=environment, capture_output=True, text=True, check=True)
    words = done.stdout.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}


def forest(pairs: int) -> None:
    """Fit 100 trees of 256 rows on 100,000 x 50 numbers and score all rows."""
    rows = np.random.default_rng(1).normal(size=(ROWS, 50))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, rows)
        for threads in (1, 2):
            times: dict[str, list[float]] = {"ours": [], "scikit-learn": []}
            for seed in range(pairs):
                figures = ours(threads, "forest", str(path))
                times["ours"].append(figures["fit_s"] + figures["score_s"])
                with threadpool_limits(threads):
                    start = time.perf_counter()
                    model = IsolationForest(n_estimators=100, max_samples=256, n_jobs=threads, random_state=seed)
                    model.fit(rows).score_samples(rows)
                    times["scikit-learn"].append(time.perf_counter() - start)
            report(f"isolation forest, fit and score, {threads} threads", times)


def trees(pairs: int, *, libraries: bool) -> None:
    """Fit trees to the first 100,000 of 200,000 x 100 numbers, and judge them on the others."""
    random = np.random.default_rng(2)
    rows = random.normal(size=(2 * ROWS, 100))
    signal = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + (rows[:, 3] > 0.5) * rows[:, 4] + 0.5 * rows[:, 5]
    answers = signal + random.normal(scale=0.5, size=2 * ROWS) > 0.3
    with tempfile.TemporaryDirectory() as folder:
        x, y = Path(folder) / "x.npy", Path(folder) / "y.npy"
        np.save(x, rows)
        np.save(y, answers)
        for depth in (6, 12):
            for threads in (1, 2):
                times: dict[str, list[float]] = {"ours": [], "scikit-learn": []}
                for _ in range(pairs):
                    figures = ours(threads, "tree", str(x), str(y), str(depth))
                    times["ours"].append(figures["fit_s"])
                    start = time.perf_counter()
                    model = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(rows[:ROWS], answers[:ROWS])
                    times["scikit-learn"].append(time.perf_counter() - start)
                    accuracy = model.score(rows[ROWS:], answers[ROWS:])
                report(f"decision tree, depth {depth}, fit, {threads} threads", times)
                print(f"  accuracy: ours {figures['accuracy']:.4f}, scikit-learn {accuracy:.4f}")
            # Minutes: once each, and on the one thread that they use.
            for library in ("linfa-trees", "smartcore") if libraries else ():
                own = ours(1, "tree", str(x), str(y), str(depth))
                other = ours(1, "tree", str(x), str(y), str(depth), library)
                print(
                    f"decision tree, depth {depth}, fit, 1 thread: ours {own['fit_s']:.3f} s, "
                    f"{library} {other['fit_s']:.3f} s; ours {other['fit_s'] / own['fit_s']:.0f} times as fast\n"
                    f"  accuracy: ours {own['accuracy']:.4f}, {library} {other['accuracy']:.4f}",
                    flush=True,
                )


def report(what: str, times: dict[str, list[float]]) -> None:
    """Print the medians."""
    medians = {name: statistics.median(found) for name, found in times.items()}
    factor = medians["scikit-learn"] / medians["ours"]
    text = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in medians.items())
    print(f"{what}: {text}; ours {factor:.1f} times as fast", flush=True)


def main() -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--libraries", action="store_true", help="linfa-trees and smartcore as well, which take minutes"
    )
    arguments = parser.parse_args()
    if not MEASURE.exists():
        sys.exit(f"{MEASURE} is not there: cargo build --release --workspace --examples")
    forest(arguments.pairs)
    trees(arguments.pairs, libraries=arguments.libraries)
    return 0


if __name__ == "__main__":
    sys.exit(main())
