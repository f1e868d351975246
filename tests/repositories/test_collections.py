"""Repositories are listed in a collection of the Hub."""

import pytest

from detrex_hub.errors import HubError, UsageError
from detrex_hub.publishing.single import convert_and_push
from detrex_hub.repositories import push


@pytest.fixture
def alice(login):
    return login("alice")


def items(hub):
    return {slug: [one["id"] for one in c["items"]] for slug, c in hub.collections.items()}


def test_the_first_push_creates_a_collection_and_later_ones_add_to_it(hub, alice, folder):
    done = push(folder, "alice/one", collection="alice/detrex-zoo")
    assert done.collection.startswith("alice/detrex-zoo-")
    push(folder, "alice/two", collection="alice/detrex-zoo")
    assert items(hub) == {done.collection: ["alice/one", "alice/two"]}
    assert hub.collections[done.collection]["title"] == "Detrex zoo"


def test_convert_and_push_takes_a_collection(alice, tmp_path):
    with pytest.raises(UsageError, match="--collection need"):
        convert_and_push(
            "r18_v1", synthetic=True, to=tmp_path, collection="alice/zoo", dry_run=True
        )


def test_a_second_push_changes_nothing(hub, alice, folder):
    first = push(folder, "alice/one", collection="alice/zoo")
    before = len([one for one in hub.log if one.method == "POST" and "collections" in one.path])
    again = push(folder, "alice/one", collection=first.collection)
    after = len([one for one in hub.log if one.method == "POST" and "collections" in one.path])
    assert again.collection == first.collection
    assert again.changed == ()
    assert after == before
    assert items(hub) == {first.collection: ["alice/one"]}


@pytest.mark.parametrize("slug", ["zoo", "alice/Zoo x", "../x", "alice/a/b"])
def test_an_invalid_slug_is_refused_before_anything_is_pushed(hub, alice, folder, slug):
    with pytest.raises(UsageError, match="not the slug of a collection"):
        push(folder, "alice/one", collection=slug)
    assert "alice/one" not in hub.repositories


def test_an_unknown_collection_id_is_refused(hub, alice, folder):
    with pytest.raises(HubError, match="there is no collection alice/zoo-0"):
        push(folder, "alice/one", collection=f"alice/zoo-{1:024x}")


def test_several_collections_of_one_name_are_refused_with_their_ids(hub, alice, folder):
    push(folder, "alice/one", collection="alice/zoo")
    ((slug, first),) = hub.collections.items()
    other = f"alice/zoo-{9:024x}"
    hub.collections[other] = {**first, "slug": other, "items": []}
    with pytest.raises(HubError, match="2 collections") as caught:
        push(folder, "alice/one", collection="alice/zoo")
    assert slug in caught.value.hint and other in caught.value.hint


def test_a_collection_of_another_owner_is_refused(hub, alice, folder):
    with pytest.raises(HubError):
        push(folder, "alice/one", collection="bob/zoo")
    assert not hub.collections


def test_a_dry_run_and_a_folder_use_no_collection(hub, alice, folder, tmp_path):
    push(folder, "alice/one", collection="alice/zoo", dry_run=True)
    assert not hub.collections
    with pytest.raises(UsageError, match="--collection need"):
        push(folder, "alice/one", to=tmp_path / "hub", collection="alice/zoo")
