"""What a data set's config says of proposals."""

import pytest

from data_server.datasets import proposals
from data_server.datasets.proposals import Settings
from data_server.files.index.json_pieces import Unfit
from shared.errors import UserError
from tests.data_server.judging import built
from tests.photos import config_of, draw

LOAD = {"type": "LoadProposals", "num_max_proposals": 7}


def settings(*steps, **keys):
    return Settings({"type": "CocoDataset", "proposal_file": "f", "pipeline": list(steps), **keys})


@pytest.mark.parametrize(
    "name",
    [
        *("Albu", "CachedMixUp", "CachedMosaic", "CopyPaste", "Expand", "InstaBoost", "MinIoURandomCrop", "MixUp"),
        *("Mosaic", "RandomAffine", "RandomCenterCropPad", "RandomShift"),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_a_transform_that_does_not_say_where_it_moves_the_image_is_refused(name, within):
    step = {"type": "RandomOrder", "transforms": [{"type": name}]} if within else {"type": name}
    with pytest.raises(UserError, match=f"^{name} moves the image without saying how, so proposals cannot follow"):
        settings(LOAD, step)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomApply", "transforms": {"type": "Expand"}},
        {"type": "RandomChoice", "transforms": [[{"type": "Expand"}]]},
        {"type": "mmdet.Expand"},
    ],
)
def test_a_transform_is_found_however_it_is_written(step):
    with pytest.raises(UserError, match="Expand moves"):
        settings(LOAD, step)


@pytest.mark.parametrize("most", [0, -1, 1.5, "many"])
def test_a_number_of_proposals_that_is_none_is_refused(most):
    with pytest.raises(UserError, match=rf"^LoadProposals\.num_max_proposals is {most!r}; expected 1 or more, or None"):
        settings({**LOAD, "num_max_proposals": most})


def test_what_is_asked_for_is_taken_out_of_the_config():
    config = {
        "type": "CocoDataset",
        "proposal_file": "f",
        "proposal_model": "m",
        "pipeline": [LOAD, {"type": "Resize"}],
    }
    found = Settings(config)
    assert config == {"type": "CocoDataset", "pipeline": [{"type": "Resize"}]}
    assert (found.file, found.model, found.wanted, found.most, found.load_score) == ("f", "m", True, 7, False)
    assert settings({"type": "LoadProposals", "load_score": True, "num_max_proposals": 1}).load_score
    assert settings({"type": "mmdet.LoadProposals"}).most is None
    assert not Settings({"type": "CocoDataset"}).wanted


def test_the_names_of_images_over_an_index_are_made_once_for_each_place_and_choice_of_images(tmp_path, monkeypatch):
    folder = draw(tmp_path / "set")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def names(**changes):
        (part,) = built(config_of(folder, "val", **changes)).parts
        return list(proposals.names_of(part.dataset))

    first = names()
    assert [name for _, name in first[:2]] == ["images/00.jpg", "images/01.jpg"]
    with monkeypatch.context() as again:
        again.setattr(proposals, "_named", lambda _: pytest.fail("made again"))
        assert names() == first
    assert names(indices=5) == first[:5]
    assert [name for _, name in names(data_prefix={"img": "other/"})[:2]] == ["other/00.jpg", "other/01.jpg"]

    def no_room(*_):
        raise Unfit("no room")

    monkeypatch.setattr(proposals, "columns_of", no_room)
    assert names() == first
