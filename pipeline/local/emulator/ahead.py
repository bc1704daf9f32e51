"""What ministack loads when a service is first asked, loaded while the caller is still starting.

A first release would otherwise wait for each service in turn, more than half a second in all.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from pipeline.core.service_models import ServiceModels


def load_ahead(services: Sequence[str], then: Callable[[], None] = lambda: None) -> None:
    """Begin to load the modules of ``services`` and the models that name their content types, in their order.

    then  called after the first of them
    """
    threading.Thread(target=_load, args=(services, then), daemon=True, name="ahead").start()


def _load(services: Sequence[str], then: Callable[[], None]) -> None:
    import botocore.session
    from ministack import app
    from ministack.core import responses

    # ministack asks these models for the content type of each service's answers.
    botocore.session.create_loader = ServiceModels  # type: ignore[assignment]
    for service in services:
        # Whatever is not found here is loaded when it is needed, or fails there with its own words.
        with contextlib.suppress(Exception):
            app._get_module(app.SERVICE_REGISTRY[service]["module"])
            responses._service_model(service)
            if service == services[0]:
                then()
