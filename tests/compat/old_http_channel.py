"""An HTTP channel as asynchat's documentation sketches one, written for the standard library: not for new programs.

Nothing here knows of Trio. `test_old_programs.py` runs it twice, with this import and with ours in its place.
"""

import asynchat
from urllib.parse import parse_qs


class http_request_handler(asynchat.async_chat):  # noqa: N801
    def __init__(self, sock, addr, sessions, log):
        asynchat.async_chat.__init__(self, sock=sock)
        self.addr = addr
        self.sessions = sessions
        self.ibuffer = []
        self.set_terminator(b"\r\n\r\n")
        self.reading_headers = True
        self.handling = False
        self.cgi_data = None
        self.log = log

    def collect_incoming_data(self, data):
        """Buffer the data"""
        self.ibuffer.append(data)

    def found_terminator(self):
        if self.reading_headers:
            self.reading_headers = False
            self.parse_headers(b"".join(self.ibuffer))
            self.ibuffer = []
            if self.op == "POST":
                self.set_terminator(int(self.headers.get("content-length", "0")))
            else:
                self.handling = True
                self.set_terminator(None)
                self.handle_request()
        elif not self.handling:
            self.set_terminator(None)  # browsers sometimes over-send
            self.cgi_data = parse_qs(b"".join(self.ibuffer).decode("latin-1"))
            self.handling = True
            self.ibuffer = []
            self.handle_request()

    def parse_headers(self, head):
        request_line, *lines = head.decode("latin-1").split("\r\n")
        self.op, self.path, _ = request_line.split(" ")
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    def handle_request(self):
        count = self.sessions[self.addr[0]] = self.sessions.get(self.addr[0], 0) + 1
        self.log.append(f"{self.op} {self.path}")
        if self.path == "/big":
            body = asynchat.simple_producer(b"0123456789" * 100_000)
            self.answer("200 OK", 1_000_000)
            self.push_with_producer(body)
        elif self.path == "/broken":
            raise LookupError(self.path)
        else:
            text = repr((count, self.op, self.path, self.cgi_data)).encode("latin-1")
            self.answer("200 OK", len(text))
            self.push(text)
        self.close_when_done()

    def answer(self, status, length):
        head = f"HTTP/1.0 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        self.push(head.encode("latin-1"))

    def log_info(self, message, type="info"):  # noqa: A002
        self.log.append(type)
