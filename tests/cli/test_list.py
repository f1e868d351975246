"""`detrex-hub list` selects and prints weights."""

import pytest

from detrex_hub import catalogue, list_weights
from detrex_hub.errors import UsageError

KNOWN = catalogue.load_entries()


def names(done):
    return done.out.split()


def test_the_table_fits_100_columns(on_terminal):
    lines = on_terminal(100, "list").out.splitlines()
    assert lines[0].split() == ["NAME", "BACKBONE", "ACCURACY", "SIZE", "DOWNLOAD", "LICENCE"]
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines} >= KNOWN.keys()


def test_a_wide_terminal_has_one_line_for_each_name(on_terminal):
    assert len(on_terminal(200, "list").out.splitlines()) == len(KNOWN) + 1


def test_a_table_without_rows_has_no_head(on_terminal):
    assert on_terminal(80, "list", "nosuch").out == ""


def test_a_row_has_size_download_and_one_decimal(cli):
    (row,) = cli("list", "dino_r50_4scale_12ep_better_hyper_300dn").out.splitlines()
    _, *cells = row.split("\t")
    assert cells == ["ResNet-50", "box AP 50.0", "191.0 MB", "auto", "apache-2.0"]
    (row,) = cli("list", "dino_r50_5scale_36ep_original").out.splitlines()
    assert row.split("\t")[4] == "Drive"
    (row,) = cli("list", "r101_v2_torchvision").out.splitlines()
    assert "acc@1 81.9" in row


def test_filters_narrow_the_list(cli):
    assert names(cli("list", "-q", "--arch", "dab-detr"))[0] == "dab_detr_r50"
    swins = names(cli("list", "-q", "--backbone", "swin_tiny"))
    assert {"dino_swin_tiny_224_4scale_12ep", "swin_tiny_patch4_window7_224"} <= {*swins}
    assert swins == names(cli("list", "-q", "--backbone", "Swin-T"))
    deep = names(cli("list", "-q", "--backbone", "r152"))
    assert {"r152_v1", "r152_v2"} <= {*deep}
    assert all("152" in name for name in deep)
    assert {KNOWN[name].license for name in names(cli("list", "-q", "--license", "MIT"))} == {"mit"}
    best = names(cli("list", "-q", "--min-ap", "62"))
    assert {KNOWN[name].box_ap.value >= 62 for name in best} == {True}
    assert "converted_deta_swin_o365_finetune" in best
    assert names(cli("list", "-q", "--min-ap", "50", "--license", "mit", "hybrid")) == []
    both = names(cli("list", "-q", "dino LARGE", "--backbone", "focalnet"))
    assert both and all("dino_focalnet_large" in name for name in both)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dinno_r50_4scale",), "Did you mean dino_r50_4scale_"),
        (("--backbone", "swim"), "Did you mean Swin-"),
        (("--backbone", "vgg"), "ResNet, Swin, ViT"),
        (("--license", "gpl-3.0"), "apache-2.0, bsd-3-clause"),
        (("--min-ap", "90"), "The highest box AP is 62.9"),
        (("--arch", "detr", "--min-ap", "55"), " without --arch detr, 11 without --min-ap 55"),
    ],
)
def test_a_list_without_matches_says_why(cli, arguments, said):
    done = cli("list", *arguments)
    assert (done.code, done.out) == (0, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert cli("list", *arguments, "--json").document == []


@pytest.mark.parametrize("more", [(), ("--min-ap", "55"), ("--json",)])
def test_an_unknown_architecture_is_wrong_usage(cli, more):
    done = cli("list", "--arch", "DINNO", *more)
    assert (done.code, done.out) == (2, "")
    assert "there is no architecture 'dinno'. Did you mean dino " in done.err
    assert done.err.count("\n") == 1
    with pytest.raises(UsageError, match="Did you mean dino "):
        list_weights(arch="dinno")


def test_an_architecture_without_weights_is_known(cli):
    done = cli("list", "--arch", "Group-DETR")
    assert (done.code, done.out) == (0, "")
    assert "no weights have --arch group_detr" in done.err


def test_an_invalid_figure_is_wrong_usage(cli):
    assert cli("list", "--min-ap", "high").code == 2
    assert cli("list", "--min-ap", "101").code == 2
