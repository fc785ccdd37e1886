"""Averages the weights of late checkpoints of one run, which keeps what each learned."""

import argparse
from pathlib import Path

import torch


def main() -> None:
    """Write the mean of the named checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    args = parser.parse_args()
    parts = [torch.load(path) for path in args.checkpoints]
    names = parts[0]["weights"]
    mean = {k: sum(p["weights"][k].float() for p in parts) / len(parts) for k in names}
    torch.save({"shape": parts[0]["shape"], "weights": mean}, args.out)


if __name__ == "__main__":
    main()
