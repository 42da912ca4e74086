"""LyingProxy: a loopback HTTP proxy before the S3 server that answers, loses or damages what it is told to.

    proxy.rule("PART", lambda r: RESET, times=1)      the first part: its connection breaks after half of the body
    proxy.rule("PUT", lambda r: Answer(403, code="AccessDenied"))

Kinds: PUT GET HEAD LIST COPY CREATE PART PARTCOPY COMPLETE ABORT DELETE DELETES OTHER. A rule's function gets the Seen request
and gives an Answer (nothing is forwarded), RESET (in the middle of the request's body), LOST (forwarded, then the connection
breaks before the answer) or None (forwarded). Threads: any; one a connection.
"""
import collections
import http.client
import http.server
import socket
import struct
import threading
import urllib.parse

Seen = collections.namedtuple("Seen", "kind key headers query")
RESET, LOST = "reset", "lost"


class Answer:
    def __init__(self, status, code="", body=None, headers=None):
        self.status, self.headers = status, headers or {}
        self.body = body if body is not None else f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()


def kind_of(method, path, headers):
    path, _, qs = path.partition("?")
    query = dict(urllib.parse.parse_qsl(qs, keep_blank_values=True))
    key = urllib.parse.unquote(path).split("/", 2)[2] if path.count("/") > 1 else ""
    copy = "x-amz-copy-source" in headers
    if method == "PUT":
        kind = ("PARTCOPY" if copy else "PART") if "partNumber" in query else "COPY" if copy else "PUT"
    elif method == "POST":
        kind = "CREATE" if "uploads" in query else "COMPLETE" if "uploadId" in query else "DELETES"
    elif method == "DELETE":
        kind = "ABORT" if "uploadId" in query else "DELETE"
    else:
        kind = method if key else "LIST" if "list-type" in query else "OTHER"
    return kind, key, query


class LyingProxy:
    def __init__(self, upstream_port):
        self.upstream_port, self.rules, self.seen, self.lock = upstream_port, [], [], threading.Lock()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def serve(self):
                owner.serve(self)
            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # broken connections are what this is for
        self.http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def rule(self, kind, act, key=None, times=None):
        with self.lock:
            self.rules.append([kind, key, act, times])

    def clear(self):
        with self.lock:
            self.rules.clear()

    def count(self, *kinds):
        with self.lock:
            return sum(s.kind in kinds for s in self.seen)

    def decide(self, seen):
        with self.lock:
            self.seen.append(seen)
            for rule in self.rules:
                kind, key, act, times = rule
                if kind not in (seen.kind, "*") or key not in (None, seen.key) or times == 0:
                    continue
                verdict = act(seen)
                if verdict is not None and times is not None:
                    rule[3] -= 1
                return verdict
        return None

    def serve(self, handler):
        kind, key, query = kind_of(handler.command, handler.path, handler.headers)
        seen = Seen(kind, key, handler.headers, query)
        verdict = self.decide(seen)
        length = int(handler.headers.get("Content-Length") or 0)
        if verdict == RESET:
            handler.rfile.read(length // 2)
            return self.hang_up(handler)
        body = handler.rfile.read(length)
        if isinstance(verdict, Answer):
            return self.reply(handler, verdict.status, verdict.headers, verdict.body)
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if name.lower() not in ("connection", "expect"):
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if verdict == LOST:
            return self.hang_up(handler)
        headers = {k: v for k, v in answer.getheaders()
                   if k.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server")}
        if handler.command == "HEAD" and answer.getheader("Content-Length"):
            headers["Content-Length"] = answer.getheader("Content-Length")
        self.reply(handler, answer.status, headers, data)

    @staticmethod
    def reply(handler, status, headers, body):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if "Content-Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    @staticmethod
    def hang_up(handler):
        handler.close_connection = True
        # SO_LINGER 0: the peer gets a reset, not an orderly end.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
