"""Tokens of a command: run when one is needed, renewed before it expires, never repeated in an error."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest

from runtime.kafka.tokens import CommandTokens, TokenCommandFailed, parsed
from runtime.settings import KafkaSettings, SettingsError, load, shown

NOW = 1_000_000.0
COMMAND = "/usr/local/bin/kafka-token"
S3CRET = "s3cret-of-at-least-32-bytes-for-hs256"


class Printer:
    """A command that prints what a test has put into a file, and counts its runs in another one."""

    def __init__(self, folder: Path) -> None:
        self._output, self._runs = folder / "output", folder / "runs"
        self._runs.touch()
        code = (
            "import sys, pathlib; output, runs = map(pathlib.Path, sys.argv[1:])\n"
            "runs.open('a').write('x'); print(output.read_text())\n"
        )
        self.argv = (sys.executable, "-c", code, str(self._output), str(self._runs))

    def prints(self, text: str) -> None:
        """From now on it prints this."""
        self._output.write_text(text)

    def fails(self) -> None:
        """From now on it fails."""
        self._output.unlink()

    @property
    def runs(self) -> int:
        """How often it has run."""
        return len(self._runs.read_text())


@pytest.fixture
def printer(tmp_path: Path) -> Printer:
    return Printer(tmp_path)


class Clock:
    """A clock that a test moves."""

    now = NOW

    def __call__(self) -> float:
        """What it says."""
        return self.now


def answer(token: str, expires_in: float) -> str:
    return f'{{"access_token": "{token}", "token_type": "Bearer", "expires_in": {expires_in}}}'


async def test_a_token_serves_until_most_of_its_life_is_over(printer: Printer) -> None:
    clock = Clock()
    tokens = CommandTokens(printer.argv, clock)
    printer.prints(answer("first", 100))
    assert [await tokens.token(), await tokens.token()] == ["first", "first"]
    printer.prints(answer("second", 100))
    clock.now += 79
    assert await tokens.token() == "first"
    clock.now += 2
    assert await tokens.token() == "second"
    assert printer.runs == 2


async def test_while_the_command_fails_a_token_serves_until_it_expires(printer: Printer) -> None:
    clock = Clock()
    tokens = CommandTokens(printer.argv, clock)
    printer.prints(answer("only", 100))
    assert await tokens.token() == "only"
    printer.fails()
    clock.now += 99
    assert await tokens.token() == "only"
    clock.now += 2
    with pytest.raises(TokenCommandFailed):
        await tokens.token()


async def test_a_token_that_says_nothing_of_its_life_is_asked_for_at_each_connection(
    printer: Printer,
) -> None:
    tokens = CommandTokens(printer.argv)
    for token in ("first", "second"):
        printer.prints(token)
        assert await tokens.token() == token


async def test_clients_of_several_threads_run_the_command_once(printer: Printer) -> None:
    tokens = CommandTokens(printer.argv)
    printer.prints(answer("shared", 100))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(tokens.token()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert (found, printer.runs) == (["shared"] * 3, 1)


def test_a_jwt_says_itself_when_it_expires() -> None:
    token = jwt.encode({"sub": "carts", "exp": NOW + 100}, S3CRET)
    found = parsed(COMMAND, token.encode() + b"\n", NOW)
    assert (found.text, found.renew_at, found.expires_at) == (token, NOW + 80, NOW + 100)


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("", "has printed no token"),
        ("Error: s3cret is wrong", "has printed no token"),
        ('{"error": "s3cret"}', "has printed JSON without an access_token"),
        ('{"access_token": "s3cret\\u0001auth=x"}', "has printed no token"),
        (answer("s3cret", 0), "has printed a token that has expired"),
    ],
)
def test_what_is_no_token_is_said_without_repeating_it(output: str, complaint: str) -> None:
    with pytest.raises(TokenCommandFailed, match=complaint) as raised:
        parsed(COMMAND, output.encode(), NOW)
    assert COMMAND in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((sys.executable, "-c", "print('s3cret'); raise SystemExit(3)"), "ended with exit code 3"),
        ((f"{os.devnull}/none", "s3cret"), "cannot be run"),
    ],
)
async def test_a_command_that_fails_is_named(argv: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(TokenCommandFailed, match=complaint) as raised:
        await CommandTokens(argv).token()
    assert argv[0] in str(raised.value)
    assert "s3cret" not in str(raised.value)


async def test_a_command_is_run_without_a_shell(tmp_path: Path, environment: Callable[..., None]) -> None:
    created = tmp_path / "created"
    environment(SASL_TOKEN_COMMAND=f"echo token; touch {created}")
    provider = load(KafkaSettings).client_options()["sasl_oauth_token_provider"]
    with pytest.raises(TokenCommandFailed):
        await provider.token()
    assert not created.exists()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets variables of Kafka clients; the mechanism is OAUTHBEARER."""
    monkeypatch.setenv("CARTSTREAM_KAFKA_SASL_MECHANISM", "OAUTHBEARER")

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"CARTSTREAM_KAFKA_{name}", value)

    return put


def test_all_clients_of_a_process_share_a_token(environment: Callable[..., None]) -> None:
    environment(SASL_TOKEN_COMMAND="echo --secret s3cret")
    settings = load(KafkaSettings)
    options = settings.client_options()
    assert options["security_protocol"] == "SASL_PLAINTEXT"
    provider = options["sasl_oauth_token_provider"]
    assert provider is load(KafkaSettings).client_options()["sasl_oauth_token_provider"]
    credentials = settings.faust_credentials()
    assert getattr(credentials, "oauth_cb", None) is provider
    assert "s3cret" not in str(shown(settings))


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "set CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND, e.g. to /usr/local/bin/kafka-token"),
        ({"SASL_TOKEN_COMMAND": "no-such-program --secret s3cret"}, "there is no program no-such-program"),
        ({"SASL_TOKEN_COMMAND": "echo 'open"}, "CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND: No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_stops_the_start(
    variables: dict[str, str], complaint: str, environment: Callable[..., None]
) -> None:
    environment(**variables)
    with pytest.raises(SettingsError, match=complaint) as raised:
        load(KafkaSettings)
    assert "s3cret" not in str(raised.value)
