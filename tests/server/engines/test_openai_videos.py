"""The adapter of `/v1/videos` on a stub over real sockets, in two dialects, with the faults of such servers."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oxenvideo.server.engines import http, openai_videos
from oxenvideo.server.engines.engine import (
    ConfigurationError,
    EngineConfig,
    EngineDied,
    EngineError,
    EngineUnavailable,
    Job,
    JobFailed,
    ModelConfig,
    ModelUnavailable,
)
from oxenvideo.server.engines.openai_videos import OpenAIVideos
from server.conftest import Launch
from server.engines import videos_stub
from server.engines.videos_stub import VIDEO, Stub, but, cut, instead, reset, silent, unanswered
from server.support import Api, until_true

pytestmark = pytest.mark.slow

CREATE, SHOW, LIST = "POST /videos", "GET /videos/{id}", "GET /videos"
CONTENT, DELETE = "GET /videos/{id}/content", "DELETE /videos/{id}"
PNG = b"\x89PNG\r\n\x1a\n-a-picture"
DIALECTS = ("vllm", "sglang")
BAD_GATEWAY = "<html><body><h1>502 Bad Gateway</h1></body></html>"


class Host:
    """What the server does for the adapter, recorded."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self.reports: list[tuple[int, int]] = []

    async def fetch(self, uri: str) -> bytes:
        assert uri == "data:image/png;base64,eA=="
        return PNG

    def accepted(self, remote_id: str) -> None:
        self.ids.append(remote_id)

    def rejected(self) -> None:
        self.ids.append(None)

    def report(self, step: int, total: int, preview: bytes | None = None) -> None:
        self.reports.append((step, total))


