"""The index of a file is that of what the file holds now, whatever happens to the cache, or it is refused."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import stat

import numpy as np
import pytest
import xxhash

from data_server.files.index import cache, coco, columns, json_pieces
from data_server.files.index.cache import index_of
from data_server.files.index.json_pieces import Unfit
from shared import contents
from tests.data_server import annotation_files

TEXT = next(annotation_files.text(seed) for seed in range(99) if annotation_files.content(seed)["annotations"][20:])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where indexes are kept; files are never too fresh to be known by their times."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "FRESH_NS", -1)
    return tmp_path / "cache" / "unidetector" / "index"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    return tmp_path / "a.json"


@pytest.fixture
def made(monkeypatch):
    """How often an index is made."""
    calls = []
    write = coco.write
    monkeypatch.setattr(coco, "write", lambda *args: calls.append(1) or write(*args))
    return calls


def of(path):
    index = index_of(path, print)
    return {name: index.columns[name].tolist() for name in index.columns} | {**index.columns.facts, "source": None}


def kept(folder):
    return [place for place in folder.glob("*-*-*") if place.is_dir()]


@pytest.mark.usefixtures("folder")
def test_an_index_is_made_once_and_found_without_reading_the_file(path, made, monkeypatch):
    first = of(path)
    monkeypatch.setattr(contents, "_STEP", None)  # so that no byte can be read
    assert of(path) == first and len(made) == 1


@pytest.mark.usefixtures("folder")
def test_a_copy_elsewhere_finds_the_same_index(path, made, tmp_path):
    first = of(path)
    shutil.copy(path, tmp_path / "b.json")
    assert of(tmp_path / "b.json") == first and len(made) == 1


@pytest.mark.usefixtures("folder")
def test_an_edit_in_place_with_equal_size_and_time_is_noticed(path, made):
    first, before = of(path), path.stat()
    text = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(text.index(b"640"))
        file.write(b"641")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert of(path) != first and len(made) == 2


DAMAGE = {
    "a bit": lambda file: _flip(file, file.stat().st_size // 2),
    "the last bit": lambda file: _flip(file, file.stat().st_size - 1),
    "the first byte": lambda file: _flip(file, 0),
    "cut short": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "gone": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


def _flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_is_noticed_and_the_index_made_again(path, folder, damage):
    first = of(path)
    (place,) = kept(folder)
    for name in sorted(one.name for one in place.iterdir()):
        DAMAGE[damage](place / name)
        assert of(path) == first, name
        assert kept(folder) == [place]
    for file in (folder.parent / "contents").iterdir():
        DAMAGE[damage](file)
        assert of(path) == first


def test_an_index_of_another_version_is_not_read(path, folder, made, monkeypatch):
    first = of(path)
    monkeypatch.setattr(columns, "FORMAT", "unidetector index 0")
    of(path)
    monkeypatch.undo()
    assert len(made) == 2 and kept(folder)
    assert first


def test_an_index_whose_header_says_another_version_is_made_again(path, folder, made):
    first = of(path)
    (place,) = kept(folder)
    _, text = json.loads((place / columns.HEADER).read_bytes())
    text = text.replace(columns.FORMAT, "unidetector index 0")
    (place / columns.HEADER).write_text(json.dumps([xxhash.xxh3_64(text.encode()).hexdigest(), text]))
    assert of(path) == first and len(made) == 2


def test_who_finds_damage_late_leaves_what_another_has_made_since(path, folder, made, monkeypatch):
    first = of(path)
    (place,) = kept(folder)
    (place / columns.HEADER).unlink()
    late = []

    def slow(folder):
        if not late:
            late.append("begins")
            assert of(path) == first  # of another process
            raise columns.Damaged
        return columns.Columns(folder)

    monkeypatch.setattr(cache, "Columns", slow)
    assert of(path) == first
    assert len(made) == 2 and kept(folder) == [place]


def _with_little_room(path, most, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # a write beyond that fails
    try:
        results.put(of(path))
    except Unfit as error:
        results.put(str(error))


@pytest.mark.parametrize("most", [0, 1, 127, 128, 129, 200, 300, 400, 600, 1000, 1500, 10_000])
def test_wherever_writing_stops_the_index_is_right_or_done_without(path, folder, most):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_with_little_room, args=(path, most, results))
    process.start()
    found = results.get()
    process.join()
    whole = of(path)
    assert found == whole or (most < 10_000 and found.startswith("there is no room for its index: "))
    assert len(kept(folder)) == 1 and not list(folder.glob("*.unfit"))


def _index(path, results):
    results.put(of(path))


@pytest.mark.usefixtures("folder")
def test_several_processes_at_once_have_the_same_index(path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_index, args=(path, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert all(one == found[0] for one in found) and found[0] == of(path)


def test_what_a_killed_process_has_left_is_in_nobodys_way(path, folder):
    first = of(path)
    (place,) = kept(folder)
    place.rename(place.with_name(f"{place.name}.making"))
    (folder / f"{place.name}.making" / "image.id.npy").unlink()
    assert of(path) == first and kept(folder) == [place]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_done_without(path, tmp_path, folder):
    first = of(path)
    shutil.rmtree(folder)
    (tmp_path / "cache").chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert of(path) == first


def test_a_cache_that_is_no_folder_is_done_without(path, folder):
    first = of(path)
    shutil.rmtree(folder.parent)
    folder.parent.write_text("in the way")
    assert of(path) == first


def test_a_full_disk_leaves_the_cache_as_it_was_and_needs_no_index(path, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(columns.Growing, "append", full)
        with pytest.raises(Unfit, match=r"there is no room for its index: .*No space left"):
            of(path)
    assert kept(folder) == [] and not list(folder.glob("*.unfit"))
    assert of(path)["images"]


def test_the_longest_unused_indexes_go_first_when_there_is_no_room(path, folder, tmp_path, monkeypatch):
    of(path)
    (old,) = kept(folder)
    os.utime(old / columns.HEADER, (1, 1))
    other = tmp_path / "b.json"
    other.write_text(TEXT + " ", encoding="utf-8")
    in_use = index_of(path, print).columns  # is used again
    os.utime(old / columns.HEADER, (1, 1))
    monkeypatch.setattr(cache, "MOST_BYTES", 1)
    of(other)
    assert old not in kept(folder) and len(kept(folder)) == 1
    assert in_use["annotation.box"].shape[1] == 4 and np.isfinite(in_use["annotation.box"]).all()


@pytest.mark.parametrize("change", [{"images": 3}, {"categories": None}, {"annotations": [{"id": 1}]}])
def test_a_file_that_is_not_taken_in_is_known_the_next_time(path, folder, made, change):
    path.write_text(json.dumps(annotation_files.content(1) | change))
    for _ in range(2):
        with pytest.raises(Unfit):
            of(path)
    assert len(made) == 1 and kept(folder) == []


def test_a_file_that_was_changed_while_it_was_read_is_judged_by_what_it_holds_then(path, folder, monkeypatch):
    write, text = coco.write, path.read_bytes()

    def disturbed(descriptor, *args):
        path.write_bytes(text[:-9])
        write(descriptor, *args)

    with monkeypatch.context() as patch:
        patch.setattr(coco, "write", disturbed)
        with pytest.raises(Unfit):
            of(path)
    path.write_bytes(text)
    assert of(path)["images"] and not list(folder.glob("*.unfit"))


@pytest.mark.usefixtures("folder")
def test_a_file_without_a_category_is_taken_in(path):
    path.write_text(json.dumps(annotation_files.content(1) | {"categories": []}))
    found = of(path)
    assert found["categories"] == [] and {*found["annotation.category"]} == {-1}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("ids", "reason"),
    [([1, "2", 3], "neither all integers nor"), ([1, 2**63, 3], "beyond all bounds"), ([1, 1, 3], "the same id")],
)
def test_ids_that_columns_cannot_hold_are_refused_wherever_they_stand(path, monkeypatch, ids, reason):
    text = json.dumps({"images": [{"id": one, "width": 1, "height": 1} for one in ids], "categories": []})
    for piece in (16, 1 << 18):
        monkeypatch.setattr(json_pieces, "_PIECE", piece)
        path.write_text(text + " " * piece)
        with pytest.raises(Unfit, match=reason):
            of(path)


@pytest.mark.usefixtures("folder")
def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unfit, match="no regular file"):
        of(tmp_path / "pipe")


@pytest.mark.usefixtures("homeless")
def test_without_a_place_to_keep_it_an_index_is_made_every_time(path, made, monkeypatch):
    monkeypatch.setattr(contents, "FRESH_NS", -1)
    assert of(path)["images"] == of(path)["images"] != [] and len(made) == 2


def test_a_damaged_note_about_a_file_that_is_not_taken_in_is_a_note(folder):
    def write(_):
        raise Unfit("no")

    with pytest.raises(Unfit, match=r"^no$"):
        cache.columns_of("content", write)
    (note,) = folder.glob("*.unfit")
    note.write_bytes(b"\xff")
    with pytest.raises(Unfit, match=r"^\ufffd$"):
        cache.columns_of("content", write)
