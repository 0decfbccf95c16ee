"""The guards of trimming idle carts: what each says, how it is taken away, what then fails."""

from tests.model import without
from tests.model.ablations import Ablation

TRIM_ABLATIONS = (
    Ablation(
        "trimmed only after W",
        "the window is trimmed only once its newest write is older than W by the time that the trim names",
        {"carts.fold.trim_idle": without.trim_idle_at_once},
        "trim_retry",
        "o0 is applied 2 times",
        0,
    ),
    Ablation(
        "trimmed behind the outbox",
        "a trim names a time when nothing older than D was in the outbox",
        {"tests.model.streams.ExpiryJob.published": without.always},
        "trim_backlog",
        "o1 is lost",
        0,
    ),
    Ablation(
        "floor of a trimmed copy",
        "a trimmed copy is covered by its floor only",
        {"tests.model.redis_mirror.window_of": without.window_of_nothing},
        "trim_zombie",
        "version falls in Redis",
        0,
    ),
    Ablation(
        "trims of live carts",
        "neither an expired cart is trimmed, nor one that is being merged",
        {"carts.fold._trim": without.trim_any},
        "trim_expire",
        "a trim changes",
        0,
    ),
    Ablation(
        "newest of equal records",
        "of two records of the same version a recovery keeps the later one",
        {"carts.protocol.keep_recovered": without.keep_first_of_equals},
        "trim_zombie",
        "carts holds another state",
        0,
    ),
)
