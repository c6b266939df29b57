"""One row of the golden table: a configuration, and who decides where readers differ."""

from collections.abc import Callable
from dataclasses import dataclass, field

ABSENT = object()  # a key taken out of the base


@dataclass
class Row:
    name: str  # the file is <architecture>_<name>
    changes: dict = field(default_factory=dict)
    note: str = ""
    reference: str = "mlx-lm"  # whose numbers `logits` holds where the two disagree
    head: bool = True  # the checkpoint holds lm_head.weight
    hf_type: str | None = None  # the model_type that transformers is told; absent: the config's
    hf_changes: dict = field(default_factory=dict)  # only for transformers
    readings: str = "same"  # "same" | "other" (the two disagree) | "near" (a little) | "mlx-lm refuses"
    dtype: str = "float32"  # of the stored weights
    quantize: dict | None = None  # mlx_lm's quantization config; packed tensors go to a file
    converted: bool = False  # stored as mlx-lm's convert stores it, in a file
    npz: bool = False  # the file is NumPy's archive, as MLX's first checkpoints are
    gguf: str = ""  # the file is a GGUF file of this type, as llama.cpp converts it
    whole: bool = False  # transformers' single steps differ from its long passes: it is given no cache
    quantize_config: dict | None = None  # what config.json says, when it says less than `quantize`
    packing: "Packing | None" = None  # packed before mlx-lm sees it, in a file
    stacked: bool | None = None  # experts in one tensor, as transformers' model holds them; absent: as STACKED says
    beside: dict = field(default_factory=dict)  # names and shapes of tensors that are not the decoder's

    base: dict = field(default_factory=dict)  # set by rows/__init__.py
    architecture: str = ""  # likewise
    outer: dict | None = None  # likewise
    disk_name: Callable = lambda name: name  # likewise
    for_mlx_lm: Callable = lambda weights: weights  # likewise

    def text_config(self):
        """What transformers' decoder is made of."""
        merged = {**self.base, **self.changes}
        return {k: v for k, v in merged.items() if v is not ABSENT}

    def mlx_weights(self, weights):
        """As mlx-lm is given them."""
        return weights if self.converted or self.packing else self.for_mlx_lm(weights)

    def config(self):
        """config.json."""
        text = self.text_config()
        return text if self.outer is None else {**self.outer, "text_config": text}


@dataclass
class Packing:
    """How the makers of a model publish it packed."""

    config: dict  # quantization_config
    pack: Callable  # dense tensors -> those of the file
    unpack: Callable  # back: the numbers that they stand for


def scaling(name, changes, note="", **row):
    """A rope row; `changes` is the rope_scaling table."""
    extra = row.pop("config", {})
    return Row(name, {"rope_scaling": changes, **extra}, note, **row)



def quantized(name, bits, group, mode, size, note="", **row):
    """A quantised row; `size` are changes that keep its packed tensors small.  converted=True where
    mlx-lm gives tensors other names or stacks them; per_layer then has its paths."""
    quantize = {"group_size": group, "bits": bits, "mode": mode, **row.pop("per_layer", {})}
    return Row(f"quant_{name}", dict(size), note, quantize=quantize, **{"head": False, **row})


def gguf(name="plain", changes=None, note="", kind="f16", **row):
    """A GGUF file, with the vocabulary that all of them have."""
    row = {"dtype": "bfloat16", **row}
    return Row(f"gguf_{name}", {"vocab_size": 288, **(changes or {})}, note, gguf=kind, **row)


# transformers decides, and mlx-lm gives something else.
HF = {"reference": "transformers", "readings": "other"}
# transformers decides, and mlx-lm does not load it.
HF_ALONE = {"reference": "transformers", "readings": "mlx-lm refuses"}


def yarn_without_length():
    """Where yarn's original length comes from when it is not given."""
    return scaling(
        "rope_yarn_no_original",
        {"rope_type": "yarn", "factor": 4.0},
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        config={"max_position_embeddings": 32},
        **HF,
    )
