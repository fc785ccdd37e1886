"""The embedded engine: llama.cpp in a child process, started, watched and ended from here."""

from __future__ import annotations
