"""A page in the browser to play with a network: what it sees on a photograph, what it spends where, and how fast.

  python -m sact_tf.demo --checkpoint_dir=runs/sact

The rooms, from the outside in:

- `server`: HTTP, on this machine alone unless told otherwise; `guards`: which requests it answers;
- `answers`: from the bytes of a photograph to what the page shows; `uploads`: which photographs are taken;
- `networks`: the plain network, the masked form and the engine, timed side by side at any threshold of halting;
- `page`: what the browser is given, HTML, CSS and JavaScript without anything from outside.
"""

import contextlib
import socket

from sact_tf.demo.answers import Answers
from sact_tf.demo.guards import is_loopback
from sact_tf.demo.server import DemoServer
from sact_tf.progress import print_line

# Seconds that a computation has to end in when the server is stopped.
_ENDING = 10


def serve(config, log=print_line, started=lambda server: None):
    """Serves the page until Ctrl-C, or until somebody calls `shutdown()` of the server.

    Args:
        config: `DemoConfig`.
        log: called with lines of text.
        started: called with the `DemoServer` once it answers.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint, or the labels, do not fit.
        OSError: if the port is in use or may not be served on, before anything is loaded.
    """
    # Whoever looks at the page gets answers also where nobody reads the terminal any more.
    say = _unfailing(log)
    with DemoServer(config.host, config.port, say) as server:
        server.answers = Answers(config, say)
        if not is_loopback(server.server_address[0]):
            log(
                "Other machines can reach this page: there is no password, and photographs travel unencrypted. "
                "Leave out --host to serve this machine alone."
            )
        started(server)
        log(f"Open {address(server)} in a browser. Ctrl-C ends it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("Stopped.")
        # TensorFlow is not to be interrupted by the end of the process.
        server.computing.acquire(timeout=_ENDING)


def _unfailing(log):
    def say(text):
        with contextlib.suppress(OSError):
            log(text)

    return say


def address(server):
    """What to type into a browser on this machine."""
    host, port = server.server_address[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if server.address_family == socket.AF_INET6 else f"http://{host}:{port}/"
