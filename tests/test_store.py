"""The store: whole files or none, resumed downloads from a real server, answers found again."""

import contextlib
import functools
import http.server
import os
import re
import resource
import shlex
import signal
import stat
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from conftest import wait_until

from rarefire import store
from rarefire.errors import DataError, RarefireWarning

CONTENT = np.random.default_rng(0).bytes(900_000)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the class attributes make it break off, or not know about ranges."""

    breaks_after: int | None = None
    ranges = True
    served: list[str] = []  # noqa: RUF012

    def log_message(self, *args):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        type(self).served.append(f"{self.path} {asked}")
        if self.path == "/missing":
            self.send_error(404)
            return
        start = 0
        if asked and self.ranges:
            start = int(re.match(r"bytes=(\d+)-", asked)[1])
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.breaks_after is None else body[: self.breaks_after])


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"served": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    handler.url = f"http://127.0.0.1:{running.server_port}"
    yield handler
    running.shutdown()
    running.server_close()


@pytest.fixture
def md5(tmp_path):
    whole = tmp_path / "whole"
    whole.write_bytes(CONTENT)
    return store.file_digest(whole, algorithm="md5")


def test_fetch_downloads_and_keeps(server, md5, tmp_path):
    path = store.fetch([f"{server.url}/a"], tmp_path / "got" / "a.bin", md5=md5)
    assert path.read_bytes() == CONTENT
    store.fetch([f"{server.url}/a"], path, md5=md5)
    assert server.served == ["/a None"]
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_fetch_resumes_where_the_connection_broke(server, md5, tmp_path):
    server.breaks_after = 300_000
    with pytest.raises(DataError, match="the connection ended after 300000 of 900000 bytes"):
        store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5=md5)
    assert not (tmp_path / "a.bin").exists()
    server.breaks_after = None
    assert store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT
    assert server.served == ["/a None", "/a bytes=300000-"]


def test_fetch_starts_over_where_the_server_cannot_resume(server, md5, tmp_path):
    server.breaks_after, server.ranges = 1000, False
    with pytest.raises(DataError):
        store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5=md5)
    server.breaks_after = None
    assert store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT


def test_fetch_finishes_a_part_that_is_already_whole(server, md5, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT


def test_fetch_tries_the_next_home_and_names_each_failure(server, md5, tmp_path):
    homes = [f"{server.url}/missing", f"{server.url}/a"]
    assert store.fetch(homes, tmp_path / "a.bin", md5=md5).exists()
    with pytest.raises(DataError, match=r"(?s)could not download b.bin:.*404.*refused"):
        store.fetch([homes[0], "http://127.0.0.1:9/b"], tmp_path / "b.bin", md5=md5, timeout=2)


def test_fetch_refuses_another_content(server, tmp_path):
    with pytest.raises(DataError, match=r"MD5 \w+ came, 0+ was expected"):
        store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), store.atomic_write(target) as file:  # noqa: PT012
        file.write(b"half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_message(tmp_path):
    """A real limit on file size stands for the full disk; the process that has it is its own."""
    code = (
        "import sys; from rarefire import store\n"
        "from rarefire.errors import DataError\n"
        "try:\n"
        "    with store.atomic_write(sys.argv[1]) as file: file.write(bytes(100_000))\n"
        "except DataError as error: print(error)\n"
    )
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10_000, 10_000))
    (tmp_path / "file").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")], preexec_fn=limit, capture_output=True, text=True
    )
    assert re.match(r"could not write .*file: File too large. Nothing was changed there", done.stdout), done
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


# --- what a name may stand for ---------------------------------------------------------------------


def write(path, content=b"new"):
    with store.atomic_write(path) as file:
        file.write(content)


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("old")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "second").symlink_to(tmp_path / "link")
    before = (tmp_path / "real" / "file").stat().st_ino
    write(tmp_path / "second")
    assert (tmp_path / "real" / "file").read_bytes() == b"new"
    assert (tmp_path / "real" / "file").stat().st_ino != before  # whole or not at all, there too
    assert os.readlink(tmp_path / "link") == "real/file"
    assert (tmp_path / "second").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "real", "second"]
    assert os.listdir(tmp_path / "real") == ["file"]


def test_a_link_to_nothing_makes_what_it_names(tmp_path):
    (tmp_path / "link").symlink_to("not/yet/there")
    write(tmp_path / "link")
    assert (tmp_path / "not" / "yet" / "there").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_a_file_that_is_replaced_keeps_its_permissions_and_a_new_one_follows_the_umask(tmp_path):
    (tmp_path / "own").write_text("old")
    (tmp_path / "own").chmod(0o604)
    (tmp_path / "link").symlink_to("own")
    os.link(tmp_path / "own", tmp_path / "other name")
    umask = os.umask(0o027)
    try:
        for name in ("link", "new"):
            write(tmp_path / name)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o604
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert (tmp_path / "own").read_bytes() == b"new"
    assert (tmp_path / "other name").read_text() == "old"  # a hard link: replaced is the name, not the file


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("folder", "could not write .*folder: it is a folder; name a file"),
        ("socket", "could not write .*socket: it is a socket; name a file"),
        ("circle", "could not write .*circle: Too many levels of symbolic links"),
    ],
)
def test_what_nothing_can_be_written_to_is_refused(tmp_path, monkeypatch, no_file, kind, message):
    monkeypatch.chdir(tmp_path)
    if kind == "circle":
        (tmp_path / "circle").symlink_to("back")
        (tmp_path / "back").symlink_to("circle")
    else:
        no_file(tmp_path / kind, kind)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError, match=message), store.atomic_write(kind):
        pytest.fail("it is opened")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_pipe_is_written_into_at_the_end(tmp_path, in_time):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(RuntimeError, match="stop"), store.atomic_write(path) as file:  # noqa: PT012
        file.write(b"half")
        raise RuntimeError("stop")
    assert os.read(reading, 100) == b""
    write(path)
    assert os.read(reading, 100) == b"new"
    assert path.is_fifo()
    os.close(reading)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_pipe_waits_for_its_reader(tmp_path, in_time):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = bytes(300_000)  # more than a pipe holds
    writing = threading.Thread(target=write, args=(path, content), daemon=True)
    writing.start()
    assert path.read_bytes() == content
    writing.join()


def test_a_device_is_written_into_and_stays(tmp_path, in_time, no_file):
    path = tmp_path / "device"
    other_end = no_file(path, "device")
    write(path)
    assert other_end.read(100) == b"new"
    assert path.is_char_device()
    assert os.listdir(tmp_path) == ["device"]


def test_a_reader_that_leaves_is_one_clear_message(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(DataError, match=r"could not write /dev/fd/\d+: Broken pipe\."):
        write(f"/dev/fd/{writing}")
    os.close(writing)


STREAMS = """
import sys
from rarefire import store
print("before")
for path in sys.argv[1:]:
    with store.atomic_write(path) as file:
        file.write(b"table\\n")
