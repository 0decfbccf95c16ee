"""Errors of the delivery layer."""


class DeliveryError(Exception):
    """Something in the delivery layer failed."""


class OutsideOfStream(DeliveryError):
    """A table is written while one of its source events is being processed; elsewhere publish an event."""


class RecordTooLarge(DeliveryError):
    """The changelog would refuse a value of this size: refuse the event that makes it so large."""


class TopicTaken(DeliveryError):
    """A topic can be consumed by one agent of an app only: offsets are accounted for once."""


class StoreInUse(DeliveryError):
    """Another process has the folder of the local store; the message says what to do."""


class StoreUnusable(DeliveryError):
    """The folder of the local store cannot be written; the message says what to do."""
