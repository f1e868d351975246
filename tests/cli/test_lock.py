"""The lock of a catalogue is written from originals and conversions."""

import hashlib
import json

import pytest

from detrex_hub import catalogue
from detrex_hub.catalogue.lock import read_lock, write_lock
from detrex_hub.conversion import convert
from detrex_hub.errors import SourceError, UsageError, VerificationError
from detrex_hub.pinning import pin_weights
from tests import tiny
from tests.hub_server import Mirror

OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture
def original(tmp_path):
    return tiny.original(tmp_path / "tiny.pth").read_bytes()


@pytest.fixture
def mirror():
    with Mirror() as mirror:
        yield mirror


@pytest.fixture
def mine(hub, mirror, original, tmp_path):
    """A catalogue with an entry that has only an address."""
    path = tiny.catalogue(tmp_path / "mine.toml", mirror.add("tiny.pth", original), original)
    lines = [one for one in path.read_text().splitlines() if not one.startswith("sha256")]
    path.write_text("\n".join(lines))
    return path


def locked(mine):
    return mine.with_name("mine.lock.toml")


def test_source_and_result_are_pinned(cli, mine, mirror, original, tmp_path):
    done = cli("lock", tiny.NAME, "--catalogue", mine)
    assert done.code == 0, done.err
    lock = read_lock(locked(mine))
    source = lock.sources[f"{mirror.url}/tiny.pth"]
    assert (source.size, source.sha256) == (len(original), hashlib.sha256(original).hexdigest())
    made = convert(tiny.NAME, tmp_path / "made", extra_catalogues=[mine])
    record = json.loads(made.documents["conversion.json"])
    assert lock.weights[tiny.NAME].sha256 == made.sha256
    assert lock.weights[tiny.NAME].mapper == record["plan"]["mapper_sha256"]
    assert catalogue.find_entry(tiny.NAME, [mine]).pinned == ("source", "result")


def test_the_same_lock_is_written_each_time(cli, mine):
    cli("lock", "--all", "--catalogue", mine)
    before = locked(mine).read_bytes()
    done = cli("lock", "--all", "--json", "--catalogue", mine)
    assert done.document[0]["changes"] == []
    assert locked(mine).read_bytes() == before


def test_the_catalogue_may_be_named_by_the_environment(cli, mine):
    assert cli("lock", "--all", DETREX_HUB_CATALOGUE=str(mine)).code == 0
    assert tiny.NAME in read_lock(locked(mine)).weights


def test_a_check_says_what_differs_and_writes_nothing(cli, mine):
    done = cli("lock", tiny.NAME, "--check", "--catalogue", mine)
    assert done.code == 1
    assert "not pinned" in done.out
    assert not locked(mine).exists()
    cli("lock", tiny.NAME, "--catalogue", mine)
    assert cli("lock", tiny.NAME, "--check", "--catalogue", mine).code == 0
    change_result(mine)
    done = cli("lock", tiny.NAME, "--check", "--catalogue", mine)
    assert (done.code, OTHER in done.out) == (1, True)


@pytest.fixture
def keep(monkeypatch):
    """Originals stay in the cache."""
    monkeypatch.setenv("DETREX_HUB_KEEP_ORIGINALS", "1")


@pytest.mark.parametrize("gone", [True, False])
def test_a_check_asks_the_source_and_not_the_cache(cli, mine, mirror, original, keep, gone):
    cli("lock", tiny.NAME, "--catalogue", mine)
    asked = len(mirror.log)
    assert cli("lock", tiny.NAME, "--check", "--catalogue", mine).code == 0
    assert len(mirror.log) > asked
    content = mirror.files.pop("tiny.pth")
    if not gone:
        mirror.add("tiny.pth", content + b"x")
    done = cli("lock", tiny.NAME, "--check", "--catalogue", mine)
    assert done.code == 1
    assert ("404" if gone else "instead of") in done.err
    # the cached file is still there
    asked = len(mirror.log)
    assert cli("lock", tiny.NAME, "--catalogue", mine).code == 0
    assert len(mirror.log) == asked


def test_a_check_does_not_ask_a_mirror(cli, mine, mirror, original):
    cli("lock", tiny.NAME, "--catalogue", mine)
    content = mirror.files.pop("tiny.pth")
    with Mirror() as other:
        other.add("tiny.pth", content)
        done = cli("lock", tiny.NAME, "--check", "--catalogue", mine, DETREX_HUB_MIRROR=other.url)
        assert (done.code, other.log) == (1, [])


