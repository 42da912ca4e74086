"""SyntheticS3: a bucket of DIRS x FILES objects that exist only as arithmetic, for listings of a million entries."""
import http.server
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

    def keys(self, after):
        """(dir, file) pairs behind `after`, in order of their keys 'dDDDDDD/fFFFFFF'."""
        d = int(after[1:7]) if after else 0
        f = int(after[9:15]) + 1 if len(after) > 8 else (0 if not after.endswith("/") or not after else self.files)
        while d < self.dirs:
            while f < self.files:
                yield d, f
                f += 1
            d, f = d + 1, 0

    def listing(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or ""
        limit, rows, last, truncated = int(query.get("max-keys") or 1000), [], "", False
        if delimiter and len(prefix) < 8:
            names = [f"d{d:06d}/" for d in range(self.dirs)]
            names = [n for n in names if n.startswith(prefix) and n > after]
            rows = [f"<CommonPrefixes><Prefix>{n}</Prefix></CommonPrefixes>" for n in names[:limit]]
            truncated, last = len(names) > limit, names[min(limit, len(names)) - 1] if names else ""
        else:
            start = max(after, prefix[:8]) if len(prefix) >= 8 else after
            for d, f in self.keys(start if start != prefix[:8] else f"d{prefix[1:7]}"):
                key = f"d{d:06d}/f{f:06d}"
                if not key.startswith(prefix):
                    if key > prefix:
                        break
                    continue
                if len(rows) == limit:
                    truncated = True
                    break
                rows.append(f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;{f:032x}"
                            f"&quot;</ETag><Size>100000</Size></Contents>")
                last = key
        more = f"<NextContinuationToken>{last}</NextContinuationToken>" if truncated else ""
        return (f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{self.name}</Name><Prefix>{prefix}</Prefix>'
                f"<KeyCount>{len(rows)}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{str(truncated).lower()}</IsTruncated>"
                f"{more}{''.join(rows)}</ListBucketResult>").encode()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
