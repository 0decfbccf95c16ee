"""Property tests judge values here, too, as those of the fold that they copy do."""

import tests.carts.conftest  # noqa: F401  its profile