def test_a_check_asks_the_pinned_source_and_no_other(cli, mine, mirror, original):
    cli("lock", tiny.NAME, "--catalogue", mine)
    second = mirror.add("copy.pth", mirror.files.pop("tiny.pth"))
    mine.write_text(f'{mine.read_text()}\nsources = [{{ url = "{second}" }}]\n')
    done = cli("lock", tiny.NAME, "--check", "--catalogue", mine)
    assert done.code == 1
    assert "tiny.pth: answers 404" in done.err
    assert cli("lock", tiny.NAME, "--catalogue", mine).code == 0


def test_a_check_of_a_file_on_the_hub_compares_the_stated_digest(
    cli, hub, mine, mirror, original, keep
):
    hub.put("timm/tiny", {"tiny.pth": original})
    mine.write_text(mine.read_text().replace(f"{mirror.url}/tiny.pth", "hf://timm/tiny/tiny.pth"))
    assert cli("lock", tiny.NAME, "--catalogue", mine).code == 0
    before = len(hub.storage.log)
    done = cli("lock", tiny.NAME, "--check", "--catalogue", mine)
    assert done.code == 0, done.err
    # nothing is downloaded
    assert len(hub.storage.log) == before
    # the cache would do for the pinned commit
    hub.clear()
    assert cli("lock", tiny.NAME, "--check", "--catalogue", mine).code == 1


def change_result(mine, **values):
    import msgspec

    lock = read_lock(locked(mine))
    pinned = msgspec.structs.replace(lock.weights[tiny.NAME], sha256=OTHER, **values)
    write_lock(locked(mine), msgspec.structs.replace(lock, weights={tiny.NAME: pinned}))


def test_a_replaced_source_is_refused_and_stays_pinned(cli, mine, mirror):
    cli("lock", tiny.NAME, "--catalogue", mine)
    before = locked(mine).read_bytes()
    mirror.add("tiny.pth", tiny.original(mine.with_name("other.pth")).read_bytes() + b"x")
    done = cli("lock", tiny.NAME, "--catalogue", mine)
    assert done.code == 1
    assert "instead of" in done.err
    assert done.out == ""
    assert locked(mine).read_bytes() == before


def test_a_file_that_only_a_mirror_has_is_not_pinned(cli, mine, mirror):
    text = mine.read_text().replace(mirror.url, "http://127.0.0.1:9")
    mine.write_text(text)
    done = cli("lock", tiny.NAME, "--catalogue", mine, DETREX_HUB_MIRROR=mirror.url)
    assert done.code == 1
    assert "nothing proves" in done.err
    assert not locked(mine).exists()


def test_after_a_mirror_the_source_itself_is_asked(cli, mine, mirror):
    content = mirror.files.pop("tiny.pth")
    with Mirror() as other:
        other.add("tiny.pth", content)
        refused = cli("lock", tiny.NAME, "--catalogue", mine, DETREX_HUB_MIRROR=other.url)
        assert refused.code == 1
    mirror.add("tiny.pth", content)
    assert cli("lock", tiny.NAME, "--catalogue", mine).code == 0


def test_a_name_of_another_catalogue_is_refused(mine):
    with pytest.raises(UsageError, match="built-in catalogue"):
        [*pin_weights(["r101_v2"], extra_catalogues=[mine])]


def test_a_pinned_size_alone_is_compared(mine, mirror, original, tmp_path):
    url = f"{mirror.url}/tiny.pth"
    locked(mine).write_text(f'[sources."{url}"]\nsize = {len(original) + 1}\n')
    with pytest.raises(SourceError, match="bytes instead of"):
        convert(tiny.NAME, tmp_path / "made", extra_catalogues=[mine])


# a pinned result and `convert`


@pytest.mark.parametrize(
    ("values", "why"),
    [({}, "original or its entry"), ({"mapper": OTHER}, "another version of the mapper")],
)
def test_a_conversion_that_is_not_the_pinned_one_is_refused(cli, mine, tmp_path, values, why):
    cli("lock", tiny.NAME, "--catalogue", mine)
    change_result(mine, **values)
    with pytest.raises(VerificationError, match=why):
        convert(tiny.NAME, tmp_path / "made", extra_catalogues=[mine])
    assert not (tmp_path / "made").exists()


def test_a_conversion_with_user_options_is_not_compared(cli, mine, tmp_path):
    cli("lock", tiny.NAME, "--catalogue", mine)
    change_result(mine)
    convert(tiny.NAME, tmp_path / "made", extra_catalogues=[mine], synthetic=True)
    convert(tiny.NAME, tmp_path / "facts", extra_catalogues=[mine], facts={"image_format": "BGR"})


# redefined names


def test_a_redefined_name_gives_one_warning(mine, caplog):
    mine.write_text(mine.read_text().replace(f"weights.{tiny.NAME}", "weights.r101_v2"))
    for _ in range(3):
        catalogue.load_entries([mine])
    said = [one.getMessage() for one in caplog.records]
    assert said == [f"{mine} redefines r101_v2: its sources and its pins apply"]
