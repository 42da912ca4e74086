"""HostileS3: an S3 server in this process that answers as told: plain in-memory objects, and a hook for every fault.

Path style, signatures not checked. `hook(request)` is asked before every answer; it returns None for the plain answer or a
Reply. Any key may exist (versitygw's live on a file system and cannot).
"""
import collections
import email.utils
import hashlib
import http.server
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

Object = collections.namedtuple("Object", "body etag modified headers")
Request = collections.namedtuple("Request", "op key query headers")


class Reply:
    """status, headers and body as sent; content_length overrides the honest one; stall keeps the connection open in silence;
    endless repeats `endless` until the client goes away or `stop` is set."""

    def __init__(self, status=200, headers=None, body=b"", content_length=None, stall=False, endless=None, close=False):
        self.status, self.headers, self.body = status, headers or {}, body
        self.content_length, self.stall, self.endless, self.close = content_length, stall, endless, close


class HostileS3:
    def __init__(self, bucket="hostile"):
        self.name, self.objects, self.hook, self.log = bucket, {}, None, []
        self.lock, self.stopped = threading.Lock(), threading.Event()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                owner.answer(self)
            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a client that went away in the middle is part of the tests
        self.http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.stopped.set()
        self.http.shutdown()
        self.http.server_close()

    def put(self, key, body, modified=None, etag=None, **headers):
        etag = hashlib.md5(body).hexdigest() if etag is None else etag
        self.objects[key] = Object(body, etag, modified or int(time.time()) - 3600,
                                   {k.replace("_", "-"): v for k, v in headers.items()})

    def count(self, op):
        with self.lock:
            return sum(r.op == op for r in self.log)

    # Plain answers ---------------------------------------------------------------------------------------------------
    def listing(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", query.get("marker", "")))
        limit = int(query.get("max-keys", 1000))
        entries, seen = [], set()
        for key in sorted(self.objects, key=lambda k: k.encode()):
            if not key.startswith(prefix):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[:cut + len(delimiter)]
            if name in seen or name.encode() <= after.encode():
                continue
            seen.add(name)
            entries.append((name, cut < 0))
        return self.listing_xml(entries[:limit], len(entries) > limit, query)

    def listing_xml(self, entries, truncated, query, token=None):
        quote = (lambda s: urllib.parse.quote(s, safe="/")) if query.get("encoding-type") == "url" else escape
        rows = []
        for name, is_object in entries:
            if is_object:
                o = self.objects[name]
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(o.modified))
                rows.append(f"<Contents><Key>{quote(name)}</Key><LastModified>{stamp}</LastModified><ETag>&quot;{o.etag}&quot;"
                            f"</ETag><Size>{len(o.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>")
            else:
                rows.append(f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>")
        last = entries[-1][0] if entries else ""
        more = f"<NextContinuationToken>{escape(token or last)}</NextContinuationToken>" if truncated else ""
        encoding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
        return (f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>'
                f"{self.name}</Name><Prefix>{quote(query.get('prefix', ''))}</Prefix><KeyCount>{len(entries)}</KeyCount>"
                f"<MaxKeys>1000</MaxKeys>{encoding}<IsTruncated>{str(truncated).lower()}</IsTruncated>{more}{''.join(rows)}"
                f"</ListBucketResult>").encode()

    def object_reply(self, request):
        o = self.objects.get(request.key)
        if o is None:
            return Reply(404, body=b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
        headers = {"ETag": f'"{o.etag}"', "Last-Modified": email.utils.formatdate(o.modified, usegmt=True),
                   "Accept-Ranges": "bytes", "Content-Type": "binary/octet-stream", **o.headers}
        match = request.headers.get("If-Match")
        if match and match.strip('"') != o.etag:
            return Reply(412, body=b"<Error><Code>PreconditionFailed</Code><Message>changed</Message></Error>")
        span = request.headers.get("Range")
        if not span or request.op == "HEAD":
            return Reply(200, headers, o.body)
        first, _, last = span.removeprefix("bytes=").partition("-")
        size = len(o.body)
        begin = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if begin >= size:
            return Reply(416, {"Content-Range": f"bytes */{size}"}, b"<Error><Code>InvalidRange</Code></Error>")
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        return Reply(206, headers, o.body[begin:end])

    def plain(self, request):
        if request.op == "LIST":
            return Reply(200, {"Content-Type": "application/xml"}, self.listing(request.query))
        if request.op == "BUCKET":
            return Reply(200)
        return self.object_reply(request)

    # The wire --------------------------------------------------------------------------------------------------------
    def answer(self, handler):
        path, _, qs = handler.path.partition("?")
        query = dict(urllib.parse.parse_qsl(qs, keep_blank_values=True))
        parts = urllib.parse.unquote(path).split("/", 2)
        key = parts[2] if len(parts) > 2 else ""
        op = handler.command if key else ("LIST" if handler.command == "GET" else "BUCKET")
        request = Request(op, key, query, handler.headers)
        with self.lock:
            self.log.append(request)
        reply = (self.hook(request) if self.hook else None) or self.plain(request)
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.endless is None:
            length = len(reply.body) if reply.content_length is None else reply.content_length
            handler.send_header("Content-Length", str(length))
        else:
            handler.close_connection = True
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(reply.body)
            while reply.endless is not None and not self.stopped.is_set():
                handler.wfile.write(reply.endless)
        handler.wfile.flush()
        if reply.stall:
            self.stopped.wait(300)
        lied = reply.content_length is not None and reply.content_length != len(reply.body)
        handler.close_connection = handler.close_connection or reply.close or lied
