"""Makes garbage collection rare: by default Python runs it every few records."""

import gc


def collect_seldom() -> None:
    """Collect cycles rarely; call it once the process has its modules and settings.

    What a record or a request makes goes with its last reference, and what lives now lives for good. Looking
    at all of it again and again costs a restore a quarter of its time. The states of one look at a log are
    some ten thousand objects: they do not make a collection.
    """
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
