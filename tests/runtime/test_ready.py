"""The ready file is there while the process works, and only when all of its parts do."""

from pathlib import Path

from runtime.ready import ReadyFile, when_all


def test_the_file_comes_with_its_folder_and_goes_however_often(tmp_path: Path) -> None:
    path = tmp_path / "run" / "process.ready"
    ready = ReadyFile(path)
    ready.set()
    assert path.exists()
    ready.clear()
    ready.clear()
    assert not path.exists()


def test_the_file_says_where_probes_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "process.ready"
    ReadyFile(path).set("http://127.0.0.1:9400")
    assert path.read_text() == "http://127.0.0.1:9400\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_way_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = tmp_path / "p.ready"
    path.with_name("p.ready.new").symlink_to(precious)
    ReadyFile(path).set("http://127.0.0.1:9400")
    assert path.read_text() == "http://127.0.0.1:9400\n"
    assert precious.read_text() == "mine"


def test_without_a_path_nothing_is_written() -> None:
    ready = ReadyFile(None)
    ready.set()
    ready.clear()


def test_a_process_is_ready_once_when_all_of_its_parts_are() -> None:
    said: list[str] = []
    is_ready = when_all(("carts", "products"), lambda: said.append("ready"))
    is_ready("carts")
    is_ready("carts")
    assert said == []
    is_ready("products")
    is_ready("products")
    assert said == ["ready"]
