"""Kafka's request IncrementalAlterConfigs, which aiokafka lacks: it sets what it names, nothing else."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_TOPIC: Final = 2
_SET: Final = 0


class AlterResponse(Response):  # type: ignore[misc]
    """The answer: a code and a message for each topic."""

    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class AlterRequestV0(RequestStruct):  # type: ignore[misc]
    """The request as it is sent."""

    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = AlterResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("config_operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


AlterRequestStruct: TypeAlias = AlterRequestV0


class AlterRequest(Request[AlterRequestStruct]):  # type: ignore[misc]
    """Set the settings of topics, by topic name; with `validate_only` ask whether that would be done."""

    API_KEY = 44

    def __init__(self, configs: Mapping[str, Mapping[str, str]], *, validate_only: bool) -> None:
        self._resources = [
            (_TOPIC, name, [(setting, _SET, value) for setting, value in settings.items()])
            for name, settings in configs.items()
        ]
        self._validate_only = validate_only

    def build(self, request_struct_class: type[AlterRequestStruct]) -> Any:
        """The request in a version that the broker knows."""
        return request_struct_class(self._resources, self._validate_only)