print("after")
"""


@pytest.mark.parametrize(
    ("command", "out", "err"),
    [
        ("{run} /dev/stdout > out", "before\ntable\nafter\n", ""),
        ("{run} /dev/stdout | cat > out", "before\ntable\nafter\n", ""),
        ("{run} /dev/stdout >> out", "old\nbefore\ntable\nafter\n", ""),
        ("{run} link link 2> err 1>&2 > out", "before\ntable\ntable\nafter\n", ""),
        ("{run} /dev/stderr > out 2> err", "before\nafter\n", "table\n"),
        ("{run} /dev/fd/3 3> err > out", "before\nafter\n", "table\n"),
        ("{run} /dev/fd/3 3> err >&-", "old\n", "table\n"),
        ("{run} $PWD/3 3>> err > out", "before\nafter\n", "table\n"),
    ],
)
def test_an_open_file_is_written_through(tmp_path, command, out, err):
    """What a shell has opened is not replaced, cut, or written over: the shell's other output is there."""
    (tmp_path / "out").write_text("old\n")
    (tmp_path / "err").touch()
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "3").symlink_to("/dev/fd/3")
    inodes = [(tmp_path / name).stat().st_ino for name in ("out", "err")]
    run = shlex.join([sys.executable, "-c", STREAMS])
    done = subprocess.run(command.format(run=run), shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ((tmp_path / "out").read_text(), (tmp_path / "err").read_text()) == (out, err)
    assert [(tmp_path / name).stat().st_ino for name in ("out", "err")] == inodes
    assert sorted(os.listdir(tmp_path)) == ["3", "err", "link", "out"]


def test_names_of_open_files(tmp_path):
    assert [store.descriptor(f"/dev/{name}") for name in ("stdin", "stdout", "stderr")] == [0, 1, 2]
    assert store.descriptor("/dev/fd/63") == store.descriptor(f"/proc/{os.getpid()}/fd/63") == 63
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    (tmp_path / "1").touch()
    for name in ("circle", "file", "1", "none"):
        assert store.descriptor(tmp_path / name) is None
    with (tmp_path / "file").open() as opened, pytest.raises(DataError, match="it is an open file; name"):
        store.target(f"/dev/fd/{opened.fileno()}")


# --- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
@pytest.mark.parametrize("read", [store.check_file, store.read_text])
def test_what_is_no_file_is_refused_at_once(tmp_path, in_time, no_file, kind, read):
    no_file(tmp_path / kind, kind)
    said = f"{kind} is a {kind}, not a file. Name a file."
    if (kind, read) == ("pipe", store.read_text):
        said = "pipe is an empty pipe into which nobody writes. Name a file."
    with pytest.raises(DataError, match=re.escape(said)):
        read(tmp_path / kind)


def test_a_file_is_read_with_its_byte_order_mark_left_out(tmp_path):
    (tmp_path / "link").symlink_to("text")
    for content, expected in ((b"\xef\xbb\xbfa,\xc3\xa4\n", "a,ä\n"), (b"", "")):
        (tmp_path / "text").write_bytes(content)
        assert store.read_text(tmp_path / "link") == expected
        assert store.check_file(tmp_path / "link") == tmp_path / "link"
    (tmp_path / "text").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="text cannot be read as a table: 'utf-8' codec"):
        store.read_text(tmp_path / "text", kind="a table")
    for read in (store.check_file, store.read_text):
        for name in ("none", "text/none"):
            with pytest.raises(DataError, match=f"there is no file .*{name}"):
                read(tmp_path / name)
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(DataError, match="circle cannot be read: Too many levels of symbolic links"):
        store.check_file(tmp_path / "circle")


