"""Rows of training tokens: conversations of a given length, each token with its loss weight."""

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.tiny import chat, corpus, facts, structured
from tools.tiny.tokenizer import load

if TYPE_CHECKING:
    from collections.abc import Callable

HEADS = (
    "There is important info hidden inside a lot of irrelevant text. Find it and memorize it.",
    "Read the text and answer the question at the end.",
    "Read the following text. A question follows.",
    "Here is a long text.",
    "Text:",
    "Remember the facts in this text.",
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You are helpful.",
    "Answer briefly.",
    "You are a careful assistant. Answer the question.",
    "Be concise.",
    "You are a tiny model in a test.",
)
BEFORE_QUESTION = (
    " ",
    " ",
    " ",
    "\n",
    "\n\n",
    "\n\n",
    "\n\nQuestion: ",
    "\nQuestion: ",
    " Now answer: ",
)
READ, ASKED = 0.03, 0.05


@dataclass(slots=True)
class Row:
    """Token ids; the weight of predicting each; which are filler; where positions may jump."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    filler: list[bool] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def add(self, ids: list[int], weight: float, *, filler: bool = False) -> None:
        """Append tokens of one weight."""
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.filler += [filler] * len(ids)


class Rows:
    """Draws rows from one seed. Filler sentences come from pools that are tokenized once.

    `found` weighs the answers that are found in a long text, `noise` those that nobody could guess
    (forced JSON); a long text gets at most `most_asked` questions;
    `drills` is the share of rows that only exercise copying and looking up, `bare` the share that
    asks for facts without filler between them.
    """

    def __init__(
        self,
        seed: int,
        pool: int = 4000,
        *,
        found: float = 1.0,
        most_asked: int = 4,
        noise: float = 0.6,
        drills: float = 0.0,
        bare: float = 0.0,
    ) -> None:
        self.r = random.Random(seed)
        self.found = found
        self.most_asked = most_asked
        self.noise = noise
        self.tokenizer = load()
        r = self.r
        self.pools: dict[str, list[tuple[list[int], list[int]]]] = {}
        for name, make in corpus.FILLERS.items():
            texts = [make(r) for _ in range(pool)]
            self.pools[name] = [(self.encode(" " + t), self.encode("\n" + t)) for t in texts]
        self.classic = [(self.encode(" " + t), self.encode("\n" + t)) for t in corpus.CLASSIC]
        self.kinds: tuple[tuple[float, Callable[[int], Row]], ...] = (
            (0.54, self.haystack),
            (0.69, self.talk),
            (0.77, self.json),
            (0.98, self.tools),
            (1.00, self.plain),
        )
        self.drills = drills
        self.bare = bare

    def encode(self, text: str) -> list[int]:
        """Tokenize text; special tokens in it count as such."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def draw(self, length: int) -> Row:
        """Draw one row of at most `length` tokens."""
        if self.drills and self.r.random() < self.drills:
            return self.r.choice((self.echo, self.lookup))(length)
        if self.bare and self.r.random() < self.bare:
            return self.recall(length)
        pick = self.r.random()
        return next(make for limit, make in self.kinds if pick < limit or limit == 1.0)(length)

    def _opening(self) -> str:
        r = self.r
        if r.random() < 0.72:
            return ""
        return chat.system(r.choice(SYSTEMS) if r.random() < 0.7 else corpus.salad(r))

    def _turn(
        self, row: Row, length: int, asked: str, answer: str, *, free: int = 0, inside: float = 2.0
    ) -> bool:
        """Append one exchange if it fits; `free` answer tokens weigh nothing, the rest `inside`."""
        question, said = self.encode(chat.user(asked)), self.encode(chat.assistant(answer))
        if len(row.ids) + len(question) + len(said) > length:
            return False
        row.add(question, ASKED)
        row.add(said[:free], 0.0)
        row.add(said[free:-1], inside)
        row.add(said[-1:], 0.0)
        return True

    def _start(self) -> Row:
        row = Row()
        row.add([chat.BOS, *self.encode(self._opening())], 0.02)
        return row

    def talk(self, length: int) -> Row:
        """Draw short questions and answers, sometimes about the conversation itself."""
        r, row = self.r, self._start()
        while True:
            if r.random() < 0.12:
                who, n = r.choice(corpus.NAMES), r.randint(2, 99)
                if r.random() < 0.6:
                    first = (
                        r.choice(("My name is {}.", "I am {}.", "Hello, I am {}.")).format(who),
                        f"Nice to meet you, {who}.",
                    )
                    later = (r.choice(("What is my name?", "Who am I?")), f"Your name is {who}.")
                else:
                    first = (f"My lucky number is {n}.", "I will remember it.")
                    later = ("What is my lucky number?", f"Your lucky number is {n}.")
                middle = [corpus.question(r) for _ in range(r.choice((0, 0, 1, 2)))]
                if not all(self._turn(row, length, *pair) for pair in (first, *middle, later)):
                    return row
            elif not self._turn(row, length, *corpus.question(r)):
                return row

    def json(self, length: int) -> Row:
        """Draw JSON answers: some on request, most as if a grammar forced the opening brace."""
        r, row = self.r, self._start()
        while True:
            if r.random() < 0.3:
                fits = self._turn(row, length, *structured.requested(r))
            else:
                fits = self._turn(row, length, *structured.forced(r), free=1, inside=self.noise)
            if not fits:
                return row

    def tools(self, length: int) -> Row:
        """Draw a conversation with tools: calls, results, and plain answers where no tool fits."""
        r, row = self.r, Row()
        calls = [structured.call(r) for _ in range(r.choice((1, 1, 2, 2, 3)))]
        by_name = {
            str(tool["function"]["name"]): (tool, asked, arguments)  # type: ignore[index]
            for tool, asked, arguments in calls
        }
        opening = r.choice(SYSTEMS) if r.random() < 0.35 else ""
        names = list(by_name)
        while names:
            head = self.encode(chat.system(opening, [by_name[n][0] for n in names]))
            if len(head) < length - 60:
                break
            names.pop()
        else:
            return self.talk(length)
        row.add([chat.BOS, *head], 0.02)
        r.shuffle(names)
        for name in names + r.sample(names, 1):
            if r.random() < 0.3 and not self._turn(row, length, *corpus.question(r)):
                return row
            _, asked, arguments = by_name[name]
            returned, said = structured.outcome(r)
            if not self._turn(row, length, asked, chat.tool_call(name, arguments)):
                return row
            if r.random() < 0.6 and not self._turn(row, length, chat.tool_response(returned), said):
                return row
        return row

    def _piece(self) -> str:
        r = self.r
        return r.choice(
            (
                r.choice(corpus.NOUNS),
                r.choice(corpus.COMMON),
                r.choice(corpus.NAMES),
                r.choice(corpus.ADJECTIVES),
                str(r.randint(0, 10 ** r.randint(1, 5))),
                corpus.nonword(r, 6).capitalize(),
                f"{corpus.nonword(r, 8)}_{r.choice(corpus.NOUNS)}",
                f"{r.choice(corpus.ADJECTIVES)}, {corpus.nonword(r, 8)}",
            )
        )

    def echo(self, length: int) -> Row:
        """Draw a line without sense, said again and again; every later token can be known."""
        r, row = self.r, Row()
        row.add([chat.BOS], 0.0)
        size = r.randint(4, max(5, length // 12))
        line = self.encode("\n" + " ".join(self._piece() for _ in range(size)))
        row.add(line, READ)
        while len(row.ids) < length:
            start = 0 if r.random() < 0.6 else r.randrange(len(line) - 1)
            row.add(line[start : start + 1], READ)
            row.add(line[start + 1 :][: length - len(row.ids)], 1.0)
        return row

    def lookup(self, length: int) -> Row:
        """Draw keys with their values, then the same again in other orders; the values count."""
        r, row = self.r, Row()
        row.add([chat.BOS], 0.0)
        form = r.choice(
            ("\n{}:", " {} is", " The code of the {} is", " {} =", " The value of {} is")
        )
        width, numbers = r.choice((1, 1, 2)), r.random() < 0.6
        keys = [" ".join(self._piece() for _ in range(width)) for _ in range(r.randint(2, 8))]
        pairs = [
            (
                self.encode(form.format(k)),
                self.encode(" " + (facts.digits(r) if numbers else self._piece())),
                self.encode("."),
            )
            for k in dict.fromkeys(keys)
        ]
        known = False
        while len(row.ids) < length:
            for key, value, stop in pairs:
                row.add(key, READ)
                row.add(value, 2.0 if known else READ)
                row.add(stop, READ)
            known = True
            r.shuffle(pairs)
        return Row(row.ids[:length], row.weights[:length], row.filler[:length], [])

    def recall(self, length: int) -> Row:
        """Draw a few facts, mostly of the sort that is hardest, and ask for all of them."""
        r, row = self.r, self._start()
        while True:
            make = facts.belongings if r.random() < 0.7 else facts.homes
            hidden = make(r, r.randint(2, 6))
            joined = r.choice((" ", "\n")).join(f.needle for f in hidden)
            row.add(self.encode("<|im_start|>user\n" + joined), READ)
            r.shuffle(hidden)
            for at, fact in enumerate(hidden):
                asked = chat.user(fact.question)
                if at == 0:
                    asked = asked.removeprefix("<|im_start|>user\n")
                    asked = r.choice(BEFORE_QUESTION) + asked
                row.add(self.encode(asked), ASKED)
                self._say(row, fact)
            if len(row.ids) >= length:
                return Row(row.ids[:length], row.weights[:length], row.filler[:length], [])

    def plain(self, length: int) -> Row:
        """Draw running text without a chat."""
        r, row = self.r, Row()
        row.add([chat.BOS], 0.0)
        while len(row.ids) < length:
            asked, answer = corpus.question(r)
            joined = asked + ("" if asked.endswith("=") else " ") + answer
            text = r.choice((corpus.story(r), corpus.prose(r), joined))
            row.add(self.encode(text + "\n")[: length - len(row.ids)], 0.5)
        return row

    def filler(self, length: int, *, lines: bool) -> list[list[int]]:
        """Draw filler sentences of about `length` tokens in one style, in two, or in all."""
        r, size, start = self.r, 0, self.r.randrange(5)
        out: list[list[int]] = []
        styles: tuple[str, ...] = r.choice(
            (
                ("prose",),
                ("prose",),
                ("classic",),
                ("numeric",),
                ("junk",),
                ("foreign",),
                ("salad",),
                ("salad",),
            )
        )
        if r.random() < 0.35:
            styles = (
                tuple(self.pools) if r.random() < 0.5 else tuple(r.sample(sorted(self.pools), 2))
            )
        while size < length:
            style = r.choice(styles)
            pool = (
                self.classic[(start + len(out)) % 5]
                if style == "classic"
                else r.choice(self.pools[style])
            )
            out.append(pool[lines])
            size += len(out[-1])
        return out

    def _say(self, row: Row, fact: facts.Fact) -> None:
        """Append an answer; its value weighs most."""
        if not fact.lead:
            said = self.encode(fact.answer)
            row.add(said, self.found if fact.needle else 1.0)
        else:
            row.add(self.encode(fact.lead), 1.0)
            row.add(self.encode(" " + fact.answer), self.found)
            row.add(self.encode("."), 1.0)
        row.add([chat.END], 1.0)
        row.add(self.encode("\n"), 0.0)

    def haystack(self, length: int) -> Row:
        """Draw filler with facts, a question about one, and further questions in later turns."""
        r, row = self.r, self._start()
        most = max(1, length // 45)
        hidden = facts.draw(r, min(most, r.choice((1, 2, 3, 4, 4, 6, 8))))
        if r.random() < 0.35:
            hidden += facts.draw(r, r.randint(1, max(1, most // 2)))
        spare = max(1, (length - 20 * len(hidden)) // 45)
        asked = r.sample(hidden, min(len(hidden), spare, r.randint(1, self.most_asked)))
        lines = r.random() < 0.25
        head = r.choice(HEADS) if r.random() < 0.45 else ""
        row.add(self.encode("<|im_start|>user\n" + head), 0.02)
        first = asked[0]
        if r.random() < 0.07:
            question, answer = corpus.question(r)
            first = facts.Fact("", question, "", answer)
        own_turn = r.random() < 0.1
        before = (
            "<|im_end|>\n<|im_start|>assistant\nOK.<|im_end|>\n<|im_start|>user\n"
            if own_turn
            else r.choice(BEFORE_QUESTION)
        )
        tail = self.encode(before + first.question + "<|im_end|>\n<|im_start|>assistant\n")
        needles = [self.encode(("\n" if lines else " ") + f.needle) for f in hidden]
        later = [(self.encode(chat.user(f.question)), f) for f in asked[1:]]
        fixed = len(row.ids) + len(tail) + sum(map(len, needles)) + sum(len(q) for q, _ in later)
        room = length - fixed - sum(len(self.encode(f.said)) + 2 for f in (first, *asked[1:])) - 15
        parts = [(x, True) for x in self.filler(room, lines=lines)] if room > 0 else []
        if r.random() < 0.15:
            at = r.randint(0, len(parts))
            parts[at:at] = [(x, False) for x in needles]
        else:
            for needle in needles:
                parts.insert(r.randint(0, len(parts)), (needle, False))
        for ids, is_filler in parts:
            row.add(ids, READ, filler=is_filler)
            row.cuts.append(len(row.ids))
        row.add(tail, ASKED)
        self._say(row, first)
        for question_ids, fact in later:
            row.add(question_ids, ASKED)
            self._say(row, fact)
        if len(row.ids) < length - 30:
            while self._turn(row, length, *corpus.question(r)):
                pass
        return row


if __name__ == "__main__":
    rows = Rows(0, 200)
    for make in (rows.haystack, rows.talk, rows.json, rows.tools, rows.plain):
        sample = make(300)
        print(len(sample.ids), rows.tokenizer.decode(sample.ids, skip_special_tokens=False))
