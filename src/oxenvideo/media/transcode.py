"""Write video files from others with PyAV (the ``local`` extra): copied where that is possible, else encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from oxenvideo.media.frames import opened

_CLOCK = Fraction(1, 90_000)  # seconds in one unit of encoded pictures' times
_AUDIO_RATE = 128_000  # bits per second
_ATTEMPTS = 4  # to stay below a size
_WIDTHS = ((2_000_000, 1280), (900_000, 960), (350_000, 640), (0, 426))  # bits per second, and what they suffice for


@dataclass(frozen=True)
class _Picture:
    """What to encode pictures to; ``bit_rate`` in bits per second, None for a constant quality."""

    width: int
    height: int
    rate: Fraction
    bit_rate: int | None = None


def sound_of(path: Path) -> str | None:
    """The codec of a file's sound, such as ``aac``; None if it has no sound."""
    with opened(path) as container:
        return container.streams.audio[0].codec_context.name if container.streams.audio else None


def with_mp3(source: Path, target: Path) -> None:
    """Write a copy whose sound is MP3. The pictures are copied as they are."""
    _write([source], target, picture=None, sound="libmp3lame")


def smaller(source: Path, target: Path, limit: int) -> None:
    """Write a scaled copy of at most ``limit`` bytes."""
    with opened(source) as container:
        video = container.streams.video[0]
        length = max(0.1, _length(container))
        width, height, rate = video.codec_context.width, video.codec_context.height, _rate(video)
    allowed = limit * 8 * 0.9 / length
    for _ in range(_ATTEMPTS):
        bits = int(min(4_000_000, max(30_000, allowed - _AUDIO_RATE)))
        scale = min(1.0, next(widest for least, widest in _WIDTHS if bits >= least) / max(width, height))
        picture = _Picture(_even(width * scale), _even(height * scale), rate, bits)
        _write([source], target, picture=picture, sound="aac")
        if target.stat().st_size <= limit:
            return
        allowed *= 0.6


def join(sources: Sequence[Path], target: Path, progress: Callable[[float], object] = lambda done: None) -> None:
    """Write the sources one after the other, with their sound; ``progress`` is called with the part done (0 to 1).

    The streams are copied if their codecs and sizes agree; else all are encoded to the size of the first one.
    """
    with ExitStack() as stack:
        containers = [stack.enter_context(opened(source)) for source in sources]
        kinds = {(_kind(c, "video"), _kind(c, "audio")) for c in containers}
        video = containers[0].streams.video[0]
        picture = _Picture(_even(video.codec_context.width), _even(video.codec_context.height), _rate(video))
        has_sound = any(c.streams.audio for c in containers)
    copied = len(kinds) == 1
    _write(
        sources,
        target,
        picture=None if copied else picture,
        sound="aac" if has_sound and not copied else None,
        progress=progress,
    )


def _kind(container: Any, of: str) -> tuple[Any, ...] | None:
    """What must agree for streams to be copied into one."""
    if not (streams := getattr(container.streams, of)):
        return None
    codec = streams[0].codec_context
    if of == "audio":
        return codec.name, codec.sample_rate, codec.layout.name, codec.extradata
    return codec.name, codec.width, codec.height, codec.pix_fmt, streams[0].time_base, codec.extradata


def _write(
    sources: Sequence[Path],
    target: Path,
    *,
    picture: _Picture | None,
    sound: str | None,
    progress: Callable[[float], object] = lambda done: None,
) -> None:
    """Write the sources one after the other. Without ``picture`` and ``sound`` the streams are copied."""
    import av

    with ExitStack() as stack:
        inputs = [stack.enter_context(opened(source)) for source in sources]
        out = stack.enter_context(av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}))
        video = _Copied(out, inputs[0].streams.video[0]) if picture is None else _Pictures(out, picture)
        with_sound = next((c for c in inputs if c.streams.audio), None)
        audio: _Copied | _Sound | None = None
        if with_sound is not None:
            first = with_sound.streams.audio[0]
            audio = _Copied(out, first) if sound is None else _Sound(out, sound, first.codec_context.sample_rate)
        lengths = [_length(c) for c in inputs]
        offset = done = 0.0
        for container, length in zip(inputs, lengths, strict=True):
            own = [container.streams.video[0], *container.streams.audio[:1]]
            video.begin(own[0], offset)
            if audio is not None:
                audio.begin(own[1] if len(own) > 1 else None, offset)
            start = min((float(s.start_time * s.time_base) for s in own if s.start_time), default=0.0)
            for packet in container.demux(own):
                writer = video if packet.stream.type == "video" else audio
                if writer is None:
                    continue
                if packet.pts is not None:
                    at = float(packet.pts * packet.time_base) - start
                    progress(done := max(done, min(1.0, (offset + at) / max(0.001, sum(lengths)))))
                writer.write(packet)
            offset = max(offset + length, video.end, audio.end if audio is not None else 0.0)
        video.finish()
        if audio is not None:
            audio.begin(None, offset)
            audio.finish()
    progress(1.0)