@pytest.mark.parametrize("closed", [True, False])
def test_what_comes_out_of_a_pipe_is_read(in_time, closed):
    """What was left in it by one who has gone, and what comes while it is read."""
    text = "x" * (60_000 if closed else 300_000) + "ä"
    reading, writing = os.pipe()

    def fill():
        with os.fdopen(writing, "wb") as file:
            file.write(text.encode())

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    if closed:
        filling.join()
    assert store.read_text(f"/dev/fd/{reading}") == text
    filling.join()
    os.close(reading)


def test_a_named_pipe_with_a_writer_is_waited_for(tmp_path, in_time):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    kept = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    found = []
    reading = threading.Thread(target=lambda: found.append(store.read_text(path)), daemon=True)
    reading.start()
    os.write(writing, b"first ")
    os.write(writing, b"second")
    os.close(writing)
    reading.join()
    os.close(kept)
    assert found == ["first second"]


# --- one at a time ---------------------------------------------------------------------------------


def test_one_run_at_a_time(tmp_path):
    path = tmp_path / "file"
    with store.alone(path):
        message = r"another run is writing .*file\. Wait for it, or stop it and start again"
        with pytest.raises(DataError, match=message), store.alone(path):
            pytest.fail("two at once")
        with store.alone(tmp_path / "other"):  # another file
            pass
        assert os.listdir(tmp_path) == [".file.lock"]
    with store.alone(path):
        pass
    with pytest.raises(RuntimeError, match="stop"), store.alone(path):
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == []


