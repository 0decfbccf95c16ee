"""Reads settings from the environment, and from the files that it names: `CARTSTREAM_<NAME>_FILE`."""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_settings import EnvSettingsSource

_SUFFIX: Final = "_file"
_LAST_NEWLINE: Final = re.compile(r"\r?\n\Z")
_MOST_BYTES: Final = 64 * 1024
"""Of a file: no setting is as long, and a device would never end."""


class WrongFiles(ValueError):
    """Files that settings name cannot be taken; the message says what to do, nothing of what they hold."""


class EnvironmentSource(EnvSettingsSource):
    """The variables, and the files in which the values of others are."""

    def __call__(self) -> dict[str, Any]:
        """The values by field. Raises WrongFiles, with a line for each file that cannot be taken."""
        values = super().__call__()
        complaints = []
        for name, path in self._files().items():
            variable = self._variable(name)
            if name in values:
                complaints.append(
                    f"{variable} and {variable}_FILE are both set: keep one of them, and unset the other"
                )
                continue
            try:
                values[name] = _content(Path(path))
            except OSError as error:
                complaints.append(
                    f"{variable}_FILE: {path} cannot be read ({error.strerror}). It must be a file that this "
                    "process may read, and that holds nothing but the value"
                )
            except ValueError as error:
                complaints.append(f"{variable}_FILE: {path} {error}. It must hold nothing but the value")
        if complaints:
            raise WrongFiles("\n".join(complaints))
        return values

    def _files(self) -> dict[str, str]:
        """The paths by field. A name that is a setting itself, such as that of the ready file, is none."""
        fields = self.settings_cls.model_fields
        return {
            name: path
            for name in fields
            if f"{name}{_SUFFIX}" not in fields
            and (path := self.env_vars.get(f"{self.env_prefix}{name}{_SUFFIX}".lower()))
        }

    def _variable(self, name: str) -> str:
        return f"{self.env_prefix}{name}".upper()


def with_variables(environment: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment with other values for some variables."""
    return without_variables(environment, given) | dict(given)


def without_variables(environment: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """The environment without some variables, nor the files that it names for them."""
    dropped = {*names, *(f"{name}{_SUFFIX.upper()}" for name in names)}
    return {name: value for name, value in environment.items() if name not in dropped}


def is_given(variable: str) -> bool:
    """Whether this environment has a value for a variable, or names a file with it."""
    return variable in os.environ or f"{variable}{_SUFFIX.upper()}" in os.environ


def give(variable: str, value: str) -> None:
    """Set a variable of this environment, for this process and those that it starts."""
    os.environ.pop(f"{variable}{_SUFFIX.upper()}", None)
    os.environ[variable] = value


def _content(path: Path) -> str:
    """What a file holds, without the newline at its end. Raises OSError; ValueError for what is no text."""
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"is larger than {_MOST_BYTES // 1024} KiB")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    return _LAST_NEWLINE.sub("", text)
