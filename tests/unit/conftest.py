"""The fixtures that several folders share."""

from __future__ import annotations

from tests.servers.fixtures import client as client
from tests.servers.fixtures import other_server as other_server
from tests.servers.fixtures import server as server
from tests.servers.fixtures import store as store
