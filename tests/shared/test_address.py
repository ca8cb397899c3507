import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.address import MAX_SOCKET_PATH, Address, default_address, private_directory
from shared.errors import UserError
from tests.strangers_of_this_machine import STRANGER, by_another_user, everybodys_folder, only_root


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:5555", "ipc://relative/dir", "/tmp/feed", ""])
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="expected ipc:///DIRECTORY, such as ipc:///tmp/feed"):
        Address(text)


def test_a_socket_path_that_the_kernel_would_not_take_is_refused_with_its_length():
    longest = MAX_SOCKET_PATH - len("/lifeline")
    assert Address("ipc:///" + "d" * (longest - 1)).directory
    with pytest.raises(UserError, match=f"is {MAX_SOCKET_PATH + 1} bytes long, the kernel allows {MAX_SOCKET_PATH}"):
        Address("ipc:///" + "d" * longest)


def test_the_directory_is_its_owners_alone(tmp_path):
    address = Address(f"ipc://{tmp_path}/a/b")
    lock = address.occupy()
    assert address.directory.stat().st_mode & 0o777 == 0o700
    os.close(lock)
    address.directory.chmod(0o755)  # as one that was there already may be
    lock = address.occupy()
    assert address.directory.stat().st_mode & 0o777 == 0o700
    os.close(lock)


def test_an_address_is_not_taken_twice(tmp_path):
    address = Address(f"ipc://{tmp_path}/d")
    lock = address.occupy()
    with pytest.raises(UserError, match="another data server is running there"):
        address.occupy()
    os.close(lock)
    os.close(address.occupy())


def test_a_directory_with_other_files_is_left_alone(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds other files \('thesis.tex'\); choose a directory for the data server"):
        Address(f"ipc://{tmp_path}").occupy()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_what_a_killed_server_left_is_removed(tmp_path):
    address = Address(f"ipc://{tmp_path}/d")
    code = (
        "import os, socket, sys\n"
        "from shared.address import Address\n"
        "address = Address(sys.argv[1])\n"
        "lock = address.occupy()\n"
        "socket.socket(socket.AF_UNIX).bind(address.lifeline)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, address.text]).returncode == -9
    assert os.path.exists(address.lifeline)
    assert not address.is_served()
    lock = address.occupy()
    assert not os.path.exists(address.lifeline)
    os.close(lock)


def test_an_address_is_served_from_the_moment_somebody_listens_there(tmp_path):
    address = Address(f"ipc://{tmp_path}/d")
    assert not address.is_served()
    lock = address.occupy()
    assert not address.is_served()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.lifeline)
        listener.listen()
        assert address.is_served()
    assert not address.is_served()
    address.vacate()
    os.close(lock)
    assert not address.directory.exists()


def listens(address):
    """Listens at `address` in a directory that everybody may use, and never stops."""
    address.directory.mkdir(exist_ok=True)
    address.directory.chmod(0o777)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.lifeline)
    os.chmod(address.lifeline, 0o777)
    listener.listen()
    FOREIGN.append(listener)


FOREIGN = []


@only_root
def test_a_directory_that_another_user_made_is_neither_joined_nor_served_from():
    with everybodys_folder() as folder:
        address = Address(f"ipc://{folder}/feed")
        with by_another_user(lambda: listens(address)):
            for use in (address.is_served, address.connect, address.occupy):
                with pytest.raises(UserError, match=f"{folder}/feed belongs to user {STRANGER}; .* the same user's"):
                    use()
            (folder / "link").symlink_to("feed")  # ours, to what is theirs
            behind = Address(f"ipc://{folder}/link")
            for use in (behind.is_served, behind.connect, behind.occupy):
                with pytest.raises(UserError, match=f"{folder}/link belongs to user {STRANGER}"):
                    use()
        assert not Address(f"ipc://{folder}/nothing").is_served()


@only_root
def test_a_link_that_another_user_made_is_not_followed(tmp_path):
    with everybodys_folder() as folder:
        address = Address(f"ipc://{folder}/link")
        (tmp_path / "mine").mkdir()
        with by_another_user(lambda: address.directory.symlink_to(tmp_path / "mine")):
            for use in (address.is_served, address.occupy):
                with pytest.raises(UserError, match=f"{folder}/link belongs to user {STRANGER}"):
                    use()
        assert not list((tmp_path / "mine").iterdir())


@only_root
def test_a_server_of_another_user_in_a_directory_of_ours_is_not_joined():
    with everybodys_folder() as folder:
        address = Address(f"ipc://{folder}")
        with by_another_user(lambda: listens_in(address)):
            for use in (address.is_served, address.connect):
                with pytest.raises(UserError, match=f"the data server there is that of user {STRANGER}"):
                    use()


def listens_in(address):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.lifeline)
    os.chmod(address.lifeline, 0o777)
    listener.listen()
    FOREIGN.append(listener)


@only_root
def test_an_address_that_is_closed_to_this_user_is_one_line_and_not_waited_for():
    with everybodys_folder() as folder:
        address = Address(f"ipc://{folder}/feed")
        lock = address.occupy()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address.lifeline)
            listener.listen()

            def tries() -> None:
                try:
                    address.is_served()
                except UserError as error:
                    (folder / "said").write_text(str(error))

            with by_another_user(tries):
                assert f"is closed to user {STRANGER}; " in (folder / "said").read_text()
        os.close(lock)


def test_the_default_address_is_not_in_another_users_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_address() == f"ipc://{tmp_path}/unidetector-{os.geteuid()}"
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    assert default_address().startswith("ipc:///tmp/unidetector-")


def test_an_unusable_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot use directory .*/file/d: Not a directory; choose a directory you may"):
        Address(f"ipc://{tmp_path}/file/d").occupy()


def test_a_trainers_own_server_gets_a_directory_that_is_short_enough_wherever_temporary_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    made = Path(private_directory())
    assert made.parent == Path("/tmp") and made.stat().st_mode & 0o777 == 0o700
    Address(f"ipc://{made}")
    made.rmdir()
    assert not list(deep.iterdir())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = Path(private_directory())
    assert made.parent == tmp_path
    made.rmdir()


def test_without_any_place_for_a_directory_the_line_says_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("shared.address.COMMON", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", "/proc")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(UserError, match=rf"\(/proc: No such file .*; {tmp_path}/file: Not a directory\); set TMPDIR"):
        private_directory()
