"""Products with the words of a shop: as many as wanted, the same each time."""

import random
from collections.abc import Iterator
from typing import Final

from carts.products import ProductContent

_KINDS: Final = {
    "Clothing": ("shirt", "jacket", "trousers", "dress", "scarf", "jumper", "coat", "skirt", "hat", "socks"),
    "Kitchen": ("mug", "pan", "knife", "plate", "bowl", "kettle", "spoon", "jar", "board", "teapot"),
    "Garden": ("spade", "rake", "hose", "pot", "bench", "lantern", "seeds", "gloves", "trellis", "barrow"),
    "Sports": ("ball", "racket", "mat", "bottle", "helmet", "skates", "rope", "tent", "rucksack", "goggles"),
    "Office": ("desk", "lamp", "notebook", "pen", "chair", "folder", "stapler", "clock", "shelf", "tray"),
}
_MATERIALS: Final = (
    "linen",
    "cotton",
    "wool",
    "oak",
    "steel",
    "glass",
    "leather",
    "ceramic",
    "bamboo",
    "silk",
)
_COLOURS: Final = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown", "pink", "orange")
_SYLLABLES: Final = (
    "ka",
    "lo",
    "mi",
    "ra",
    "ten",
    "vor",
    "sel",
    "dun",
    "ba",
    "ri",
    "no",
    "gal",
    "fen",
    "u",
    "tis",
)
_PHRASES: Final = (
    "made to last and easy to care for",
    "a favourite of our customers for many years",
    "light and comfortable on long days",
    "designed in a small studio and made by hand",
    "packed without plastic and shipped within two days",
    "with a warranty of five years",
    "soft to the touch and strong in use",
    "suitable as a present",
)


def goods(count: int) -> Iterator[ProductContent]:
    """`count` products in a random order that is always the same, about 300 bytes of text each."""
    chance = random.Random(20)
    brands = ["".join(chance.choices(_SYLLABLES, k=3)).capitalize() for _ in range(800)]
    for number in chance.sample(range(count), count):
        category = chance.choice(list(_KINDS))
        kind, material, colour = (chance.choice(words) for words in (_KINDS[category], _MATERIALS, _COLOURS))
        series = "".join(chance.choices(_SYLLABLES, k=4))
        phrases = ", ".join(chance.sample(_PHRASES, 3))
        yield ProductContent(
            product_id=f"sku-{number:06}",
            name=f"{chance.choice(brands)} {colour} {material} {kind}",
            description=f"{material.capitalize()} {kind} of the series {series}, {phrases}.",
            category=category,
            unit_price=chance.randrange(100, 50_000),
            currency="EUR",
            stock=chance.randrange(500),
            image_url=f"https://images.example/{number:06}.jpg",
            attributes={"colour": colour, "material": material},
        )
