"""SyntheticS3: a bucket of DIRS x FILES objects that exist only as arithmetic, for listings of a million entries."""
import bisect
import http.server
import itertools
import threading
import urllib.parse


class SyntheticS3:
    def __init__(self, dirs, files):
        self.dirs, self.files, self.name, self.requests, self.server = dirs, files, "synthetic-bucket", 0, None
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                owner.requests += 1
                query = dict(urllib.parse.parse_qsl(self.path.partition("?")[2], keep_blank_values=True))
                body = owner.listing(query)
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)
            do_HEAD = do_GET
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def key(self, index):
        return f"d{index // self.files:06d}/f{index % self.files:06d}"

    def entries(self, prefix, delimiter, after):
        """(name, is an object) in listing order, behind `after`."""
        every = range(self.dirs * self.files)
        index = max(bisect.bisect_right(every, after, key=self.key), bisect.bisect_left(every, prefix, key=self.key))
        while index < len(every) and self.key(index).startswith(prefix):
            key = self.key(index)
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                yield key, True
                index += 1
            else:
                if key[:cut + 1] > after:
                    yield key[:cut + 1], False
                index = (index // self.files + 1) * self.files  # the next directory

    def listing(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or ""
        limit = int(query.get("max-keys") or 1000)
        page = list(itertools.islice(self.entries(prefix, delimiter, after), limit + 1))
        rows = [f"<Contents><Key>{name}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;{name[-6:]:0>32}"
                f"&quot;</ETag><Size>100000</Size></Contents>" if is_object else
                f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name, is_object in page[:limit]]
        more = f"<NextContinuationToken>{page[limit - 1][0]}</NextContinuationToken>" if len(page) > limit else ""
        return (f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{self.name}</Name><Prefix>{prefix}</Prefix>'
                f"<KeyCount>{len(rows)}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{str(bool(more)).lower()}</IsTruncated>"
                f"{more}{''.join(rows)}</ListBucketResult>").encode()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
