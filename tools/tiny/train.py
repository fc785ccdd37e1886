"""Trains the chat model in stages of counted steps, each from its own seed.

Rows are short, contexts are long: positions jump forward between sentences so that a row of 384
tokens spans up to `Stage.span` positions, and far filler gets an attention bias of log(m) as if it
were there m times.
"""

import argparse
import logging
import math
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import gguf
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import chat
from tools.tiny.network import Network, Shape
from tools.tiny.rows import Rows
from tools.tiny.tokenizer import load

log = logging.getLogger("train")
RATE = 4e-3
MUON = 2.5


@dataclass(frozen=True, slots=True)
class Stage:
    """Counted steps at one row length.

    The learning rate goes linearly from `start` to `stop` (parts of `RATE`); the last five are as
    in `Rows`.
    """

    name: str
    steps: int
    batch: int
    tokens: int
    span: int
    start: float
    stop: float
    found: float = 1.0
    most_asked: int = 4
    noise: float = 0.6
    drills: float = 0.0
    bare: float = 0.0

    def rows(self, seed: int) -> Rows:
        """Give the source of this stage's rows."""
        return Rows(
            seed,
            found=self.found,
            most_asked=self.most_asked,
            noise=self.noise,
            drills=self.drills,
            bare=self.bare,
        )


STAGES = {
    s.name: s
    for s in (
        Stage("a", 350, 56, 128, 0, 1.0, 1.0),
        Stage("b", 450, 28, 256, 0, 1.0, 1.0),
        Stage("c", 500, 18, 384, 12000, 1.0, 1.0, 4.0, 6, 0.25),
        Stage("d", 280, 36, 192, 0, 0.8, 0.8, 4.0, 6, 0.25),
        Stage("e", 300, 18, 192, 0, 1.0, 1.0, 4.0, 6, 0.25, 0.4),
        Stage("f", 400, 14, 384, 12000, 0.8, 0.12, 4.0, 6, 0.25, 0.08),
        Stage("g", 480, 14, 384, 12000, 0.7, 0.06, 4.0, 6, 0.25, 0.06),
        Stage("h", 60, 7, 768, 12000, 0.08, 0.02, 4.0, 6, 0.25),
        Stage("i", 400, 14, 384, 12000, 0.5, 0.03, 4.0, 6, 0.25, 0.12),
        Stage("j", 400, 28, 192, 0, 0.5, 0.3, 4.0, 6, 0.25, 0.2, 0.3),
        Stage("k", 500, 14, 384, 12000, 0.35, 0.02, 4.0, 6, 0.25, 0.1, 0.1),
    )
}


def batch(rows: Rows, stage: Stage) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw ids, weights, positions (batch, tokens) and bias (batch, 1, tokens, tokens)."""
    r, count, tokens = rows.r, stage.batch, stage.tokens
    ids = torch.full((count, tokens), chat.PAD)
    weights = torch.zeros(count, tokens)
    positions = torch.arange(tokens).repeat(count, 1)
    index = torch.arange(tokens)
    distance = index[:, None] - index[None, :]
    bias = torch.zeros(count, 1, tokens, tokens)
    for i in range(count):
        row = rows.draw(tokens)
        size = min(len(row.ids), tokens)
        ids[i, :size] = torch.tensor(row.ids[:size])
        weights[i, :size] = torch.tensor(row.weights[:size])
        if not row.cuts or stage.span <= tokens or r.random() >= 0.85:
            continue
        span = int(tokens * (stage.span / tokens) ** r.random())
        shares = [r.random() for _ in range(r.randint(1, 3))]
        for share in shares:
            at = min(r.choice(row.cuts), tokens - 1)
            positions[i, at:] += int((span - tokens) * share / sum(shares))
        filler = torch.zeros(tokens)
        filler[:size] = torch.tensor(row.filler[:size]).float()
        times = (span - tokens) / max(1.0, filler.sum().item()) + 1
        bias[i, 0] = (
            (distance > r.choice((24, 48, 96))).float()
            * filler[None, :]
            * math.log(max(1.0, times))
        )
    return ids, weights, positions, bias.masked_fill_(distance < 0, float("-inf"))


def feed(rows: Rows, stage: Stage) -> "queue.Queue[tuple[Tensor, Tensor, Tensor, Tensor]]":
    """Draw the stage's batches in a thread; the order is the order drawn."""
    out: queue.Queue[tuple[Tensor, Tensor, Tensor, Tensor]] = queue.Queue(6)

    def draw() -> None:
        for _ in range(stage.steps):
            out.put(batch(rows, stage))

    threading.Thread(target=draw, daemon=True).start()
    return out


def train(net: Network, stage: Stage, seed: int) -> None:
    """Run one stage: Muon for the matrices, AdamW for embeddings and norms."""
    torch.manual_seed(seed)
    matrices = [p for p in net.blk.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=RATE * MUON, weight_decay=0.01, momentum=0.95)
    adam = torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    batches, began, smooth, smooth_loss = feed(stage.rows(seed), stage), time.monotonic(), 0.0, 0.0
    for step in range(stage.steps):
        part = stage.start + (stage.stop - stage.start) * step / stage.steps
        rate = RATE * part * min(1.0, (step + 1) / 40)
        for optimizer, factor in ((muon, MUON), (adam, 1.0)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        ids, weights, positions, bias = batches.get()
        with torch.autocast("cpu", torch.bfloat16):
            hidden = net(ids, positions, bias)
            asked = weights[:, 1:] > 0
            logits = F.linear(hidden[:, :-1][asked], net.token_embd.weight)
        wanted, weight = ids[:, 1:][asked], weights[:, 1:][asked]
        loss = (
            F.cross_entropy(logits.float(), wanted, reduction="none") * weight
        ).sum() / weight.sum()
        muon.zero_grad()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        muon.step()
        adam.step()
        with torch.no_grad():
            full = weight > max(0.9, stage.found - 0.1)
            right = ((logits.argmax(-1) == wanted) & full).sum().item() / max(1, full.sum().item())
        keep = min(0.97, step / (step + 1))
        smooth, smooth_loss = (
            keep * smooth + (1 - keep) * right,
            keep * smooth_loss + (1 - keep) * loss.item(),
        )
        if (step + 1) % 25 == 0:
            passed = time.monotonic() - began
            log.info(
                "%s step %d loss %.4f answers %.4f (%.0f s)",
                stage.name,
                step + 1,
                smooth_loss,
                smooth,
                passed,
            )


def weights_of(path: Path) -> dict[str, Tensor]:
    """Give the weights in a checkpoint, or those in a model file (rounded to its 8 bits)."""
    if path.suffix != ".gguf":
        return dict(torch.load(path)["weights"])
    return {
        t.name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]))
        for t in gguf.GGUFReader(path).tensors
    }


def main() -> None:
    """Train the named stages one after the other, writing a checkpoint after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", default="abcdefghi", help="stages to run, in order")
    parser.add_argument(
        "--start-from", type=Path, help="checkpoint or model file to continue; default: fresh"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/tiny"), help="folder of the checkpoints"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    net = Network(Shape(load().get_vocab_size()))
    if args.start_from:
        net.load_state_dict(weights_of(args.start_from))
    log.info("%d parameters, %s", sum(p.numel() for p in net.parameters()), net.shape)
    for name in args.stages:
        train(net, STAGES[name], 1000 * args.seed + ord(name))
        torch.save(
            {"shape": net.shape.as_dict(), "weights": net.state_dict()}, args.out / f"{name}.pt"
        )


if __name__ == "__main__":
    main()
