"""What a data set's config says of proposals."""

import pytest

from data_server.datasets.proposals import Settings
from shared.errors import UserError

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