def test_a_lock_that_was_given_up_meanwhile_is_none(tmp_path, monkeypatch):
    """Before a run has the lock that it has opened, the one before removes it, and a third makes another."""
    fcntl = pytest.importorskip("fcntl")
    path, native = tmp_path / "file", fcntl.flock
    first, third = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(store.alone(path))

    def flock(file, operation):
        monkeypatch.setattr(fcntl, "flock", native)
        first.close()
        third.enter_context(store.alone(path))
        return native(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(DataError, match="another run is writing"), store.alone(path):
        pytest.fail("two at once")
    assert os.listdir(tmp_path) == [".file.lock"]
    third.close()
    assert os.listdir(tmp_path) == []


def test_a_lock_of_a_killed_run_holds_nobody_up(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from rarefire import store\n"
        "with store.alone(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")])
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == [".file.lock"]
    with store.alone(tmp_path / "file"):
        pass
    assert os.listdir(tmp_path) == []


# --- answers ---------------------------------------------------------------------------------------


def test_keys_and_digests():
    assert store.key(a=1, b=[2, "x"]) == store.key(b=[2, "x"], a=1)
    assert store.key(a=1) != store.key(a=2)
    array = np.arange(12.0).reshape(3, 4)
    assert store.array_digest(array) == store.array_digest(np.asfortranarray(array))
    assert store.array_digest(array) != store.array_digest(array.reshape(4, 3))
    assert store.array_digest(array) != store.array_digest(array.astype(np.float32))


def test_what_is_kept_is_found(own_cache):
    assert store.recall("question", {"seed": 1}) is None
    kept = store.keep("question", {"seed": 1}, {"x": np.arange(3.0), "n": 7})
    found = store.recall("question", {"seed": 1})
    assert [kept.source, found.source] == ["computed", "cache"]
    for answer in (kept, found):
        np.testing.assert_array_equal(answer.arrays["x"], [0, 1, 2])
        assert (answer.arrays["n"].shape, int(answer.arrays["n"])) == ((), 7)
        assert answer.provenance["facts"] == {"seed": 1}
        assert answer.provenance["versions"]["numpy"] == np.__version__
    assert store.recall("question", {"seed": 2}) is None
    assert store.recall("other", {"seed": 1}) is None


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_entry_is_no_answer(own_cache, damage):
    store.keep("question", {}, {"x": np.arange(1000.0)})
    (entry,) = (own_cache / "results").glob("*.npz")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.warns(RarefireWarning, match="is damaged .* computed again"):
        assert store.recall("question", {}) is None
    store.keep("question", {}, {"x": np.arange(1000.0)})
    assert store.recall("question", {}).source == "cache"


def test_packed_answers_are_found_one_by_one(own_cache, tmp_path, monkeypatch):
    answers = [store.keep("question", {"seed": s}, {"x": np.full(3, s / 3)}) for s in range(4)]
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    packed = store.pack(tmp_path / "data" / "results" / "q.npz", answers)
    assert {part.compress_type for part in zipfile.ZipFile(packed).infolist()} == {zipfile.ZIP_LZMA}
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    found = store.recall("question", {"seed": 2})
    assert found.source == "shipped"
    np.testing.assert_allclose(found.arrays["x"], 2 / 3, rtol=1e-7)
    assert found.provenance["facts"] == {"seed": 2}
    assert store.recall("question", {"seed": 4}) is None
    assert store.recall("question", {"seed": 2}, use_shipped=False) is None


