"""Which requests are answered: to this server's own names, from its own page."""

import json
import socket
from email.message import Message

import pytest

from sact_tf.demo import guards


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8077", "127.0.0.1.evil.example", "10.0.0.1", "a b", "@"]
)
def test_other_names_for_this_machine_are_refused(serve, picture, file_of, host):
    page = serve("vanilla")
    for method, path in (("GET", "/"), ("GET", "/about"), ("POST", "/look")):
        status, _, body = page.request(method, path, file_of(picture()) if method == "POST" else None, host=host)
        assert status == 403 and "answers only to its own address" in json.loads(body)["error"]


def test_pages_from_elsewhere_are_refused(serve, picture, file_of):
    page = serve("vanilla")
    host = "localhost:9000"  # as through a tunnel
    for headers, status in (
        ({"Origin": "http://localhost:9000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:9001"}, 403),
        ({"Origin": "https://localhost:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ):
        assert page.request("POST", "/look", file_of(picture()), headers, host)[0] == status, headers


@pytest.mark.parametrize(
    ("served", "host", "answered"),
    [
        (("127.0.0.1", "127.0.0.1"), "127.0.0.1:8077", True),
        (("127.0.0.1", "127.0.0.1"), "LOCALHOST", True),
        (("127.0.0.1", "127.0.0.1"), "[::1]:8077", True),
        (("::1", "::1"), "[::1]", True),
        (("127.0.0.1", "127.0.0.1"), "192.168.1.5", False),
        (("mybox", "192.168.1.5"), "mybox:8077", True),
        (("mybox", "192.168.1.5"), "192.168.1.5", True),
        (("mybox", "192.168.1.5"), "192.168.1.6", False),
        (("0.0.0.0", "0.0.0.0"), "192.168.1.5:8077", True),
        (("0.0.0.0", "0.0.0.0"), "evil.example", False),
        (("::", "::"), f"{socket.gethostname()}:8077", True),
        (("127.0.0.1", "127.0.0.1"), "localhost:port", False),
        (("127.0.0.1", "127.0.0.1"), "user@localhost", False),
        (("127.0.0.1", "127.0.0.1"), "localhost/evil", False),
    ],
)
def test_names_that_are_answered_to(served, host, answered):
    headers = Message()
    headers["Host"] = host
    if answered:
        guards.check_host(headers, served)
    else:
        with pytest.raises(guards.Refused):
            guards.check_host(headers, served)


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"], [""]])
def test_no_host_and_two_hosts_are_refused(hosts):
    headers = Message()
    for host in hosts:
        headers["Host"] = host
    with pytest.raises(guards.Refused):
        guards.check_host(headers, ("127.0.0.1", "127.0.0.1"))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1"])
def test_addresses_that_only_this_machine_reaches(address):
    assert guards.is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "localhost.evil.example", ""])
def test_addresses_that_others_reach(address):
    assert not guards.is_loopback(address)
