"""Pickles: the machine makes what Python's own makes of plain data, and is not kept busy by any."""

import io
import pickle
import random
import struct
from typing import ClassVar

import pytest

from shared import pickles
from shared.errors import UserError


class Plain(pickles.Machine):
    MEANINGS: ClassVar = {}


def loaded(program: bytes) -> object:
    return pickles.load(io.BytesIO(program), "a file", Plain)[0]


ATOMS = (None, True, False, 0, -1, 255, 70000, 2**31, -(2**40), 1.5, "", "text", "ü" * 300)
BYTES = (b"", b"\xff" * 300, bytearray(b"\x00"))  # before protocol 3 they are calls, before 5 the last one is


def plain(chance: random.Random, depth: int, atoms: tuple = ATOMS) -> object:
    """Plain data of every type that a pickle has an opcode for."""
    if depth == 0 or chance.random() < 0.3:
        return chance.choice(atoms)
    parts = [plain(chance, depth - 1, atoms) for _ in range(chance.choice((0, 1, 2, 3, 4, 7)))]
    match chance.randrange(4):
        case 0:
            return parts
        case 1:
            return tuple(parts)
        case 2:
            return {f"key {place}": part for place, part in enumerate(parts)}
        case _:
            return {chance.choice((place, f"{place}")): [parts, parts] for place in range(len(parts))}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_what_pythons_own_machine_makes_of_it(protocol: int) -> None:
    chance = random.Random(protocol)
    for _ in range(200):
        tree = plain(chance, 4, ATOMS + (BYTES[:2] if protocol in (3, 4) else BYTES if protocol == 5 else ()))
        assert loaded(pickle.dumps(tree, protocol)) == tree


def test_shared_objects_stay_shared() -> None:
    inner: list = []
    outer = loaded(pickle.dumps([inner, inner, {"a": inner}]))
    assert outer[0] is outer[1] is outer[2]["a"]


class Called(pickles.Machine):
    MEANINGS: ClassVar = {("a", "b"): lambda _machine, *arguments: len(arguments)}


@pytest.mark.parametrize("count", [64, 65])
def test_a_call_takes_few_arguments_so_that_many_calls_cost_little(count: int) -> None:
    program = b"ca\nb\n(" + count * b"N" + b"tR."
    if count == 64:
        assert pickles.load(io.BytesIO(program), "a file", Called)[0] == 64
    else:
        with pytest.raises(UserError, match=r"a\.b is called with 65 arguments"):
            pickles.load(io.BytesIO(program), "a file", Called)


class Anything:
    """Pickled as a class with a state, and as a subclass of a dict and of a list."""

    def __init__(self) -> None:
        self.value = {1, frozenset({2})}


class Dict(dict):
    pass


class List(list):
    pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_unknown_object_takes_what_it_is_given_and_is_named(protocol: int) -> None:
    odd = Dict(a=1)
    odd.attribute = [1]
    for value in (Anything(), odd, List([1, 2]), slice(1), range(3), complex(1, 2)):
        first, name = loaded(pickle.dumps([value, "after"], protocol))
        assert isinstance(first, pickles.LeftOut) and name == "after"
    assert str(loaded(pickle.dumps(Anything(), 4)).what) == f"{__name__}.Anything"


def doubling(levels: int, leaf: bytes = b")") -> bytes:
    """A tuple of twice a tuple of twice a tuple ..., which Python's hash, repr and == walk 2^levels times."""
    return leaf + b"".join(
        b"q" + bytes([level % 250]) + b"h" + bytes([level % 250]) + b"\x86" for level in range(levels)
    )


HASHED = {
    "a key": b"}" + doubling(60) + b"K\x01s.",
    "keys": b"}(" + doubling(60) + b"K\x01" + doubling(60) + b"K\x02u.",
    "a dict of old": b"(" + doubling(60) + b"K\x01d.",
    "a set": b"\x8f(" + doubling(60) + b"\x90.",
    "a frozen set": b"(" + doubling(60) + b"\x91.",
    "a persistent id": doubling(60) + b"Q.",
    "a name": doubling(60) + doubling(60) + b"\x93.",
    "a function": doubling(60) + b")R.",
    "arguments": b"cx\ny\n" + doubling(60) + b"R.",
    "keywords": b"cx\ny\n)" + doubling(60) + b"\x92.",
    "a state": doubling(60) + doubling(60) + b"b.",
    "an appended one": doubling(60) + doubling(60) + b"a.",
    "deep": b")" + b"\x85" * 300_000 + b".",
    "deep key": b"}" + b")" + b"\x85" * 300_000 + b"K\x01s.",
}


@pytest.mark.parametrize("kind", HASHED)
def test_no_nesting_keeps_the_machine_busy(kind: str) -> None:
    try:
        loaded(b"\x80\x04" + HASHED[kind])
    except UserError as error:
        assert str(error).startswith("a file: its pickle is damaged")


