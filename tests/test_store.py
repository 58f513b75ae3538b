"""The store: whole files or none, resumed downloads from a real server, answers found again."""

import contextlib
import errno
import functools
import hashlib
import http.server
import io
import itertools
import json
import os
import re
import resource
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import wait_until

from rarefire import store
from rarefire.errors import DataError, RarefireWarning
from rarefire.records import record

CONTENT = np.random.default_rng(0).bytes(900_000)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the class attributes make it break off, or not know about ranges."""

    breaks_after: int | None = None
    ranges = True
    waits_for: threading.Event | None = None
    served: list[str] = []  # noqa: RUF012

    def log_message(self, *args):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        type(self).served.append(f"{self.path} {asked}")
        if self.waits_for is not None:
            self.waits_for.wait()
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
def md5():
    return hashlib.md5(CONTENT).hexdigest()


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


# --- homes that send rubbish -----------------------------------------------------------------------


def head(*lines, body=b""):
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body


def slowly(answer, pause=0.05):
    """A byte now and then, as long as somebody listens."""

    def send(connection):
        for byte in answer:
            connection.sendall(bytes([byte]))
            time.sleep(pause)

    return send


def endlessly(connection):
    connection.sendall(head())
    while True:
        connection.sendall(bytes(2**16))


def silently(connection):
    connection.recv(1)  # until the other has gone


SOME = CONTENT[:70_000]
RUBBISH = {
    "status line": (b"rubbish\r\n\r\n", "its answer is no HTTP (BadStatusLine: rubbish)"),
    "long status line": (
        b"x" * 100_000,
        "its answer is no HTTP (LineTooLong: got more than 65536 bytes when rea",
    ),
    "control characters": (b"\x1b[2J\x07\r\n\r\n", "its answer is no HTTP (BadStatusLine: [2J)"),
    "no answer": (b"", "Remote end closed connection without response"),
    "many headers": (
        head(*["A: b"] * 200),
        "its answer is no HTTP (HTTPException: got more than 100 headers)",
    ),
    "short body": (
        head("Content-Length: 900000", body=SOME),
        "the connection ended after 70000 of 900000 bytes",
    ),
    "short length": (head("Content-Length: 70000", body=CONTENT), "MD5 {some} came, {whole} was expected"),
    "no number": (head("Content-Length: many", body=SOME), "MD5 {some} came, {whole} was expected"),
    "negative length": (head("Content-Length: -5", body=SOME), "MD5 {some} came, {whole} was expected"),
    "huge length": (
        head("Content-Length: 99999999999"),
        "it would send 99,999,999,999 bytes, of 1,000,000 at most",
    ),
    "bad chunk": (
        head("Transfer-Encoding: chunked", body=b"zz\r\nabc"),
        "its answer is no HTTP (IncompleteRead: IncompleteRead(0 bytes read))",
    ),
    "short chunk": (
        head("Transfer-Encoding: chunked", body=b"ffff\r\nabc"),
        "its answer is no HTTP (IncompleteRead: IncompleteRead(0 bytes read))",
    ),
    "web page": (head("Content-Type: text/html", body=b"<html>Log in"), "it sent a web page, not the file"),
    "other content": (head(body=SOME), "MD5 {some} came, {whole} was expected"),
    "nothing": (head("Content-Length: 0"), "MD5 d41d8cd98f00b204e9800998ecf8427e came, {whole} was expected"),
    "endless": (endlessly, "it sent more than 1,000,000 bytes"),
    "redirected in a circle": (
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP Error 302: The HTTP server returned a redirect error that would lead to an infinite loop. The "
        "last 30x error message was: Found",
    ),
    "redirected to a file": (
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        "HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed",
    ),
    "empty status": (b"HTTP/1.1 204 No\r\n\r\n", "it answered with status 204"),
    "a part": (
        b"HTTP/1.1 206 No\r\nContent-Range: bytes 5-9/10\r\n\r\n",
        "it sent another part than was asked for",
    ),
    "silence": (silently, "nothing came in 2 seconds"),
    "slow head": (slowly(head("A: " + "b" * 1000)), "nothing came in 2 seconds"),
    "slow body": (
        lambda c: slowly(SOME)(c) if c.sendall(head()) is None else None,
        "only {few} bytes came in 2 seconds",
    ),
}


@contextlib.contextmanager
def home(*answers):
    """A server on a bare socket, which gives each who asks the next of these answers, then the last again."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        asked = []

        def serve(connection, answer):
            with connection, contextlib.suppress(OSError):
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(4096)
                asked.append(request.decode())
                answer(connection) if callable(answer) else connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        def listen():
            for number in itertools.count():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                answer = answers[min(number, len(answers) - 1)]
                threading.Thread(target=serve, args=(connection, answer), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", asked
        listening.shutdown(socket.SHUT_RDWR)


LIMITS = {"timeout": 2, "largest": 1_000_000}


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_home_that_sends_rubbish_is_named_and_followed_by_the_next(server, md5, tmp_path, in_time, kind):
    answer, said = RUBBISH[kind]
    said = re.escape(said.format(some=hashlib.md5(SOME).hexdigest(), whole=md5, few="FEW"))
    path = tmp_path / "got" / "a.bin"
    with home(answer) as (url, _):
        with pytest.raises(DataError) as caught:
            store.fetch([url, f"{server.url}/missing"], path, md5=md5, **LIMITS)
        first = f"  {re.escape(url)}: {said}.*".replace("FEW", r"\d{1,2}")
        expected = f"could not download a\\.bin:\n{first}\n  .*/missing: HTTP Error 404: Not Found"
        assert re.fullmatch(expected, str(caught.value)), caught.value
        assert not path.exists()
        assert store.fetch([url, f"{server.url}/a"], path, md5=md5, **LIMITS).read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["a.bin"]


def test_a_wrong_length_of_a_whole_file_does_not_matter(md5, tmp_path):
    with home(head("Content-Length: 950000", body=CONTENT)) as (url, _):
        assert store.fetch([url], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT


def test_a_home_that_sends_for_ever_is_given_up(server, md5, tmp_path, in_time):
    def steadily(connection):
        connection.sendall(head())
        while True:
            connection.sendall(bytes(100))
            time.sleep(0.01)

    with home(steadily) as (url, _):
        limits = {"timeout": 30, "longest": 2}
        with pytest.raises(DataError, match=r": it was still sending after 2 seconds$"):
            store.fetch([url], tmp_path / "a.bin", md5=md5, **limits)
        assert store.fetch([url, f"{server.url}/a"], tmp_path / "b.bin", md5=md5, **limits).exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-899999/900000\r\n\r\n" + CONTENT[5:],
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: rubbish\r\n\r\n" + CONTENT[5:],
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1000-899999/900000\r\n\r\n" + CONTENT[:-1000],
    ],
    ids=["416", "another part", "no part", "other bytes"],
)
def test_a_home_that_cannot_resume_is_asked_for_all(md5, tmp_path, answer):
    """Once more, after the others: one of them may be able to."""
    whole = head(f"Content-Length: {len(CONTENT)}", body=CONTENT)
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    with home(answer, whole) as (url, asked):
        assert store.fetch([url], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT
    assert ["Range: bytes=1000-" in request for request in asked] == [True, False]
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_part_outlives_what_is_no_answer_to_it(server, md5, tmp_path):
    """A page to log in, a stop in the middle, and nobody: the next home goes on from there."""
    page = head("Content-Type: text/html; charset=utf-8", body=b"<html>")
    stops = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1000-899999/900000\r\n" + CONTENT[
        1000:1100
    ].join([b"Content-Length: 899000\r\n\r\n", b""])
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    with home(page) as (first, _), home(stops) as (second, _):
        homes = [first, second, "http://127.0.0.1:9/", f"{server.url}/a"]
        with pytest.raises(
            DataError, match=r"a web page, not the file\n.*ended after 1100 of 900000 bytes\n.*refused"
        ):
            store.fetch(homes[:3], tmp_path / "a.bin", md5=md5)
        assert store.fetch(homes[3:], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT
    assert server.served == ["/a bytes=1100-"]


def test_a_full_disk_is_not_the_fault_of_a_home(server, md5, tmp_path):
    code = (
        "import sys; from rarefire import store\n"
        "from rarefire.errors import DataError\n"
        "try: store.fetch([sys.argv[1]], sys.argv[2], md5=sys.argv[3])\n"
        "except DataError as error: print(error)\n"
    )
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (300_000, 300_000))
    command = [sys.executable, "-c", code, f"{server.url}/a", str(tmp_path / "a.bin"), md5]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert re.fullmatch(r"could not write .*a\.bin: File too large\. What has come goes on .*\n", done.stdout)
    assert store.fetch([f"{server.url}/a"], tmp_path / "a.bin", md5=md5).read_bytes() == CONTENT
    assert server.served[1] == "/a bytes=300000-"


