"""The families of runs."""

import importlib
import pkgutil

from datasets.lab.core import Workload

WORKLOADS: dict[str, Workload] = {
    name: importlib.import_module(f"{__name__}.{name}").WORKLOAD
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__))
    if not name.startswith("_")
}
