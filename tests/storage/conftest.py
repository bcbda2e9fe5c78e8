"""A store in a folder, and one in a bucket of an S3 server on loopback."""

import pytest

from storage.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(root=tmp_path)


@pytest.fixture(params=["folder", "s3"])
def any_store(request, tmp_path) -> Store:
    """The same promises wherever the store lies."""
    if request.param == "folder":
        return Store(root=tmp_path)
    return Store(root=tmp_path, url=request.getfixturevalue("bucket"))
