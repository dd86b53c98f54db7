"""The process that makes videos with the Wan pipelines of diffusers. A loaded model stays for the next job.

It reads JSON lines: jobs, and `{"cancel": id}`. It writes JSON lines with the id of the job: `loaded`, steps, and at
the end `end`, which is `done`, `cancelled`, or who is at fault: `request`, `weights`, `memory` or `model`. After the last
two it ends, because the state of the GPU is not known.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import psutil
from av.video.frame import VideoFrame
from PIL import Image, ImageOps

from oxenvideo.server.preview import decode, encode
from oxenvideo.server.renderer import RenderError

# What a step and the decoder need besides the weights. This is an estimate for 720p; it was not measured.
_WORKING_BYTES = 12 * 2**30
_BLOCKS_PER_GROUP = 4
_NICENESS = 15
_PREVIEW_SIDE = 256
_PREVIEW_SHARE = 0.05  # of the time of the steps may go into previews
_ENCODER = {"preset": "medium", "crf": "16"}
_PARAMETERS = ("prompt", "negative_prompt", "height", "width", "num_frames", "num_inference_steps", "guidance_scale")

Json = dict[str, Any]


class Ended(Exception):
    """The job ended without a video: how, and why."""

    def __init__(self, end: str, reason: str = "") -> None:
        super().__init__(reason)
        self.end = end


class Maker:
    """Makes one video at a time and keeps the model of the last one. ``check`` raises Ended after a cancellation."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._weights: str | None = None
        self._pipeline: Any = None

    def make(self, job: Mapping[str, Any], report: Callable[[Json], None]) -> None:
        """Write the video of a job to its path."""
        import torch

        pipeline = self._load(job["weights"], job["download"])
        report({"loaded": True})
        self._check()
        given = {name: job["parameters"][name] for name in _PARAMETERS if job["parameters"].get(name) is not None}
        if job["image"] is not None:
            pipeline = _with_image(pipeline)
            try:
                image = decode.image(Path(job["image"]).read_bytes(), "input_image")
            except RenderError as error:
                raise Ended("request", str(error)) from None
            given["image"] = ImageOps.fit(image, (given["width"], given["height"]))
        elif type(pipeline).__name__ != "WanPipeline":
            raise Ended("request", "This model needs an image: give input_image.")
        steps = Steps(self._check, report, frame=-1 if "image" in given else 0)
        frames = pipeline(
            **given,
            generator=torch.Generator("cpu").manual_seed(job["seed"]),  # the same noise on every device
            callback_on_step_end=steps.done,
        ).frames[0]
        self._check()
        encode.write(
            Path(job["path"]),
            _planes(frames),
            width=frames.shape[2],
            height=frames.shape[1],
            fps=Fraction(job["fps"]),
            sound=None,
            comment=f"Made by {job['model']} with diffusers, seed {job['seed']}.",
            options=_ENCODER,
        )

    def _load(self, weights: str, download: bool) -> Any:
        if self._weights == weights:
            return self._pipeline
        self._weights = self._pipeline = None
        gc.collect()
        import diffusers
        import torch
        import transformers

        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        has_gpu = torch.cuda.is_available()
        if has_gpu:
            torch.cuda.empty_cache()
            torch.backends.cudnn.deterministic = True
        else:
            os.nice(max(0, _NICENESS - os.nice(0)))
        try:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                weights,
                dtype={"default": torch.bfloat16, "vae": torch.float32} if has_gpu else torch.float32,
                local_files_only=not download,
                use_safetensors=True,
            )
        except (OSError, ValueError) as error:
            traceback.print_exc()
            raise Ended("weights", _not_loaded(weights, download, error)) from None
        if not isinstance(pipeline, (diffusers.WanPipeline, diffusers.WanImageToVideoPipeline)):
            raise Ended("weights", f"The weights are of a {type(pipeline).__name__}, not of a Wan pipeline.")
        pipeline.set_progress_bar_config(disable=True)
        if has_gpu:
            _place(pipeline, torch.device("cuda"), torch.cuda.mem_get_info()[0])
        # The decoder runs once for each few frames, so a cancellation need not wait for all of them.
        pipeline.vae.decoder.register_forward_pre_hook(lambda *_: self._check())
        self._weights, self._pipeline = weights, pipeline
        return pipeline


class Steps:
    """Reports the steps of one job, and previews of one latent frame where they are cheap."""

    def __init__(self, check: Callable[[], None], report: Callable[[Json], None], *, frame: int) -> None:
        self._check = check
        self._report = report
        self._frame = frame
        self._spent = 0.0
        self._start = time.monotonic()

    def done(self, pipeline: Any, step: int, timestep: Any, tensors: Json) -> Json:
        """Report a step; diffusers calls this after each."""
        self._check()
        message = {"step": step + 1, "total": pipeline.num_timesteps}
        self._report(message)
        if 0 < step < pipeline.num_timesteps - 1:
            started = time.monotonic()
            if self._spent <= _PREVIEW_SHARE * (started - self._start) and (picture := self._preview(pipeline)):
                self._report(message | {"preview": picture})
                self._spent += time.monotonic() - started
        return {}

    def _preview(self, pipeline: Any) -> str | None:
        """Return a JPEG of the clean picture that the scheduler predicts; None if it does not keep one."""
        import torch

        predicted = (getattr(pipeline.scheduler, "model_outputs", None) or [None])[-1]
        if predicted is None:
            return None
        vae = pipeline.vae
        at = self._frame % predicted.shape[2]
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(predicted.device, vae.dtype)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        with torch.no_grad():
            decoded = vae.decode(predicted[:, :, at : at + 1].to(vae.dtype) * std + mean, return_dict=False)[0]
        pixels = (decoded[0, :, 0].permute(1, 2, 0).float() / 2 + 0.5).clamp(0, 1).mul(255).byte().cpu().numpy()
        image = Image.fromarray(pixels)
        image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        return base64.b64encode(file.getvalue()).decode()


