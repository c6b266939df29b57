"""The golden table: one module for each architecture, with BASE (its plain config) and ROWS.

Where a checkpoint holds the decoder inside of something larger, OUTER is the config around BASE
(which is its `text_config`), and disk_name(name) the name that a tensor of transformers' decoder has
in the file. Where mlx-lm does not read the published dense layout, for_mlx_lm(weights) gives it the
same tensors in the layout that it has. STACKED: published files have all experts in one tensor.
GGUF has the rows that are GGUF files.
"""

from importlib import import_module
from pathlib import Path

ARCHITECTURES = sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py") if p.stem != "row")


def _load(architecture):
    module = import_module(f".{architecture}", __name__)
    rows = module.ROWS + getattr(module, "GGUF", [])
    for row in rows:
        row.base, row.architecture = module.BASE, architecture
        row.outer = getattr(module, "OUTER", None)
        if row.stacked is None:
            row.stacked = getattr(module, "STACKED", False)
        row.disk_name = getattr(module, "disk_name", row.disk_name)
        row.for_mlx_lm = getattr(module, "for_mlx_lm", row.for_mlx_lm)
    return rows


ROWS = [row for architecture in ARCHITECTURES for row in _load(architecture)]
