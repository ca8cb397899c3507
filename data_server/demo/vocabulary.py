"""The names of the demo data set: compositions of attributes, the sets that may draw them, and their text embeddings.

A name is a colour word and a shape word ("red star"). The 12 shapes and 10 colours give 120 names, dealt into ten
groups such that a group holds every shape once and every colour once or twice. Sets are unions of groups, so every word
occurs in every set while whole names are kept apart::

    group              0  1  2  3  4  5  6  7  8  9
    train_a            .  ■  ■  ■  ■  .  ■  .  .  .      60 names
    train_b            .  .  .  .  ■  .  ■  ■  ■  ■      60 names, 24 of them also in train_a
    val_base           .  ■  ■  ■  ■  .  ■  ■  ■  ■      96 names, each in a training set
    val_never_seen     ■  .  .  .  .  ■  .  .  .  .      24 names, none in a training set

A name has one category id (1 to 120) and one embedding row wherever it occurs; the ids of a set therefore have gaps, as
COCO's have.
"""

import numpy as np

SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "cross",
    "ring",
    "crescent",
    "arrow",
    "hexagon",
    "bolt",
    "drop",
)
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
TRAINING_SETS = ("train_a", "train_b")
VALIDATION_SETS = ("val_base", "val_never_seen")

_GROUPS = {
    "train_a": {1, 2, 3, 4, 6},
    "train_b": {4, 6, 7, 8, 9},
    "val_base": {1, 2, 3, 4, 6, 7, 8, 9},
    "val_never_seen": {0, 5},
}


def categories(dataset: str) -> list[dict]:
    """COCO ``categories`` of one of the four sets: ``{"id": int, "name": "red star"}``, in ascending id."""
    return [
        {"id": shape_index * len(COLOURS) + colour_index + 1, "name": f"{colour} {shape}"}
        for shape_index, shape in enumerate(SHAPES)
        for colour_index, colour in enumerate(COLOURS)
        if (3 * shape_index + colour_index) % 10 in _GROUPS[dataset]
    ]


def text_embeddings(names: list[str], dimension: int = 64) -> np.ndarray:
    """One unit row per name: the normalised sum of its words' vectors. Shape (C, D), float32.

    A word's vector is a random direction that depends on the word and `dimension` alone, so two names that share one of
    two words have a cosine near 0.5, names that share none near 0, and a never seen name lies between seen ones.
    """
    nothing = np.zeros(dimension, np.float32)
    return np.stack([_unit(sum((_word_vector(word, dimension) for word in name.split()), nothing)) for name in names])


def _word_vector(word: str, dimension: int) -> np.ndarray:
    return _unit(np.random.default_rng(list(word.encode())).standard_normal(dimension))


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
