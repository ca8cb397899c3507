"""Only regular files are read: as images, as a sample's other files, as proposals."""

import pytest

from data_server.files import proposal_list
from data_server.files.image import damage
from data_server.files.proposal_file import ProposalFile
from shared.errors import UserError
from tests.cluster import digests
from tests.photos import TRAIN_PIPELINE, annotations_of, config_of, draw, write_annotations


def test_readers_of_proposals_and_images_name_what_is_no_regular_file(odd):
    path, kind = odd
    said = f"it is {kind}; expected a regular file"
    assert damage(str(path)) == said
    for reader in (ProposalFile.open, proposal_list.read):
        with pytest.raises(UserError, match=f"proposal file '{path}': {said}"):
            reader(path)


def test_an_image_that_is_no_regular_file_ends_the_stream_by_name(cluster, tmp_path, odd):
    photos = draw(tmp_path / "photos")
    content = annotations_of(photos)
    content["images"][0]["file_name"] = str(odd[0])
    write_annotations(photos, content)
    with pytest.raises(UserError, match=f"image '{odd[0]}': it is {odd[1]}; expected a regular file"):
        digests(cluster.open(config_of(photos)), 6)


def test_a_second_file_of_a_sample_that_is_no_regular_file_is_named(cluster, photos, odd):
    pipeline = (*TRAIN_PIPELINE[:-1], {"type": "LoadsAnother", "path": str(odd[0])}, TRAIN_PIPELINE[-1])
    config = config_of(photos, pipeline=pipeline, custom_imports={"imports": ["tests.data_server.transforms"]})
    with pytest.raises(UserError, match=f"image .*: the pipeline fails on it: OSError: file '{odd[0]}': it is"):
        digests(cluster.open(config), 1)
