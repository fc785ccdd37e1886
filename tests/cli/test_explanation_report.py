"""What `--explain` says of servers that tell much, and of those that keep to themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstrix.cli.explanation_report import explanation_lines
from lmstrix.explain import Explanation, compare_parameters
from lmstrix.types import Instance, Sampling, WireRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


def lines(
    sampling: Sampling, defaults: Mapping[str, object], *, context_tokens: int | None = None
) -> str:
    return "\n".join(
        explanation_lines(
            Explanation(
                model="m",
                instance=Instance(
                    id="m", model_key="m", provider="openai", server="x", context_tokens=None
                ),
                rendered="",
                prompt_tokens=context_tokens,
                context_tokens=context_tokens,
                wire=WireRequest(method="POST", path="/v1/chat/completions", body=b"{}"),
                parameters=compare_parameters(sampling, defaults),
                notes=("The provider cannot tokenize.",),
            )
        )
    )


def test_what_a_server_does_not_tell_is_said_to_be_untold():
    shown = lines(Sampling(temperature=0.5), {})
    assert "Context   not told by the server" in shown
    assert "Prompt    not told by the server" in shown
    assert "temperature  0.5    you\n" in shown
    assert "(the rest is the server's own, which it does not tell)" in shown
    assert "top_k" not in shown
    assert "instead of" not in shown
    assert shown.endswith("note: The provider cannot tokenize.")


def test_without_a_choice_all_is_the_servers():
    assert "(all are the server's own, which it does not tell)" in lines(Sampling(), {})


def test_what_a_server_tells_is_compared_with_what_was_chosen():
    shown = lines(Sampling(temperature=0.5), {"temperature": 0.8, "top_k": 40}, context_tokens=8192)
    assert "Context   8,192 tokens" in shown
    assert "instead of 0.8" in shown
    assert "top_k              40     server default" in shown
    assert "does not tell" not in shown
