"""`cartstream jobs` tells in `cart-abandoned` of a cart left behind, and of the return of its shopper."""

from pathlib import Path

from runtime.recovery import IdlePeriod, SignedLinks
from tests.jobs.conftest import SystemUnderTest
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.codec import decode_abandonment
from topics.records import AbandonmentRecord
from topics.registry import CART_ABANDONED

KEY = "links-to-carts-left-behind-are-signed-so"


async def test_a_cart_left_behind_and_its_return_reach_the_topic(
    system: SystemUnderTest, tmp_path: Path
) -> None:
    cart_id, young = await system.old_cart(days=1), await system.old_cart(days=0)
    row = await system.row(cart_id)
    assert row is not None
    told = {
        "CARTSTREAM_ABANDONED_AFTER_S": "3600",
        "CARTSTREAM_ABANDONMENT_PAUSE_S": "0.2",
        "CARTSTREAM_RECOVERY_KEYS": KEY,
    }
    jobs = AgentProcess(("jobs",), {**system.urls.environment(), **told}, tmp_path, "jobs")

    async def records(count: int) -> list[AbandonmentRecord] | None:
        found = await system.records(CART_ABANDONED.name, cart_id)
        own = [decode_abandonment(record.value) for record in found if record.key == cart_id.encode()]
        return own if len(own) >= count else None

    try:
        await jobs.start()
        left = (await until(lambda: records(1), "the record") or [])[0]
        link = SignedLinks([KEY]).recovered(left.recovery_token or "")
        assert (left.type, link) == ("abandoned", IdlePeriod(cart_id, row.v))
        await system.add(cart_id)
        _, back = await until(lambda: records(2), "the return") or []
        assert (back.type, back.recovered_by, back.version_number) == ("recovered", "changed", row.v)
        others = await system.records(CART_ABANDONED.name, young)
        assert young.encode() not in {record.key for record in others}
    finally:
        jobs.kill()
