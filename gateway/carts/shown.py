"""A cart as HTTP shows it: as it is recorded, with the name and the image of each line's product."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from carts.products import Facts
from carts.view import CartLine, CartView, SavedForLater


class ShownProduct(msgspec.Struct, frozen=True):
    """What the lines of a cart show of a product."""

    name: str
    image_url: str | None


class ShownLine(CartLine, frozen=True):
    """A line as HTTP shows it; without `name` and `image_url` where no catalogue knows the product."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    image_url: str | msgspec.UnsetType | None = msgspec.UNSET


class ShownSaved(SavedForLater, frozen=True):
    """A line saved for later as HTTP shows it, with the name and image as `ShownLine`."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    image_url: str | msgspec.UnsetType | None = msgspec.UNSET


class ShownCart(CartView, frozen=True, kw_only=True):
    """A cart as HTTP shows it."""

    lines: Sequence[ShownLine]
    saved: Sequence[ShownSaved] = ()


def shown_products(known: Mapping[str, Facts | None]) -> dict[str, ShownProduct]:
    """What is shown of the products that exist, by id."""
    return {
        product_id: ShownProduct(facts.name, facts.image_url)
        for product_id, facts in known.items()
        if facts is not None
    }


def joined(lines: Iterable[CartLine], products: Mapping[str, ShownProduct]) -> list[CartLine]:
    """The lines with name and image of their products, as far as these are known."""
    return [
        line
        if (product := products.get(line.product_id)) is None
        else ShownLine(**msgspec.structs.asdict(line), name=product.name, image_url=product.image_url)
        for line in lines
    ]


def joined_saved(saved: Iterable[SavedForLater], products: Mapping[str, ShownProduct]) -> list[SavedForLater]:
    """The lines saved for later with name and image, as `joined`."""
    return [
        line
        if (product := products.get(line.product_id)) is None
        else ShownSaved(**msgspec.structs.asdict(line), name=product.name, image_url=product.image_url)
        for line in saved
    ]
