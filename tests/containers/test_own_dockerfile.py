"""A Dockerfile that names its own base: another language, a program that is installed, and no engine when unchanged."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.assembly.check import check_image
from pipeline.assembly.model import FunctionSource, Image, Platform
from pipeline.assembly.sources import find_sources
from pipeline.core.errors import BaseImageError, LocalError
from pipeline.engine.build_output import BuildFailed
from pipeline.engine.own_dockerfile import build_own
from pipeline.engine.run_build import has_buildx
from pipeline.oci.blobs import BlobStore
from tests.functional.conftest import EmbeddedAws
from tests.functional.projects.project import Project

# The Runtime API's three requests in Perl, which every Debian has (AWS Lambda developer guide, "Runtime API").
PERL = r"""
use strict; use IO::Socket::INET;
sub ask { my ($method, $path, $body) = @_;
  my $socket = IO::Socket::INET->new(PeerAddr => $ENV{AWS_LAMBDA_RUNTIME_API}) or die $!;
  print $socket "$method /2018-06-01/runtime/$path HTTP/1.1\r\nHost: x\r\n";
  print $socket "Content-Length: " . length($body) . "\r\n\r\n$body";
  my ($head, $size, $answer) = ("", 0, "");
  while (my $line = <$socket>) {
    last if $line eq "\r\n";
    $head .= $line; $size = $1 if $line =~ /^content-length: (\d+)/i; }
  read($socket, $answer, $size);
  return ($head, $answer); }
while (1) {
  my ($head, $event) = ask("GET", "invocation/next", "");
  my ($id) = $head =~ /lambda-runtime-aws-request-id: (\S+)/i;
  my $says = `/usr/local/bin/greet`; chomp $says;
  ask("POST", "invocation/$id/response", qq({"says": "$says", "event": $event})); }
