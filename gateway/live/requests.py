"""What is said about live carts over HTTP, beside the streams themselves."""

from datetime import datetime

import msgspec


class StreamTicket(msgspec.Struct, frozen=True):
    """Opens one stream of the cart until then, as `?ticket=`; keep it secret."""

    ticket: str
    expires_at: datetime
