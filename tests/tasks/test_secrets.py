"""The key of the Materials Project: the environment's, else that of the Secret block; blanks are no key."""

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from storage.errors import InputError
from tasks.secrets import BLOCK, VARIABLE, materials_project_key


@pytest.fixture
def block(server):
    """block(value): makes the Secret block, until the test has ended."""
    with temporary_settings({PREFECT_API_URL: server}):
        yield lambda value: Secret(value=value).save(BLOCK, overwrite=True)
        Secret.delete(BLOCK)


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_variable_is_as_good_as_none(blank, block, monkeypatch):
    monkeypatch.setenv(VARIABLE, blank)
    block(" of the block\n")
    assert materials_project_key()[VARIABLE].get_secret_value() == "of the block"
    block(blank)
    with pytest.raises(InputError, match=f"no API key; set {VARIABLE}"):
        materials_project_key()


def test_the_environment_goes_first(block, monkeypatch):
    block("of the block")
    monkeypatch.setenv(VARIABLE, " of the environment ")
    assert materials_project_key()[VARIABLE].get_secret_value() == "of the environment"
