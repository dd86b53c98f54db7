"""Serves one file as fast as the system can, with ranges, in a process of its own: `fileserver FILE`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from pathlib import Path


async def serve(path: Path, size: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    with (
        contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError),
        path.open("rb") as file,
    ):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            asked = re.search(rb"\r\nrange: bytes=(\d+)-\r\n", head.lower())
            start = int(asked[1]) if asked else 0
            lines = [
                "HTTP/1.1 206 Partial Content" if asked else "HTTP/1.1 200 OK",
                "Content-Type: video/mp4",
                f"Content-Length: {size - start}",
                'ETag: "one"',
                *([f"Content-Range: bytes {start}-{size - 1}/{size}"] if asked else []),
            ]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            await writer.drain()
            await loop.sendfile(writer.transport, file, start, size - start)
    writer.close()


async def main(path: Path, size: int) -> None:
    server = await asyncio.start_server(lambda reader, writer: serve(path, size, reader, writer), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/video.mp4", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[1]).stat().st_size))
