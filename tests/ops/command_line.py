"""Somebody at the command line."""

import asyncio
from typing import Any

import msgspec
from click.testing import CliRunner

from cli.main import cartstream
from topics.registry import PARTITIONS


def environment(kafka_bootstrap: str, redis_url: str, postgres_url: str) -> dict[str, str]:
    """What the commands are told."""
    return {
        "CARTSTREAM_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "CARTSTREAM_REDIS_URL": redis_url,
        "CARTSTREAM_REDIS_TIMEOUT_S": "20",
        "CARTSTREAM_POSTGRES_URL": postgres_url,
        "CARTSTREAM_PARTITIONS": str(PARTITIONS),
    }


class Answer(msgspec.Struct, frozen=True):
    """What a command said."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The output of a command with --json."""
        return msgspec.json.decode(self.output)


class CommandLine:
    """Runs `cartstream` commands."""

    def __init__(self, told: dict[str, str]) -> None:
        self.told = told

    async def run(self, *arguments: str) -> Answer:
        """Run a command to its end."""
        result = await asyncio.to_thread(CliRunner().invoke, cartstream, arguments, env=self.told)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    async def json(self, *arguments: str) -> Any:
        """Run a command with --json: the document."""
        answer = await self.run(*arguments, "--json")
        assert answer.output, answer.errors
        return answer.json
