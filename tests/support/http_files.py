"""Files served over HTTP with byte ranges, as object stores and web servers have them; Python's own server has none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    """The URL of a server on loopback of the files below a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *words: _Ranges(*words, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Ranges(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def send_head(self) -> Any:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return None
        size = file.stat().st_size
        first, _, last = (self.headers.get("Range") or f"bytes=0-{size - 1}").removeprefix("bytes=").partition("-")
        start = int(first) if first else size - int(last)
        stop = min(int(last) + 1, size) if first and last else size
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        opened = file.open("rb")
        opened.seek(start)
        self.remaining = stop - start
        return opened

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read(self.remaining))
