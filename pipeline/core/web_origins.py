"""Which requests to a server on loopback are its own clients': a browser also sends those of any web page.

A name that a page's owner controls can be pointed at 127.0.0.1 (DNS rebinding), which only ``Host`` shows; every other
request that a page causes carries headers that the page cannot change (Fetch Metadata, W3C; Fetch, "Origin header").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

Headers = Iterable[tuple[str, str]]


def host_of(headers: Headers) -> str:
    """The Host of a request in lower case, with its port; "" unless there is exactly one. Names are lower case."""
    hosts = [value.lower() for name, value in headers if name == "host"]
    return hosts[0] if len(hosts) == 1 else ""


def comes_from_elsewhere(headers: Headers, origins: Collection[str] = ()) -> bool:
    """Whether a page of another origin than ``origins`` caused the request. Names are lower case."""
    sites = ("none", "same-origin") if origins else ("none",)
    for name, value in headers:
        if name == "access-control-request-method":
            return True
        if (name == "origin" and value not in origins) or (name == "sec-fetch-site" and value not in sites):
            return True
    return False
