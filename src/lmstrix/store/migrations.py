"""The schema, one numbered step after another; `PRAGMA user_version` counts them.

A step that has been released is never changed. What a struct holds is kept as JSON beside the
columns that are searched. Nothing here needs more than SQLite 3.26, which old
but living systems have.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x4C4D5358  # "LMSX", so that no other program's database is taken for ours

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # seen_at is NULL for a model only known from an import. subject is the file's identity,
        # or the key where there is no file to read: what test results are found by.
        """
        CREATE TABLE models (
            id INTEGER PRIMARY KEY,
            provider TEXT NOT NULL,
            server TEXT NOT NULL,
            key TEXT NOT NULL,
            subject TEXT NOT NULL,
            data BLOB NOT NULL,
            added_at REAL NOT NULL,
            seen_at REAL,
            missing_since REAL,
            legacy BLOB,
            UNIQUE (provider, server, key)
        )
        """,
        # settled is 1 for a test that ran to its end. AUTOINCREMENT: the id of a test that was
        # reset is never given to another.
        """
        CREATE TABLE tests (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            identity TEXT NOT NULL,
            provider TEXT NOT NULL,
            machine TEXT NOT NULL,
            load BLOB NOT NULL,
            kv_types TEXT NOT NULL,
            template TEXT NOT NULL,
            suite TEXT NOT NULL,
            model_key TEXT NOT NULL,
            status TEXT NOT NULL,
            settled INTEGER NOT NULL,
            data BLOB NOT NULL,
            owner_pid INTEGER NOT NULL,
            owner_started TEXT NOT NULL
        )
        """,
        "CREATE INDEX tests_by_model ON tests (identity, provider, machine, settled, id)",
        "CREATE INDEX tests_unsettled ON tests (status) WHERE status = 'testing'",
        """
        CREATE TABLE probes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            test_id INTEGER NOT NULL REFERENCES tests (id) ON DELETE CASCADE,
            kind TEXT NOT NULL,
            tokens INTEGER NOT NULL,
            started_at REAL NOT NULL,
            finished_at REAL,
            outcome BLOB,
            owner_pid INTEGER NOT NULL,
            owner_started TEXT NOT NULL
        )
        """,
        "CREATE INDEX probes_by_test ON probes (test_id)",
        "CREATE INDEX probes_unfinished ON probes (id) WHERE finished_at IS NULL",
        "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
