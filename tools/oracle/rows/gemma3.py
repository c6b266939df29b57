"""The rows of the gemma3 golden table: gemma3_text inside of a multimodal checkpoint."""

from .gemma3_text import BASE as TEXT
from .gemma3_text import SMALL, TIED
from .row import HF, Row, quantized, scaling

# mlx-lm takes the vocabulary's size from the outer config.
OUTER = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "vocab_size": TEXT["vocab_size"],
}
BASE = {k: v for k, v in TEXT.items() if k != "architectures"}


def disk_name(name):
    return "language_model." + name


SEEING = {"vision_tower.patch.weight": (8, 3), "multi_modal_projector.mm_soft_emb_norm.weight": (8,)}

ROWS = [
    Row("plain", **TIED),
    Row("whole", note="tensors for images", beside=SEEING, **TIED),
    scaling("rope_linear", {"rope_type": "linear", "factor": 8.0}, **TIED),
    scaling(
        "rope_yarn_no_original",
        {"rope_type": "yarn", "factor": 4.0},
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        config={"max_position_embeddings": 32, "rope_theta": 10000.0},
        **TIED,
        **HF,
    ),
    Row("converted", {"num_hidden_layers": 2, "head_dim": 8, "intermediate_size": 32}, dtype="bfloat16", converted=True, **TIED),
    quantized("affine_4_32", 4, 32, "affine", SMALL, converted=True),
]
