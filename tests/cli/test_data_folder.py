"""A data folder that cannot be used is one sentence that says what to do."""

import errno
import os
from pathlib import Path

import pytest

from devstack.errors import data_folder_error
from tests.cli.conftest import Command


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "the user who owns the folder"),
        (errno.EPERM, "the user who owns the folder"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_the_cause_the_file_and_the_way_out_are_named(number: int, said: str) -> None:
    error = OSError(number, os.strerror(number), "/data/logs")
    message = str(data_folder_error(error, Path("/data")))
    assert message.startswith("/data/logs cannot be used: ")
    assert said in message
    assert "CARTSTREAM_DATA_DIR=" in message


def test_an_error_without_a_file_names_the_folder() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(data_folder_error(error, Path("/data"))).startswith("/data cannot be used: ")


@pytest.mark.parametrize("inside", ["", "logs", "redis"])
def test_a_file_in_the_place_of_a_folder_is_no_traceback(command: Command, inside: str) -> None:
    place = command.settings.data_dir / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way")
    refused = command.run("up", "--only", "redis")
    assert refused.returncode == 1
    assert f"Error: {place} cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout
    assert command.left_behind() == []
