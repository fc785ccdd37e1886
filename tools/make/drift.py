"""Compare LM Studio's published types with those here: what is new, gone or changed.

    make conformance                                   the newest @lmstudio/sdk that npm has
    LMSTUDIO_SDK=/path/to/package python tools/make/drift.py

Read are the package's `dist/index.d.ts` and, for the names of endpoints, `dist/index.mjs`. `new` is
what only the package has, `gone` what only LMStrix has, `changed` a field of another type. Nothing
of it is an error: newer servers may send more, and readers pass over what they do not know.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

import msgspec

from lmstrix.gateway.lmstudio_facts import STOP_REASONS
from lmstrix.gateway.lmstudio_native.infos import FORMATS
from lmstrix.gateway.lmstudio_native.questions import OVERFLOWS
from lmstrix.protocol.lmstudio import chats, config, models, parameters, predictions
from lmstrix.protocol.lmstudio.endpoints import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = "LMSTUDIO_SDK"

# Their types, and what they are here.
STRUCTS: Mapping[str, type[msgspec.Struct]] = {
    "BackendNotification": parameters.Notification,
    "ChatMessagePartFileData": chats.FileHandle,
    "ChatMessagePartTextData": chats.TextData,
    "ChatMessagePartToolCallRequestData": chats.ToolCallRequestData,
    "ChatMessagePartToolCallResultData": chats.ToolCallResultData,
    "DownloadProgressUpdate": models.DownloadProgressUpdate,
    "EmbeddingModelInfo": models.EmbeddingModelInfo,
    "EmbeddingModelInstanceInfo": models.EmbeddingModelInstanceInfo,
    "EstimatedModelMemoryUsage": models.MemoryEstimate,
    "EstimatedResourcesUsage": models.ModelUsage,
    "FunctionToolCallRequest": chats.ToolCallRequest,
    "LLMApplyPromptTemplateOpts": chats.LlmApplyPromptTemplateOpts,
    "LLMCandidateToken": predictions.Candidate,
    "LLMInfo": models.LlmInfo,
    "LLMInstanceInfo": models.LlmInstanceInfo,
    "LLMPredictionFragment": predictions.LlmPredictionFragment,
    "LLMPredictionStats": predictions.LlmPredictionStats,
    "LLMToken": predictions.PredictedToken,
    "LLMTool": chats.LlmTool,
    "ModelProcessingState": parameters.ProcessingState,
    "ModelQuery": models.ModelQuery,
    "ModelSearchOpts": parameters.SearchOptions,
    "PromptProcessingDetails": predictions.PromptProgress,
    "Quantization": models.Quantization,
    "ServiceInfo": parameters.ServerInfo,
    "StartHttpServerOpts": parameters.StartHttpServerParameter,
}
# Their options, and the keys that they are on the wire.
OPTIONS: Mapping[str, tuple[config.Key, ...]] = {
    "EmbeddingLoadModelConfig": config.EMBEDDING_LOAD,
    "LLMLoadModelConfig": config.LLM_LOAD,
    "LLMPredictionConfigInput": config.PREDICTION,
}
# Their words, and those that are known here.
WORDS: Mapping[str, frozenset[str]] = {
    "LLMContextOverflowPolicy": frozenset(OVERFLOWS),
    "LLMPredictionStopReason": frozenset(STOP_REASONS.values()) | {"modelUnloaded"},
    "LLMPredictionFragmentReasoningType": frozenset(
        {"none", "reasoning", "reasoningStartTag", "reasoningEndTag"}
    ),
    "ModelCompatibilityType": FORMATS,
    "ModelDomainType": frozenset({"llm", "embedding"}),
    "ModelProcessingStatus": frozenset(
        {"idle", "processingPrompt", "generating", "computingEmbedding"}
    ),
}

# Differences that are meant, by how their lines begin, with the reason.
KNOWN: Mapping[str, str] = {
    "new      ModelDomainType": "models of these kinds are passed through unread",
    "new      ModelCompatibilityType": "other formats are passed through unread",
    "new      files/": "documents are not parsed and searched here",
    "new      plugins/": "hooks of plugins are not called here",
    "new      repository/": "accounts, artifacts and links between devices are LM Studio's own",
    "new      runtime/": "engines are not exchanged here",
    "gone     EmbeddingLoadModelConfig.": "keys of the wire that no SDK has an option for",
    "gone     LLMLoadModelConfig.": "keys of the wire that no SDK has an option for",
    "gone     LLMPredictionConfigInput.": "keys of the wire that no SDK has an option for",
}

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_INTERFACE = re.compile(
    r"declare interface (\w+)(?:<[^{]*?>)?(?: extends ([\w, ]+?)(?:<[^{]*?>)?)? \{"
)
_TYPE = re.compile(r"declare type (\w+)(?:<[^=]*?>)? = ")
_FIELD = re.compile(r"(?:readonly )?([\w$]+)(\?)?: (.+)", re.DOTALL)
_WORD = re.compile(r'"([^"]*)"')
_NAMESPACE = re.compile(r"function create(\w+)BackendInterface\(")
_ENDPOINT = re.compile(r'\.add(?:Rpc|Channel)Endpoint\("(\w+)"')


class Field(NamedTuple):
    """A field of one of their types; `type` as it is written."""

    optional: bool
    type: str


class Published:
    """The types of one `index.d.ts`."""

    def __init__(self, source: str) -> None:
        text = _COMMENT.sub("", source)
        self._bodies: dict[str, str] = {}
        self._parents: dict[str, list[str]] = {}
        for match in _INTERFACE.finditer(text):
            self._bodies[match[1]] = _braced(text, match.end() - 1)
            self._parents[match[1]] = re.findall(r"\w+", match[2] or "")
        for match in _TYPE.finditer(text):
            self._bodies[match[1]] = _until_semicolon(text, match.end())

    def __contains__(self, name: str) -> bool:
        return name in self._bodies

    def fields(self, name: str) -> dict[str, Field]:
        """The fields of a type by name, those of its parents and parts included."""
        pieces = _split(self._bodies.get(name, ""), "&")
        parts = [piece for piece in pieces if not piece.startswith("{")]
        found: dict[str, Field] = {}
        for part in (*self._parents.get(name, ()), *parts):
            found |= self.fields(part)
        for piece in pieces:
            if piece.startswith("{"):
                found |= _fields_in(_braced(piece, 0)[1:-1])
        return found

    def words(self, name: str) -> frozenset[str]:
        """The words of a union of words."""
        return frozenset(_WORD.findall(self._bodies.get(name, "")))


def main() -> int:
    """Print what differs; 0 whatever it is."""
    named = os.environ.get(PACKAGE)
    if named:
        return compare(Path(named))
    npm = shutil.which("npm")
    if npm is None:
        print(f"Skipped: npm is not installed, and {PACKAGE} names no folder.")
        return 0
    with tempfile.TemporaryDirectory(prefix="lmstrix-drift-") as folder:
        packed = subprocess.run(
            [npm, "pack", "--silent", "@lmstudio/sdk"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if packed.returncode:
            print("Skipped: npm cannot fetch @lmstudio/sdk here.")
            return 0
        with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
            archive.extractall(folder, filter="data")
        return compare(Path(folder) / "package")


def compare(package: Path) -> int:
    """Compare with the package in that folder."""
    about = json.loads((package / "package.json").read_text(encoding="utf-8"))
    types = (package / "dist" / "index.d.ts").read_text(encoding="utf-8")
    code = (package / "dist" / "index.mjs").read_text(encoding="utf-8")
    lines = [*differences(Published(types)), *endpoint_differences(code)]
    known: dict[str, list[str]] = {}
    print(f"{about['name']} {about['version']}, compared with lmstrix.protocol.lmstudio:")
    for line in lines:
        reason = next((KNOWN[start] for start in KNOWN if line.startswith(start)), None)
        if reason is None:
            print(line)
        else:
            known.setdefault(reason, []).append(line.split(maxsplit=1)[1])
    if not lines or sum(map(len, known.values())) == len(lines):
        print("nothing differs that is not known")
    for reason, names in known.items():
        print(f"known: {reason}: {', '.join(names)}")
    return 0


def differences(published: Published) -> Iterator[str]:
    """One line per type, field, option or word that differs."""
    for name, struct in STRUCTS.items():
        if name not in published:
            yield f"gone     {name}"
            continue
        yield from _field_differences(name, published.fields(name), struct)
    for name, keys in OPTIONS.items():
        theirs = set(published.fields(name)) - {"raw"}
        ours = {key.option.partition(".")[0] for key in keys if key.option}
        yield from (f"new      {name}.{option}" for option in sorted(theirs - ours))
        yield from (f"gone     {name}.{option}" for option in sorted(ours - theirs))
    for name, known in WORDS.items():
        words = published.words(name)
        yield from (f'new      {name} "{word}"' for word in sorted(words - known))
        yield from (f'gone     {name} "{word}"' for word in sorted(known - words))


def _field_differences(
    name: str, theirs: Mapping[str, Field], struct: type[msgspec.Struct]
) -> Iterator[str]:
    hints = get_type_hints(struct)
    info = msgspec.structs.fields(struct)
    ours = {field.encode_name: _kinds(hints[field.name]) for field in info}
    tag = struct.__struct_config__.tag_field
    for field in sorted(set(theirs) - set(ours) - {tag}):
        mark = "?" if theirs[field].optional else ""
        yield f"new      {name}.{field}{mark}: {theirs[field].type}"
    for field in sorted(set(ours) - set(theirs)):
        yield f"gone     {name}.{field}"
    for field in sorted(set(ours) & set(theirs)):
        kind = _kind_of(theirs[field].type)
        if kind and not kind & ours[field] and ours[field]:
            yield f"changed  {name}.{field}: {theirs[field].type}"


def endpoint_differences(code: str) -> Iterator[str]:
    """One line per remote call or channel that only one side knows."""
    known = {(namespace, name) for namespace, name in TABLE}
    theirs = set(_endpoints(code))
    yield from (f"new      {namespace}/{name}" for namespace, name in sorted(theirs - known))
    yield from (f"gone     {namespace}/{name}" for namespace, name in sorted(known - theirs))


def _endpoints(code: str) -> Iterator[tuple[str, str]]:
    starts = [*_NAMESPACE.finditer(code)]
    for number, match in enumerate(starts):
        end = code.find("\n}\n", match.end())
        if number + 1 < len(starts):
            end = min(end, starts[number + 1].start())
        namespace = match[1][0].lower() + match[1][1:]
        namespaces = ["llm", "embedding"] if namespace == "baseModel" else [namespace]
        for name in _ENDPOINT.findall(code[match.end() : end]):
            yield from ((one, name) for one in namespaces)


def _kinds(hint: Any) -> frozenset[str]:
    """What JSON a type of ours may be: `string`, `number`, `boolean`; empty for anything."""
    parts = get_args(hint) or (hint,)
    found = {
        kind
        for part in parts
        for kind, types in (("string", {str}), ("number", {int, float}), ("boolean", {bool}))
        if part in types
    }
    plain = all(part in (str, int, float, bool, type(None), msgspec.UnsetType) for part in parts)
    return frozenset(found) if plain else frozenset()


def _kind_of(written: str) -> frozenset[str]:
    """The same of a type of theirs, as far as it can be told by its text."""
    parts = {part.strip() for part in written.split("|")} - {"null", "undefined"}
    if all(part in ("string", "number", "boolean") for part in parts):
        return frozenset(parts)
    if all(part.startswith('"') for part in parts):
        return frozenset({"string"})
    return frozenset()


def _fields_in(body: str) -> dict[str, Field]:
    found = {}
    for piece in _split(body, ";"):
        if (match := _FIELD.fullmatch(piece)) and not piece.startswith("("):
            found[match[1]] = Field(match[2] == "?", " ".join(match[3].split()))
    return found


def _split(text: str, separator: str) -> list[str]:
    """The pieces of `text` between separators that lie in no brackets."""
    pieces, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        # An arrow's head is no bracket.
        if letter in "{([<":
            depth += 1
        elif letter in "})]" or (letter == ">" and text[at - 1] != "="):
            depth -= 1
        elif letter == separator and depth == 0:
            pieces.append(text[start:at].strip())
            start = at + 1
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]


def _braced(text: str, start: int) -> str:
    """From the brace at `start` to the one that closes it."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start : at + 1]
    return text[start:]


def _until_semicolon(text: str, start: int) -> str:
    """A type's right side: up to the semicolon that lies in no braces."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in "{(") - (text[at] in "})")
        if depth == 0 and text[at] == ";":
            return text[start:at].strip()
    return text[start:].strip()


if __name__ == "__main__":
    sys.exit(main())
