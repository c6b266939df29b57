"""The rows of the gemma4 golden table: gemma4_text inside of a multimodal checkpoint."""

from .gemma4_text import BASE as TEXT
from .gemma4_text import MOE, SMALL, TIED, ropes
from .row import Row, quantized

# mlx-lm takes the vocabulary's size from the outer config.
OUTER = {
    "architectures": ["Gemma4ForConditionalGeneration"],
    "model_type": "gemma4",
    "vocab_size": TEXT["vocab_size"],
}
WIDE = {"vocab_size": 128, "vocab_size_per_layer_input": 128}
BASE = {k: v for k, v in TEXT.items() if k != "architectures"}


def disk_name(name):
    return name.replace("model.", "model.language_model.", 1)


TOWERS = ("vision_tower", "audio_tower", "embed_vision", "embed_audio")
BESIDE = {f"model.{tower}.patch.weight": (8, 3) for tower in TOWERS}

ROWS = [
    Row("plain", **TIED),
    Row("whole", note="tensors for images and sound", beside=BESIDE, **TIED),
    Row("moe", MOE, **TIED),
    Row("rope_dynamic", ropes({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}), "inside the window", **TIED),
    Row(
        "converted",
        {**SMALL, **WIDE, "hidden_size": 16, "head_dim": 8, "global_head_dim": 16, "hidden_size_per_layer_input": 16},
        dtype="float16",
        converted=True,
        **TIED,
    ),
    quantized("affine_4_32", 4, 32, "affine", {**SMALL, **WIDE}, converted=True),
]
