"""Numbers in free-form JSON."""

import json
import math

import pytest

from carts.numbers import BEYOND, LEAST, keeps_its_size, without_negative_zeros


@pytest.mark.parametrize(
    "number", [0, 0.0, -0.5, 1e15, LEAST, math.nextafter(BEYOND, 0), 10**400, True, "1e308"]
)
def test_a_number_that_is_written_out_in_a_few_digits_is_kept(number: object) -> None:
    assert keeps_its_size({"a": [{"b": number}]})


@pytest.mark.parametrize("text", ["1e16", "-1e308", "1e-10", "-5e-324"])
def test_a_number_that_a_store_would_write_out_in_hundreds_of_digits_is_refused(text: str) -> None:
    assert not keeps_its_size(json.loads(f'{{"a": [{{"b": {text}}}]}}'))


def test_there_is_one_zero_as_in_every_store() -> None:
    given = json.loads('{"a": [-0.0, {"b": -0e3}], "c": -1.5, "d": -0, "e": "-0.0", "f": false}')
    assert json.dumps(without_negative_zeros(given)) == (
        '{"a": [0.0, {"b": 0.0}], "c": -1.5, "d": 0, "e": "-0.0", "f": false}'
    )
