"""The guards of merges: what each says, how it is taken away, what then fails."""

from tests.model import without
from tests.model.ablations import Ablation

MERGE_ABLATIONS = (
    Ablation(
        "first decision",
        "of two who decide the same transfer, the first one wins",
        {"tests.model.merge.Database.has_moved_on": without.never},
        "merge_devices",
        "reply says kafka for !merge/1/mh",
        0,
    ),
    Ablation(
        "one transfer after the other",
        "a transfer is decided on a record of the guest's cart that knows the last",
        {"tests.model.merge.guest_knows": without.always},
        "merge",
        "o0 of a cart is counted 2 times",
        0,
    ),
    Ablation(
        "one transfer after another's",
        "and on a record of the user's cart that knows the last transfer into it",
        {"tests.model.merge.user_knows": without.always},
        "merge_max",
        "the user has",
        0,
    ),
    Ablation(
        "one transfer after an order",
        "and knows the last order of the guest's cart",
        {"tests.model.checkout.Checkout.knows_latest": without.always},
        "merge_guest_order",
        "Redis has a negative line",
        0,
    ),
    Ablation(
        "one order after a transfer",
        "and so is an order of a guest's cart on a record that knows the last transfer",
        {"tests.model.merge.Merges._not_overtaken": without.always},
        "merge_guest_order",
        "Redis has a negative line",
        0,
    ),
    Ablation(
        "transfers outlive the window",
        "a cart knows its transfers after their entries have left the window",
        {"carts.state.State.remembers": without.never},
        "merge_late",
        "version ",
        0,
    ),
    Ablation(
        "claims outlive the window",
        "and so it knows its claim and its successor",
        {"carts.fold.noted": without.noted_without_merges},
        "merge_late",
        "the merge of g has not ended",
        0,
    ),
    Ablation(
        "what went before",
        "a transfer reckons with what the merge has carried before",
        {"tests.model.merge.Merges._earlier": without.nothing},
        "merge_keep",
        "the user has",
        0,
    ),
    Ablation(
        "a second look",
        "a write that got into a merged cart is found and follows",
        {"carts.merging.is_owing": without.never},
        "merge_taken_back",
        "g is merged and keeps a remainder",
        0,
    ),
    Ablation(
        "records of one version",
        "pieces are taken out of a record that has every operation they were counted from",
        {"carts.ordering.may_subtract": without.subtract_by_version},
        "merge_max",
        "Redis has a negative line",
        400,
    ),
)
