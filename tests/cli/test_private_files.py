"""What the stack keeps is for its own user: files, folders, and the database."""

import os
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from cli.main import cartstream, find_password
from devstack.embedded import EmbeddedStack
from devstack.errors import ComponentFailedError
from devstack.files import password_file, write_private
from devstack.mailbox.messages import Messages
from devstack.postgres import MAJOR
from devstack.settings import KAFKA, POSTGRES, REDIS
from store.postgres.errors import MigrationFailed


@pytest.fixture
def servers(stack: EmbeddedStack) -> EmbeddedStack:
    """The session's stack with all of its servers."""
    stack.ensure(KAFKA, POSTGRES, REDIS)
    return stack


def open_to_others(folder: Path) -> list[Path]:
    """What somebody else may read, write or enter of the folder, in which servers delete files meanwhile."""
    found = []
    for parent, _, files in os.walk(folder):
        for path in (Path(parent), *(Path(parent, file) for file in files)):
            with suppress(FileNotFoundError):
                if not path.is_symlink() and path.stat().st_mode & 0o077:
                    found.append(path)
    return found


def test_nothing_of_the_data_folder_is_open_to_others(servers: EmbeddedStack) -> None:
    folder = servers.settings.data_dir
    assert {"kafka", "redis", "postgres", "logs", "stack.json"} <= {path.name for path in folder.iterdir()}
    assert open_to_others(folder) == []


def test_mails_are_not_open_to_others(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        Messages(tmp_path / "mail").keep(b"Subject: yours\r\n\r\n")
    finally:
        os.umask(before)
    assert open_to_others(tmp_path / "mail") == []


def test_a_file_that_was_open_is_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.stat().st_mode & 0o777, path.read_text()) == (0o600, "new")


def test_the_products_role_is_no_superuser_and_needs_its_password(servers: EmbeddedStack) -> None:
    url = servers.urls.postgres
    secret = password_file(servers.settings.data_dir).read_text().strip().rpartition(":")[2]
    assert secret not in url
    with psycopg.connect(url, autocommit=True) as connection:
        roles = connection.execute("SELECT rolname, rolsuper FROM pg_roles WHERE rolcanlogin").fetchall()
        assert sorted(roles) == [("cartstream", False), ("postgres", True)]
        for statement in (b"COPY (SELECT 1) TO PROGRAM 'true'", b"SELECT pg_read_file('PG_VERSION')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    plain = url.partition("?")[0]
    for wrong in (
        plain,
        plain.replace("cartstream@", "cartstream:wrong@"),
        plain.replace("cartstream@", "postgres@"),
    ):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{wrong}?passfile=/nowhere")


def test_a_command_without_an_address_finds_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTSTREAM_DATA_DIR", str(tmp_path))
    for name in ("CARTSTREAM_POSTGRES_URL", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    find_password()
    assert "PGPASSFILE" not in os.environ
    write_private(password_file(tmp_path), "*:*:*:cartstream:s3cret\n")
    monkeypatch.setenv("PGPASSFILE", "/mine")
    find_password()
    assert os.environ["PGPASSFILE"] == "/mine"
    monkeypatch.delenv("PGPASSFILE")
    find_password()
    assert os.environ["PGPASSFILE"] == str(password_file(tmp_path))


def test_what_a_command_fails_with_repeats_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MigrationFailed("postgresql://shop:s3cret@db/carts is no address")

    monkeypatch.setattr("cli.migrate.migrate", fail)
    failed = CliRunner().invoke(cartstream, ["migrate"])
    assert (failed.exit_code, failed.output) == (1, "Error: postgresql://shop:***@db/carts is no address\n")


def test_a_database_without_its_password_is_told_what_to_do(tmp_path: Path) -> None:
    version = tmp_path / "postgres" / "PG_VERSION"
    version.parent.mkdir()
    version.write_text(MAJOR)
    with (
        pytest.raises(ComponentFailedError, match="move that folder away"),
        EmbeddedStack(tmp_path, only=(POSTGRES,)),
    ):
        pass