class _Copied:
    """A stream whose packets are copied; ``end`` is where the last one ends, in seconds."""

    def __init__(self, out: Any, template: Any) -> None:
        self._out, self._stream = out, out.add_stream_from_template(template)
        self._offset = self.end = 0.0
        self._last: Fraction | None = None

    def begin(self, stream: Any, offset: float) -> None:
        self._offset = offset

    def write(self, packet: Any) -> None:
        if packet.dts is None or packet.pts is None:
            return
        shift = round(self._offset / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        decoded_at = packet.dts * packet.time_base
        if self._last is not None and decoded_at <= self._last:
            return  # the encoder's delay at the start of a further source
        self._last = decoded_at
        self.end = max(self.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        packet.stream = self._stream
        self._out.mux(packet)

    def finish(self) -> None:
        """Nothing is held back."""


class _Pictures:
    """A stream of pictures that are scaled into one size, with black edges where the shape differs, and encoded."""

    def __init__(self, out: Any, picture: _Picture) -> None:
        bits = picture.bit_rate
        quality = {"crf": "18"} if bits is None else {"maxrate": str(bits), "bufsize": str(bits)}
        self._out, self._picture = out, picture
        self._stream = out.add_stream("libx264", rate=picture.rate, options={"preset": "veryfast", **quality})
        self._stream.width, self._stream.height, self._stream.pix_fmt = picture.width, picture.height, "yuv420p"
        self._stream.codec_context.time_base = _CLOCK
        if bits is not None:
            self._stream.bit_rate = bits
        self._graph: Any = None
        self._offset = self.end = 0.0
        self._start: float | None = None
        self._last = -1

    def begin(self, stream: Any, offset: float) -> None:
        from av.filter import Graph

        width, height = self._picture.width, self._picture.height
        graph = Graph()
        chain = [
            graph.add_buffer(template=stream),
            graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2"),
            graph.add("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2"),
            graph.add("setsar", "1"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*chain).configure()
        self._graph, self._offset, self._start = graph, offset, None

    def write(self, packet: Any) -> None:
        for frame in packet.decode():
            seconds, length = frame.time, float(1 / self._picture.rate)
            self._start = seconds if self._start is None else self._start
            self._graph.push(frame)
            scaled = self._graph.pull()
            at = round((self._offset + seconds - self._start) / _CLOCK)
            if at <= self._last:
                continue
            scaled.pts, scaled.time_base, self._last = at, _CLOCK, at
            scaled.pict_type = 0
            self.end = max(self.end, float(at * _CLOCK) + length)
            self._out.mux(self._stream.encode(scaled))

    def finish(self) -> None:
        self._out.mux(self._stream.encode(None))


class _Sound:
    """A stream of sound that is encoded; silence where a source has none."""

    def __init__(self, out: Any, codec: str, rate: int) -> None:
        import av

        rate = rate if rate in (32_000, 44_100, 48_000) else 48_000
        self._out, self._rate = out, rate
        self._stream = out.add_stream(codec, rate=rate)
        self._stream.codec_context.layout, self._stream.codec_context.format = "stereo", "fltp"
        self._stream.bit_rate = _AUDIO_RATE
        self._fifo = av.AudioFifo()
        self._resampler: Any = None
        self._written = self._sent = 0  # samples

    @property
    def end(self) -> float:
        return self._written / self._rate

    def begin(self, stream: Any, offset: float) -> None:
        """Fill with silence up to ``offset`` seconds."""
        import av

        self._flush()
        while (missing := round(offset * self._rate) - self._written) > 0:
            frame = av.AudioFrame(format="fltp", layout="stereo", samples=min(missing, self._rate))
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = self._rate
            self._put(frame)
        if stream is not None:
            self._resampler = av.AudioResampler(format="fltp", layout="stereo", rate=self._rate)

    def write(self, packet: Any) -> None:
        for frame in packet.decode():
            for made in self._resampler.resample(frame):
                self._put(made)

    def finish(self) -> None:
        self._encode(self._fifo.read(0, partial=True))
        self._out.mux(self._stream.encode(None))

    def _flush(self) -> None:
        if self._resampler is not None:
            for made in self._resampler.resample(None):
                self._put(made)
            self._resampler = None

    def _put(self, frame: Any) -> None:
        frame.pts = None
        self._written += frame.samples
        self._fifo.write(frame)
        size = self._stream.codec_context.frame_size or 1024
        while (piece := self._fifo.read(size)) is not None:
            self._encode(piece)

    def _encode(self, frame: Any) -> None:
        if frame is not None:
            frame.pts, frame.time_base = self._sent, Fraction(1, self._rate)
            self._sent += frame.samples
            self._out.mux(self._stream.encode(frame))


def _length(container: Any) -> float:
    known = [float(s.duration * s.time_base) for s in container.streams if s.duration]
    return max(known, default=(container.duration or 0) / 1_000_000)


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or 30).limit_denominator(1001)


def _even(pixels: float) -> int:
    return max(2, round(pixels / 2) * 2)
