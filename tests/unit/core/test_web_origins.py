"""Requests that pages of other sites cause are distinguished from those of a server's own clients."""

from __future__ import annotations

import pytest

from pipeline.core.web_origins import comes_from_elsewhere, host_of

OURS = ("http://127.0.0.1:80",)


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ([("host", "LocalHost:1")], "localhost:1"),
        ([], ""),
        ([("host", "a"), ("host", "b")], ""),
        ([("host", "a"), ("host", "a")], ""),
    ],
)
def test_there_is_one_host_or_none(headers: list[tuple[str, str]], host: str) -> None:
    assert host_of(headers) == host


@pytest.mark.parametrize(
    ("headers", "for_ours", "for_none"),
    [
        ([], False, False),
        ([("sec-fetch-site", "none")], False, False),
        ([("sec-fetch-site", "same-origin")], False, True),
        ([("sec-fetch-site", "same-site")], True, True),
        ([("sec-fetch-site", "cross-site")], True, True),
        ([("origin", "http://127.0.0.1:80")], False, True),
        ([("origin", "http://127.0.0.1:81")], True, True),
        ([("origin", "null")], True, True),
        ([("origin", "http://127.0.0.1:80"), ("origin", "http://evil.example")], True, True),
        ([("access-control-request-method", "PUT")], True, True),
    ],
)
def test_a_page_of_another_origin_is_elsewhere(headers: list[tuple[str, str]], for_ours: bool, for_none: bool) -> None:
    assert (comes_from_elsewhere(headers, OURS), comes_from_elsewhere(headers)) == (for_ours, for_none)
