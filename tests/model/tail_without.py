"""What the guards of restorations and of rows that stand in for carts are replaced with; as `without`."""

# ruff: noqa: ARG001

from carts import protocol
from carts.protocol import Deleted, PutOutcome
from carts.state import State, Version
from tests.model import redis_mirror, tail
from tests.model.cold_carts import ColdCarts
from tests.model.faults import Faults
from tests.model.redis_mirror import Found
from tests.model.restoring import Restore, Restoring, Warm, Warming
from tests.model.tail import Marker, Miss

_begin = Restore.begin


def rows_fall_alone(faults: Faults, pick: int) -> None:
    world = faults.world
    world.rows_fell_back = True
    world.row, _ = world.rows_history[-1 - min(1 + pick % 8, len(world.rows_history) - 1)]


def ends_first(_restore: Restore, pick: int) -> str:
    return ("XSCE", "SXCE")[pick % 2]


def end_before_the_token(restore: Restore, pick: int) -> bool:
    end = vars(restore).setdefault("end", len(restore.world.log))
    if pick % 2 and not restore.world.redis.ready:
        return True
    if not _begin(restore, pick):
        return False
    assert restore.current is not None
    restore.current.reads.remove("E")
    restore.current.log_end = end
    del vars(restore)["end"]
    return True


def follow_from_the_present_end(restore: Restore, _restoring: Restoring) -> int:
    return len(restore.world.carts)


def start_at_the_rows(rows_position: int | None, since: int | None, end: int) -> int | None:
    return rows_position


def record_alone(recorded: State | Deleted | None, row: State | None) -> State | Deleted | None:
    return recorded or row


def row_alone(recorded: State | Deleted | None, row: State | None) -> State | Deleted | None:
    return row or recorded


def any_marker(miss: Miss, rows_position: int, marker: Marker, now_us: int, hydration_us: int) -> bool:
    return rows_position >= marker.rows_position and now_us - miss.time_us <= hydration_us


def any_position(miss: Miss, rows_position: int, marker: Marker, now_us: int, hydration_us: int) -> bool:
    return miss.restoration == marker.restoration and now_us - miss.time_us <= hydration_us


def any_age(miss: Miss, rows_position: int, marker: Marker, now_us: int, hydration_us: int) -> bool:
    return miss.restoration == marker.restoration and rows_position >= marker.rows_position


def absent_is_enough(cold: ColdCarts) -> Found | None:
    world = cold.world
    if world.redis.marker is None or redis_mirror.present(world.redis, world.redis_time, 2**60) is not None:
        return None
    return Found(Miss(world.redis.marker.restoration, world.redis_time), None, 2**60)


def put_as_absence(state: State, version: Version | None, window: list[tuple[int, str]]) -> PutOutcome:
    outcome = protocol.put_outcome(state, version, window)
    if not state.expired or outcome is PutOutcome.UNCOVERED:
        return outcome
    return PutOutcome.UNCHANGED if version is None else PutOutcome.REMOVED


def go_at_once(age_us: int, row_from: int | None, rows_position: int) -> bool:
    return row_from is not None and rows_position >= row_from


def go_with_age(age_us: int, row_from: int | None, rows_position: int) -> bool:
    return age_us >= tail.EXPIRED_COPY


def same_marker(marker: Marker, _row_from: int) -> Marker:
    return marker


def put_the_record(warm: Warm, warming: Warming, found: Found) -> None:
    world, entry = warm.world, warm.world.carts[warming.position]
    if isinstance(entry, State) and world.redis.cart is None:
        redis, _ = redis_mirror.put(world.redis, entry, world.redis_time, None)
        world.commit(redis)
