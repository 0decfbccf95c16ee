"""The age of a lag: since when there has been a record that is not processed."""

from runtime.kafka.lag_age import LagAges


def test_no_lag_has_no_age() -> None:
    assert LagAges().age(0, position=7, end=7, now=100.0) == 0.0


def test_a_lag_is_as_old_as_the_first_record_that_is_not_processed() -> None:
    ages = LagAges()
    assert ages.age(0, position=0, end=5, now=100.0) == 0.0
    assert ages.age(0, position=0, end=9, now=110.0) == 10.0
    # The first five are processed; what came at 110 is the oldest now.
    assert ages.age(0, position=5, end=9, now=112.0) == 2.0
    assert ages.age(0, position=9, end=9, now=113.0) == 0.0
    assert ages.age(0, position=9, end=10, now=120.0) == 0.0


def test_a_reader_that_keeps_up_a_record_behind_has_no_old_lag() -> None:
    ages = LagAges()
    found = [ages.age(0, position=n, end=n + 1, now=float(n)) for n in range(100)]
    assert set(found) == {0.0}


def test_partitions_are_measured_apart_and_forgotten_with_their_assignment() -> None:
    ages = LagAges()
    ages.age("a", position=0, end=1, now=0.0)
    ages.age("b", position=0, end=1, now=8.0)
    assert (ages.age("a", 0, 1, 10.0), ages.age("b", 0, 1, 10.0)) == (10.0, 2.0)
    ages.keep(["b"])
    assert (ages.age("a", 0, 1, 20.0), ages.age("b", 0, 1, 20.0)) == (0.0, 12.0)


def test_a_lag_of_hours_is_remembered_in_little() -> None:
    ages = LagAges()
    for n in range(10_000):
        age = ages.age(0, position=0, end=n + 1, now=2.0 * n)
    assert age == 2.0 * 9_999
    # Half of it is processed: the age is right to a few measurements.
    assert abs(ages.age(0, position=5_000, end=10_000, now=20_000.0) - 10_000.0) < 100.0


def test_a_log_that_was_made_anew_and_is_shorter_is_measured_from_then_on() -> None:
    ages = LagAges()
    ages.age(0, position=0, end=50, now=0.0)
    assert ages.age(0, position=50, end=50, now=1.0) == 0.0
    assert ages.age(0, position=0, end=3, now=5.0) == 0.0
    assert ages.age(0, position=0, end=3, now=9.0) == 4.0
