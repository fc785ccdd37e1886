"""Anthropic's Messages API, both roles, as its reference describes it (version 2023-06-01)."""
