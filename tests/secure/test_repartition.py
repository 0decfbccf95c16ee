"""Carts move to another number of partitions with ACLs and over TLS, each command by a role of its own."""

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.cli.test_repartition import (
    Generation,
    Load,
    everything_is_there,
    moved,
    nothing_old_is_left_after_a_drop,
    opened,
    shop_on,
    tell,
)
from tests.secure.secure_broker import PRINCIPAL, ROOT, SecureBroker
from tests.secure.secure_servers import SecurePostgres, SecureRedis
from tests.support.waiting import until
from topics.access import ADMIN, OPERATOR, REPARTITION, ROLES, Role

pytestmark = [pytest.mark.secure, pytest.mark.timeout(900)]

RUN_BY = {role.commands: role for role in ROLES}


def role_of(command: tuple[str, ...]) -> Role:
    """Who runs a command, given by its words."""
    group, *rest = command
    return RUN_BY.get(" ".join((group, *rest[:1]))) or RUN_BY.get(group) or OPERATOR


class Allowed:
    """The shop's generations on the broker, whose roles get their rights one generation at a time."""

    def __init__(self, broker: SecureBroker, shop: Mapping[str, str], folder: Path) -> None:
        self._broker = broker
        self._shop = shop
        self._folder = folder

    def generation(self, number: int, partitions: int) -> Generation:
        """A generation; each of its processes and commands is the principal of its role."""
        return Generation(self._shop, number, partitions, self._folder, self.proof)

    def proof(self, command: tuple[str, ...]) -> Mapping[str, str]:
        """The variables of who runs the command."""
        return self._broker.environment(f"cartstream-{role_of(command).name}")

    async def make(self, number: int, *arguments: str) -> None:
        """Make ACLs in a generation, as the super user."""
        root = self._broker.environment(ROOT)
        generation = Generation(self._shop, number, 16, self._folder, lambda _command: root)
        code, said = await generation.run("topics", "acls", "--apply", *arguments)
        assert code == 0, said

    async def allow(self, number: int) -> None:
        """Make the ACLs of all roles; returns once the broker knows them."""
        await self.make(number, "--principal", PRINCIPAL)

        async def known() -> bool:
            # The controller has them at once, the broker a moment later.
            code, said = await self.generation(number, 16).run(
                "topics", "repartition", "16", "48", "--dry-run"
            )
            # Without a right it would be told of that instead; any other failure says nothing of rights.
            return code == 0 or f"there is no generation {number} of the topics" in said

        # It is the last role, so the others' are known, too.
        assert ROLES[-1] is REPARTITION
        await until(known, f"the ACLs of generation {number} are known", every_s=0.5)


@pytest.fixture
def shop(
    broker: SecureBroker, secure_redis: SecureRedis, secure_postgres: SecurePostgres
) -> Iterator[dict[str, str]]:
    """A shop on servers that speak TLS only."""
    bootstrap = broker.settings(ROOT).kafka_bootstrap
    with shop_on(bootstrap, secure_redis.url, secure_postgres.url) as variables:
        yield variables


async def test_carts_move_there_and_back_with_the_rights_of_the_table(
    broker: SecureBroker, shop: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = Allowed(broker, shop, tmp_path)
    await allowed.allow(1)
    async with opened(shop, tmp_path, allowed.proof) as first, AsyncExitStack() as cleanup:
        load = Load(first.gateway.url)
        async with load.running():
            await load.until_more()
            second = allowed.generation(2, 48)
            cleanup.callback(second.kill)
            await allowed.allow(2)
            said = [await moved(load, first, second)]
            await load.until_more()
            third = allowed.generation(3, 16)
            cleanup.callback(third.kill)
            await allowed.allow(3)
            said.append(await moved(load, second, third))
            await load.until_more()
        await everything_is_there(load, third)
        tell(capsys, *said, f"{load.count} adds acknowledged, 0 lost, 0 doubled")
        await nothing_old_is_left_after_a_drop(third)


async def test_who_lacks_a_right_is_told_before_anything_is_changed(
    broker: SecureBroker, shop: dict[str, str], tmp_path: Path
) -> None:
    allowed = Allowed(broker, shop, tmp_path)
    await allowed.allow(1)
    admin = Generation(shop, 1, 16, tmp_path, lambda _command: broker.environment(f"cartstream-{ADMIN.name}"))
    code, said = await admin.run("topics", "apply", "--allow-single")
    assert code == 0, said
    prefix = shop["CARTSTREAM_PREFIX"]
    for more in ((), ("--dry-run",)):
        code, said = await admin.run("topics", "repartition", "16", "48", *more)
        assert code == 1, said
        assert f"does not allow the principal User:cartstream-{ADMIN.name}" in said
        assert f"Delete on topic {prefix}.cart-changed; " in said
        assert f"Create on topic {prefix}.carts.g2" in said
        assert "cartstream topics acls --role repartition" in said
        assert "Traceback" not in said


async def test_a_process_that_lacks_a_right_in_the_next_generation_does_not_wait_for_it(
    broker: SecureBroker, shop: dict[str, str], tmp_path: Path
) -> None:
    allowed = Allowed(broker, shop, tmp_path)
    await allowed.allow(1)
    # What the merge agent may do: so it sees that the generation is not there yet.
    await allowed.make(2, "--role", "merges", "--principal", "User:cartstream-sink-postgres")
    following = allowed.generation(2, 48)
    _, sink, *_ = following.agents
    try:
        sink.launch()
        assert sink.wait() == 1, sink.tail
        lacking = f"Read on topic {shop['CARTSTREAM_PREFIX']}.carts.g2"
        assert lacking in sink.tail
    finally:
        sink.kill()
