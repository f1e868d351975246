"""Class names in common files, and the classes of a head that they match."""

import codecs
import json
import os

import pytest

from detrex_hub.architectures import coco, objects365
from detrex_hub.architectures.class_names import known_classes, matched, read_names
from detrex_hub.errors import UsageError

COCO = known_classes(91, original=True, layout="original")
VOC = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
CATEGORIES = [{"id": 7, "name": "tv"}, {"id": 3, "name": "cat"}]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
    ],
)
def test_a_text_file_may_have_any_byte_order_mark_and_line_ending(tmp_path, encoding, mark, ending):
    path = tmp_path / "names.txt"
    path.write_bytes(mark + ending.join(["cat", "", "  tv ", "Hündin", ""]).encode(encoding))
    assert read_names(path) == ["cat", "tv", "Hündin"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", '\ufeff["cat", "tv"]'),
        ("coco.json", json.dumps({"images": [], "categories": CATEGORIES})),
        ("config.json", json.dumps({"id2label": {"1": "tv", "0": "cat"}, "label2id": {"cat": 0}})),
        ("labels.json", json.dumps({"0": "N/A", "3": "cat", "5": "tv"})),
        ("metadata.json", json.dumps({"thing_classes": ["cat", "tv"], "evaluator_type": "coco"})),
        ("data.yaml", "path: ../x\nnc: 2\nnames: [cat, tv]\n"),
        ("data.yaml", "names:\n  - cat\n  - tv\n"),
        ("data.yaml", "train: a\r\nnames:\r\n  0: cat\r\n  1: tv\r\n"),
        ("data.yml", "# classes\nnames: {1: tv, 0: cat}\n"),
        ("metadata.yaml", "thing_classes:\n- cat\n- tv\n"),
        ("names.yaml", "- cat\n- tv\n"),
        ("no_ending", "names: ['cat', 'tv']\n"),
    ],
)
def test_each_kind_of_file_is_read(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert read_names(path) == ["cat", "tv"]


def test_a_class_name_may_be_a_reserved_word_of_yaml(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("names: [no, yes, null]\n")
    assert read_names(path) == ["no", "yes", "null"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[1, 2]",
        "[",
        '["cat", ""]',
        '{"a": 1}',
        '{"categories": [{"name": "x"}]}',
        '{"names": ["cat"], "thing_classes": ["dog"]}',
        # these would be four odd classes if every line were a name
        "names:\n  0: cat\n  2: dog\nnc: 2\n",
        "nc: 3\ntrain: images\n",
        "id,name\n1,cat\n",
        "1\tcat\n2\tdog\n",
        "0 cat\n1 dog\n",
        "<annotation>\n<name>cat</name>\n</annotation>\n",
        "CLASSES = (\n'cat',\n'dog',\n)\n",
        "item {\n  id: 1\n  name: 'cat'\n}\n",
        "# my classes\ncat\n",
        "names: &a [*a, *a]\n",
    ],
)
def test_input_without_class_names_is_refused(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match="no class names") as caught:
        read_names(path)
    assert "data.yaml of YOLO" in caught.value.hint


def test_a_yaml_tag_is_refused(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text('names: !!python/object/apply:os.system ["touch x"]\n')
    with pytest.raises(UsageError, match="no class names"):
        read_names(path)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("Hündin\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not text in UTF-8"):
        read_names(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_names(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UsageError, match="not a regular file"):
        read_names(tmp_path / "pipe.txt")


def rows(names, known=COCO, *, exact=False):
    return [one and one.row for one in matched(names, known, exact=exact)]


def test_every_voc_name_matches_a_coco_class():
    found = matched(VOC, COCO, exact=False)
    assert None not in found
    assert {name: one.name for name, one in zip(VOC, found, strict=True) if one.name != name} == {
        "aeroplane": "airplane",
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "sofa": "couch",
        "tvmonitor": "tv",
    }


def test_names_match_in_any_spelling_of_the_same_letters():
    assert rows(["Cell_Phone", "wine-glass", "TV", "catt", "cats"]) == [77, 46, 72, None, None]


def test_exact_names_match_only_equal_names():
    assert rows(["cat", "Cat", "sofa", "dining_table"], exact=True) == [17, None, None, None]


def test_two_names_for_one_class_are_refused():
    with pytest.raises(UsageError, match="'sofa' and 'couch' are both 'couch' of COCO") as caught:
        rows(["sofa", "cat", "couch"])
    assert caught.value.choices == ("--exact-names",)
    assert rows(["sofa", "cat", "couch"], exact=True) == [None, 17, 63]


@pytest.mark.parametrize(("of", "first"), [(366, 1), (365, 0)])
@pytest.mark.parametrize("layout", ["original", "detrex"])
def test_names_choose_rows_in_heads_of_objects365(of, first, layout):
    known = known_classes(of, original=False, layout=layout)
    assert rows(["Person", "Table Tennis", "couch"], known) == [first, first + 364, first + 50]
    assert rows(["tv", "orange"], known) == [first + 37, first + 104]
    every = rows(objects365.NAMES, known)
    assert every == [*range(first, first + 365)]


def test_classes_of_other_heads_are_unknown():
    assert known_classes(80, original=False, layout="original") is None
    assert known_classes(364, original=False, layout="original") is None
    assert known_classes(80, original=False, layout="detrex").rows["toothbrush"] == 79
    assert len(COCO.rows) == len(coco.NAMES)


def test_a_very_long_line_is_refused(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a" * 100_000 + "!\n" + "(" * 100_000)
    with pytest.raises(UsageError, match="no class names"):
        read_names(path)
