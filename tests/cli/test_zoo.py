"""`detrex-hub zoo` writes a complete page or nothing."""

TABLE = """
[weights.mine]
architecture = "resnet"
layout = "torchvision"
title = "Mine"
license = "mit"
url = "https://example.org/mine.pth"
hyper_parameters = { depth = 18 }
"""


def test_the_page_has_the_weights_of_the_user_too(cli, tmp_path):
    (tmp_path / "my.toml").write_text(TABLE)
    done = cli("zoo", "-o", "site/all.html", "--catalogue", tmp_path / "my.toml", "--quiet")
    assert done.out == "site/all.html\n"
    text = (tmp_path / "here" / "site" / "all.html").read_text(encoding="utf-8")
    assert '<tbody id="mine"' in text and '<tbody id="r50_v1"' in text


def test_an_unwritable_place_is_refused(cli, tmp_path):
    (tmp_path / "file").write_text("precious")
    done = cli("zoo", "-o", tmp_path / "file" / "all.html")
    assert done.code == 1
    assert done.err.count("\n") <= 2 and "cannot be written" in done.err
    assert (tmp_path / "file").read_text() == "precious"
