"""The page over HTTP, from the standard library: bounded in bytes, seconds, connections and computations."""

import contextlib
import errno
import importlib.resources
import json
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from sact_tf.data.photographs import BadPhotograph
from sact_tf.demo.guards import Refused, check_host, check_origin
from sact_tf.demo.uploads import MAX_BYTES

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/script.js": ("script.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Seconds without a byte, until an upload must be over, and that a computation waits for those before it.
SILENCE, UPLOAD_SECONDS, WAIT_SECONDS = 15, 60, 60
# Uploads in memory at the same time, the one that is computed included, and connections.
MAX_UPLOADS, MAX_CONNECTIONS = 4, 32
_CHUNK = 1 << 16
_BUSY = "Others are before you. Try again in a moment."


class DemoServer(ThreadingHTTPServer):
    """Serves the page; `answers` is an `Answers`, set before `serve_forever`.

    Args:
        host: name or address.
        port: int, 0 for any that is free.
        log: called with lines of text.

    Raises:
        OSError: with a sentence, if it cannot be served there.
    """

    daemon_threads = True
    answers = None

    def __init__(self, host, port, log):
        self.log = log
        self.computing = threading.Lock()
        self.uploads = threading.BoundedSemaphore(MAX_UPLOADS)
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.page = {path: (_read(name), kind) for path, (name, kind) in PAGE.items()}
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), Handler)
        except OSError as error:
            raise _explained(host, port, error) from error
        self.served = host, self.server_address[0]

    def server_bind(self):
        # Without the name that the base class would ask the network for.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request, client_address):
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request, client_address):
        error = sys.exception()
        # Browsers hang up as they please.
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.log(f"A request failed: {type(error).__name__}: {error}")


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE

    def do_GET(self):
        """The page, and `/about`."""
        with self._refusals():
            check_host(self.headers, self.server.served)
            path = self._address().path
            if path == "/about":
                check_origin(self.headers)
                return self._send(200, json.dumps(self.server.answers.about()).encode(), "application/json")
            if path not in self.server.page:
                raise Refused(404, "There is no such page.")
            self._send(200, *self.server.page[path])

    do_HEAD = do_GET

    def do_POST(self):
        """`/look?epsilon=&size=&picture=&scale=`: the bytes of a photograph to what is seen on it."""
        with self._refusals():
            check_host(self.headers, self.server.served)
            check_origin(self.headers)
            parts = self._address()
            if parts.path != "/look":
                raise Refused(404, "There is no such page.")
            settings = _settings(parts.query)
            length = self._length()
            if not self.server.uploads.acquire(blocking=False):
                raise Refused(503, _BUSY)
            try:
                answer = self._compute(self._body(length), settings)
            finally:
                self.server.uploads.release()
            self._send(200, json.dumps(answer).encode(), "application/json")

    def _address(self):
        try:
            return urlsplit(self.path)
        except ValueError as error:
            raise Refused(400, "This is no address of a page.") from error

    def _compute(self, content, settings):
        server = self.server
        if not server.computing.acquire(timeout=WAIT_SECONDS):
            raise Refused(503, _BUSY)
        try:
            return server.answers.look(content, **settings)
        except BadPhotograph as error:
            raise Refused(422, f"This file was not taken: {_without_flags(str(error))}.") from error
        except ValueError as error:
            raise Refused(400, str(error)) from error
        except Exception as error:
            server.log(f"A photograph failed: {type(error).__name__}: {error}")
            reason = type(error).__name__
            raise Refused(500, f"This photograph could not be computed ({reason}). The terminal says more.") from error
        finally:
            server.computing.release()

    def _length(self):
        if self.headers.get("Transfer-Encoding"):
            raise Refused(411, "An upload must say its length.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, "An upload must say its length.")
        # Python refuses to make an int of thousands of digits.
        if len(length) > 18 or int(length) > MAX_BYTES:
            raise Refused(
                413, f"This file was not taken: it has more than {MAX_BYTES / 2**20:.0f} MiB. Make it smaller."
            )
        return int(length)

    def _body(self, length):
        deadline, parts, missing = time.monotonic() + UPLOAD_SECONDS, [], length
        while missing:
            try:
                part = self.rfile.read1(min(missing, _CHUNK))
            except TimeoutError as error:
                raise Refused(408, "The upload stopped before its end. Try again.") from error
            if not part:
                raise Refused(400, "The upload stopped before its end. Try again.")
            if time.monotonic() > deadline:
                raise Refused(408, f"The upload took more than {UPLOAD_SECONDS} seconds. Make the file smaller.")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    @contextlib.contextmanager
    def _refusals(self):
        try:
            yield
        except Refused as refused:
            # What is left of the request would be taken for the next one.
            self.close_connection = True
            self._send(refused.status, json.dumps({"error": refused.sentence}).encode(), "application/json")
            self._drain()

    def _drain(self):
        """Reads what is still on its way, within bounds: else the browser may lose the sentence with the connection."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            for _ in range(2 * MAX_BYTES // _CHUNK):
                if not self.rfile.read1(_CHUNK):
                    return

    def _send(self, status, content, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def version_string(self):
        """What the Server header says."""
        return "sact_tf"

    def log_message(self, format, *arguments):
        """Says nothing, unlike the base class: `Answers` says what is computed."""


def _settings(query):
    """Arguments of `Answers.look`."""
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    settings = {"picture": given.get("picture") != "0", "own_scale": given.get("scale") == "own"}
    for name, argument, kind in (("epsilon", "epsilon", float), ("size", "image_size", int)):
        if name in given:
            try:
                settings[argument] = kind(given[name][:32])
            except ValueError as error:
                raise Refused(400, f"{name} must be a number. Received: {given[name][:32]!r}") from error
    return settings


def _without_flags(reason):
    """What commands say of a flag is a field of the page here."""
    return reason.replace("--image_size=", "a size of ").rstrip(".")


def _read(name):
    return importlib.resources.files("sact_tf.demo").joinpath("page", name).read_bytes()


def _explained(host, port, error):
    """The OSError with a sentence for one without."""
    if error.errno == errno.EADDRINUSE:
        return OSError(
            f"Port {port} is in use, maybe by another demo. Give another one, --port={port + 1}, or --port=0 for any "
            "that is free."
        )
    if error.errno == errno.EACCES:
        return OSError(f"Port {port} may not be served on: {error.strerror}. Give a --port of 1024 or more.")
    return OSError(
        f"{host} is no address of this machine to serve on: {error.strerror or error}. Leave out --host for this "
        "machine alone, or give 0.0.0.0 for all of its interfaces."
    )