class Case:
    """A stub, its adapter, a job and what became of it."""

    runner: asyncio.Runner
    adapters: list[OpenAIVideos]

    def __init__(self, stub: Stub, path: Path, **options: Any) -> None:
        self.stub = stub
        self.path = path
        self.host = Host()
        self.options = options
        self.id = str(uuid.uuid4())
        self.restart()

    def restart(self, answer_seconds: float = 30) -> None:
        headers = {"Authorization": "Bearer s3cret"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(http, "_ANSWER_SECONDS", answer_seconds)
            self.adapter = OpenAIVideos(EngineConfig("gpu1", "openai", self.stub.url, headers, self.options))
        self.adapters.append(self.adapter)

    def job(self, remote_id: str | None = None, served: str | None = "wan", **parameters: Any) -> Job:
        model = ModelConfig("wan22", ("gpu1",), {} if served is None else {"served": served}, self.path)
        given = {"prompt": "A red balloon", "seed": 7} | parameters
        return Job(self.id, model, given, 0, remote_id, self.path / f"{uuid.uuid4()}.mp4")

    def run(self, remote_id: str | None = None, **parameters: Any) -> bytes:
        """Run the job; return its video."""
        job = self.job(remote_id, **parameters)
        self.do(lambda: self.adapter.run(job, self.host))
        return job.path.read_bytes()

    def stop(self, remote_id: str | None) -> str | None:
        return self.do(lambda: self.adapter.stop(self.job(remote_id)))

    def do(self, action: Callable[[], Awaitable[Any]]) -> Any:
        async def act() -> Any:
            return await asyncio.wait_for(action(), 30)

        return self.runner.run(act())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Poll often."""
    monkeypatch.setattr(openai_videos, "_POLL_SECONDS", 0.02)
    with asyncio.Runner() as runner:
        monkeypatch.setattr(Case, "runner", runner, raising=False)
        monkeypatch.setattr(Case, "adapters", [], raising=False)
        yield
        for adapter in Case.adapters:
            runner.run(adapter.close())


@pytest.fixture(params=DIALECTS)
def stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    """Return a stub in each dialect."""
    with videos_stub.running(request.param) as stub:
        yield stub


@pytest.fixture
def vllm() -> Iterator[Stub]:
    """Return a stub of vLLM-Omni."""
    with videos_stub.running("vllm") as stub:
        yield stub


@pytest.fixture
def sglang() -> Iterator[Stub]:
    """Return a stub of SGLang."""
    with videos_stub.running("sglang") as stub:
        yield stub


def test_a_video(stub: Stub, tmp_path: Path) -> None:
    """One POST, as a form in both dialects. The stored id is first the time of the submit, then the engine's id."""
    case = Case(stub, tmp_path)
    before = time.time()
    assert case.run(duration=5, width=832, height=480, num_inference_steps=30, run_fast=True, fps=None) == VIDEO
    assert stub.count(CREATE) == 1
    (video,) = stub.videos.values()
    assert video.fields == {
        "prompt": "A red balloon", "seed": "7", "model": "wan", "seconds": "5", "size": "832x480",
        "num_inference_steps": "30", "run_fast": "true",
    }  # fmt: skip
    pending, remote_id = case.host.ids
    assert before <= float(pending.removeprefix("?")) <= time.time()
    assert remote_id == video.id
    assert all(headers["Authorization"] == "Bearer s3cret" for headers in stub.headers)


def test_an_image_goes_as_bytes(stub: Stub, tmp_path: Path) -> None:
    """The content of the image is uploaded, and a second input is refused before anything is sent."""
    case = Case(stub, tmp_path)
    assert case.run(input_image="data:image/png;base64,eA==") == VIDEO
    (video,) = stub.videos.values()
    assert video.image == PNG
    assert "input_image" not in video.fields
    for extra in ({"input_video": "https://example.com/a.mp4"}, {"reference_images": ["https://example.com/a.png"]}):
        with pytest.raises(JobFailed, match=r"^gpu1 takes texts, numbers and one image: leave \w+ out\.$"):
            case.run(input_image="data:image/png;base64,eA==", **extra)
    assert stub.count(CREATE) == 1


def test_json_bodies(sglang: Stub, tmp_path: Path) -> None:
    """An engine with `body = "json"` gets JSON, and one that refuses forms with 415 is sent JSON from then on."""
    assert Case(sglang, tmp_path, body="json").run(input_image="data:image/png;base64,eA==") == VIDEO
    (video,) = sglang.videos.values()
    assert video.fields["seed"] == 7
    assert video.fields["input_reference"].startswith("data:image/png;base64,iVBOR")
    sglang.faults[CREATE] = [instead(415, {"detail": "Unsupported Media Type"})]
    case = Case(sglang, tmp_path)
    assert case.run() == case.run() == VIDEO
    assert sglang.count(CREATE) == 4
    with pytest.raises(ConfigurationError, match="body must be 'form' or 'json'"):
        Case(sglang, tmp_path, body="xml")


def test_progress(sglang: Stub, tmp_path: Path) -> None:
    """The percentage that the engine counts is reported once. Its 0 and 100 are not."""
    sglang.steps = 4
    case = Case(sglang, tmp_path)
    case.run()
    assert case.host.reports == [(37, 100)]


def test_no_progress_is_invented(vllm: Stub, tmp_path: Path) -> None:
    """An engine that knows 0 and 100 only has no progress."""
    case = Case(vllm, tmp_path)
    case.run()
    assert case.host.reports == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_openai_client_sees_the_same(stub: Stub, tmp_path: Path) -> None:
    """OpenAI's own client gets the video, the status and the deletion that the adapter gets."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{stub.url}/v1", api_key="s3cret", max_retries=0)
    made = client.videos.create(prompt="A red balloon", model="wan", seconds="4", size="1280x720")
    while (seen := client.videos.retrieve(made.id)).status != "completed":
        assert seen.status == "in_progress"
    content = client.videos.download_content(made.id).read()
    case = Case(stub, tmp_path)
    assert case.run(duration=4, width=1280, height=720) == content == VIDEO
    by_client, by_adapter = stub.videos.values()
    assert by_adapter.fields == by_client.fields | {"seed": "7"}
    assert case.stop(made.id) == case.stop(by_adapter.id)
    assert stub.videos == {}


def test_check(stub: Stub, tmp_path: Path) -> None:
    """The check names what is missing."""
    case = Case(stub, tmp_path)
    assert case.do(lambda: case.adapter.check(case.job().model)) == []
    stub.served = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
    stub.faults[LIST] = [instead(404, {"detail": "Not Found"})]
    assert case.do(lambda: case.adapter.check(case.job().model)) == [
        "gpu1 does not serve wan. It serves Wan-AI/Wan2.2-T2V-A14B-Diffusers.",
        "gpu1 has no /v1/videos.",
    ]
    case.do(case.adapter.ping)
    stub.faults["GET /models"] = [instead(503, {"status": "unhealthy"})]
    with pytest.raises(EngineUnavailable, match=r"^gpu1 answered 503"):
        case.do(case.adapter.ping)


def test_schema(tmp_path: Path) -> None:
    """A model of the catalog keeps its schema, so that the same request runs at Oxen and here."""
    adapter = OpenAIVideos(EngineConfig("gpu1", "openai", "http://127.0.0.1:1"))
    catalog = {"id": "wan22", "request_schema": {"type": "object", "properties": {"prompt": {"type": "string"}}}}
    known = ModelConfig("wan22", ("gpu1",), {}, tmp_path, catalog)
    assert adapter.describe(known) == {"request_schema": catalog["request_schema"]}
    other = adapter.describe(ModelConfig("mine", ("gpu1",), {}, tmp_path))
    assert {"prompt", "duration", "input_image", "seed"} < set(other["request_schema"]["properties"])
    with pytest.raises(ConfigurationError, match="served must be"):
        adapter.describe(ModelConfig("mine", ("gpu1",), {"served": 3}, tmp_path))


# The faults of a submit


def fault_refused_connection(case: Case) -> None:
    """Nothing listens: nothing was sent, and the job moves on."""
    case.stub.url = "http://127.0.0.1:1"
    case.restart()
    with pytest.raises(EngineUnavailable, match="gpu1 cannot be reached"):
        case.run()
    assert case.host.ids[-1] is None
    assert case.stub.received == []


def fault_answer_lost_prompt_known(case: Case) -> None:
    """The engine has the job, the answer is lost: the job is found by its prompt, and never sent again."""
    case.stub.faults[CREATE] = [unanswered]
    assert case.run() == VIDEO
    assert case.host.ids[1:] == case.stub.computed
    assert case.stub.count(CREATE) == 1


def fault_answer_never_comes(case: Case) -> None:
    """As above, after the time limit."""
    case.restart(answer_seconds=1)
    case.stub.faults[CREATE] = [silent]
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == len(case.stub.computed) == 1


def fault_proxy_502_with_job(case: Case) -> None:
    """A proxy lost the answer."""
    case.stub.faults[CREATE] = [but(502, BAD_GATEWAY.encode())]
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == len(case.stub.computed) == 1


def fault_answer_without_id(case: Case) -> None:
    """The answer is no job."""
    case.stub.faults[CREATE] = [but(200, b"ok")]
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_answer_lost_clock_ahead(case: Case) -> None:
    """The clock of the engine is an hour ahead: an old job with the same prompt is not taken for this one."""
    case.stub.clock = 3600.0
    case.run()
    case.restart()
    next(iter(case.stub.videos.values())).created -= 60
    case.stub.faults[CREATE] = [unanswered]
    assert case.run() == VIDEO
    assert case.host.ids[-1] == case.stub.computed[1]
    assert case.stub.count(CREATE) == 2


def fault_answer_lost_nothing_arrived(case: Case) -> None:
    """The connection broke and the engine has no job: it is not waited for."""
    case.stub.faults[CREATE] = [reset]
    with pytest.raises(EngineDied, match=r"^gpu1 did not receive the request\.$"):
        case.run()
    assert case.stub.count(CREATE) == 1
    assert case.stub.computed == []


def fault_answer_lost_two_alike(case: Case) -> None:
    """Another client sent the same prompt: nobody else's video is taken, and the orphan is said."""

    def twice(handler: Any, act: Callable[[], None]) -> None:
        handler.answer = lambda *args, **headers: None
        act()
        act()
        reset(handler, act)

    case.stub.faults[CREATE] = [twice]
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run()
    assert case.stub.count(CREATE) == 1


def fault_answer_lost_prompt_changed(case: Case) -> None:
    """The engine shows another text than the prompt that was sent: the new job may be this one."""

    def revised(handler: Any, act: Callable[[], None]) -> None:
        unanswered(handler, act)
        next(iter(case.stub.videos.values())).fields["prompt"] = "A photo of a red balloon"

    case.stub.faults[CREATE] = [revised]
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run()


def fault_answer_lost_times_unknown(case: Case) -> None:
    """Nobody can say which jobs of the list are new."""
    case.stub.faults = {CREATE: [unanswered], LIST: [instead(200, {"data": [{"id": "v", "prompt": "A fox"}]})] * 4}
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run()


def fault_answer_lost_newest_not_listed(case: Case) -> None:
    """A list that begins with the oldest jobs and is cut does not show whether the job arrived."""
    rows = [{"id": f"v{n}", "prompt": "A fox", "created_at": n} for n in range(1, 21)]
    case.stub.faults = {CREATE: [unanswered], LIST: [instead(200, {"data": rows, "has_more": True})] * 4}
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run()


def fault_answer_lost_long_ago(case: Case) -> None:
    """This server was off for an hour: the job may have been made meanwhile, and its video may have expired."""
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run(f"?{time.time() - 3600}")
    with pytest.raises(EngineDied, match="did not receive the request"):
        case.run(f"?{time.time() - 5}")


def fault_answer_lost_times_unknown_of_a_part(case: Case) -> None:
    """A list that is cut and shows only jobs of ours, without times: the job may be in the rest."""
    case.run()
    ours = {"id": case.host.ids[-1], "prompt": "A fox"}
    case.stub.faults = {CREATE: [unanswered], LIST: [instead(200, {"data": [ours], "has_more": True})] * 4}
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run()


def fault_answer_lost_list_hidden_for_a_moment(case: Case) -> None:
    """A proxy answers 404 once: the next list shows the job."""
    case.stub.faults = {CREATE: [unanswered], LIST: [instead(404, {"detail": "no backend"})]}
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_answer_lost_no_list(case: Case) -> None:
    """An engine without a list cannot be asked. It is not asked again and again."""
    case.stub.faults = {CREATE: [unanswered], LIST: [instead(405, {"detail": "Method Not Allowed"})] * 4}
    with pytest.raises(JobFailed, match="may make a video that cannot be found again"):
        case.run()


def fault_answer_lost_list_refused_for_a_moment(case: Case) -> None:
    """A 429 says nothing about the job: the submit stays open, and the next run finds the job."""
    case.stub.faults = {CREATE: [unanswered], LIST: [instead(429, {"error": "Too many requests"})]}
    with pytest.raises(EngineUnavailable, match="429"):
        case.run()
    (pending,) = case.host.ids
    assert case.run(pending) == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_answer_lost_and_engine_gone(case: Case) -> None:
    """The engine cannot be asked either: the submit stays open, and the next run finds the job."""
    case.stub.faults = {CREATE: [unanswered], LIST: [reset] * 4}
    with pytest.raises(EngineUnavailable):
        case.run()
    (pending,) = case.host.ids
    assert case.run(pending) == VIDEO
    assert case.stub.count(CREATE) == len(case.stub.computed) == 1


def fault_server_killed_before_answer(case: Case) -> None:
    """This server died between the submit and the answer: the job is found by the stored time."""
    case.stub.held = True
    job = case.job()

    async def dies() -> None:
        task = asyncio.create_task(case.adapter.run(job, case.host))
        while not case.stub.computed:
            await asyncio.sleep(0.01)
        task.cancel()

    case.do(dies)
    case.stub.held = False
    case.restart()
    assert case.run(case.host.ids[0]) == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_model_mismatch(case: Case) -> None:
    """Another model is served: other engines may have it."""
    case.stub.served = "other"
    with pytest.raises(ModelUnavailable, match=r"^gpu1 does not serve wan\. It serves other\.$"):
        case.run()
    assert case.host.ids[-1] is None


def fault_bad_parameter(case: Case) -> None:
    """A 400 fails the job with the engine's reason, cut of paths and tracebacks."""
    text = (
        'height: must be a multiple of 16\nTraceback (most recent call last):\n  File "/srv/x.py", line 3\nValueError'
    )
    case.stub.faults[CREATE] = [instead(400, {"error": {"message": text}})]
    with pytest.raises(JobFailed, match=r"^gpu1 refuses the request: height: must be a multiple of 16$"):
        case.run()


def fault_validation_list(case: Case) -> None:
    """A 422 of FastAPI names the field."""
    detail = [{"loc": ["body", "seconds"], "msg": "Input should be a valid integer", "type": "int_parsing"}]
    case.stub.faults[CREATE] = [instead(422, {"detail": detail})]
    with pytest.raises(JobFailed, match=r"body\.seconds: Input should be a valid integer$"):
        case.run()


def fault_unauthorized(case: Case) -> None:
    """A 401 is the engine's configuration. The secret is not in the text."""
    case.stub.faults[CREATE] = [instead(401, {"error": "bad token s3cret"})]
    with pytest.raises(EngineError, match=r"^gpu1 refuses the request \(401\): check its headers\.$"):
        case.run()


def fault_busy(case: Case) -> None:
    """A 503 at the submit: nothing was accepted, and nothing is searched for."""
    case.stub.faults[CREATE] = [instead(503, {"error": {"message": "Engine is starting"}})]
    with pytest.raises(EngineError, match=r"^gpu1 answered 503: Engine is starting$"):
        case.run()
    assert case.host.ids[-1] is None
    assert case.stub.count(LIST) == 0


# The faults of a job under way


def fault_failed_job_is_a_500(case: Case) -> None:
    """A failed job answers 500 with a body: the engine's fault, and it is not asked again."""
    case.stub.fail_with = 500, "CUDA out of memory."
    with pytest.raises(EngineDied, match=r"^The video failed at gpu1: CUDA out of memory\.$"):
        case.run()
    assert case.stub.count(SHOW) == case.stub.steps + 1


def fault_failed_job_is_a_400(case: Case) -> None:
    """A failed job with the code 400: the request is at fault."""
    case.stub.fail_with = 400, "num_frames is too large"
    with pytest.raises(JobFailed, match="num_frames is too large"):
        case.run()


def fault_restarted_engine(case: Case) -> None:
    """The engine was restarted and knows no job: the job may be sent again."""
    case.stub.faults[SHOW] = [instead(404, {"detail": "Video not found"})] * 4
    with pytest.raises(EngineDied, match=r"^gpu1 does not know the job any more\.$"):
        case.run()


def fault_forgotten_job(case: Case) -> None:
    """A job of an earlier server may have been made, and its video may have expired: it is not made again unasked."""
    with pytest.raises(JobFailed, match=r"^gpu1 does not know the job any more, and"):
        case.run("video_gen_0")
    assert case.stub.count(CREATE) == 0


def fault_job_shown_late(case: Case) -> None:
    """A 404 just after the submit is asked again."""
    case.stub.faults[SHOW] = [instead(404, {"detail": "Video not found"})]
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_polls_break(case: Case) -> None:
    """Broken polls, a proxy's 502 and an answer that is not JSON are asked again."""
    case.stub.faults[SHOW] = [reset, instead(502, BAD_GATEWAY.encode(), "text/html"), instead(200, b"{")]
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_engine_away(case: Case) -> None:
    """The engine stays away: the job keeps its id, and the next run goes on with it."""
    case.stub.faults[SHOW] = [reset] * 4
    with pytest.raises(EngineUnavailable):
        case.run()
    assert case.run(case.host.ids[-1]) == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_unknown_status(case: Case) -> None:
    """A status word that nobody knows is no end."""
    case.stub.faults[SHOW] = [instead(200, {"id": "x", "status": "post_processing", "progress": None})]
    assert case.run() == VIDEO


# The faults of a download


def fault_cut_content(case: Case) -> None:
    """Half a file is fetched again."""
    case.stub.faults[CONTENT] = [cut, cut]
    assert case.run() == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_content_late(case: Case) -> None:
    """A 404 just after the end is asked again."""
    case.stub.faults[CONTENT] = [instead(404, {"detail": "Generation is still in-progress"})]
    assert case.run() == VIDEO


def fault_success_without_file(case: Case) -> None:
    """A job that is done and has no file is not made again unasked."""
    case.stub.content = None
    with pytest.raises(JobFailed, match=r"^The job is done, but gpu1 answers 404 instead of the video:"):
        case.run()


def fault_content_refused(case: Case) -> None:
    """A 422 will not pass: the job ends and blocks no other one."""
    case.stub.faults[CONTENT] = [instead(422, {"detail": "no"})] * 4
    with pytest.raises(JobFailed, match="gpu1 answers 422 instead of the video"):
        case.run()


def fault_content_refused_for_a_moment(case: Case) -> None:
    """A 503 says nothing about the file: the job keeps its id, and the next run downloads the video."""
    case.stub.faults[CONTENT] = [instead(503, {"detail": "Overloaded"})] * 4
    with pytest.raises(EngineUnavailable, match="503"):
        case.run()
    assert case.run(case.host.ids[-1]) == VIDEO
    assert case.stub.count(CREATE) == 1


def fault_content_is_a_page(case: Case) -> None:
    """A login page is no video, and nothing is left of it."""
    case.stub.content = b"<!doctype html><title>Sign in</title>"
    with pytest.raises(JobFailed, match="not an MP4"):
        case.run()
    assert list(case.path.iterdir()) == []


def fault_content_in_a_cloud(case: Case) -> None:
    """SGLang may name another address, which is neither used nor shown."""
    text = "Video has been uploaded to cloud storage. Please use the cloud URL: http://169.254.169.254/v.mp4"
    case.stub.faults[CONTENT] = [instead(400, {"detail": text})]
    with pytest.raises(ModelUnavailable, match="Configure it to keep its videos") as raised:
        case.run()
    assert "169.254" not in str(raised.value)


def fault_content_redirects(case: Case) -> None:
    """A redirect is not followed."""
    with videos_stub.running("vllm") as other:
        case.stub.faults[CONTENT] = [instead(302, b"", "text/plain", Location=f"{other.url}/v1/videos/x/content")]
        with pytest.raises(EngineUnavailable, match="redirects to another address"):
            case.run()
        assert other.received == []


# The faults of a cancellation


def fault_delete_conflict(case: Case) -> None:
    """A 409 means that the job is being stopped: it is asked again."""
    case.stub.videos["v"] = videos_stub.Video("v", {"prompt": "p"}, None, time.time())
    case.stub.faults[DELETE] = [instead(409, {"detail": "Cancellation in progress. Please try again later."})]
    with pytest.raises(EngineUnavailable, match="409"):
        case.stop("v")
    assert case.stop("v") is None
    assert case.stub.stopped == ["v"]


def fault_delete_answer_lost(case: Case) -> None:
    """The answer to the deletion is lost: it is repeated, and 404 is the confirmation."""
    case.stub.videos["v"] = videos_stub.Video("v", {"prompt": "p"}, None, time.time())
    case.stub.faults[DELETE] = [unanswered]
    with pytest.raises(EngineUnavailable):
        case.stop("v")
    assert case.stop("v") is None
    assert case.stub.count(DELETE) == 2


def fault_no_delete(case: Case) -> None:
    """An engine without DELETE."""
    case.stub.faults[DELETE] = [instead(405, {"detail": "Method Not Allowed"})]
    case.stub.videos["v"] = videos_stub.Video("v", {"prompt": "p"}, None, time.time())
    assert case.stop("v") == "gpu1 cannot stop a job: it makes the video to its end."


def fault_cancelled_during_submit(case: Case) -> None:
    """A job is cancelled while its submit is under way: the answer is waited for, and the job is deleted."""

    def slow(handler: Any, act: Callable[[], None]) -> None:
        time.sleep(0.3)
        act()

    case.stub.faults[CREATE] = [slow]
    job = case.job()

    async def cancel() -> str | None:
        task = asyncio.create_task(case.adapter.run(job, case.host))
        while case.stub.received == []:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await case.adapter.stop(job)

    assert case.do(cancel) is None
    until_true(lambda: len(case.stub.computed) == 1)
    assert case.stub.stopped == case.stub.computed
    assert case.stub.videos == {}


def fault_cancelled_and_engine_gone(case: Case) -> None:
    """A job is cancelled, its answer is lost and the engine is away: the cancellation stays open until it is known."""
    case.stub.faults = {CREATE: [unanswered], LIST: [reset] * 4}
    job = case.job()

    async def cancel() -> None:
        task = asyncio.create_task(case.adapter.run(job, case.host))
        while case.stub.received == []:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(EngineUnavailable):
            await case.adapter.stop(job)

    case.do(cancel)
    assert case.stop(case.host.ids[-1]) is None
    assert case.stub.stopped == case.stub.computed


def fault_cancelled_and_not_found(case: Case) -> None:
    """The id is not known, and the job cannot be found: that is said."""
    case.stub.faults[LIST] = [instead(501, {"detail": "Not Implemented"})] * 4
    assert "may make a video that cannot be found again" in str(case.stop(f"?{time.time()}"))
    case.stub.faults[LIST] = [instead(501, {"detail": "Not Implemented"})] * 4
    case.stub.faults[CREATE] = [unanswered]
    job, before = case.job(), list(case.stub.received)

    async def cancel() -> str | None:
        task = asyncio.create_task(case.adapter.run(job, case.host))
        while case.stub.received == before:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        return await case.adapter.stop(job)

    assert "may make a video that cannot be found again" in str(case.do(cancel))


def fault_cancelled_with_lost_answer(case: Case) -> None:
    """The id is not known: the job is found by its time and prompt, and deleted."""
    sent = time.time()
    case.stub.videos["v"] = videos_stub.Video("v", {"prompt": "A red balloon"}, None, sent)
    assert case.stop(f"?{sent}") is None
    assert case.stub.stopped == ["v"]


FAULTS = [test for name, test in globals().items() if name.startswith("fault_")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.removeprefix("fault_"))
def test_fault(fault: Callable[[Case], None], vllm: Stub, tmp_path: Path) -> None:
    """A fault of a server like vLLM-Omni."""
    fault(Case(vllm, tmp_path))


def test_lost_answer_without_prompts(sglang: Stub, tmp_path: Path) -> None:
    """SGLang does not repeat prompts: nobody's video is taken, one orphan remains, and it is said."""
    sglang.faults[CREATE] = [unanswered]
    case = Case(sglang, tmp_path)
    with pytest.raises(JobFailed, match=r"may make a video that cannot be found again: look there"):
        case.run()
    assert len(sglang.computed) == 1


def test_a_failed_job_of_sglang(sglang: Stub, tmp_path: Path) -> None:
    """A failed job is an answer of status 200 without a code."""
    sglang.fail_with = 0, "Video output could not be published: no output_path is configured"
    with pytest.raises(EngineDied, match="no output_path is configured"):
        Case(sglang, tmp_path).run()


@pytest.mark.parametrize("status", ["cancelled", "expired", "deleted"])
def test_a_job_that_was_ended_at_the_engine(vllm: Stub, tmp_path: Path, status: str) -> None:
    """Somebody stopped it, or its video has expired: it is not submitted again."""
    vllm.faults[SHOW] = [instead(200, {"id": "v", "status": status})]
    with pytest.raises(JobFailed, match=f"^gpu1 ended the job without a video: its status is {status}"):
        Case(vllm, tmp_path).run()


def test_a_job_that_is_forgotten_after_long(vllm: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been made, and its video may have expired: it is not submitted again."""
    monkeypatch.setattr(openai_videos, "_KEPT_SECONDS", 0.0)
    vllm.faults[SHOW] = [instead(404, {"detail": "Video not found"})] * 4
    with pytest.raises(JobFailed, match=r"^gpu1 does not know the job any more, and"):
        Case(vllm, tmp_path).run()


def test_what_sglang_cannot_stop_is_said(sglang: Stub, tmp_path: Path) -> None:
    """SGLang forgets a deleted job and computes it to the end."""
    case = Case(sglang, tmp_path)
    case.run()
    assert case.stop(case.host.ids[-1]) == "gpu1 has deleted the job, but may compute it to the end."
    assert sglang.stopped == []
    assert case.stop(case.host.ids[-1]) is None  # unknown now


def test_faults_are_many() -> None:
    """There are at least 20."""
    assert len(FAULTS) >= 20


# Through a server


@pytest.fixture
def serve(start: Launch, tmp_path: Path) -> Callable[[Stub], Api]:
    """Return a function that starts a server with one engine and its model, in the same directory each time."""

    def serve(stub: Stub) -> Api:
        engines = tmp_path / "engines.toml"
        engines.write_text(
            f'[engines.gpu1]\nkind = "openai"\nurl = "{stub.url}"\n[models.mine]\nengines = ["gpu1"]\nserved = "wan"\n'
        )
        return start("--engines", os.fspath(engines), api_key="key")

    return serve


def enqueue(api: Api) -> str:
    answer = api.http.post("/api/ai/queue", json={"model": "mine", "prompt": "A red balloon"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["generations"][0]["generation_id"])


def test_a_server_makes_and_cancels(serve: Callable[[Stub], Api], vllm: Stub) -> None:
    """A request to the queue becomes a video of the engine, and a cancellation reaches the engine."""
    api = serve(vllm)
    assert httpx.get(api.wait(enqueue(api))["result_url"]).content == VIDEO
    vllm.held = True
    id_ = enqueue(api)
    until_true(lambda: len(vllm.computed) == 2)
    assert api.http.delete(f"/api/ai/queue/{id_}").status_code == 200
    until_true(lambda: vllm.stopped == vllm.computed[1:])
    assert api.get(id_)["status"] == "cancelled"
    vllm.held = False
    assert api.wait(enqueue(api))["status"] == "succeeded"
    assert vllm.count(CREATE) == 3


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_server_that_is_killed(serve: Callable[[Stub], Api], vllm: Stub, is_answered: bool) -> None:
    """The next server finds the job, also if the first had no answer yet. It is sent once."""
    vllm.held = True
    if not is_answered:
        vllm.faults[CREATE] = [silent]
    first = serve(vllm)
    id_ = enqueue(first)
    until_true(lambda: vllm.computed and (vllm.count(SHOW) > 0 or not is_answered))
    first.server.process.kill()
    first.server.process.wait()
    vllm.held = False
    second = serve(vllm)
    assert second.wait(id_)["status"] == "succeeded"
    assert vllm.count(CREATE) == len(vllm.computed) == 1
