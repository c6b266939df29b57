"""The golden table: one module for each architecture, with BASE and ROWS."""

from importlib import import_module
from pathlib import Path

ARCHITECTURES = sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py") if p.stem != "row")


def _load(architecture):
    module = import_module(f".{architecture}", __name__)
    for row in module.ROWS:
        row.base, row.architecture = module.BASE, architecture
    return module.ROWS


ROWS = [row for architecture in ARCHITECTURES for row in _load(architecture)]
