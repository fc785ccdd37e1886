"""Ollama's HTTP API, both roles, sans I/O: what a client sends and what a server answers.

The facts are those of Ollama's `docs/api.md`, `api/types.go` and `server/routes.go`. Answers
are streamed as one JSON object per line (`lines`). `messages` and `models` are the bodies,
`requests` turns questions into them and back; `stream` is an answer as a client reads it,
`replies` as a server writes it. Fields that nobody here knows are passed over.
"""

from __future__ import annotations
