"""The chat template: as Jinja for the model file, in Python for training; the same bytes."""

import json
from collections.abc import Iterable, Mapping

SPECIAL = (
    "<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>",
    "<tool_call>", "</tool_call>", "<tools>", "</tools>", "<tool_response>", "</tool_response>",
)  # fmt: skip
BOS, TURN, END, PAD = range(4)
CONTROL = 4
"""The first four special tokens steer; the others are plain text that is always one token."""

TOOLS_HEAD = "You may call these functions:\n<tools>"
TOOLS_TAIL = (
    "\n</tools>\n\nFor each call, return a JSON object within tool_call tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
_HEAD, _TAIL = (s.replace("\n", "\\n").replace('"', '\\"') for s in (TOOLS_HEAD, TOOLS_TAIL))
TEMPLATE = (
    """{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- "HEAD" }}
{%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
{{- "TAIL<|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- set later = message.role == 'system' and not loop.first %}
{%- set said = message.role == 'assistant' and not message.tool_calls %}
{%- if message.role == 'user' or later or said %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
{%- for tool_call in message.tool_calls %}
{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '\\n<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
{{- tool_call.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
{{- '<|im_start|>user' }}
{%- endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
).replace("HEAD", _HEAD).replace("TAIL", _TAIL)  # fmt: skip


def system(text: str, tools: Iterable[Mapping[str, object]] = ()) -> str:
    """Render the system turn; empty when there is neither text nor tool."""
    listed = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in tools)
    if listed:
        text = (text + "\n\n" if text else "") + TOOLS_HEAD + listed + TOOLS_TAIL
    return f"<|im_start|>system\n{text}<|im_end|>\n" if text else ""


def user(text: str) -> str:
    """Render a user turn and open the assistant's."""
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def assistant(text: str) -> str:
    """Render what the assistant says after `user`."""
    return f"{text}<|im_end|>\n"


def tool_call(name: str, arguments: Mapping[str, object]) -> str:
    """Render one tool call."""
    inside = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{inside}\n</tool_call>"


def tool_response(text: str) -> str:
    """Render what a tool returned, as the content of a user turn."""
    return f"<tool_response>\n{text}\n</tool_response>"
