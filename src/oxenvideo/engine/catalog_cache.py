"""The model catalog of a service: cached on disk over the bundled one, refreshed in the background, never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from oxenvideo.catalog.catalog import Catalog, bundled, from_service, load_cache, store_cache
from oxenvideo.client.credentials import Target
from oxenvideo.engine.engine import Engine
from oxenvideo.environment import ENGINES
from oxenvideo.errors import OxenVideoError

if TYPE_CHECKING:
    from oxenvideo.engine.service import Service

_AGE = 24 * 3600.0  # seconds after which the service is asked for its models again
_PATIENCE = 5.0  # seconds that a user waits for the service's list before the known one is used
_START = 40.0  # the same where the embedded server may have to be started first


class CatalogCache:
    """The models of one service, as far as they are known."""

    def __init__(self, engine: Engine, target: Target, directory: Path) -> None:
        self._engine = engine
        self.target = target
        self._path = directory / f"{hashlib.sha256(target.base_url.encode()).hexdigest()[:16]}.json"
        self._catalog: Catalog | None = None
        self._engines = directory.with_name(ENGINES)
        self._engines_of = 0.0  # when the file was written whose models the catalog has

    def known(self) -> Catalog:
        """What is known now. The first call refreshes an old or missing copy in the background.

        The embedded server has more models if there is a file of engines. It is asked when that file has changed.
        """
        if self.target.is_local and (written := self._written()) != self._engines_of:
            self._engines_of = written
            self.refresh()
        if self._catalog is None:
            cached = None if self.target.is_local else load_cache(self._path)
            self._catalog = bundled().merge(cached[0]) if cached else bundled()
            is_fresh = cached is not None and time.time() - cached[1] < _AGE
            if not is_fresh and (not self.target.is_local or self._engines_of):
                self._engine.spawn(self._renew, self.target)
        return self._catalog

    def refresh(self) -> None:
        """Ask the service now and wait for it. Where it does not answer, what was known stays."""
        try:
            self._engine.run(self._renew, self.target, _START if self.target.is_local else _PATIENCE)
        except OxenVideoError:
            self.known()

    def _written(self) -> float:
        try:
            return self._engines.stat().st_mtime
        except OSError:
            return 0.0

    async def _renew(self, service: Service) -> None:
        payload = await (await service.open()).models()
        live = from_service(payload)
        if live:
            self._catalog = bundled().merge(live)
            if self.target.is_local:
                return
            with contextlib.suppress(OSError):  # a full disk costs the next kernel one request
                await asyncio.to_thread(store_cache, self._path, payload)
