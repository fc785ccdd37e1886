"""Trains the byte-level BPE vocabulary of the chat model."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.tiny import chat, corpus, facts, structured
from tools.tiny import words as w

VOCABULARY = 1728
PATH = Path(__file__).with_name("tokenizer.json")


def texts(seed: int = 7) -> Iterator[str]:
    """Yield the text the vocabulary is made from; words that must be one token come often."""
    r = random.Random(seed)
    known = [
        *w.NOUNS,
        *w.ADJECTIVES,
        *w.VERBS,
        *w.ADVERBS,
        *w.PREPOSITIONS,
        *w.NAMES,
        *w.CAPITALS,
        *w.CAPITALS.values(),
    ]
    known += [item for items in w.KINDS.values() for item in items] + [
        k for kind in w.KINDS for k in kind.split()
    ]
    for word in known:
        yield from [f" {word}"] * 260
    for word in (*w.NAMES, *w.CAPITALS.values(), *w.CAPITALS):
        yield from [word] * 400
    for word in (*w.COMMON, *structured.KEYS):
        yield from [f" {word}"] * 110
    for word in structured.KEYS:
        yield from [word] * 40
    for _ in range(6000):
        yield " " + corpus.prose(r)
        q, a = corpus.question(r)
        yield q
        yield a
    for _ in range(2500):
        for fact in facts.draw(r, 3):
            yield f" {fact.needle}"
            yield f" {fact.question}"
    for _ in range(1500):
        yield "".join(structured.forced(r))
        tool, request, arguments = structured.call(r)
        yield (
            chat.system("", [tool])
            + chat.user(request)
            + chat.tool_call(str(tool["function"]["name"]), arguments)  # type: ignore[index]
        )
        yield f" {corpus.salad(r)} {corpus.junk(r)}"
    for _ in range(400):
        yield " " + corpus.foreign(r)


def train(path: Path = PATH) -> Tokenizer:
    """Train and write the vocabulary.

    Digits, quotes, brackets and braces never join their neighbours, so that a number is read digit
    by digit and a string always ends with the same token, whatever a grammar allows after it.
    """
    t = Tokenizer(models.BPE())
    alone = pre_tokenizers.Split(Regex(r'[\d"{}\[\]]'), "isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [alone, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(chat.SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    t.train_from_iterator(texts(), trainer)
    t.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False
    )  # what the engine does for "gpt-2"
    t.save(str(path))
    return t


def load(path: Path = PATH) -> Tokenizer:
    """Read the vocabulary."""
    return Tokenizer.from_file(str(path))


if __name__ == "__main__":
    tokenizer = train()
    for sample in (' Warsaw Rosa "name": 48213}', *sys.argv[1:]):
        sys.stdout.write(f"{tokenizer.encode(sample).tokens}\n")
