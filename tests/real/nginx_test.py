"""Debian's nginx: a master that forks workers, which serve files, compress, include, proxy and rewrite; reloaded and
replaced while it serves."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SOAK, Exercised

from .conftest import OUR_ERROR, Setting

ROUNDS = 400 if SOAK else 6  # of all pages, by each client
CLIENTS = 4
CONFIGURATION = """
daemon off;
master_process on;
worker_processes 2;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log {directory}/access;
  default_type text/plain;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 1000;
  gzip on; gzip_min_length 100; gzip_types text/plain;
  map $arg_n $mapped {{ default none; ~^1 one; ~2$ two; }}
  server {{
    listen 127.0.0.1:{port};
    root {directory}/files;
    location / {{ ssi on; ssi_types text/plain; }}
    location /list/ {{ alias {directory}/files/; autoindex on; autoindex_format json; }}
    location /mapped {{ return 200 "$mapped $arg_n $uri\\n"; }}
    location /old/ {{ rewrite ^/old/(.*)$ /$1 break; }}
    location /far/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_set_header Host near; proxy_buffers 8 4k; }}
    location /closed {{ deny all; }}
    location /changed/ {{
      alias {directory}/files/;
      sub_filter line row; sub_filter_once off; sub_filter_types text/plain;
    }}
  }}
}}
"""
PAGES = [
    *("/small", "/large", "/whole", "/missing", "/closed", "/old/small", "/far/large", "/far/far/small"),
    *("/mapped?n=12", "/mapped?n=32", "/mapped?n=5", "/far/mapped?n=1", "/changed/large", "/list/"),
]

pytestmark = pytest.mark.slow


def write_files(directory: Path) -> None:
    files = directory / "files"
    files.mkdir(parents=True)
    (files / "small").write_text("a small page\n")
    (files / "large").write_text("".join(f"line {i * 7919 % 10007} of many\n" for i in range(12_000)))
    (files / "whole").write_text('<!--#include virtual="/small" --> and <!--#echo var="uri" --> and the rest\n')


def get(port: int, pages: list[str]) -> list[tuple[int, str, bytes]]:
    """Over one connection. Compressed, where the server will."""
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for page in pages:
        try:
            connection.request("GET", page, headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
        except (http.client.HTTPException, ConnectionError):  # an old worker has closed it between two requests
            connection.close()
            connection.request("GET", page, headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
        body = answer.read()
        found.append((answer.status, answer.headers.get("Content-Encoding", ""), b"" if page == "/list/" else body))
    connection.close()
    return found


@contextlib.contextmanager
def server(setting: Setting, directory: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    write_files(directory)
    for _ in range(20):  # until no one else takes the port first
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = int(taken.getsockname()[1])
        (directory / "nginx.conf").write_text(CONFIGURATION.format(directory=directory, port=port))
        command = ["/usr/sbin/nginx", "-c", str(directory / "nginx.conf"), "-p", str(directory), "-g", "user root;"]
        with (directory / "said").open("w") as out:
            process = subprocess.Popen(
                command, env=setting.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                text=True,
            )  # fmt: skip
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        if process.poll() is None:
            break
        assert "Address already in use" in (directory / "said").read_text(), (directory / "said").read_text()
    else:
        pytest.fail("no port is free")
    try:
        yield port, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # it ends its workers
            process.wait()


def serve(setting: Setting, directory: Path) -> tuple[list[tuple[int, str, bytes]], str]:
    """What each page is, to every client the same, and what the server said."""
    with server(setting, directory) as (port, process):
        first = get(port, PAGES)
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(get, port, PAGES * ROUNDS) for _ in range(CLIENTS)]
            for _ in range(3):  # new workers, while the old ones finish
                time.sleep(0.1)
                process.send_signal(signal.SIGHUP)
            for client in clients:
                assert client.result() == first * ROUNDS
        process.send_signal(signal.SIGQUIT)
        assert process.wait(60) == 0
    return first, (directory / "said").read_text()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], list[tuple[int, str, bytes]]]:
    return cache(lambda: serve(Setting(), tmp_path_factory.mktemp("bare"))[0])


SETTINGS = [Setting(period="1000"), Setting(period="512K", protect="all"), Setting(period="1000", protect="all")]


@pytest.mark.parametrize(
    "setting",
    [pytest.param(each, id=str(each), marks=pytest.mark.soak if i == 2 else []) for i, each in enumerate(SETTINGS)],
)
def test_nginx_serves_as_without_us(
    setting: Setting,
    bare: Callable[[], list[tuple[int, str, bytes]]],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    expected = bare()
    assert [status for status, _, _ in expected].count(200) == len(PAGES) - 2, expected
    assert any(encoding == "gzip" for _, encoding, _ in expected)
    got, said = serve(setting, tmp_path)
    assert got == expected
    assert not OUR_ERROR.findall(said), said
    exercised.add("real programs", "nginx")
