"""Which requests are answered: those that a page of this server makes, on this machine unless told otherwise."""

import ipaddress
import socket
from urllib.parse import urlsplit

_EVERYWHERE = ("0.0.0.0", "::")


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: int, of HTTP.
        sentence: text that the page shows.
    """

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def is_loopback(address):
    """Whether an address, a text, is one that only this machine reaches."""
    return _address(address) is not None and _address(address).is_loopback


def check_host(headers, served):
    """Raises `Refused` unless a request names this server by a name that no other machine can give it.

    A page of somebody else's can have its own name point to 127.0.0.1 after it was loaded (DNS rebinding): then a
    browser takes this server for theirs, and only the Host header tells.

    Args:
        headers: of the request.
        served: pair of the `--host` as given, and the address that it stands for.
    """
    hosts = headers.get_all("Host") or []
    name = _name_of(hosts[0]) if len(hosts) == 1 else None
    if name is None or not _is_ours(name, *served):
        raise Refused(403, "This server answers only to its own address, as it was printed when it started.")


def check_origin(headers):
    """Raises `Refused` for what a page from elsewhere asks for."""
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{headers['Host'].strip().lower()}":
        raise Refused(403, "Only the page of this server may ask it for something.")
    if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "Only the page of this server may ask it for something.")


def _is_ours(name, given, address):
    if name in ("localhost", given.lower()):
        return True
    found = _address(name)
    if address in _EVERYWHERE:
        # A name can be rebound, an address cannot.
        return found is not None or name in (socket.gethostname().lower(), socket.getfqdn().lower())
    return found is not None and (found == _address(address) or (found.is_loopback and is_loopback(address)))


def _name_of(host):
    """The name or the address in a Host header, lower case; None if it is none."""
    try:
        parts = urlsplit(f"//{host.strip()}")
        parts.port  # noqa: B018 raises for what is no number
    except ValueError:
        return None
    whole = parts.hostname and not (parts.path or parts.query or parts.fragment or "@" in host)
    return parts.hostname if whole else None


def _address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