"""
DOCKERFILE = """\
ARG NOTHING
FROM BASE
RUN printf '#!/bin/sh\\necho hello from sh\\n' > /usr/local/bin/greet && chmod 755 /usr/local/bin/greet
COPY bootstrap.pl /var/task/
ENTRYPOINT ["/usr/bin/perl", "/var/task/bootstrap.pl"]
CMD []
"""


@pytest.fixture(params=["classic", "buildx"] if has_buildx() else ["classic"])
def build(
    request: pytest.FixtureRequest, engine: Any, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Image]:
    monkeypatch.setenv("DOCKER_HOST", docker_host)

    def run(source: FunctionSource, platform: Platform, store: BlobStore) -> Image:
        return build_own(source, platform, store, engine=engine, buildx=request.param == "buildx")

    return run


@pytest.fixture
def source(tmp_path: Path, base: str) -> FunctionSource:
    folder = tmp_path / "images" / "in-perl"
    folder.mkdir(parents=True)
    (folder / "function.toml").write_text("memory = 256\n")
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("BASE", base))
    (folder / "bootstrap.pl").write_text(PERL)
    (folder / "requirements.txt").write_text("")
    (folder / "id_rsa").write_text("never sent to an engine")
    (source,) = find_sources(folder.parent)
    assert source.by_dockerfile
    return source


@pytest.mark.any_engine
def test_a_function_in_another_language_is_released_changed_and_taken_back(
    source: FunctionSource, container_aws: EmbeddedAws, docker_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An image that an earlier run left in the cache would need no engine.
    monkeypatch.setenv("TRANSACTION_PIPELINE_CACHE", str(source.folder.parents[1] / "cache"))
    project = Project(source.folder.parents[1], container_aws)
    project.write("environments.toml", '[project]\nname = "dockerfile"\n')
    project.write("images/in-perl/events/smoke.json", "{}")

    def engine(*, reachable: bool) -> None:
        monkeypatch.setenv("DOCKER_HOST", docker_host if reachable else "unix:///no/such/engine.sock")

    engine(reachable=True)
    assert project.json("up")["smoked"] == ["dockerfile-in-perl-dev"]
    assert project.invoke("in-perl", {"a": 1}) == {"says": "hello from sh", "event": {"a": 1}}
    engine(reachable=False)
    assert not project.json("up")["changed"]
    dockerfile = source.folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("hello", "goodbye"))
    error = project.json("plan", code=1)
    assert "no container engine answers at unix:///no/such/engine.sock" in error["why"]
    engine(reachable=True)
    (plan,) = project.json("plan", code=2)["functions"]
    assert plan["why"] == "1 file (usr/local/bin/greet)"
    assert project.json("up")["changed"]
    assert project.invoke("in-perl", {})["says"] == "goodbye from sh"
    engine(reachable=False)
    assert project.json("rollback")["changed"]
    assert project.invoke("in-perl", {})["says"] == "hello from sh"
    project.run("down", "--yes")


def test_an_image_of_another_language_passes_the_check(
    build: Callable[..., Image], source: FunctionSource, platform: Platform, store: BlobStore
) -> None:
    assert not check_image(build(source, platform, store), source, store).exact


@pytest.mark.any_engine
def test_nothing_changed_needs_no_engine(
    build: Callable[..., Image], source: FunctionSource, platform: Platform, store: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    built = build(source, platform, store)
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/engine.sock")
    (source.folder / "function.toml").write_text("memory = 512\n")  # not part of the image
    assert build_own(source, platform, store) == built
    for name in ("bootstrap.pl", "Dockerfile", "requirements.txt"):
        before = (source.folder / name).read_bytes()
        (source.folder / name).write_bytes(before + b"\n")
        with pytest.raises(LocalError) as caught:
            build_own(source, platform, store)
        assert "no container engine answers at unix:///no/such/engine.sock" in caught.value.why
        assert "name it with `image`" in str(caught.value.next_step)
        (source.folder / name).write_bytes(before)
    assert build_own(source, platform, store) == built


@pytest.mark.parametrize("more", ["", " && chown 7:8 /opt/b"], ids=["plain", "owned"])
def test_hard_links_become_files(
    build: Callable[..., Image], source: FunctionSource, platform: Platform, store: BlobStore, more: str
) -> None:
    """Packages have them, such as Debian's perl and git, and Lambda refuses them."""
    path = source.folder / "Dockerfile"
    path.write_text(f"{path.read_text()}RUN echo twice > /opt/a && ln /opt/a /opt/b{more}\n")
    image = check_image(build(source, platform, store), source, store).image
    with store.open(image.layers[-1].descriptor.digest) as stream, tarfile.open(fileobj=stream) as archive:
        files = {
            each.name: (each.isfile(), each.uid, archive.extractfile(each).read())
            for each in archive
            if not each.isdir()
        }  # type: ignore[union-attr]
    owner = 7 if more else 0
    assert files == {"opt/a": (True, owner, b"twice\n"), "opt/b": (True, owner, b"twice\n")}


def test_secrets_are_not_sent_to_the_engine(
    build: Callable[..., Image], source: FunctionSource, platform: Platform, store: BlobStore
) -> None:
    path = source.folder / "Dockerfile"
    path.write_text(path.read_text() + "COPY id_rsa /var/task/\n")
    with pytest.raises(BuildFailed, match="id_rsa"):
        build(source, platform, store)


def test_a_program_that_fails_is_explained(
    build: Callable[..., Image], source: FunctionSource, platform: Platform, store: BlobStore
) -> None:
    path = source.folder / "Dockerfile"
    path.write_text(path.read_text() + "RUN echo no such package >&2; exit 7\n")
    with pytest.raises(BuildFailed) as caught:
        build(source, platform, store)
    assert "no such package" in caught.value.why
    assert str(caught.value.next_step) == f"Fix {path}."


def test_a_base_that_the_engine_cannot_have_is_explained(
    build: Callable[..., Image], source: FunctionSource, platform: Platform, store: BlobStore
) -> None:
    (source.folder / "Dockerfile").write_text("FROM 127.0.0.1:9/base:none\n")
    with pytest.raises(BaseImageError, match=r"could not get its base as .*Dockerfile names it"):
        build(source, platform, store)
