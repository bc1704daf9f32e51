"""Pushed images in the engine: pulled by digest from the emulated ECR, or loaded if the engine cannot reach it."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.core.errors import PipelineError
from pipeline.core.records import write_record
from pipeline.engine.connection import EngineRefused, explain, load_image
from pipeline.local.containers.confinement import EngineFailure
from pipeline.local.images.image_pull import ImageUnavailable, local_registries
from pipeline.local.images.image_store import KEPT_UNUSED
from pipeline.oci.blobs import BlobStore
from pipeline.oci.layout import parse_descriptor
from pipeline.oci.registry.refusals import RegistryRefused
from pipeline.oci.values import Digest, ImageReference

_NOT_IN_REGISTRY = "is not in the registry; run `up` to push it"

log = logging.getLogger("pipeline.local.docker")


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image in the engine. ``name`` is what containers are made from; the rest is from its config."""

    name: str
    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]


class EngineImages:
    """The images of one emulated registry in an engine; safe to use from several threads.

    ``folder/images.json`` lists the images added to the engine, so that they can be removed after a crash.
    """

    def __init__(self, engine: Any, folder: Path, endpoint: str = "http://127.0.0.1", token: str = "") -> None:
        self._engine = engine
        self._folder = folder
        self._connect = local_registries(endpoint, token)
        self._login = {"username": "AWS", "password": token}
        self._host = urlsplit(endpoint).netloc
        self._ready: dict[Digest, EngineImage] = {}
        self._used: dict[Digest, float] = {}
        self._changing = threading.Lock()
        self._notes = folder / "images.json"
        self._noted: list[str] = []

    def ensure(self, reference: ImageReference) -> EngineImage:
        """The image with exactly ``reference.digest``. Raises ImageUnavailable, and EngineFailure without an engine."""
        digest = reference.digest
        if digest is None:
            raise ImageUnavailable(f"{reference} is not pinned by digest")
        with self._changing:
            self._used[digest] = time.monotonic()
            image = self._ready.get(digest)
            if image is None or self._inspect(image.name) is None:
                image = self._ready[digest] = self._bring(reference, digest)
        return image

    def _bring(self, reference: ImageReference, digest: Digest) -> EngineImage:
        repository = reference.repository
        pulled = f"{self._host}/{repository}@{digest}"
        # Unique to this local folder, so that removing it does not affect another one.
        owner = Digest.of(str(self._folder).encode()).short
        loaded = f"transaction-pipeline.local/{owner}/{repository}:{digest.hex}"
        for name in (pulled, loaded):
            found = self._inspect(name)
            if found is not None:
                self._note(name)
                return _image(name, found)
        refusal = self._pull(repository, digest, pulled)
        name = pulled
        if refusal is not None:
            # An engine in a virtual machine, or one that asks this registry for TLS, as Podman does.
            log.info("%s is loaded into the engine, which could not pull it: %s", pulled, refusal)
            self._load(reference, digest, loaded, refusal)
            name = loaded
        found = self._inspect(name)
        if found is None:
            raise ImageUnavailable(f"{name} was brought into the engine, which does not have it")
        return _image(name, found)

    def _inspect(self, name: str) -> dict[str, Any] | None:
        import docker
        import requests

        try:
            found: dict[str, Any] = self._engine.inspect_image(name)
        except docker.errors.NotFound:
            return None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineFailure(f"the container engine does not answer ({explain(error)})") from error
        return found

    def _pull(self, repository: str, digest: Digest, name: str) -> str | None:
        """None if it was pulled, else the reason. Raises ImageUnavailable if the registry does not have it."""
        import docker
        import requests

        self._note(name)
        try:
            name_of = f"{self._host}/{repository}"
            lines = self._engine.pull(name_of, tag=str(digest), stream=True, decode=True, auth_config=self._login)
            for line in lines:
                if "error" in line:
                    return self._judge_refusal(name, str(line["error"]))
        except docker.errors.APIError as error:
            return self._judge_refusal(name, explain(error))
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineFailure(f"the container engine does not answer ({explain(error)})") from error
        return None

    def _judge_refusal(self, name: str, reason: str) -> str:
        if "manifest unknown" in reason or "name unknown" in reason or "not found" in reason:
            raise ImageUnavailable(f"{name} {_NOT_IN_REGISTRY}")
        return reason

    def _load(self, reference: ImageReference, digest: Digest, name: str, refusal: str) -> None:
        import docker
        import requests

        self._note(name)
        registry, repository = self._connect(reference.registry), reference.repository
        with tempfile.TemporaryDirectory(dir=self._folder) as work:
            store = BlobStore(Path(work))
            try:
                found = registry.find_manifest(repository, digest)
                if found is None:
                    raise ImageUnavailable(f"{self._host}/{repository}@{digest} {_NOT_IN_REGISTRY}")
                manifest = json.loads(found.content)
                config, *layers = (parse_descriptor(each) for each in (manifest["config"], *manifest["layers"]))
                for descriptor in (config, *layers):
                    registry.fetch_blob(repository, descriptor, store)
                openers = [partial(store.open, layer.digest) for layer in layers]
                load_image(self._engine, store.read(config.digest), openers, name, Path(work))
            except EngineRefused as error:
                raise ImageUnavailable(f"{name} was not loaded: {error.why}") from error
            except (PipelineError, ValueError, KeyError) as error:
                if isinstance(error, RegistryRefused) and error.status == 404:
                    raise ImageUnavailable(f"a blob of {repository}@{digest} {_NOT_IN_REGISTRY}") from error
                why = error.why if isinstance(error, PipelineError) else str(error)
                raise ImageUnavailable(f"{repository}@{digest} cannot be pulled: {why}") from error
            except (docker.errors.DockerException, requests.RequestException, OSError) as error:
                raise EngineFailure(f"the engine neither pulls ({refusal}) nor loads ({explain(error)})") from error

    def _note(self, name: str) -> None:
        if name not in self._noted:
            self._noted.append(name)
            write_record(self._notes, {"images": self._noted})

    def prune(self, used: Collection[Digest]) -> None:
        """Remove unused images except the latest few."""
        with self._changing:
            unused = sorted(set(self._ready) - set(used), key=lambda digest: self._used[digest], reverse=True)
            for digest in unused[KEPT_UNUSED:]:
                self._remove(self._ready.pop(digest).name)

    def remove_all(self, earlier: Collection[str] = ()) -> None:
        """Remove the images that this run added to the engine, and those in ``earlier``."""
        with self._changing:
            for name in [*earlier, *self._noted]:
                self._remove(name)
            self._ready.clear()
            self._notes.unlink(missing_ok=True)

    def _remove(self, name: str) -> None:
        import docker
        import requests

        # Forced, because one of our containers may still be ending; an image with another name stays. Names that were
        # never added to the engine are not found.
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError):
            self._engine.remove_image(name, force=True)
        with contextlib.suppress(ValueError):
            self._noted.remove(name)


def _image(name: str, found: dict[str, Any]) -> EngineImage:
    config = found.get("Config") or {}
    return EngineImage(
        name=name,
        entry_point=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        labels=tuple(sorted((config.get("Labels") or {}).items())),
    )