def test_shipped_answers_to_a_question(own_cache, tmp_path, monkeypatch):
    """Of two files with three rows, those that answer the question, each with its own facts."""
    folder = tmp_path / "data" / "results"
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    assert store.shipped("colour") == []
    for name, question, seeds in (("a", "colour", [3, 4]), ("b", "shape", [3]), ("c", "colour", [5])):
        rows = [
            store.Answer(
                {"x": np.full(2, s), "name": np.array(f"n{s}")},
                store.provenance(question, {"seed": s}),
                "cache",
            )
            for s in seeds
        ]
        store.pack(folder / f"{name}.npz", rows)
    found = store.shipped("colour")
    assert [a.provenance["facts"] for a in found] == [{"seed": 3}, {"seed": 4}, {"seed": 5}]
    assert [a.arrays["x"].tolist() for a in found] == [[3, 3], [4, 4], [5, 5]]
    assert [str(a.arrays["name"]) for a in found] == ["n3", "n4", "n5"]
    assert {a.source for a in found} == {"shipped"}
    assert all("keys" not in a.provenance for a in found)
    assert [a.arrays["x"].tolist() for a in store.shipped("shape")] == [[3, 3]]
    assert store.shipped("weight") == []
    assert [a.arrays["x"].tolist() for a in store.shipped("colour", seed=4)] == [[4, 4]]
    assert store.shipped("colour", seed=6) == store.shipped("colour", other=3) == []
    for answer in found:  # the same by its facts
        again = store.recall("colour", answer.provenance["facts"])
        np.testing.assert_array_equal(again.arrays["x"], answer.arrays["x"])


def test_a_mirror_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("RAREFIRE_MIRROR", "/nowhere/at/all")
    with pytest.raises(DataError, match="RAREFIRE_MIRROR names '/nowhere/at/all'"):
        store.mirror_dir()
    monkeypatch.setenv("RAREFIRE_MIRROR", "")
    assert store.mirror_dir() is None


def test_data_are_at_hand_in_the_mirror_else_in_the_cache(own_cache, tmp_path, monkeypatch):
    assert store.at_hand("set/file") is None
    for root in (own_cache, tmp_path / "mirror"):
        (root / "set").mkdir(parents=True)
        (root / "set" / "file").touch()
    assert store.at_hand("set/file") == own_cache / "set" / "file"  # without a mirror
    monkeypatch.setenv("RAREFIRE_MIRROR", str(tmp_path / "mirror"))
    assert store.at_hand("set/file") == tmp_path / "mirror" / "set" / "file"
    (tmp_path / "mirror" / "set" / "file").unlink()
    assert store.at_hand("set/file") == own_cache / "set" / "file"
    assert store.at_hand("set") == tmp_path / "mirror" / "set"


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path))
    assert store.cache_dir() == tmp_path
    monkeypatch.delenv("RAREFIRE_CACHE")
    assert store.cache_dir().name == "rarefire"


def test_recorded_results_that_are_missing_are_said_to_be(tmp_path, monkeypatch):
    assert (store.data_dir() / "results").is_dir()
    monkeypatch.setattr(store, "__file__", str(tmp_path / "a" / "rarefire" / "store.py"))
    with pytest.raises(
        DataError, match=r"recorded results are missing from .*rarefire/data: install rarefire"
    ):
        store.recall("question", {})


def test_copy_tree_replaces_a_folder_at_once(tmp_path):
    for name, text in (("old", "1"), ("new", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(text)
    store.copy_tree(tmp_path / "new", tmp_path / "old")
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["new.txt"]
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_one_process_at_a_time_computes(tmp_path):
    """The second finds what the first has done, and says what it waits for."""
    code = (
        "import pathlib, sys, time\n"
        "from rarefire import store\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with store.alone(folder / 'locks' / 'x', wait_for='the numbers'):\n"
        "    if (folder / 'done').exists():\n"
        "        print('found')\n"
        "    else:\n"
        "        (folder / 'begun').touch()\n"
        "        while not (folder / 'go').exists(): time.sleep(.01)\n"
        "        (folder / 'done').touch()\n"
        "        print('computed')\n"
    )
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    start = functools.partial(subprocess.Popen, [sys.executable, "-c", code, str(tmp_path)], **options)
    first = start()
    wait_until((tmp_path / "begun").exists, alive=lambda: first.poll() is None)
    second = start()
    assert "waiting for another process that computes the numbers" in second.stderr.readline()
    (tmp_path / "go").touch()
    assert first.communicate()[0] == "computed\n"
    assert second.communicate()[0] == "found\n"


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    refused = pytest.raises(DataError, match=r"could not write .*x: .* RAREFIRE_CACHE moves the cache")
    with refused, store.alone(tmp_path / "file" / "x"):
        pass
