"""Servers whose every word is written by a test, for what no real server does on demand."""
