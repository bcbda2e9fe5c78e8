"""What goes wrong on the way is tried again or told in one line, and nothing that came is lost or shown."""

import pytest

from storage.errors import InputError, WorldError

PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
TROUBLES = {
    "429 with Retry-After": ("summary", "status", {"status": 429, "headers": {"Retry-After": "1"}}),
    "429 with a Retry-After that says nothing": ("summary", "status", {"status": 429, "headers": {"Retry-After": "x"}}),
    "429 with a date": ("summary", "status", {"status": 429, "headers": {"Retry-After": PAST}}),
    "403 for a key that was taken": ("summary", "status", {"status": 403, "after": 1}),
    "500": ("summary", "status", {"status": 500}),
    "503 while the ids are listed": ("summary", "status", {"status": 503, "times": 2}),
    "503 later": ("summary", "status", {"status": 503, "after": 2}),
    "502 of thermo": ("thermo", "status", {"status": 502}),
    "time-out": ("summary", "slow", {"seconds": 3}),
    "cut in the body": ("summary", "cut", {"times": 2, "after": 1}),
    "truncated JSON": ("summary", "truncated", {"times": 2, "after": 1}),
    "heartbeat 500": ("heartbeat", "status", {"status": 500}),
    "heartbeat cut": ("heartbeat", "cut", {}),
    "heartbeat truncated": ("heartbeat", "truncated", {}),
    "heartbeat late": ("heartbeat", "slow", {"seconds": 3}),
}


@pytest.fixture(scope="session")
def untroubled() -> dict[str, bytes]:
    """The bytes that a download without trouble gives."""
    return {}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_that_passes_changes_nothing(name, run, spec, materials_project, untroubled, caplog):
    if not untroubled:
        untroubled["bytes"] = run(spec()).path.read_bytes()
    route, kind, how = TROUBLES[name]
    materials_project.fails(route, kind, **how)
    made = run(spec())
    assert made.path.read_bytes() == untroubled["bytes"]
    assert materials_project.tell()["failures"] == how.get("times", 1)
    assert materials_project.key not in caplog.text
    assert "Materials Project: " in caplog.text
    if name == "429 with Retry-After":
        assert "429 Too Many Requests; again in 1 s" in caplog.text


def test_nobody_waits_for_hours_because_a_server_says_so(run, spec, materials_project, caplog):
    from crystals.materials_project.retry import RetryPolicy

    assert RetryPolicy().longest <= 1800
    materials_project.fails("summary", "status", status=429, headers={"Retry-After": "10800"})
    run(spec(retry=RetryPolicy(timeout=1.5, pauses=(0.01,), longest=0.2)))
    assert "429 Too Many Requests; again in 0.2 s (it asks for 10,800 s)" in caplog.text


def test_trouble_that_stays_is_told_and_the_next_attempt_goes_on(run, spec, materials_project, tmp_path):
    materials_project.fails("summary", "status", status=503, times=1000, after=2)  # the listing, and one chunk
    with pytest.raises(WorldError, match=r"503 Service Unavailable \(4 tries\); what came is kept"):
        run(spec(folder=tmp_path))
    materials_project.tell(failures=[])
    made = run(spec(folder=tmp_path))
    assert materials_project.tell()["structures"] == len(made.ids) - 500
    assert made.path.read_bytes() == run(spec()).path.read_bytes()


@pytest.mark.parametrize("kind", ["cut", "truncated", "slow"])
def test_a_body_that_never_comes_whole(kind, run, spec, materials_project):
    from crystals.materials_project.retry import RetryPolicy

    materials_project.fails("summary", kind, times=100, seconds=3)
    with pytest.raises(WorldError, match=r"Materials Project: .*\(2 tries\)"):
        run(spec(retry=RetryPolicy(timeout=1.5, pauses=(0.01,))))


@pytest.mark.parametrize("after", [1, 2])
def test_a_document_that_does_not_come_is_missed(after, run, spec, materials_project):
    """In the listing, or among those asked for: one document fewer than the server counts is not taken for all."""
    materials_project.fails("summary", "short", times=1, after=after - 1)
    with pytest.raises(WorldError, match=r"documents came|did not come"):
        run(spec())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_without_showing_it(status, run, spec, materials_project):
    materials_project.fails("summary", "status", status=status, times=100)  # the answer's text has the key in it
    with pytest.raises(InputError, match=f"refused the API key \\({status}\\)") as told:
        run(spec())
    assert materials_project.key not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_wrong_key(run, spec, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", "0" * 32)
    with pytest.raises(InputError, match=r"refused the API key \(403\)"):
        run(spec())


@pytest.mark.parametrize("key", ["", "short", "x" * 31 + "é", "x" * 31 + "\n"])
def test_what_cannot_be_a_key_is_told_without_asking(key, run, spec, materials_project, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", key)
    with pytest.raises(InputError, match="MP_API_KEY: expected 32 letters and digits, got") as told:
        run(spec())
    assert not key or key not in str(told.value)
    assert materials_project.tell() == {}


def test_an_empty_result(run, spec):
    with pytest.raises(InputError, match="no material fits the query"):
        run(spec(query={"elements": ["He"]}))


def test_a_heartbeat_that_is_refused(run, spec, materials_project):
    from mp_api.client.core.exceptions import MPRestWarning

    materials_project.fails("heartbeat", "status", status=403, times=100)
    with pytest.warns(MPRestWarning, match="heartbeat"), pytest.raises(WorldError, match="no database version"):
        run(spec())


def test_a_service_that_is_not_there(spec, run, materials_project, monkeypatch, free_port):
    asked = spec()
    monkeypatch.setattr(materials_project, "endpoint", f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(WorldError, match=r"from http://127\.0\.0\.1:\d+/: .*ConnectionError, MaxRetryError, NewConn"):
        run(asked)


def test_functionals_are_left_unknown_where_the_service_has_no_thermo(run, spec, materials_project, caplog):
    materials_project.fails("thermo", "status", status=404, times=1000)
    made = run(spec())
    assert made.table["functional"].null_count == len(made.ids)
    assert caplog.text.count("the functional of the energies is not known") == 1


def test_a_database_that_moves_on_under_a_download_stops_it(run, spec, materials_project):
    version = materials_project.moves_on()
    with pytest.raises(InputError, match=f"moved from database version {materials_project.version} to {version}"):
        run(spec())
