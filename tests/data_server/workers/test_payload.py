import numpy as np
from xxhash import xxh3_64_intdigest

from data_server.workers.payload import write_images
from shared.checksum import Checksum


def test_images_of_several_bands_are_whole_zero_around_and_what_the_checksum_is_of():
    random = np.random.default_rng(0)
    pictures = [random.integers(1, 256, shape, dtype=np.uint8) for shape in ((300, 500, 3), (110, 460, 3), (1, 1, 3))]
    for turned in (np.s_[:], np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]):
        images = [picture[turned] for picture in pictures]
        places = np.full((3, 320, 512, 3), 7, np.uint8)
        checksum = Checksum(places.reshape(-1))
        write_images(images, places, checksum)
        for image, place in zip(images, places, strict=True):
            height, width = image.shape[:2]
            assert (place[:height, :width] == image).all()
            assert not place[height:].any() and not place[:, width:].any()
        assert checksum.digest(places.nbytes) == xxh3_64_intdigest(places.reshape(-1))
