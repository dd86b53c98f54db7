"""Session: settings, catalogue, journal and engine together; what the package's functions act on."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from oxenvideo import credentials
from oxenvideo.catalog import pricing
from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.credentials import Secret, Target
from oxenvideo.engine import media_inputs
from oxenvideo.engine import resume as earlier
from oxenvideo.engine.catalog_cache import LiveCatalog
from oxenvideo.engine.engine import Engine
from oxenvideo.engine.resume import HistoryRow, Resumed
from oxenvideo.errors import ConfigurationError, CostLimitExceeded, InvalidRequest
from oxenvideo.jobs import file_names
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.journal import Journal
from oxenvideo.jobs.status import State
from oxenvideo.jobs.submission import Submission
from oxenvideo.pace import Pace
from oxenvideo.request.build import Built, build
from oxenvideo.request.estimate import input_seconds
from oxenvideo.request.request import VideoRequest
from oxenvideo.settings import Limits, Setup


def default_data_dir() -> Path:
    """Where the journal, cached catalogues and the embedded server's data lie: ``OXENVIDEO_DATA_DIR`` or the user's."""
    if chosen := os.environ.get("OXENVIDEO_DATA_DIR"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_data_dir("oxenvideo", appauthor=False))


@dataclass(frozen=True)
class Settings:
    """What can be configured. ``max_cost`` is US dollars for one submit; ``poll_interval`` seconds between lists."""

    base_url: str | None = None
    api_key: Secret | None = field(default=None, repr=False)
    model: str = credentials.DEFAULT_MODEL
    data_dir: Path = field(default_factory=default_data_dir)
    download_dir: Path = Path("videos")
    download: bool = True
    max_cost: Decimal | None = None
    media_repo: str | None = None
    poll_interval: float | None = None
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    timeout: float = 30.0

    def changed(self, **options: Any) -> Settings:
        """These settings with some replaced, None meaning the default; ConfigurationError names an unknown one."""
        unknown = sorted(set(options) - set(self.__dataclass_fields__))
        if unknown:
            raise ConfigurationError(
                f"There is no setting {unknown[0]!r}: use one of {', '.join(self.__dataclass_fields__)}."
            )
        standard = Settings()
        options = {name: getattr(standard, name) if value is None else value for name, value in options.items()}
        if isinstance(options.get("api_key"), str):
            options["api_key"] = Secret(options["api_key"])
        for name in ("data_dir", "download_dir"):
            if isinstance(options.get(name), str):
                options[name] = Path(options[name]).expanduser()
        if options.get("max_cost") is not None:
            options["max_cost"] = Decimal(str(options["max_cost"]))
        place = options.get("media_repo")
        if place is not None and not re.fullmatch(r"[^/\s]+/[^/\s]+", place):
            raise ConfigurationError(f"media_repo {place!r} names no repository: use namespace/name.")
        return replace(self, **options)


# Settings that hold from one request to the next; the others are built into the engine.
_CHANGEABLE = {"base_url", "api_key", "model", "max_cost", "download_dir", "download", "media_repo"}


class Session:
    """Everything behind ``oxenvideo.submit`` and its siblings, as an object: tests and programs can have their own."""

    def __init__(self, settings: Settings | None = None, *, notebook: str | None = None, **options: Any) -> None:
        self.settings = (settings or Settings()).changed(**options)
        self.journal = Journal(self.settings.data_dir / "journal.sqlite3", notebook=notebook)
        pace = self.settings.pace
        local_pace = replace(pace, poll=min(pace.poll, 1.0), first_poll=min(pace.first_poll, 0.3))
        if self.settings.poll_interval is not None:
            pace = replace(pace, poll=self.settings.poll_interval)
            local_pace = replace(local_pace, poll=self.settings.poll_interval)
        self.engine = Engine(
            self.journal,
            Setup(
                data_dir=self.settings.data_dir,
                pace=pace,
                local_pace=local_pace,
                limits=self.settings.limits,
                download=self.settings.download,
                download_dir=self.settings.download_dir,
                media_repo=self.settings.media_repo,
                client_timeout=self.settings.timeout,
            ),
            recall=earlier.recall,
        )
        self._live_catalog: LiveCatalog | None = None
        self._observers: list[Callable[[Sequence[Generation]], object]] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine; what is unfinished stays in the journal for ``resume``."""
        self.engine.close()

    def reconfigure(self, **options: Any) -> bool:
        """Change settings from here on; False, changing nothing, where one of them takes a new session.

        What was submitted before goes on as it began. Raises ConfigurationError for a setting that does not exist.
        """
        changed = self.settings.changed(**options)
        if not options.keys() <= _CHANGEABLE:
            return False
        self.settings = changed
        self.engine.setup = replace(
            self.engine.setup,
            download_dir=changed.download_dir,
            media_repo=changed.media_repo,
            download=changed.download,
        )
        return True

    @property
    def target(self) -> Target:
        """Where requests go, and with which key; ConfigurationError where that is not known."""
        # Looked up each time: a key that was set in a later cell counts from there.
        key = self.settings.api_key.reveal() if self.settings.api_key else None
        return credentials.resolve(self.settings.base_url, key)

    @property
    def generations(self) -> list[Generation]:
        """The generations of this session that are still referred to, oldest first."""
        return sorted(self.engine.generations(), key=lambda g: (g.state.submitted_at or 0.0, g.index or 0))

    def on_submit(self, observer: Callable[[Sequence[Generation]], object]) -> Callable[[], None]:
        """Call ``observer(generations)`` whenever some enter this session: submitted, attached or resumed.

        It is called on the thread that brought them, and must be quick and not raise. The answer takes it back.
        """
        self._observers = [*self._observers, observer]

        def forget() -> None:
            self._observers = [other for other in self._observers if other is not observer]

        return forget

    def _entered(self, generations: Sequence[Generation]) -> None:
        for observer in self._observers:
            observer(generations)

    # Making videos

    def request(self, prompt: str | None = None, *, model: str | None = None, **options: Any) -> Built:
        """A checked request and its warnings; sends nothing. See ``request.build`` for the options."""
        return build(prompt, model=model or self.settings.model, catalog=self.catalog, **options)

    def submit(
        self,
        prompt: str | VideoRequest | None = None,
        *,
        name: str | None = None,
        save_as: str | None = None,
        max_cost: Decimal | float | None = None,
        **options: Any,
    ) -> Generation:
        """Enqueue one video and return at once; see ``request.build`` for the options."""
        request = prompt if isinstance(prompt, VideoRequest) else self.request(prompt, **options).request
        if request.count != 1:
            raise InvalidRequest(f"submit makes one video, not {request.count}: use submit_batch.")
        return self.submit_batch([request], name=name, save_as=save_as, max_cost=max_cost)[0]

    def submit_batch(
        self,
        requests: Sequence[VideoRequest | Mapping[str, Any]],
        *,
        name: str | None = None,
        save_as: str | None = None,
        max_cost: Decimal | float | None = None,
        synchronous: bool = False,
    ) -> Batch:
        """Enqueue many and return at once. A request may be a VideoRequest or a dictionary of ``submit``'s arguments.

        Nothing is sent unless every request is right and the whole stays within ``max_cost`` (US dollars).
        """
        made = [r if isinstance(r, VideoRequest) else self.request(**r).request for r in requests]
        if save_as is not None:
            file_names.check_pattern(save_as)
        self.check(made, max_cost)
        count = sum(r.count for r in made)
        return self._send(made, range(count) if count > 1 else [None] * count, name, save_as, synchronous)

    def _send(
        self,
        requests: Sequence[VideoRequest],
        places: Sequence[int | None],
        name: str | None,
        save_as: str | None,
        synchronous: bool,
    ) -> Batch:
        """Enqueue what has been checked; ``places`` are the videos' numbers in their batch."""
        new_key = self.journal.new_key
        batch_key = new_key() if len(places) > 1 else None
        number = iter(places)
        submissions: list[Submission] = []
        for request in requests:
            for part in request.split(1) if synchronous else request.split():
                generations = [
                    Generation(part, key=new_key(), port=self.engine, name=name, index=next(number))
                    for _ in range(part.count)
                ]
                submissions.append(
                    Submission(
                        part,
                        generations,
                        key=new_key(),
                        synchronous=synchronous,
                        batch=batch_key,
                        position=len(submissions),
                        save_as=save_as,
                        directory=self.settings.download_dir.absolute(),
                    )
                )
        everything = [g for s in submissions for g in s.generations]
        now = time.time()
        for generation in everything:
            generation.put(State(submitted_at=now, fetching=self.settings.download))
        self.engine.submit(self.target, submissions)
        self._entered(everything)

        def again(failed: Sequence[Generation]) -> Batch:
            wanted = [g.request.with_(count=1) for g in failed]
            self.check_cost(wanted)
            return self._send(wanted, [g.index for g in failed], name, save_as, synchronous)

        return Batch(everything, name=name, again=again)

    def generate(self, prompt: str | VideoRequest | None = None, *, wait: bool = True, **options: Any) -> Generation:
        """Make one video by the synchronous endpoint; blocks until it is here unless ``wait`` is false."""
        kept = {name: options.pop(name) for name in ("name", "save_as", "max_cost") if name in options}
        request = prompt if isinstance(prompt, VideoRequest) else self.request(prompt, **options).request
        if request.count != 1:
            raise InvalidRequest(f"generate makes one video, not {request.count}: use submit_batch.")
        generation = self.submit_batch([request], synchronous=True, **kept)[0]
        return generation.wait() if wait else generation

    def estimate(self, request: VideoRequest) -> pricing.Estimate | None:
        """What a request will cost in US dollars, None where the price is not known."""
        model = self.catalog.get(request.model, None)
        if model is None:
            return None
        seconds = input_seconds(request, self.catalog) if request.has_media else None
        return pricing.estimate(model, request.parameters, request.count, seconds)

    def check(self, requests: Sequence[VideoRequest], max_cost: Decimal | float | None = None) -> None:
        """InvalidRequest for what would be refused as a whole before anything is sent: files too large, and the cost."""
        media_inputs.check_sizes(requests, self.settings.limits.inline, self.settings.media_repo)
        self.check_cost(requests, max_cost)

    def check_cost(self, requests: Sequence[VideoRequest], max_cost: Decimal | float | None = None) -> None:
        """CostLimitExceeded where the estimates add up to more than ``max_cost``, or than the setting of that name.

        The embedded server charges nothing and is held to the same limit, so that what works there is allowed where it
        costs; only an unknown price is no obstacle there.
        """
        limit = self.settings.max_cost if max_cost is None else Decimal(str(max_cost))
        if limit is None:
            return
        estimates = [self.estimate(r) for r in requests]
        total = sum((e.total for e in estimates if e is not None), Decimal())
        unknown = next((r.model for r, e in zip(requests, estimates, strict=True) if e is None), None)
        if total > limit:
            raise CostLimitExceeded(
                f"This would cost {pricing.dollars(total)}, above the limit of {pricing.dollars(limit)}; nothing was sent."
            )
        if unknown is not None and not self.target.is_local:
            raise CostLimitExceeded(
                f"The price of {unknown} is not known beforehand, so the limit of {pricing.dollars(limit)} cannot be kept; "
                "nothing was sent. Take the limit away (max_cost) to send it."
            )

    # Models

    @property
    def catalog(self) -> Catalog:
        """The models as far as they are known at this moment; never waits for the service."""
        return self._catalog_of_target().known()

    def models(self, words: str = "", *, input: str | None = None, refresh: bool = False) -> list[Model]:
        """The video models whose id, name or summary has all ``words``, and that take ``input`` (text, image, ...).

        ``refresh`` asks the service first, where it can be reached.
        """
        live = self._catalog_of_target()
        if refresh:
            live.refresh()
        return live.known().search(words, input=input)

    def _catalog_of_target(self) -> LiveCatalog:
        target = self.target
        if self._live_catalog is None or self._live_catalog.target != target:
            self._live_catalog = LiveCatalog(self.engine, target, self.settings.data_dir / "models")
        return self._live_catalog

    # Earlier generations

    def attach(self, generation_id: str, *, name: str | None = None) -> Generation:
        """The Generation of an id, whoever submitted it; NotFound where the service does not know it."""
        generation = earlier.attach(self.engine, self.target, generation_id, name)
        self._entered([generation])
        return generation

    def resume(self, *, everything: bool = False) -> Resumed:
        """Bring back what is unfinished or undelivered: of this notebook, or ``everything`` of this user.

        What was never sent is sent now; what may have been sent is looked for, not sent again. Work of other living
        kernels is left to them. What cannot be brought back as things stand is told of in the ``notes`` of the answer.
        """
        generations = earlier.resume(self.engine, self.settings, None if everything else self.journal.notebook)
        self._entered(generations)
        return generations

    def unfinished(self) -> int:
        """How many generations of this notebook ``resume`` would bring back."""
        return len(earlier.open_entries(self.engine, self.journal.notebook))

    def history(self, *, page: int = 1, page_size: int = 50) -> list[HistoryRow]:
        """One page of the account's generations, newest first: the service's record, with cost, joined with ours."""
        return earlier.history(self.engine, self.target, page, page_size)