@pytest.mark.parametrize("apart", [True, False], ids=["processes", "threads"])
def test_who_wants_the_same_file_waits_for_it(server, md5, tmp_path, apart):
    """It is asked for once, however many want it."""
    slow, path = threading.Event(), tmp_path / "a.bin"
    server.waits_for = slow
    if apart:
        code = (
            "import sys; from rarefire import store; store.fetch([sys.argv[1]], sys.argv[2], md5=sys.argv[3])"
        )
        command = [sys.executable, "-c", code, f"{server.url}/a", str(path), md5]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        wait_until(lambda: server.served)
        slow.set()
        said = [each.communicate()[1] for each in running]
        assert [each.returncode for each in running] == [0, 0, 0]
        assert all("Traceback" not in text for text in said)
    else:
        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(store.fetch, [f"{server.url}/a"], path, md5=md5) for _ in range(4)]
            wait_until(lambda: server.served)
            slow.set()
            assert [each.result() for each in found] == [path] * 4
    assert server.served == ["/a None"]
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_download_says_what_it_waits_for(server, md5, tmp_path, capsys):
    path = tmp_path / "a.bin"
    with ThreadPoolExecutor(1) as pool, store.alone(path):
        waiting = pool.submit(store.fetch, [f"{server.url}/a"], path, md5=md5)
        said = wait_until(lambda: capsys.readouterr().err)
        path.write_bytes(CONTENT)
    assert said == "waiting for another process that downloads a.bin\n"
    assert waiting.result() == path
    assert server.served == []


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
    (tmp_path / "text").write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match="text cannot be read as a table: it starts as UTF-16 but is none"):
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


