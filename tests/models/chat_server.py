"""A server on loopback that speaks OpenAI's chat protocol, and misbehaves as it is told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Turn = Callable[["Handler"], None]


class ChatServer(ThreadingHTTPServer):
    """Takes its turns in order, one a request, the last again and again; keeps what it was asked."""

    daemon_threads = True

    def __init__(self, turns: Sequence[Turn]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.turns, self.asked, self.heads = list(turns), [], []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """A client that has gone is what some turns are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def log_message(self, *args):
        """Nothing."""

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.heads.append((self.path, self.headers.get("Authorization")))
            turn = server.turns.pop(0) if len(server.turns) > 1 else server.turns[0]
            self.under_way = True
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            turn(self)
        finally:
            self.leaves()

    def leaves(self):
        """It is under way no longer; said before the last bytes, for whoever has these may send the next at once."""
        with self.server.lock:
            self.server.now -= self.under_way
            self.under_way = False

    def open_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, data):
        line = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    def piece(self, content, finish=None):
        choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
        self.event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    def end(self):
        self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def cut(self):
        """The connection is reset, in the middle of whatever it is."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def says(*pieces, finish="stop"):
    """It streams these."""

    def turn(handler):
        handler.open_stream()
        for piece in pieces:
            handler.piece(piece)
        handler.piece("", finish)
        handler.end()

    return turn


def echoes(handler):
    """It says what it was asked last."""
    says(handler.server.asked[-1]["messages"][-1]["content"])(handler)


def refuses(status, headers=(), message="no, not now"):
    """It answers with that status."""

    def turn(handler):
        body = json.dumps({"error": {"message": message}}).encode()
        handler.send_response(status)
        for name, value in (*headers, ("Content-Type", "application/json"), ("Content-Length", len(body))):
            handler.send_header(name, str(value))
        handler.end_headers()
        handler.wfile.write(body)

    return turn


def is_silent(*pieces):
    """It streams these, and then nothing."""

    def turn(handler):
        handler.open_stream()
        for piece in pieces:
            handler.piece(piece)
        handler.server.over.wait(60)

    return turn


def cuts(*pieces):
    """It streams these, and then the connection is reset."""

    def turn(handler):
        handler.open_stream()
        for piece in pieces:
            handler.piece(piece)
        handler.cut()

    return turn


def ends(*pieces):
    """It streams these, and then ends without having finished."""

    def turn(handler):
        handler.open_stream()
        for piece in pieces:
            handler.piece(piece)
        handler.wfile.write(b"0\r\n\r\n")

    return turn


def sends(*events):
    """It streams these events, whatever they are, as if they were a finished answer."""

    def turn(handler):
        handler.open_stream()
        for event in events:
            handler.event(event)
        handler.end()

    return turn


def answers(body, kind):
    """It answers with a page instead of a stream."""

    def turn(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return turn


@contextmanager
def serving(*turns: Turn) -> Iterator[ChatServer]:
    """A server, for as long as the block lasts."""
    server = ChatServer(turns)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
