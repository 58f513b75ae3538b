"""The store: whole files or none, resumed downloads from a real server, answers found again."""

import functools
import http.server
import os
import re
import resource
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

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
    threading.Thread(target=running.serve_forever, daemon=True).start()
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


def test_keys_and_digests():
    assert store.key(a=1, b=[2, "x"]) == store.key(b=[2, "x"], a=1)
    assert store.key(a=1) != store.key(a=2)
    array = np.arange(12.0).reshape(3, 4)
    assert store.array_digest(array) == store.array_digest(np.asfortranarray(array))
    assert store.array_digest(array) != store.array_digest(array.reshape(4, 3))
    assert store.array_digest(array) != store.array_digest(array.astype(np.float32))


def test_recall_computes_once(own_cache):
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3.0), "n": np.asarray(7)}

    first = store.recall("question", {"seed": 1}, compute)
    again = store.recall("question", {"seed": 1}, compute)
    other = store.recall("question", {"seed": 2}, compute)
    assert [first.source, again.source, other.source] == ["computed", "cache", "computed"]
    assert len(calls) == 2
    np.testing.assert_array_equal(again.arrays["x"], [0, 1, 2])
    assert again.provenance["facts"] == {"seed": 1}
    assert again.provenance["versions"]["numpy"] == np.__version__
    assert store.recall("question", {"seed": 3}, None) is None


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_entry_is_computed_again(own_cache, damage):
    def compute():
        return {"x": np.arange(1000.0)}

    store.recall("question", {}, compute)
    (entry,) = (own_cache / "results").glob("*.npz")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.warns(RarefireWarning, match="is damaged .* computed again"):
        assert store.recall("question", {}, compute).source == "computed"
    assert store.recall("question", {}, compute).source == "cache"


def test_packed_answers_are_found_one_by_one(own_cache, tmp_path, monkeypatch):
    answers = [store.recall("question", {"seed": s}, lambda s=s: {"x": np.full(3, s / 3)}) for s in range(4)]
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    store.pack(tmp_path / "data" / "results" / "q.npz", answers)
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    found = store.recall("question", {"seed": 2}, None)
    assert found.source == "shipped"
    np.testing.assert_allclose(found.arrays["x"], 2 / 3, rtol=1e-7)
    assert found.provenance["facts"] == {"seed": 2}
    assert store.recall("question", {"seed": 4}, None) is None
    assert store.recall("question", {"seed": 2}, None, use_shipped=False) is None


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
    for answer in found:  # the same by its facts
        again = store.recall("colour", answer.provenance["facts"], None)
        np.testing.assert_array_equal(again.arrays["x"], answer.arrays["x"])


def test_an_answer_says_where_it_comes_from(own_cache, tmp_path, monkeypatch):
    computed = store.recall("question", {}, lambda: {"x": np.ones(2)})
    cached = store.recall("question", {}, None)
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    store.pack(tmp_path / "data" / "results" / "q.npz", [computed])
    (shipped,) = store.shipped("question")
    versions = computed.provenance["versions"]
    made = f"rarefire {versions['rarefire']}, torch {versions['torch']}, {computed.provenance['date']}"
    assert re.fullmatch(r"rarefire \d+\.\d+\S*, torch \d+\.\S+, \d{4}-\d\d-\d\d", made)
    assert [a.source for a in (computed, cached, shipped)] == ["computed", "cache", "shipped"]
    assert computed.origin == cached.origin == f"computed on this machine; {made}"
    assert shipped.origin == f"recorded run; {made}"


def test_a_mirror_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("RAREFIRE_MIRROR", "/nowhere/at/all")
    with pytest.raises(DataError, match="RAREFIRE_MIRROR names '/nowhere/at/all'"):
        store.mirror_dir()
    monkeypatch.setenv("RAREFIRE_MIRROR", "")
    assert store.mirror_dir() is None


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path))
    assert store.cache_dir() == tmp_path
    monkeypatch.delenv("RAREFIRE_CACHE")
    assert store.cache_dir().name == "rarefire"


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
        "with store.alone(folder / 'locks' / 'x.lock', 'the numbers'):\n"
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
    while not (tmp_path / "begun").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = start()
    assert "waiting for another process that computes the numbers" in second.stderr.readline()
    (tmp_path / "go").touch()
    assert first.communicate()[0] == "computed\n"
    assert second.communicate()[0] == "found\n"


def test_a_lock_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"could not write .*x\.lock: .* RAREFIRE_CACHE moves the cache"):
        with store.alone(tmp_path / "file" / "x.lock"):
            pass
