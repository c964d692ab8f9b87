"""A memory between runs: what was computed from the same input is read back instead of computed again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path


class Memo:
    """Text by key in one SQLite file; `None` as the path keeps it in memory only.

    Keys are hashes of everything the value depends on, so an entry is never wrong, only unused.
    A file that cannot be read is a cache that was lost, never an error.
    """

    def __init__(self, path: Path | None = None):
        self.seen: set[str] = set()
        try:
            self.store = self._open(path)
        except (sqlite3.Error, OSError):
            if path is not None:
                with contextlib.suppress(OSError):
                    path.unlink()
            self.store = self._open(None)

    @staticmethod
    def _open(path: Path | None) -> sqlite3.Connection:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        store = sqlite3.connect(path or ":memory:", timeout=30)
        store.execute("create table if not exists memo (key text primary key, value text) without rowid")
        return store

    def key(self, *parts) -> str:
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def get(self, key: str) -> str | None:
        self.seen.add(key)
        row = self.store.execute("select value from memo where key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, value: str) -> str:
        self.seen.add(key)
        self.store.execute("insert or replace into memo values (?, ?)", (key, value))
        return value

    def save(self, prune: bool = False) -> None:
        """Write to disk; with `prune`, forget whatever this run did not ask for."""
        with contextlib.suppress(sqlite3.Error):
            if prune:
                known = {row[0] for row in self.store.execute("select key from memo")}
                self.store.executemany("delete from memo where key = ?", [(k,) for k in known - self.seen])
            self.store.commit()

    def close(self) -> None:
        self.store.close()
