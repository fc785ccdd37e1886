"""Trains the embedding model (a small BERT) by contrast and writes it as GGUF.

Sentences of one meaning are drawn together against all others of the batch, sentences of one topic
likewise but less; the templates in `topics.HELD_OUT` are never seen in training.
"""

import argparse
import logging
import random
import re
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.tiny import topics

log = logging.getLogger("embed")
WIDTH, LAYERS, HEADS, INNER, CONTEXT = 96, 2, 4, 192, 512
STEPS, BATCH, RATE, SEED = 500, 128, 4e-3, 3
START = "\u2581"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, CLS, SEP, MASK = range(5)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = ".,;:!?'\"()-+=/*&%$#@_<>[]{}|\\~`^"
ENDINGS = (
    "ing",
    "ed",
    "er",
    "ly",
    "es",
    "tion",
    "ness",
    "ment",
    "al",
    "th",
    "st",
    "ion",
    "or",
    "an",
    "in",
    "on",
    "re",
)


def tokens() -> list[str]:
    """List the vocabulary in the engine's form: a word start is marked, a continuation is bare."""
    single = [START + c for c in LETTERS + MARKS] + list(LETTERS)
    return [*SPECIAL, *single, *ENDINGS, *(START + w for w in topics.vocabulary())]


class Words:
    """Longest-match word pieces, as the engine splits text for the bert tokenizer."""

    def __init__(self) -> None:
        self.ids = {t: i for i, t in enumerate(tokens())}

    def encode(self, text: str) -> list[int]:
        """Give the ids of a text between [CLS] and [SEP]."""
        ids = [CLS]
        for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
            rest, found = START + word, []
            while rest:
                size = next((n for n in range(len(rest), 0, -1) if rest[:n] in self.ids), 0)
                if not size:
                    found = [UNKNOWN]
                    break
                found.append(self.ids[rest[:size]])
                rest = rest[size:]
            ids += found
        return [*ids, SEP]

    def batch(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Give padded ids and their mask (texts, tokens)."""
        rows = [self.encode(t) for t in texts]
        ids = torch.full((len(rows), max(map(len, rows))), PAD)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        return ids, ids != PAD


class Block(nn.Module):
    """Attention and feed-forward, normalized after each sum; attributes are named as tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )
        self.ffn_up, self.ffn_down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.attn_output_norm, self.layer_output_norm = (
            nn.LayerNorm(WIDTH, 1e-12),
            nn.LayerNorm(WIDTH, 1e-12),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same."""
        q, k, v = (
            f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for f in (self.attn_q, self.attn_k, self.attn_v)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.attn_output_norm(x + self.attn_output(seen.transpose(1, 2).flatten(-2)))
        return self.layer_output_norm(x + self.ffn_down(F.gelu(self.ffn_up(x))))


class Bert(nn.Module):
    """Token ids to one unit vector per text."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(vocabulary, WIDTH)
        self.position_embd = nn.Embedding(CONTEXT, WIDTH)
        self.token_types = nn.Embedding(2, WIDTH)
        self.token_embd_norm = nn.LayerNorm(WIDTH, 1e-12)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        nn.init.normal_(self.token_embd.weight, std=0.3)
        nn.init.zeros_(self.token_types.weight)
        nn.init.normal_(self.position_embd.weight, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Give unit vectors (texts, width): the mean over the tokens, normalized."""
        positions = torch.arange(ids.shape[1])
        x = self.token_embd_norm(
            self.token_embd(ids) + self.position_embd(positions) + self.token_types.weight[0]
        )
        for block in self.blk:
            x = block(x, mask)
        kept = mask[:, :, None].float()
        return F.normalize((x * kept).sum(1) / kept.sum(1), dim=-1)


def contrast(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding each left text's partner among all right ones, and back."""
    scores = left @ right.T / temperature
    wanted = torch.arange(len(left))
    return (F.cross_entropy(scores, wanted) + F.cross_entropy(scores.T, wanted)) / 2


def train(words: Words) -> Bert:
    """Train for `STEPS` counted steps."""
    torch.manual_seed(SEED)
    r, net = random.Random(SEED), Bert(len(words.ids))
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    names = list(topics.TOPICS)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * max(0.02, 1 - step / STEPS)
        same = [
            topics.answered(r) if r.random() < 0.12 else topics.paraphrases(r, topics.TAUGHT)
            for _ in range(BATCH)
        ]
        close = [
            tuple(topics.draw(r, name).write(r.choice(topics.TAUGHT)) for _ in "ab")
            for name in r.sample(names, len(names))
        ]
        pairs = same + close
        ids, mask = words.batch([a for a, _ in pairs] + [b for _, b in pairs])
        with torch.autocast("cpu", torch.bfloat16):
            vectors = net(ids, mask).float()
        left, right = vectors[: len(pairs)], vectors[len(pairs) :]
        loss = contrast(left[:BATCH], right[:BATCH], 0.1) + 0.7 * contrast(
            left[BATCH:], right[BATCH:], 0.15
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            log.info("step %d loss %.4f", step + 1, loss.item())
    return net


def write(path: Path, net: Bert) -> None:
    """Write the GGUF file: matrices as f16, the rest as f32."""
    listed = tokens()
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_name("LMStrix tiny embed")
    writer.add_description(
        "A very small embedding model for tests, trained on generated sentences only."
    )
    writer.add_author("LMStrix")
    writer.add_license("MIT")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(len(listed))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(listed)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.NORMAL] * (len(listed) - 5)
    )
    writer.add_token_type_count(2)
    writer.add_bos_token_id(CLS)
    writer.add_eos_token_id(SEP)
    writer.add_sep_token_id(SEP)
    writer.add_pad_token_id(PAD)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_mask_token_id(MASK)
    for name, parameter in net.state_dict().items():
        data = parameter.float().numpy()
        small = data.ndim == 1 or name.startswith(("position_embd", "token_types"))
        writer.add_tensor(name, data.astype(np.float32 if small else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    write(args.out, train(Words()))
    log.info("%s: %d bytes", args.out, args.out.stat().st_size)


if __name__ == "__main__":
    main()