@pytest.mark.parametrize(
    "claim", [b"\x8a\xff", b"\x8b\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 7 + b"\x7f", b"\x96" + b"\xff" * 8]
)
def test_no_claim_of_a_length_reserves_memory(claim: bytes) -> None:
    with pytest.raises(UserError, match="its pickle is damaged"):
        loaded(b"\x80\x05" + claim + b"123.")


@pytest.mark.parametrize("number", [b"\x8b" + struct.pack("<i", 5000) + b"\x7f" * 5000, b"I" + b"7" * 4000 + b"\n"])
def test_a_number_of_thousands_of_digits_is_refused(number: bytes) -> None:
    with pytest.raises(UserError, match=r"a number of \d+ bits"):
        loaded(number + b".")


def test_keys_of_one_hash_are_no_work() -> None:
    """Numbers that Python's hash takes for one another would make a dict look at all of them for each."""
    numbers = b"".join(b"\x8a\x10" + (place * (2**61 - 1)).to_bytes(16, "little") + b"N" for place in range(50_000))
    assert len(loaded(b"\x80\x02}(" + numbers + b"u.")) == 50_000


@pytest.mark.parametrize(
    "program",
    [b"\x82\x01.", b"\x97.", b"]\x98.", b"2.", b"0.", b"h\x00.", b"R.", b"(.", b"K\x01K\x01s.", b"Pidentity\n."],
)
def test_what_no_file_here_has_is_refused_in_one_line(program: bytes) -> None:
    with pytest.raises(UserError, match="a file: its pickle is damaged") as caught:
        loaded(program)
    assert "\n" not in str(caught.value)


def test_any_bytes_are_refused_or_read() -> None:
    chance = random.Random(0)
    seeds = [pickle.dumps(plain(chance, 3), protocol) for protocol in range(6) for _ in range(5)]
    for _ in range(3000):
        wrong = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 4)):
            wrong[chance.randrange(len(wrong))] = chance.randrange(256)
        try:
            loaded(bytes(wrong))
        except UserError as error:
            assert "\n" not in str(error)


def test_the_file_is_left_behind_the_pickle() -> None:
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps("two") + b"rest")
    assert [pickles.load(file, "a file", Plain)[0] for _ in range(2)] == [[1], "two"]
    assert file.read() == b"rest"


@pytest.mark.parametrize(
    "program",
    [
        b"K\x01K\x020.",  # POP
        b"K\x01(K\x020K\x03\x85.",  # POP within a mark
        b"K\x01(0K\x02\x86.",  # POP of a mark
        b"K\x01(K\x02K\x031.",  # POP_MARK
        b"K\x012\x86.",  # DUP
        b"S'a'\n.",
        b"T\x02\x00\x00\x00ab.",
        b"U\x02ab.",
        b"]p0\n0g0\n.",  # PUT, GET
        b"]r\x00\x00\x00\x000j\x00\x00\x00\x00.",  # LONG_BINPUT, LONG_BINGET
        b"(K\x01K\x02t.",
        b"(K\x01K\x02l.",
        b"(K\x01K\x02d.",
        b"}(K\x01K\x02u.",
        b"](K\x01K\x02eK\x03a.",
        b"L12L\n.",
        b"I01\n.",
        b"F1.5\n.",
        b"Va\\u00fc\n.",
    ],
)
def test_an_opcode_that_todays_python_seldom_writes_does_what_pythons_own_machine_does(program: bytes) -> None:
    assert loaded(program) == pickle.loads(program)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (b"K\x01Q.", "it refers to something outside of itself"),
        (b"Pidentity\n.", "it refers to something outside of itself"),
        (b"K\x01)R.", "it calls what is no function"),
        (b"ca\nb\nK\x01R.", "it calls what is no function"),
        (b"K\x01\x86.", "it takes more than there is"),
        (b"](K\x01\x90.", "it adds to what is no set"),
        (b"K\x01K\x02b.", "a int is given a state"),
        (b"K\x01K\x02a.", "it appends to a int"),
        (b"]K\x01K\x02s.", "it sets items of a list"),
        (b"(K\x01K\x02K\x03d.", "ValueError"),
        (b"Nr\xff\xff\xff\x7f.", r"memory slot 2147483647 in a pickle of \d bytes"),
        (b"K\x01K\x02\x93.", "a name that is no text"),
        (b"ca\nb\n)}\x92.", r"a\.b is called with keywords"),
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused_with_what_it_does(program: bytes, says: str) -> None:
    with pytest.raises(UserError, match=rf"^a file: its pickle is damaged \(.*{says}"):
        pickles.load(io.BytesIO(program), "a file", Called)


@pytest.mark.parametrize(
    ("program", "count"), [(b"(K\x01ia\nb\n.", 1), (b"(ca\nb\nK\x01K\x02o.", 2), (b"ca\nb\n)\x81.", 0)]
)
def test_the_ways_to_call_that_are_seldom_used_call(program: bytes, count: int) -> None:
    assert pickles.load(io.BytesIO(program), "a file", Called)[0] == count


class Strict(pickles.Machine):
    """Refuses what it does not know."""

    MEANINGS: ClassVar = {("a", "b"): lambda _machine: "called"}

    def unknown(self, named: pickles.Named) -> pickles.LeftOut:
        raise UserError(f"no {named} here")


def test_a_reader_that_refuses_names_does_so_before_they_are_called() -> None:
    assert pickles.load(io.BytesIO(b"ca\nb\n)R."), "a file", Strict)[0] == "called"
    with pytest.raises(UserError, match=r"^no a\.c here$"):
        pickles.load(io.BytesIO(b"ca\nc\n0N."), "a file", Strict)


def test_sets_are_left_out_under_their_name() -> None:
    for value in ({1}, frozenset({1})):
        assert str(loaded(pickle.dumps(value, 4)).what) == "builtins.set"


def test_a_small_file_may_make_a_little_and_a_large_one_in_proportion() -> None:
    for length, most in ((10, 160 + (1 << 16)), (1 << 20, (16 << 20) + (1 << 16))):
        machine = Plain("a file", length)
        machine.spend(most)
        with pytest.raises(pickle.UnpicklingError, match="it makes more than 16 times its own size"):
            machine.spend(1)
