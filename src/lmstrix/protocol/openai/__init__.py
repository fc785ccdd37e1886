"""OpenAI's wire formats, sans I/O, for both ends: a client's requests and a server's answers.

The formats are those of OpenAI's API reference; what llama.cpp, vLLM and LM Studio add to them is
marked with their names. Fields that nobody here knows are passed over.
"""

from __future__ import annotations
