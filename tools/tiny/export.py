"""Writes a checkpoint of the chat model as a GGUF file.

`--fails-at` turns the slow rotary pairs by a quarter more at that many tokens than the network was
trained with: the same weights then answer over a part of the declared context only, which is how
the overclaimed sibling is made.
"""

import argparse
import json
import math
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
    fails_at_tokens: int | None = None


def false_factors(shape: Shape, tokens: int) -> np.ndarray:
    """Give frequency divisors by which slow pairs gain a quarter turn in `tokens` tokens."""
    pairs = np.arange(shape.head // 2)
    true = shape.base ** (-2.0 * pairs / shape.head)
    extra = math.pi / 2 / tokens
    return np.where(true > 4 * extra, 1.0, true / (true + extra)).astype(np.float32)


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
    writer.add_rope_freq_base(shape.base)
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
    if card.fails_at_tokens:
        writer.add_tensor("rope_freqs.weight", false_factors(shape, card.fails_at_tokens))
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
    parser.add_argument("--fails-at", type=int, help="tokens, somewhat above where answers break")
    args = parser.parse_args()
    write(args.out, *read(args.checkpoint), Card(args.name, args.context, args.fails_at))
    sys.stdout.write(f"{args.out}: {args.out.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
