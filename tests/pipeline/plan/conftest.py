"""Plans are of the sizes that users get, whose costs come with the package."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def as_shipped(shipped_sizes: None) -> None:
    """`tiny` is that of users."""
