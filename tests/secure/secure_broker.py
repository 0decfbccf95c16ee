"""A Kafka that lets in whom it knows, over TLS, and allows what an ACL allows."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Final
from uuid import uuid4

from devstack.free_ports import free_ports
from devstack.kafka import TEMPLATE, fetched_jars, java_command
from devstack.settings import HOST, StackSettings
from devstack.spec import Note
from runtime.kafka.causes import why_unusable
from runtime.settings import KafkaSettings, load
from tests.secure.certificates import Authority
from tests.support.waiting import until_blocking
from topics.access import ROLES

ROOT: Final = "cartstream-root"
"""A super user: it makes the first ACLs, and what no role may do."""
STRANGER: Final = "cartstream-stranger"
"""A user without rights."""
PRINCIPAL: Final = "User:cartstream-{role}"
"""Whom the broker knows as a role, also of a shop with a prefix."""
PRINCIPALS: Final = (ROOT, STRANGER, *(f"cartstream-{role.name}" for role in ROLES))
_STOPPED_WITHIN_S: Final = 30

# Of two lines with one key the last one counts.
_SECURITY: Final = Template("""
listeners=SASL_SSL://127.0.0.1:${port},SSL://127.0.0.1:${mtls_port},CONTROLLER://127.0.0.1:${controller_port}
advertised.listeners=SASL_SSL://127.0.0.1:${port},SSL://127.0.0.1:${mtls_port}
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL

ssl.keystore.type=PEM
ssl.keystore.location=${keystore}
ssl.truststore.type=PEM
ssl.truststore.location=${truststore}
listener.name.ssl.ssl.client.auth=required
listener.name.ssl.ssl.principal.mapping.rules=RULE:^CN=(.*)$$/$$1/

sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="${root}" password="${root}-secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required ${plain_users};
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="${root}";
# Development's: it takes tokens without a signature.
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
# It closes connections whose token has expired.
listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=3600000

authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
# The controller is the broker itself, on a listener that no client is told of.
super.users=User:${root};User:ANONYMOUS
""")  # noqa: E501  a property is one line


_TOKENS: Final = """
import base64, json, pathlib, sys, time

user, seconds, runs = sys.argv[1:]
with pathlib.Path(runs).open("a") as file:
    file.write("x")
now = time.time()
parts = ({"alg": "none"}, {"sub": user, "iat": now - 1, "exp": now + int(seconds)})
encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
print(".".join(encoded) + ".")
"""
"""A program that prints a token without a signature, and notes that it has run."""


def password_of(user: str) -> str:
    """The password of a user of the broker."""
    return f"{user}-secret"


class SecureBroker:
    """One broker with a listener for SASL over TLS and one for client certificates."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._port, self._mtls_port, self._controller_port = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        self.authority = Authority(folder / "certificates")

    def environment(self, user: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """The variables of a process that is this user, by password."""
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": f"{HOST}:{self._port}",
            "CARTSTREAM_KAFKA_TLS": "true",
            "CARTSTREAM_KAFKA_TLS_CA": str(self.authority.file),
            "CARTSTREAM_KAFKA_SASL_MECHANISM": mechanism,
            "CARTSTREAM_KAFKA_SASL_USERNAME": user,
            "CARTSTREAM_KAFKA_SASL_PASSWORD": password_of(user),
        }

    def settings(self, user: str, mechanism: str = "SCRAM-SHA-512", **more: object) -> KafkaSettings:
        """The settings of a client that is this user, by password; `more` in the place of what it has."""
        return settings_of(self.environment(user, mechanism), **more)

    def environment_with_certificate(self, user: str) -> dict[str, str]:
        """The variables of a process that is this user, by certificate."""
        certificate, key = self.authority.issue(user)
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": f"{HOST}:{self._mtls_port}",
            "CARTSTREAM_KAFKA_TLS": "true",
            "CARTSTREAM_KAFKA_TLS_CA": str(self.authority.file),
            "CARTSTREAM_KAFKA_TLS_CERT": str(certificate),
            "CARTSTREAM_KAFKA_TLS_KEY": str(key),
        }

    def environment_with_token(self, user: str, seconds: int) -> dict[str, str]:
        """The variables of a process that is this user, by tokens that live so long."""
        script = self._folder / "tokens.py"
        script.write_text(_TOKENS)
        return self.environment_with_command(
            f"{sys.executable} {script} {user} {seconds} {self.token_runs(user)}"
        )

    def environment_with_command(self, command: str) -> dict[str, str]:
        """The variables of a process that gets its tokens from this command."""
        return {
            "CARTSTREAM_KAFKA_BOOTSTRAP": f"{HOST}:{self._port}",
            "CARTSTREAM_KAFKA_TLS": "true",
            "CARTSTREAM_KAFKA_TLS_CA": str(self.authority.file),
            "CARTSTREAM_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "CARTSTREAM_KAFKA_SASL_TOKEN_COMMAND": command,
        }

    def token_runs(self, user: str) -> Path:
        """A file with a character for each token that the user has got."""
        return self._folder / f"{user}.tokens"

    def start(self) -> None:
        """Format the storage, with the users in it, and start; returns when a client gets in."""
        jars = asyncio.run(fetched_jars(load(StackSettings).cache_dir, _Preparing()))
        config = self._folder / "server.properties"
        config.write_text(self._properties())
        users = [
            word
            for user in PRINCIPALS
            for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")
            for word in ("--add-scram", f"{mechanism}=[name={user},password={password_of(user)}]")
        ]
        subprocess.run(
            java_command(
                *(jars, "kafka.tools.StorageTool", "format", "-t", str(uuid4()), "-c", str(config)), *users
            ),
            check=True,
            capture_output=True,
        )
        with (self._folder / "kafka.log").open("wb") as log:
            self._process = subprocess.Popen(
                java_command(jars, "kafka.Kafka", str(config)), stdout=log, stderr=log
            )
        until_blocking(self._lets_in, "the broker lets its users in", every_s=0.2)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _lets_in(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "kafka.log").read_text()[-4000:]
        return asyncio.run(why_unusable(self.settings(ROOT))) is None

    def _properties(self) -> str:
        certificate, key = self.authority.issue("broker")
        keystore = self._folder / "broker.pem"
        keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
        ports = {"port": self._port, "controller_port": self._controller_port}
        base = Template(TEMPLATE.read_text()).substitute(ports, log_dir=self._folder / "data")
        return base + _SECURITY.substitute(
            ports,
            mtls_port=self._mtls_port,
            keystore=keystore,
            truststore=self.authority.file,
            root=ROOT,
            plain_users=_plain(PRINCIPALS),
        )


def settings_of(environment: dict[str, str], **more: object) -> KafkaSettings:
    """The settings that these variables make, with `more` in the place of what they say."""
    values: dict[str, object] = {
        name.removeprefix("CARTSTREAM_").lower(): value for name, value in environment.items()
    }
    return KafkaSettings.model_validate(values | more)


def _plain(users: Iterable[str]) -> str:
    return " ".join(f'user_{user}="{password_of(user)}"' for user in users)


class _Preparing:
    """What fetching the jars needs; nearly always they are there."""

    def __init__(self) -> None:
        self.note: Note = lambda _text: None

    async def run(self, *argv: str, stdin: str = "") -> None:
        """Runs a command that ends."""
        await asyncio.to_thread(subprocess.run, argv, input=stdin.encode(), check=True, capture_output=True)
