"""The account that each check looks at."""

from __future__ import annotations

import pytest

from tests.unit.doctor.account import FakeAccount


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()
