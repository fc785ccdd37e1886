"""The table of what each provider can do, for `docs/providers.md`, from the code itself.

    python tools/make/capabilities.py

The table stands between two marks of the page; the rest of the page is written by hand.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from lmstrix.providers import Capabilities

if TYPE_CHECKING:
    from lmstrix.providers import Provider

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
BEGIN, END = "<!-- table: make docs writes it -->\n", "<!-- end of table -->\n"

# What each capability is called for users.
WORDS = {
    "supports_streaming": "streams",
    "supports_cancel": "a left answer ends on the server",
    "supports_raw": "completion without a chat template (`--raw`)",
    "supports_tools": "tools",
    "supports_vision": "images",
    "supports_reasoning": "reasoning on, off, or how much",
    "supports_schema": "answers held to a JSON Schema",
    "supports_grammar": "answers held to a grammar (GBNF)",
    "supports_logprobs": "log probabilities",
    "supports_embeddings": "embeddings",
    "supports_load": "loading at a chosen size, unloading",
    "supports_instance_names": "loading beside what is loaded, under a name of one's own",
    "supports_load_progress": "progress of a load",
    "supports_prompt_progress": "progress of the prompt",
    "supports_tokenization": "counting tokens",
    "supports_detokenization": "text from tokens (`--overflow middle`, `rolling`)",
    "supports_templates": "the prompt as the model sees it",
    "supports_sampling_defaults": "the server's own sampling (`--explain`)",
    "supports_memory": "memory of a loaded model",
    "supports_memory_limit": "a limit on memory",
    "supports_download": "fetching models",
}


def kinds() -> list[type[Provider]]:
    """LMStrix's own providers, the most preferred first."""
    found = [
        one.load()
        for one in entry_points(group="lmstrix.providers")
        if one.value.startswith("lmstrix.")
    ]
    return sorted(found, key=lambda kind: (-kind.preference, kind.name))


def table() -> str:
    """Capabilities by provider, as markdown."""
    providers = kinds()
    head = ["", *(f"`{kind.name}`" for kind in providers)]
    rows = [head, ["---"] + [":-:"] * len(providers)]
    for name in Capabilities.__struct_fields__:
        marks = ["yes" if getattr(kind.capabilities, name) else "-" for kind in providers]
        rows.append([WORDS[name], *marks])
    spoken = [", ".join(sorted(kind.dialects)) or "-" for kind in providers]
    rows.append(["passed on byte for byte by the gateway", *spoken])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page(text: str) -> str:
    """The page with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
