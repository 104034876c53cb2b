"""The problems that the lab brings about, by name."""

import importlib
import pkgutil

from datasets.lab.core import Problem

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for module in sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    for problem in importlib.import_module(f"{__name__}.{module}").PROBLEMS
}