def offloaded(weights: Mapping[str, int], free: int) -> tuple[str, ...]:
    """Return the components to keep in main memory, the fewest that leave enough of ``free`` for the computation."""
    for names in ((), ("text_encoder",)):
        if sum(size for name, size in weights.items() if name not in names) + _WORKING_BYTES <= free:
            return names
    return tuple(name for name in weights if name != "vae")


def _place(pipeline: Any, device: Any, free: int) -> None:
    """Move a pipeline to the GPU. Components that do not fit move there group by group when they are used."""
    import torch
    from diffusers.hooks import apply_group_offloading

    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    weights = {
        name: sum(tensor.numel() * tensor.element_size() for tensor in module.parameters())
        for name, module in modules.items()
    }
    names = offloaded(weights, free)
    is_streamed = device.type == "cuda"
    for name, module in modules.items():
        if name not in names:
            module.to(device)
        elif name == "text_encoder":
            apply_group_offloading(
                module, onload_device=device, offload_type="block_level", num_blocks_per_group=_BLOCKS_PER_GROUP
            )
        else:
            apply_group_offloading(
                module,
                onload_device=device,
                offload_type="leaf_level",
                use_stream=is_streamed,
                # Pinned copies of all weights need as much main memory again.
                low_cpu_mem_usage=is_streamed and psutil.virtual_memory().available < 2 * sum(weights.values()),
            )
    if "transformer" in names:
        pipeline.vae.enable_tiling()


def _with_image(pipeline: Any) -> Any:
    """Return a pipeline that starts from an image and has the same weights."""
    import diffusers

    if isinstance(pipeline, diffusers.WanImageToVideoPipeline):
        return pipeline
    if not pipeline.config.expand_timesteps:
        raise Ended("request", "This model makes videos from text only: leave input_image out.")
    parts = {"image_encoder": None, "image_processor": None, **pipeline.components}
    settings = {name: pipeline.config[name] for name in ("boundary_ratio", "expand_timesteps")}
    made = diffusers.WanImageToVideoPipeline(**parts, **settings)
    made.set_progress_bar_config(disable=True)
    return made


def _planes(frames: Any) -> Iterator[encode.Frame]:
    for frame in frames:
        picture = VideoFrame.from_ndarray(np.rint(frame * 255).astype(np.uint8), format="rgb24")
        yield np.asarray(picture.reformat(format="yuv420p", dst_colorspace="ITU709").to_ndarray(), np.uint8)


def _not_loaded(weights: str, download: bool, error: Exception) -> str:
    if Path(weights).is_absolute():
        return f"The directory of the weights holds no complete diffusers pipeline: {error}"
    if download:
        return f"The weights of {weights} could not be downloaded: {error}"
    return f"The weights of {weights} in the Hugging Face cache are not complete: run `hf download {weights}`."


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


def _out_of_memory(job: Mapping[str, Any]) -> str:
    import torch

    where = "The machine"
    if torch.cuda.is_available():
        where = f"The GPU ({torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB)"
    size = "{width}x{height} with {num_frames} frames".format(**job["parameters"])
    return f"{where} ran out of memory at {size}: ask for fewer frames or a smaller size."


def main() -> None:
    """Make videos until standard input ends, which also happens when the server dies."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # so that nothing that a library prints is taken for an answer
    jobs: SimpleQueue[Json] = SimpleQueue()
    cancelled: set[str] = set()
    threading.Thread(target=_read, args=(jobs, cancelled), daemon=True).start()
    current = ""

    def check() -> None:
        if current in cancelled:
            raise Ended("cancelled")

    def answer(message: Json) -> None:
        answers.write(json.dumps({"id": current, **message}) + "\n")

    maker = Maker(check)
    while True:
        job = jobs.get()
        current = job["id"]
        try:
            check()
            maker.make(job, answer)
            answer({"end": "done"})
        except Ended as ended:
            answer({"end": ended.end, "reason": str(ended)})
        except Exception as error:
            traceback.print_exc()
            end = "memory" if _is_out_of_memory(error) else "model"
            answer(
                {"end": end, "reason": _out_of_memory(job) if end == "memory" else f"{type(error).__name__}: {error}"}
            )
            sys.exit(1)


def _read(jobs: SimpleQueue[Json], cancelled: set[str]) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            cancelled.add(message["cancel"])
        else:
            jobs.put(message)
    os._exit(0)  # also in the middle of a job: there is no server left to take the video


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
