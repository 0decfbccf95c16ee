"""Asks the cluster for one setting of a topic, with the connections that a client has already."""

from typing import Final

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import DescribeConfigsRequest

_SETTINGS: Final = "config_entries"


async def topic_setting(client: AIOKafkaClient, topic: str, name: str) -> str | None:
    """The value; None if the topic has no such setting, or this client may not see it. Raises KafkaError."""
    request = DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, [name])], include_synonyms=False)
    response = await client.send(client.get_random_node(), request)
    for resource in response.to_object()["resources"]:
        for entry in resource[_SETTINGS]:
            if entry["config_names"] == name:
                value: str | None = entry["config_value"]
                return value
    return None
