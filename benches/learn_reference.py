"""Write what scikit-learn grows on small tables, for the tests of emberscope-learn.

`python benches/learn_reference.py` needs numpy and scikit-learn. Values are floats of single precision, as scikit-learn
keeps them; a fifth of one table is missing.
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.tree import DecisionTreeClassifier

OUT = Path(__file__).resolve().parents[1] / "crates" / "emberscope-learn" / "tests" / "data" / "scikit_learn_trees.json"
# Rows, features, greatest depth, least rows of a leaf, share missing, weighted, complexity of pruning.
TABLES = [
    (60, 3, 3, 1, 0.0, False, 0.0),
    (200, 5, 5, 1, 0.0, False, 0.0),
    (200, 5, 5, 7, 0.0, True, 0.0),
    (300, 4, 6, 1, 0.2, False, 0.0),
    (300, 4, 6, 2, 0.0, False, 0.01),
]


Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def table(seed: int, rows: int, features: int, missing: float, *, weighted: bool) -> Table:
    """Make rows of which the first features tell the answer, with noise; answers and weights."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, features)).astype(np.float32)
    signal = x[:, 0] + x[:, 1] * x[:, 2] + random.normal(scale=0.6, size=rows)
    y = signal > 0.2
    x[random.random(x.shape) < missing] = np.nan
    weights = random.integers(1, 5, size=rows).astype(float) if weighted else np.ones(rows)
    return x, y, weights


def main() -> None:
    """Grow all, and write them."""
    trees = []
    for seed, (rows, features, depth, leaf, missing, weighted, pruning) in enumerate(TABLES):
        x, y, weights = table(seed, rows, features, missing, weighted=weighted)
        model = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, ccp_alpha=pruning, random_state=0)
        model.fit(x, y, sample_weight=weights)
        grown = model.tree_
        trees.append(
            {
                "rows": [[None if np.isnan(value) else float(value) for value in row] for row in x],
                "answers": y.tolist(),
                "weights": weights.tolist(),
                "max_depth": depth,
                "min_leaf_rows": leaf,
                "pruning": pruning,
                "feature": grown.feature.tolist(),
                "threshold": [None if np.isinf(value) else float(value) for value in grown.threshold],
                "left": grown.children_left.tolist(),
                "right": grown.children_right.tolist(),
                "rows_there": grown.n_node_samples.tolist(),
                "impurity": grown.impurity.tolist(),
                "weight": grown.weighted_n_node_samples.tolist(),
                "probability": model.predict_proba(x)[:, 1].tolist(),
            }
        )
    OUT.write_text(json.dumps({"scikit_learn": sklearn.__version__, "trees": trees}) + "\n")


if __name__ == "__main__":
    main()
