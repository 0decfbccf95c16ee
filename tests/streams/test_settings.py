"""A wrong setting stops the worker before it touches anything."""

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from jobs.settings import JobsSettings
from ops.settings import OpsSettings
from sinks.redis.settings import RedisSinkSettings
from streams.merge_settings import MergeSettings
from streams.settings import LONGEST_STORE_AGE_S, StreamsSettings
from topics.registry import CARTS
from topics.retention import RetentionSettings


def test_a_retention_that_old_events_outlive_is_refused_with_a_right_value() -> None:
    with pytest.raises(ValidationError, match=r"CARTSTREAM_PURGE_AFTER_DAYS: 7 days .* a right value is 30"):
        StreamsSettings(purge_after_days=7)


def test_a_retention_that_an_outbox_can_outlast_in_an_outage_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"CARTSTREAM_PURGE_AFTER_DAYS: 14 days .* a right value is 30"):
        StreamsSettings(purge_after_days=14)
    assert StreamsSettings(purge_after_days=16).purge_after_days == 16


READERS = [StreamsSettings, MergeSettings, GatewaySettings, JobsSettings, RedisSinkSettings, OpsSettings]
DAY_S = 86_400


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("limit", ["cart_idle_limit_s", "guest_idle_limit_s"])
def test_an_idle_limit_that_a_purge_could_reach_is_refused_by_every_process(
    reader: type[RetentionSettings], limit: str
) -> None:
    with pytest.raises(ValidationError, match=f"CARTSTREAM_{limit.upper()}: carts that live for 5184000 s"):
        reader.model_validate({limit: 60 * DAY_S})
    with pytest.raises(ValidationError, match=r"set it to 31, or the limit to 2419200"):
        reader.model_validate({limit: 28 * DAY_S + 1})
    assert reader.model_validate({limit: 28 * DAY_S}).purge_after_days == 30
    assert reader.model_validate({limit: 60 * DAY_S, "purge_after_days": 62}).purge_after_days == 62


def test_a_store_may_not_get_so_old_that_deletions_have_left_the_log() -> None:
    with pytest.raises(ValidationError, match="could bring deleted carts back"):
        StreamsSettings(local_store_max_age_s=LONGEST_STORE_AGE_S + 1)
    week_s = int(CARTS.settings["delete.retention.ms"]) / 1000
    assert StreamsSettings(local_store_max_age_s=LONGEST_STORE_AGE_S).local_store_max_age_s <= week_s / 2


def test_the_largest_record_fits_into_its_topic() -> None:
    assert StreamsSettings().max_record_bytes < CARTS.max_message_bytes
