import numpy as np

from data_server.demo.vocabulary import COLOURS, SHAPES, TRAINING_SETS, VALIDATION_SETS, categories, text_embeddings


def names(dataset: str) -> set[str]:
    return {category["name"] for category in categories(dataset)}


def words(dataset: str) -> set[str]:
    return {word for name in names(dataset) for word in name.split()}


def test_the_training_vocabularies_overlap_partly():
    shared = names("train_a") & names("train_b")
    assert 0 < len(shared) < min(len(names("train_a")), len(names("train_b")))


def test_a_training_vocabulary_has_room_for_a_federated_loss_over_fifty_classes():
    for dataset in TRAINING_SETS:
        assert len(names(dataset)) >= 50


def test_every_base_name_occurs_in_a_training_set():
    assert names("val_base") <= names("train_a") | names("train_b")


def test_no_never_seen_name_occurs_in_a_training_set_but_each_of_its_words_does():
    for dataset in TRAINING_SETS:
        assert not names("val_never_seen") & names(dataset)
        assert words("val_never_seen") <= words(dataset)


def test_the_never_seen_names_use_every_shape_and_colour():
    assert words("val_never_seen") == {*SHAPES, *COLOURS}


def test_category_ids_ascend_and_a_name_has_the_same_id_in_every_set():
    id_of: dict[str, int] = {}
    for dataset in TRAINING_SETS + VALIDATION_SETS:
        ids = [category["id"] for category in categories(dataset)]
        assert ids == sorted(set(ids))
        for category in categories(dataset):
            assert id_of.setdefault(category["name"], category["id"]) == category["id"]
    assert len(set(id_of.values())) == len(id_of) == len(SHAPES) * len(COLOURS)


def test_embedding_rows_have_unit_length_in_float32():
    rows = text_embeddings(sorted(names("train_a")), dimension=48)
    assert rows.shape == (len(names("train_a")), 48) and rows.dtype == np.float32
    # float32 has a spacing of 1.2e-7 at 1; a sum over 48 squares adds a few of them.
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_an_embedding_row_depends_on_its_name_alone():
    alone = text_embeddings(["red star"])[0]
    in_company = text_embeddings(["blue ring", "red star", "red drop"])[1]
    np.testing.assert_array_equal(alone, in_company)


def test_the_embeddings_of_two_names_can_be_told_apart():
    everything = sorted(names("val_base") | names("val_never_seen"))
    rows = text_embeddings(everything)
    cosines = rows @ rows.T - 2 * np.eye(len(everything))
    # Two names share one word at most: 0.5 in expectation, random directions in 64 dimensions add about 0.2.
    assert cosines.max() < 0.75


def test_names_that_share_a_word_are_closer_than_names_that_do_not():
    star, same_shape, nothing_shared = text_embeddings(["red star", "blue star", "blue ring"])
    assert star @ same_shape > star @ nothing_shared + 0.2
