"""The chat model's network: a small Llama with grouped-query attention."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; `base` is the rotary base."""

    vocabulary: int
    width: int = 160
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    head: int = 32
    inner: int = 416
    base: float = 1e6

    def as_dict(self) -> dict[str, float]:
        """Give the fields for a checkpoint."""
        return asdict(self)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


class Norm(nn.Module):
    """Root mean square norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


class Block(nn.Module):
    """Attention and feed-forward; attribute names are the tensor names of the model file."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.shape = s
        self.attn_norm, self.ffn_norm = Norm(s.width), Norm(s.width)
        self.attn_q, self.attn_output = (
            _linear(s.width, s.heads * s.head),
            _linear(s.heads * s.head, s.width),
        )
        self.attn_k, self.attn_v = (
            _linear(s.width, s.kv_heads * s.head),
            _linear(s.width, s.kv_heads * s.head),
        )
        self.ffn_gate, self.ffn_up = _linear(s.width, s.inner), _linear(s.width, s.inner)
        self.ffn_down = _linear(s.inner, s.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same; `bias` is added to the attention scores."""
        s, (batch, tokens, _) = self.shape, x.shape
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, tokens, s.heads, s.head).transpose(1, 2)
        k = self.attn_k(h).view(batch, tokens, s.kv_heads, s.head).transpose(1, 2)
        v = self.attn_v(h).view(batch, tokens, s.kv_heads, s.head).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        each = s.heads // s.kv_heads
        k, v = k.repeat_interleave(each, 1), v.repeat_interleave(each, 1)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.attn_output(seen.transpose(1, 2).reshape(batch, tokens, s.heads * s.head))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs, as the engine does for the llama architecture."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Network(nn.Module):
    """Token ids and positions to hidden states; the output layer is the embedding, transposed."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.shape = s
        self.token_embd = nn.Embedding(s.vocabulary, s.width)
        self.blk = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.output_norm = Norm(s.width)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.6 / math.sqrt(p.shape[1]))
        nn.init.normal_(self.token_embd.weight, std=0.04)
        for block in self.blk:
            block.attn_output.weight.data.mul_(0.3)
            block.ffn_down.weight.data.mul_(0.3)
        self.frequencies = s.base ** (-torch.arange(0, s.head, 2).float() / s.head)

    def forward(self, ids: Tensor, positions: Tensor, bias: Tensor) -> Tensor:
        """Give hidden states (batch, tokens, width)."""
        angle = positions[:, None, :, None].float() * self.frequencies
        cos, sin, h = angle.cos(), angle.sin(), self.token_embd(ids)
        for block in self.blk:
            h = block(h, cos, sin, bias)
        return self.output_norm(h)
