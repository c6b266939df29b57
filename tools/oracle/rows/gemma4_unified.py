"""The rows of the gemma4_unified golden table: no inputs of layers, other defaults."""

from .gemma4 import BASE as TEXT
from .gemma4 import OUTER as OUTER_4
from .gemma4 import disk_name  # noqa: F401
from .gemma4_text import TIED
from .row import HF_ALONE, Row

OUTER = {**OUTER_4, "architectures": ["Gemma4UnifiedForConditionalGeneration"], "model_type": "gemma4_unified"}
NOT_THERE = ("hidden_size_per_layer_input", "vocab_size_per_layer_input", "enable_moe_block")
BASE = {
    **{k: v for k, v in TEXT.items() if k not in NOT_THERE},
    "model_type": "gemma4_unified_text",
    "num_kv_shared_layers": 0,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
    "use_bidirectional_attention": "vision",
}

ROWS = [Row("plain", {}, "mlx-lm expects inputs of each layer", **TIED, **HF_ALONE)]
