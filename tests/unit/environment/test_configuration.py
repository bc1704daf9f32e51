from collections.abc import Callable
from pathlib import Path

import pytest

from cfn.settings import Architecture
from pipeline.core.errors import SettingsError
from pipeline.environment.configuration import Choices, Project, python_of, read_choices, read_project, settings_of


def write(folder: Path, text: str) -> Path:
    path = folder / "environments.toml"
    path.write_text(text)
    return path


def test_an_environment_s_own_word_goes_before_the_default(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[defaults]\narchitecture = "x86_64"\nencryption = "KMS"\nprotect_data = true\n'
        '[environments.prod]\narchitecture = "arm64"\nprotect_data = false\n',
    )
    prod = read_choices(path, "prod")
    assert (prod.architecture, prod.encryption, prod.protect_data) == (Architecture.ARM64, "KMS", False)
    assert read_choices(path, "dev").architecture is Architecture.X86_64


def test_without_a_file_everything_is_the_default(tmp_path: Path) -> None:
    assert read_choices(tmp_path / "none.toml", "dev") == Choices()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml", "Expected"),
        ("[defaults]\narchitecure = 'arm64'\n", "architecure"),
        ("[defaults]\narchitecture = 'mips'\n", "mips"),
        ("[environments.prod]\nzones = 'three'\n", "environments.prod.zones: Expected `int"),
        (
            "[defaults]\narchitecture = 'mips'\nzonez = 3\n"
            "[environments.prod]\nslim = 1\n[environment.x]\nslim = true\n",
            "defaults.architecture: 'mips' is unknown; there are arm64, x86_64; defaults.zonez: no such key; did you"
            " mean zones?;"
            " environments.prod.slim: Expected `bool`, got `int`; environment: no such key; did you mean environments?",
        ),
        (
            "[defaults]\nentrances = ['http', 'queu', 3]\n",
            "defaults.entrances[1]: 'queu' is unknown; did you mean queue?",
        ),
        ("[defaults]\njwt = { issuer = 'https://x' }\n", "defaults.jwt.audience: missing"),
        ("[defaults]\njwt = { issuer = 'https://x', audience = ['a'], scope = ['s'] }\n", "did you mean scopes?"),
        ("[defaults]\nentrances = 'http'\n", "defaults.entrances: Expected `array`, got `str`"),
        ("defaults = 3", "defaults: Expected `object`, got `int`"),
        ("[environments]\nprod = 'x'", "environments.prod: Expected `object`"),
        ("[defaults.tags]\nTeam = 7\n", "defaults.tags.Team: Expected `str`"),
        ("\xff", ""),
    ],
)
def test_a_broken_file_is_named_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "environments.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        read_choices(path, "prod")
    assert "environments.toml" in caught.value.what
    assert said in caught.value.why


def test_executions_to_reserve_are_derived_unless_they_are_set() -> None:
    def reserved(said: int | None) -> int | None:
        choices = Choices(reserved_concurrency=said)
        settings = settings_of("dev", choices, project=Project("orders"), architecture=Architecture.ARM64)
        return settings.reserved_concurrency

    assert [reserved(None), reserved(0), reserved(5)] == [None, 0, 5]


@pytest.mark.parametrize("text", ["3.9", "three", "3.99"])
def test_a_python_that_images_cannot_have_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="python"):
        python_of(Choices(python=text))


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: path.mkdir(), "directory"), (lambda path: path.symlink_to("nowhere"), "link to a missing file"),
])  # fmt: skip
def test_what_is_no_file_is_not_taken_for_none(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    make(tmp_path / "environments.toml")
    with pytest.raises(SettingsError, match=said):
        read_choices(tmp_path / "environments.toml", "dev")


def test_a_project_has_a_name_or_the_transaction_workflow(tmp_path: Path) -> None:
    path = tmp_path / "environments.toml"
    path.write_text('[project]\nname = "orders"\n')
    assert read_project(path) == Project("orders")
    path.write_text('[project]\nworkflow = "transactions"\n')
    assert read_project(path) == Project("", "transactions")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "has no name in"),
        ("[defaults]\nzones = 3\n", "has no name in"),
        ('[project]\nname = "orders"\nworkflow = "transaction"\n', "workflow is 'transaction' and there is only"),
        ('[project]\nnmae = "orders"\n', "project.nmae: no such key; did you mean name?"),
    ],
)
def test_another_project_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "environments.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_project(path)


@pytest.mark.parametrize("name", ["Orders", "transaction", "a" * 21, "-a", "a--b", "\ud800"])
def test_a_name_that_nothing_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="project's name"):
        settings_of("dev", Choices(), project=Project(name), architecture=Architecture.ARM64)
