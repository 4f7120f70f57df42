"""Downloads from a server on this machine: resumed, checked, atomic."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from equicalc.data.download import FILES, download, fetch

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, and does what a test asks for."""

    ranges = True  # whether it can begin in the middle
    limit: int | None = None  # break off after so many bytes
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_GET(self):
        if self.path != "/file":
            self.send_error(404)
            return
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(asked.split("=")[1].rstrip("-")) if self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if self.server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.limit])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_address[1]}/file"


def test_whole_file_arrives_and_is_fetched_once(server, url, tmp_path):
    path = download(url, tmp_path / "new" / "file", MD5)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    download(url, path, MD5)
    assert len(server.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_download_goes_on_where_it_ended(server, url, tmp_path, ranges):
    server.limit = 100_000
    with pytest.raises(ConnectionError, match=r"bytes did not come.*goes on where it"):
        download(url, tmp_path / "file", MD5)
    assert not (tmp_path / "file").exists()
    server.limit, server.ranges = None, ranges
    assert download(url, tmp_path / "file", MD5).read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", "bytes=100000-"]


def test_complete_part_needs_no_server(tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    path = download("http://127.0.0.1:9/none", tmp_path / "file", MD5)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [b"", b"x" * 10, b"x" * (len(CONTENT) + 5)])
def test_wrong_content_is_removed(url, tmp_path, begun):
    (tmp_path / "file.part").write_bytes(begun)
    with pytest.raises(ValueError, match=r"was expected\. It was removed: try again"):
        download(url, tmp_path / "file", MD5 if begun else "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_another_file_in_the_way_is_kept(url, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is not the file at"):
        download(url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_text() == "mine"


def test_offline_says_what_to_do(tmp_path):
    with pytest.raises(ConnectionError, match=r"put it at .*file$"):
        download("http://127.0.0.1:9/file", tmp_path / "file", MD5)


def test_missing_page_says_so(url, tmp_path):
    with pytest.raises(ConnectionError, match="404"):
        download(url + "/none", tmp_path / "file", MD5)


def test_known_files_are_listed(tmp_path):
    with pytest.raises(ValueError, match="known: qm9, qm9-uncharacterized"):
        fetch("qm7", tmp_path)
    assert all(len(remote.md5) == 32 for remote in FILES.values())
