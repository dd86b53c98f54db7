"""Session: settings, catalog, journal and engine together; and the package's functions, which use one Session."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from oxenvideo.catalog import pricing
from oxenvideo.catalog.catalog import Catalog, Model
from oxenvideo.client import credentials
from oxenvideo.client.credentials import Target
from oxenvideo.engine import history as past
from oxenvideo.engine import media_inputs
from oxenvideo.engine import resume as resuming
from oxenvideo.engine.catalog_cache import CatalogCache
from oxenvideo.engine.engine import Engine
from oxenvideo.engine.film import Film
from oxenvideo.engine.history import HistoryRow
from oxenvideo.engine.resume import Resumed
from oxenvideo.environment import JOURNAL, notebook_path
from oxenvideo.errors import ConfigurationError, CostLimitExceeded, InvalidRequest
from oxenvideo.jobs import file_names
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.jobs.job import Job, Submission
from oxenvideo.jobs.journal import Journal
from oxenvideo.jobs.status import TERMINAL, State
from oxenvideo.media import frames
from oxenvideo.request.build import Built, build
from oxenvideo.request.request import VideoRequest
from oxenvideo.settings import CHANGEABLE, Settings


class Session:
    """Everything behind ``oxenvideo.submit`` and its siblings as one object, for tests and programs that want their own."""

    def __init__(self, settings: Settings | None = None, *, notebook: str | None = None, **options: Any) -> None:
        self.settings = (settings or Settings()).changed(**options)
        self.journal = Journal(self.settings.data_dir / JOURNAL, notebook=notebook)
        self.engine = Engine(self.journal, self.settings, recall=resuming.recall)
        self._catalog_cache: CatalogCache | None = None
        self._observers: list[Callable[[Sequence[Generation]], object]] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine; what is unfinished stays in the journal for ``resume``."""
        self.engine.close(timeout=5.0)

    def reconfigure(self, **options: Any) -> None:
        """Change settings for what is submitted from now on.

        Raises ConfigurationError for one that does not exist or that needs a new session.
        """
        if built_in := sorted((options.keys() & Settings.__dataclass_fields__.keys()) - CHANGEABLE):
            raise ConfigurationError(f"The setting {built_in[0]} cannot change in a session: make a new Session.")
        self.settings = self.settings.changed(**options)
        self.engine.reconfigure(self.settings)

    @property
    def target(self) -> Target:
        """Where requests go, and with which key; ConfigurationError where that is not known."""
        # Looked up each time: a key that was set in a later cell counts from there.
        key = self.settings.api_key.reveal() if self.settings.api_key else None
        return credentials.resolve(self.settings.base_url, key)

    @property
    def generations(self) -> list[Generation]:
        """The generations of this session that are running or still referred to, oldest first."""
        return sorted(self.engine.generations(), key=lambda g: (g.state.submitted_at or 0.0, g.index or 0))

    def on_submit(self, observer: Callable[[Sequence[Generation]], object]) -> Callable[[], None]:
        """Call ``observer(generations)`` whenever some are submitted, attached or resumed in this session.

        It is called on the thread that did so, and must be quick and not raise. The answer takes it back.
        """
        self._observers = [*self._observers, observer]

        def forget() -> None:
            self._observers = [other for other in self._observers if other is not observer]

        return forget

    def _announce(self, generations: Sequence[Generation]) -> None:
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
        return self._submit([request], name, save_as, max_cost)[0]

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

        Nothing is sent unless every request is valid and the whole stays within ``max_cost`` (US dollars).
        """
        built = [r if isinstance(r, VideoRequest) else self.request(**r).request for r in requests]
        generations = self._submit(built, name, save_as, max_cost, synchronous)

        def again(failed: Sequence[Generation]) -> Batch:
            wanted = [g.request.with_(count=1) for g in failed]
            self.check_cost(wanted)
            places = [g.index for g in failed]
            return Batch(self._send(wanted, places, name, save_as, synchronous), name=name, again=again)

        return Batch(generations, name=name, again=again)

    def _submit(
        self,
        requests: Sequence[VideoRequest],
        name: str | None,
        save_as: str | None,
        max_cost: Decimal | float | None,
        synchronous: bool = False,
    ) -> list[Generation]:
        if save_as is not None:
            file_names.check_pattern(save_as)
        self.check(requests, max_cost)
        count = sum(r.count for r in requests)
        return self._send(requests, range(count) if count > 1 else [None] * count, name, save_as, synchronous)

    def _send(
        self,
        requests: Sequence[VideoRequest],
        places: Sequence[int | None],
        name: str | None,
        save_as: str | None,
        synchronous: bool,
    ) -> list[Generation]:
        """Enqueue what has been checked; ``places`` are the videos' numbers in their batch."""
        engine, new_key, target = self.engine, self.journal.new_key, self.target
        engine.check_usable()
        directory = self.settings.download_dir.absolute()
        batch = new_key() if len(places) > 1 else None
        state = State(submitted_at=engine.registry.clock(), fetching=self.settings.download)
        number = iter(places)
        submissions: list[Submission] = []
        for request in requests:
            for part in request.split(1) if synchronous else request.split():
                submission = Submission(
                    key=new_key(),
                    target=target,
                    request=part,
                    registry=engine.registry,
                    synchronous=synchronous,
                    batch=batch,
                    position=len(submissions),
                    save_as=save_as,
                    directory=directory,
                )
                submission.jobs = [Job(submission, new_key(), name, next(number), state) for _ in range(part.count)]
                submissions.append(submission)
        generations = [engine.handle(job) for submission in submissions for job in submission.jobs]
        engine.submit(submissions)
        self._announce(generations)
        return generations

    def generate(self, prompt: str | VideoRequest | None = None, *, wait: bool = True, **options: Any) -> Generation:
        """Make one video by the synchronous endpoint; blocks until it is here unless ``wait`` is false."""
        kept = {name: options.pop(name, None) for name in ("name", "save_as", "max_cost")}
        request = prompt if isinstance(prompt, VideoRequest) else self.request(prompt, **options).request
        if request.count != 1:
            raise InvalidRequest(f"generate makes one video, not {request.count}: use submit_batch.")
        generation = self._submit([request], **kept, synchronous=True)[0]
        return generation.wait() if wait else generation

    def join(self, videos: Sequence[Generation | Batch | Film | str | Path], save_as: str | Path) -> Film:
        """Join videos into one file and return at once; one that is not finished is waited for.

        The streams are copied if their codecs and sizes agree, else encoded to the size of the first video. A relative
        ``save_as`` is in ``download_dir``; a name that is taken is not overwritten. Needs the ``local`` extra.
        """
        frames.check_available()
        inputs: list[Generation | Film | Path] = []
        for video in videos:
            if isinstance(video, Batch):
                inputs += video
            else:
                inputs.append(video if isinstance(video, Generation | Film) else Path(video).expanduser().absolute())
        if len(inputs) < 2:
            raise InvalidRequest(f"join takes two or more videos, not {len(inputs)}.")
        if missing := next((i for i in inputs if isinstance(i, Path) and not i.is_file()), None):
            raise InvalidRequest(f"There is no file {missing}.")
        target = self.settings.download_dir.absolute() / Path(save_as).expanduser()
        if target.suffix.lower() not in (".mp4", ".m4v", ".mov"):
            target = target.with_name(f"{target.name}.mp4")
        return Film(inputs, target)

    def estimate(self, request: VideoRequest) -> pricing.Estimate | None:
        """What a request will cost in US dollars, None where the price is not known."""
        catalog = self.catalog
        if (model := catalog.get(request.model, None)) is None:
            return None
        seconds = pricing.input_seconds(request.parameters, catalog) if request.has_media else None
        return pricing.estimate(model, request.parameters, request.count, seconds)

    def check(self, requests: Sequence[VideoRequest], max_cost: Decimal | float | None = None) -> None:
        """Raise InvalidRequest for what would be refused as a whole before anything is sent: large files, and the cost."""
        if any(request.has_media for request in requests):
            media_inputs.check_sizes(requests, self.settings.limits.inline, self.settings.media_repo)
        self.check_cost(requests, max_cost)

    def check_cost(self, requests: Sequence[VideoRequest], max_cost: Decimal | float | None = None) -> None:
        """Raise CostLimitExceeded where the estimates exceed ``max_cost`` in sum, or the setting of that name.

        The embedded server charges nothing but has the same limit, so that what works there is allowed where it costs.
        Only an unknown price is allowed there.
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
                f"The price of {unknown} is not known, so the limit of {pricing.dollars(limit)} cannot be kept; nothing "
                "was sent. Remove the limit (max_cost) to send it."
            )

    # Models

    @property
    def catalog(self) -> Catalog:
        """The models as far as they are known at this moment; never waits for the service."""
        return self._current_catalog().known()

    def models(self, words: str = "", *, input: str | None = None, refresh: bool = False) -> list[Model]:
        """The video models whose id, name or summary has all ``words``, and that take ``input`` (text, image, ...).

        ``refresh`` asks the service first, where it can be reached.
        """
        if refresh:
            self._current_catalog().refresh()
        return self.catalog.search(words, input=input)

    def _current_catalog(self) -> CatalogCache:
        target = self.target
        if self._catalog_cache is None or self._catalog_cache.target != target:
            self._catalog_cache = CatalogCache(self.engine, target, self.settings.data_dir / "models")
        return self._catalog_cache

    # Earlier generations

    def attach(self, generation_id: str, *, name: str | None = None) -> Generation:
        """The Generation of an id, whoever submitted it; NotFound where the service does not know it."""
        target, wanted = self.target, generation_id.strip()
        job = self.engine.run(lambda _: resuming.attach(self.engine, target, wanted, name), target)
        generation = self.engine.handle(job)
        self._announce([generation])
        return generation

    def resume(self, *, everything: bool = False) -> Resumed:
        """Bring back what is unfinished or undelivered: of this notebook, or ``everything`` of this user.

        What was never sent is sent now; what may have been sent is looked for and not sent again. The work of other
        living kernels is left to them. ``notes`` of the answer lists what could not be resumed.
        """
        generations = resuming.resume(self.engine, self.settings, None if everything else self.journal.notebook)
        self._announce(generations)
        return generations

    def unfinished(self) -> int:
        """How many generations of this notebook ``resume`` would bring back."""
        return len(resuming.open_entries(self.engine, self.journal.notebook))

    def history(self, *, page: int = 1, page_size: int = 50) -> list[HistoryRow]:
        """One page of the account's generations, newest first: the service's record, with cost, joined with ours."""
        return past.history(self.engine, self.target, page, page_size)


class _Current:
    """The one Session of this process, made when it is first needed; ``configure`` replaces it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._settings: Callable[[], Settings] = Settings  # makes the settings of the next Session
        self._inherited: Session | None = None

    def get(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = Session(self._settings(), notebook=notebook_path())
            return self._session

    def configure(self, options: Mapping[str, Any]) -> None:
        with self._lock:
            previous = self._session
            if previous is not None and options.keys() <= CHANGEABLE:
                previous.reconfigure(**options)
                return
            settings = previous.settings if previous is not None else self._settings()
            notebook = previous.journal.notebook if previous is not None else notebook_path()
            self._session = Session(settings.changed(**options), notebook=notebook)
            if previous is not None and all(job.state.status in TERMINAL for job in previous.engine.registry.jobs()):
                previous.close()

    def close(self) -> None:
        """Close the Session; the next one has the default settings."""
        with self._lock:
            session, self._session, self._settings = self._session, None, Settings
        if session is not None:
            session.close()

    def after_fork(self) -> None:
        """In a forked child: a Session of its own with the same settings, made when it is first needed."""
        inherited = self._session
        self._lock = threading.Lock()  # another thread of the parent may have held it
        if inherited is not None:
            self._settings = inherited.settings.changed
        self._session, self._inherited = None, inherited  # kept, because closing its journal is up to the parent


_current = _Current()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_current.after_fork)