QUESTION, FACTS = "question", {"seed": 1}
ARRAYS = {"x": np.arange(500.0), "n": np.array(7), "names": np.array(["a", "bc"])}


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **options)
    return buffer.getvalue()


def written(entry, *, without=(), compression=zipfile.ZIP_DEFLATED, **members):
    """Write the entry again, some of its members left out or replaced; `provenance` may be JSON-able."""
    with zipfile.ZipFile(entry) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    if not isinstance(members.get("provenance", b""), bytes):
        members["provenance"] = npy(np.frombuffer(json.dumps(members["provenance"]).encode(), np.uint8))
    held |= {name if "." in name else f"{name}.npy": content for name, content in members.items()}
    with zipfile.ZipFile(entry, "w", compression) as archive:
        for name, content in held.items():
            if name.removesuffix(".npy") not in without:
                archive.writestr(name, content)


def patched(entry, *changes):
    """Change a 2-byte field of all headers in a zip: offsets in the local and in the central header."""
    content = bytearray(entry.read_bytes())
    for local, central, value in changes:
        for mark, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
            for found in re.finditer(re.escape(mark), bytes(content)):
                place = found.start() + offset
                content[place : place + 2] = value.to_bytes(2, "little")
    entry.write_bytes(content)


def stamp_of(entry):
    with np.load(entry) as archive:
        return json.loads(archive["provenance"].tobytes())


