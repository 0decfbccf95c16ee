"""What a merge is asked with, and what it is answered."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, UnsetType

from carts.merging import Pieces, Strategy
from gateway.http.grammars import GUEST_OR_TOKEN
from store.postgres.merges import StoredMerge, StoredTransfer

_Guest = Annotated[str, msgspec.Meta(min_length=1, max_length=512, extra_json_schema=GUEST_OR_TOKEN)]
_Session = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class MergeGuest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Carry a guest's cart over.

    `guest` is its id (`guest:…`), or its token, which is a proof of it, too. Instead, `session` is the id of
    the session whose cart it is, and a proof as well.
    """

    guest: _Guest | UnsetType = UNSET
    session: _Session | UnsetType = UNSET
    strategy: Annotated[
        Strategy,
        msgspec.Meta(
            description="how many pieces a line has that is in both carts: those of both, the larger number, "
            "or those of the cart in the path"
        ),
    ] = Strategy.SUM


class MergeStatus(StrEnum):
    """How far a merge is."""

    RUNNING = "running"
    DONE = "done"


class MergeProgress(msgspec.Struct, frozen=True):
    """Lines that have gone along, and those that the guest's cart had."""

    done: int
    total: int


class MergeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A merge as it stands.

    `warnings` are pieces that were lost because only some of their line found room; `left` are lines that
    could not go along and stay in the guest's cart. `version` is that of `cart_id`, with what has gone along.
    """

    merge_id: str
    guest_cart_id: str
    cart_id: str
    strategy: Strategy
    status: MergeStatus
    lines: MergeProgress
    warnings: list[Pieces]
    left: list[Pieces]
    version: str | None
    began_at: datetime
    finished_at: datetime | None = None


MERGE_GUEST: Final = msgspec.json.Decoder(MergeGuest)


def document(stored: StoredMerge, transfers: list[StoredTransfer]) -> MergeDocument:
    """What a client is told of a merge."""
    done = sum(len(each.transfer.carried) for each in transfers)
    versions = [each.cart_version for each in transfers if each.cart_version is not None]
    return MergeDocument(
        merge_id=stored.merge.merge_id,
        guest_cart_id=stored.merge.guest,
        cart_id=stored.merge.into,
        strategy=stored.merge.strategy,
        status=MergeStatus.RUNNING if stored.finished_at is None else MergeStatus.DONE,
        lines=MergeProgress(done, max(done, stored.lines_total)),
        warnings=[warning for each in transfers for warning in each.transfer.warnings],
        left=list(transfers[-1].transfer.left) if transfers else [],
        version=versions[-1] if versions else None,
        began_at=stored.began_at,
        finished_at=stored.finished_at,
    )
