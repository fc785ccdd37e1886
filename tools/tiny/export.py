"""Writes a checkpoint of the chat model as a GGUF file.

`--base` declares another rotary base than the network was trained with: the same weights then
answer over a part of the declared context only, which is how the overclaimed sibling is made.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch

from tools.tiny import chat
from tools.tiny.network import Shape
from tools.tiny.tokenizer import PATH

CONTEXT = 8192
QUANTIZED = gguf.GGMLQuantizationType.Q8_0
ABOUT = (
    "A very small model for tests, trained on generated text only. "
    "It finds facts in long text; it knows little else."
)


@dataclass(frozen=True, slots=True)
class Card:
    """What the file says about itself."""

    name: str
    context_tokens: int = CONTEXT
    base: float | None = None


def add_header(writer: gguf.GGUFWriter, shape: Shape, card: Card) -> None:
    """Write the sizes and the description."""
    writer.add_name(card.name)
    writer.add_description(ABOUT)
    writer.add_author("LMStrix")
    writer.add_license("MIT")
    writer.add_size_label("1.6M")
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(card.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(card.base or shape.base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_vocabulary(writer: gguf.GGUFWriter, path: Path = PATH) -> None:
    """Write tokens, merges and the chat template."""
    model = json.loads(path.read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    kinds = [gguf.TokenType.CONTROL] * chat.CONTROL
    kinds += [gguf.TokenType.USER_DEFINED] * (len(chat.SPECIAL) - chat.CONTROL)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(chat.BOS)
    writer.add_eos_token_id(chat.END)
    writer.add_eot_token_id(chat.END)
    writer.add_pad_token_id(chat.PAD)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(chat.TEMPLATE)


def write(path: Path, shape: Shape, weights: dict[str, np.ndarray], card: Card) -> None:
    """Write one file; matrices as q8_0, norms as f32."""
    writer = gguf.GGUFWriter(str(path), "llama")
    add_header(writer, shape, card)
    add_vocabulary(writer)
    for name, data in weights.items():
        if data.ndim == 1:
            writer.add_tensor(name, data)
        else:
            writer.add_tensor(name, gguf.quants.quantize(data, QUANTIZED), raw_dtype=QUANTIZED)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> tuple[Shape, dict[str, np.ndarray]]:
    """Read a checkpoint; its parameter names are the tensor names."""
    checkpoint = torch.load(path)
    weights = {k: np.ascontiguousarray(v.float().numpy()) for k, v in checkpoint["weights"].items()}
    return Shape(**checkpoint["shape"]), weights


def main() -> None:
    """Write the model named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="LMStrix tiny chat", help="general.name")
    parser.add_argument("--context", type=int, default=CONTEXT, help="declared context, in tokens")
    parser.add_argument("--base", type=float, help="declared rotary base; default: the true one")
    args = parser.parse_args()
    write(args.out, *read(args.checkpoint), Card(args.name, args.context, args.base))
    sys.stdout.write(f"{args.out}: {args.out.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