def header(shape, descr="<f8"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def as_folder(entry):
    entry.unlink()
    (entry / "inside").mkdir(parents=True)


def as_pipe(entry):
    entry.unlink()
    os.mkfifo(entry)


def as_link(entry):
    entry.unlink()
    entry.symlink_to("nothing/at/all")


def twice(entry):
    with warnings.catch_warnings(), zipfile.ZipFile(entry, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", npy(np.zeros(500)))


DAMAGE = {
    "empty": lambda e: e.write_bytes(b""),
    "no zip": lambda e: e.write_bytes(b"not a zip"),
    "half": lambda e: e.write_bytes(e.read_bytes()[: e.stat().st_size // 2]),
    "last byte": lambda e: e.write_bytes(e.read_bytes()[:-30]),
    "folder": as_folder,
    "pipe": as_pipe,
    "link to nothing": as_link,
    "link in a circle": lambda e: (e.unlink(), e.symlink_to(e.name)),
    "unknown compression": lambda e: patched(e, (8, 10, 99)),
    "another compression": lambda e: patched(e, (8, 10, 12)),
    "encrypted": lambda e: patched(e, (6, 8, 1)),
    "huge shape": lambda e: written(e, x=header((10**13,)) + bytes(80)),
    "huger shape": lambda e: written(e, x=header((10**30, 10**30)) + bytes(80)),
    "negative shape": lambda e: written(e, x=header((-5, -2)) + bytes(80)),
    "short array": lambda e: written(e, x=npy(ARRAYS["x"])[:-8]),
    "long array": lambda e: written(e, x=npy(ARRAYS["x"]) + b"more"),
    "header of text": lambda e: written(e, x=b"\x93NUMPY\1\0\x10\0no header at all"),
    "no array": lambda e: written(e, x=b"no array"),
    "another file": lambda e: written(e, **{"x.txt": b"no array"}),
    "objects": lambda e: written(e, x=npy(np.array([{}, []], dtype=object))),
    "other numbers": lambda e: written(e, x=npy(np.arange(500.0)[::-1].copy())),
    "other kind": lambda e: written(e, x=npy(np.arange(500))),
    "text for numbers": lambda e: written(e, x=npy(np.array(["a"] * 500))),
    "other shape": lambda e: written(e, x=npy(np.arange(500.0).reshape(5, 100))),
    "array missing": lambda e: written(e, without=["x"]),
    "one too many": lambda e: written(e, y=npy(np.zeros(3))),
    "twice": twice,
    "no provenance": lambda e: written(e, without=["provenance"]),
    "empty provenance": lambda e: written(e, provenance={}),
    "list as provenance": lambda e: written(e, provenance=[1, 2]),
    "number as provenance": lambda e: written(e, provenance=npy(np.float64(3))),
    "no JSON": lambda e: written(e, provenance=npy(np.frombuffer(b"{half", np.uint8))),
    "deep JSON": lambda e: written(e, provenance=npy(np.frombuffer(b"[" * 100_000, np.uint8))),
    "another question": lambda e: written(e, provenance={**stamp_of(e), "question": "other"}),
    "other facts": lambda e: written(e, provenance={**stamp_of(e), "facts": {"seed": 2}}),
    "facts of no kind": lambda e: written(e, provenance={**stamp_of(e), "facts": 3}),
    "no versions": lambda e: written(e, provenance={**stamp_of(e), "versions": None}),
    "another entry": lambda e: e.write_bytes(other_entry(e).read_bytes()),
}


def other_entry(entry):
    store.keep(QUESTION, {"seed": 2}, ARRAYS)
    return next(path for path in entry.parent.iterdir() if path != entry)


@pytest.mark.parametrize("kind", DAMAGE)
def test_whatever_is_wrong_with_an_entry_it_is_no_answer(own_cache, in_time, kind):
    """A warning names it, no memory is taken, and what is computed takes its place."""
    store.keep(QUESTION, FACTS, ARRAYS)
    (entry,) = (own_cache / "results").iterdir()
    DAMAGE[kind](entry)
    tracemalloc.start()
    said = f"the cached result {entry} is damaged ("
    with pytest.warns(RarefireWarning, match=re.escape(said)) as caught:
        assert store.recall(QUESTION, FACTS) is None
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    (one,) = caught
    assert str(one.message).endswith("); it is not used, and replaced once it is computed again.")
    assert len(str(one.message)) < len(said) + 300
    store.keep(QUESTION, FACTS, ARRAYS)
    same(store.recall(QUESTION, FACTS), ARRAYS)
    assert entry.is_file()
    assert not entry.is_symlink() or kind == "link to nothing"


def same(answer, arrays):
    assert answer.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(answer.arrays[name], array)
        assert answer.arrays[name].dtype == array.dtype
    assert set(answer.provenance) == {"question", "facts", "versions", "command", "date"}


def test_an_entry_that_does_not_say_what_it_holds_counts(own_cache):
    """As earlier versions wrote them."""
    store.keep(QUESTION, FACTS, ARRAYS)
    (entry,) = (own_cache / "results").iterdir()
    stamp = stamp_of(entry)
    assert stamp.pop("content")
    written(entry, provenance=stamp)
    same(store.recall(QUESTION, FACTS), ARRAYS)


def test_damage_is_said_once_where_it_is_computed_again(own_cache):
    facts, made = {"shared": 1}, []

    def compute(missing):
        made.extend(missing)
        yield from ((name, ARRAYS) for name in missing)

    ask = functools.partial(record.answer_each, "numbers", facts, {"a": {"of": "a"}}, compute)
    ask()
    (entry,) = (own_cache / "results").glob("*.npz")
    entry.write_bytes(b"damaged")
    with pytest.warns(RarefireWarning) as caught:
        same(ask()["a"], ARRAYS)
    assert [str(one.message).split(" is damaged")[0] for one in caught] == [f"the cached result {entry}"]
    same(ask()["a"], ARRAYS)
    assert made == ["a", "a"]


@pytest.fixture
def recorded(own_cache, tmp_path, monkeypatch):
    """Two files of recorded answers, of which tests may damage the first."""
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    folder = tmp_path / "data" / "results"
    for name, question in (("a", "colour"), ("b", "shape")):
        rows = [
            store.Answer(
                {"x": np.full(200, s), "y": np.arange(3) + s}, store.provenance(question, {"seed": s}), ""
            )
            for s in range(3)
        ]
        store.pack(folder / f"{name}.npz", rows)
    yield folder / "a.npz"
    store._shipped_index.cache_clear()
    store._read_shipped.cache_clear()


def afresh():
    store._shipped_index.cache_clear()
    store._read_shipped.cache_clear()


SHIPPED_DAMAGE = [
    *("empty", "no zip", "half", "last byte", "folder", "pipe", "link to nothing", "unknown compression"),
    *("encrypted", "huge shape", "no array", "objects", "other numbers", "other kind", "array missing"),
    *("no provenance", "empty provenance", "list as provenance", "deep JSON", "another question"),
    *("other facts", "facts of no kind"),
]


@pytest.mark.parametrize("kind", SHIPPED_DAMAGE)
def test_a_damaged_recorded_file_is_named_and_the_others_are_found(recorded, in_time, kind):
    DAMAGE[kind](recorded)
    afresh()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert store.recall("colour", {"seed": 1}) is None
        assert store.shipped("colour") == []
        found = store.recall("shape", {"seed": 2})
        assert store.recall("colour", {"seed": 1}) is None
    np.testing.assert_array_equal(found.arrays["y"], [2, 3, 4])
    assert len(store.shipped("shape")) == 3
    (said,) = caught
    assert issubclass(said.category, RarefireWarning)
    path = re.escape(str(recorded))
    assert re.fullmatch(
        rf"the recorded results {path} are damaged \(.+\) and not used\. Restore the file: "
        r"git checkout a\.npz in that folder, or install rarefire again\.",
        str(said.message),
    )
    store.keep("colour", {"seed": 1}, {"x": np.ones(2)})  # what is computed instead is found
    assert store.recall("colour", {"seed": 1}).source == "cache"


def test_rows_that_are_not_one_for_each_key_are_no_answers(recorded):
    stamp = stamp_of(recorded)
    stamp.pop("content")
    written(recorded, provenance=stamp, y=npy(np.zeros((2, 3), dtype=int)))
    afresh()
    with pytest.warns(RarefireWarning, match=r"damaged \(it does not hold one answer for each key\)"):
        assert store.recall("colour", {"seed": 0}) is None


def spoilt(whole, rng):
    """A file with some bits flipped, bytes replaced, a piece cut out or doubled, or the rest cut off."""
    content, at = bytearray(whole), int(rng.integers(len(whole)))
    length = min(int(rng.integers(1, 40)), len(whole) - at)
    match rng.integers(6):
        case 0:
            for place in rng.integers(len(whole), size=rng.integers(1, 4)):
                content[place] ^= 1 << int(rng.integers(8))
        case 1:
            content[at : at + length] = rng.bytes(length)
        case 2:
            del content[at:]
        case 3:
            del content[at : at + length]
        case 4:
            content[at:at] = content[at : at + length]
        case 5:
            content[at : at + length] = bytes(length)
    return bytes(content)


def test_no_damage_makes_another_answer(own_cache, rng):
    """Of an entry that is spoilt at random there is the same answer, or none and a warning."""
    store.keep(QUESTION, FACTS, ARRAYS)
    (entry,) = (own_cache / "results").iterdir()
    whole, lost = entry.read_bytes(), 0
    for _ in range(600):
        entry.write_bytes(spoilt(whole, rng))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = store.recall(QUESTION, FACTS)
        if found is None:
            (one,) = caught
            assert f"the cached result {entry} is damaged (" in str(one.message)
            lost += 1
        else:
            assert caught == []
            same(found, ARRAYS)
    assert 300 < lost < 600


def test_no_damage_makes_another_recorded_answer(recorded, rng):
    expected = store.recall("colour", {"seed": 1})
    whole, lost = recorded.read_bytes(), 0
    for _ in range(400):
        recorded.write_bytes(spoilt(whole, rng))
        afresh()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = store.recall("colour", {"seed": 1})
            assert store.recall("shape", {"seed": 1}) is not None
        if found is None:
            (one,) = caught
            assert f"the recorded results {recorded} are damaged (" in str(one.message)
            lost += 1
        else:
            assert caught == []
            assert found.provenance == expected.provenance
            for name, array in expected.arrays.items():
                np.testing.assert_array_equal(found.arrays[name], array)
    assert 200 < lost < 400


def test_all_that_is_recorded_is_whole():
    """And read as numpy reads it."""
    files = sorted((store.data_dir() / "results").glob("*.npz"))
    afresh()
    index = store._shipped_index(store.data_dir() / "results")
    assert {place.path for place in index.values()} == set(files)
    for path in files:
        arrays, _ = store._read_shipped(path)
        with np.load(path) as archive:
            assert sorted([*arrays, "provenance"]) == sorted(archive.files)
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, archive[name])


# --- what killed writers leave ---------------------------------------------------------------------

WRITES = """
import sys, time, pathlib
from rarefire import store
path = pathlib.Path(sys.argv[1])
with store.atomic_write(path) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    sys.stdin.readline()
    file.write(b" and half")
"""


def test_what_a_killed_writer_left_is_removed_and_not_what_a_living_one_writes(tmp_path):
    """Of the same file; other files, and those with other names, stay."""
    path = tmp_path / "file"
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, living = (
        subprocess.Popen([sys.executable, "-c", WRITES, str(path)], **options) for _ in range(2)
    )
    for each in (killed, living):
        assert each.stdout.readline() == "begun\n"
    killed.kill()
    killed.communicate()
    others = {".file.tmp", f".file.{'0' * 31}.tmp", f".file.x.{'0' * 32}.tmp", f".other.{'0' * 32}.tmp"}
    for name in others:
        (tmp_path / name).touch()
    assert len(os.listdir(tmp_path)) == 2 + len(others)
    with store.atomic_write(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    (left,) = set(os.listdir(tmp_path)) - others - {"file"}
    assert (tmp_path / left).read_bytes() == b"half"
    assert living.communicate("\n")[0] == ""
    assert living.returncode == 0
    assert path.read_bytes() == b"half and half"
    assert set(os.listdir(tmp_path)) == others | {"file"}


def test_many_write_the_same_file_at_the_same_time(tmp_path):
    """None takes away what another writes; the file is whole at every moment."""
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 50_000 for i in range(6)]

    def write(content):
        for _ in range(40):
            with store.atomic_write(path) as file:
                file.write(content[:20_000])
                file.write(content[20_000:])
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert os.listdir(tmp_path) == ["file"]


def test_where_locks_do_not_tell_only_old_leftovers_are_removed(tmp_path, monkeypatch):
    class NoLocks:
        LOCK_EX, LOCK_NB = 2, 4

        @staticmethod
        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(store, "_fcntl", NoLocks)
    new, old = (tmp_path / f".file.{letter * 32}.tmp" for letter in "ab")
    for path in (new, old):
        path.touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    with store.atomic_write(tmp_path / "file") as file:
        file.write(b"whole")
    assert sorted(os.listdir(tmp_path)) == [new.name, "file"]


def test_only_the_cache_is_cleared(own_cache, tmp_path):
    for root in (tmp_path / "mine", own_cache):
        (root / "x.npz").mkdir(parents=True)
        store.make_way(root / "x.npz")
    assert (tmp_path / "mine" / "x.npz").is_dir()
    assert not (own_cache / "x.npz").exists()


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
    for end in ("new", "old"):  # of a killed run
        (tmp_path / f".old.{end}").mkdir()
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
