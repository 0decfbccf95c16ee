"""`cartstream jobs` tells in `cart-abandoned` of a cart left behind, and of the return of its shopper."""

from pathlib import Path

from runtime.recovery import IdlePeriod, SignedLinks
from tests.jobs.conftest import SystemUnderTest
from tests.support.processes import AgentProcess
from tests.support.waiting import until
from topics.codec import decode_abandonment
from topics.records import AbandonmentKind, AbandonmentRecord
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

    async def record(kind: AbandonmentKind) -> AbandonmentRecord | None:
        found = await system.records(CART_ABANDONED.name, cart_id)
        own = [decode_abandonment(each.value) for each in found if each.key == cart_id.encode()]
        # One may be there twice: its relay sends it again if Kafka was slow to acknowledge it.
        return next((each for each in own if each.type == kind), None)

    try:
        await jobs.start()
        left = await until(lambda: record(AbandonmentKind.ABANDONED), "the record")
        assert left is not None
        link = SignedLinks([KEY]).recovered(left.recovery_token or "")
        assert link == IdlePeriod(cart_id, row.v)
        await system.add(cart_id)
        back = await until(lambda: record(AbandonmentKind.RECOVERED), "the return")
        assert back is not None
        assert (back.recovered_by, back.version_number) == ("changed", row.v)
        others = await system.records(CART_ABANDONED.name, young)
        assert young.encode() not in {record.key for record in others}
    finally:
        jobs.kill()