def current_session() -> Session:
    """The Session that the functions and magics use."""
    return _current.get()


def configure(**settings: Any) -> None:
    """Change settings from here on: ``base_url``, ``api_key``, ``model``, ``download_dir``, ``max_cost``, and others.

    See ``settings.Settings`` for all. Running generations go on with the settings that they were started with.
    """
    _current.configure(settings)


def submit(prompt: str | VideoRequest | None = None, **options: Any) -> Generation:
    """Enqueue a video and return at once with its Generation.

    ``submit("A red balloon", model="...", duration=5)``: media by ``image=``, ``start_image=``, ``end_image=``,
    ``video=``, ``audio_ref=``, ``elements=``; ``shots=``; ``repo=``; ``save_as=``; ``max_cost=`` (US dollars); any
    parameter of the model by its name. Raises InvalidRequest for what is certainly wrong, before anything is sent.
    """
    return current_session().submit(prompt, **options)


def submit_batch(requests: Sequence[VideoRequest | Mapping[str, Any]], **options: Any) -> Batch:
    """Enqueue many videos and return at once with a Batch; a request may be a dictionary of ``submit``'s arguments."""
    return current_session().submit_batch(requests, **options)


def generate(prompt: str | VideoRequest | None = None, **options: Any) -> Generation:
    """Make a video by the synchronous endpoint and return when it is here; takes what ``submit`` takes."""
    return current_session().generate(prompt, **options)


def join(videos: Sequence[Generation | Batch | Film | str | Path], save_as: str | Path) -> Film:
    """Join videos into one file, such as ``join([a, b, c], "film.mp4")``, and return at once with its Film."""
    return current_session().join(videos, save_as)


def attach(generation_id: str, *, name: str | None = None) -> Generation:
    """The Generation of any id that this key may see."""
    return current_session().attach(generation_id, name=name)


def resume(*, all: bool = False) -> Batch:
    """Bring back everything unfinished or undelivered of this notebook, or of ``all`` notebooks.

    Warns of what cannot be resumed, such as a video that was submitted with another key.
    """
    resumed = current_session().resume(everything=all)
    for note in resumed.notes:
        warnings.warn(note, stacklevel=2)
    return Batch(resumed)


def history(*, page: int = 1, page_size: int = 50) -> list[HistoryRow]:
    """One page of the account's generations, with cost in US dollars, joined with what this machine knows of them."""
    return current_session().history(page=page, page_size=page_size)


def models(words: str = "", *, input: str | None = None, refresh: bool = False) -> list[Model]:
    """The video models that match; ``input`` is one of text, image, video, audio."""
    return current_session().models(words, input=input, refresh=refresh)
