"""The rows of the qwen3_5_moe_text golden table: the decoder of qwen3_5_moe alone, as transformers stores it."""

from .qwen3_5 import OUTSIDE, TYPES, YARN
from .qwen3_5_moe import BASE
from .row import HF_ALONE, Row

STACKED = True

ROWS = [
    Row("plain", {}, "not a model type of mlx-lm", **HF_ALONE),
    Row("layer_types", {"layer_types": TYPES}, **HF_ALONE),
    Row("rope_outside", OUTSIDE, **HF_ALONE),
    Row("rope_yarn_no_original", {"rope_parameters": YARN, "max_position_embeddings": 32}, **HF_ALONE),
]
