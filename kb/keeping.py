"""What keeps a collection sound: migration, backup and restore, and a page that shows how it is."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from kb.backup import Backup, backup, restore
from kb.collection_map import collection_map
from kb.config import Settings
from kb.drift import Drift, drift
from kb.embed import Embedder
from kb.errors import EndpointError, StoreError
from kb.maintenance import Maintenance
from kb.migrate import migrate
from kb.results import Status
from kb.store import Store
from kb.types import Progress, draw_nothing

__all__ = ["Keeping"]


class Keeping:
    """Maintenance, for `KnowledgeBase`."""

    settings: Settings
    store: Store
    _opened: dict[str, Store]
    _spaces_checked: set[str]

    @property
    @abstractmethod
    def embedder(self) -> Embedder: ...

    @abstractmethod
    def status(self) -> Status: ...

    def migrate(self, *, draw: Callable[[Progress], None] = draw_nothing) -> int:
        """Embeds every stored passage with the endpoint's model of today; gives their number.

        Raises StoreError where there is nothing, or EndpointError.
        """
        if not self.store.exists:
            raise StoreError("nothing has been ingested yet", where=self.store.uri, fix="Run kb ingest FOLDER first.")
        self._spaces_checked.clear()
        return migrate(self.store, self.embedder, draw=draw)

    def backup(self, target: str | os.PathLike[str]) -> Backup:
        """Writes the collection into a file, or a new one in a folder; ingests wait meanwhile. Raises StoreError."""
        return backup(self.store, self.settings, Path(target))

    def restore(self, file: str | os.PathLike[str]) -> Backup:
        """Puts a backup where this configuration has its collection, if nothing is there yet. Raises StoreError."""
        restored = restore(Path(file), self.settings.storage)
        self.store = self._opened[self.settings.storage.collection] = Store(self.settings.storage)
        self._spaces_checked.clear()
        return restored

    def drift(self) -> Drift:
        """How far the endpoint's vectors are from those stored. Raises EndpointError or StoreError."""
        return drift(self.store, self.embedder.space)

    def maintenance(self, *, done: Sequence[str] = (), backup: Backup | None = None) -> Maintenance:
        """Health, runs, space, drift and map on one page; an endpoint that fails is part of it. Raises StoreError."""
        try:
            found, problem = self.drift(), ""
        except EndpointError as error:
            found, problem = None, str(error)
        return Maintenance(
            status=self.status(),
            runs=self.store.runs(),
            space=self.store.space_on_disk(),
            drift=found,
            map=collection_map(self.store),
            problem=problem,
            done=done,
            backup=backup,
        )
