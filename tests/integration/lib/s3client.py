"""A small signed S3 client on the standard library, so that tests depend on no S3 package.

One keep-alive connection for each thread. Errors: S3Error with the status and the start of the body.
"""
import hashlib
import hmac
import http.client
import re
import threading
import time
import urllib.parse

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class S3Error(Exception):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:300]!r}")
        self.status = status


def quote_key(key):
    return urllib.parse.quote(key, safe="/-_.~")


class S3Client:
    def __init__(self, host, port, key_id, secret, region="us-east-1"):
        self.host, self.port, self.key_id, self.secret, self.region = host, port, key_id, secret, region
        self._local = threading.local()

    def _signing_key(self, day):
        k = ("AWS4" + self.secret).encode()
        for part in (day, self.region, "s3", "aws4_request"):
            k = hmac.new(k, part.encode(), hashlib.sha256).digest()
        return k

    def signed_headers(self, method, path, query, headers, payload_sha):
        now = time.gmtime()
        stamp, day = time.strftime("%Y%m%dT%H%M%SZ", now), time.strftime("%Y%m%d", now)
        h = {k.lower(): str(v).strip() for k, v in headers.items()}
        h.update({"host": f"{self.host}:{self.port}", "x-amz-date": stamp, "x-amz-content-sha256": payload_sha})
        names = ";".join(sorted(h))
        canonical = "\n".join([method, path, query, "".join(f"{k}:{h[k]}\n" for k in sorted(h)), names, payload_sha])
        scope = f"{day}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self._signing_key(day), to_sign.encode(), hashlib.sha256).hexdigest()
        h["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, SignedHeaders={names}, "
                              f"Signature={signature}")
        return h

    def request(self, method, bucket, key="", query=None, headers=None, body=b""):
        """Answers (status, headers, body); raises S3Error from 400 on."""
        path = "/" + bucket + ("/" + quote_key(key) if key else "")
        items = sorted((query or {}).items())
        qs = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(str(v), safe='-_.~')}"
                      for k, v in items)
        sha = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        signed = self.signed_headers(method, path, qs, headers or {}, sha)
        url = path + ("?" + qs if qs else "")
        for attempt in (0, 1):
            conn = getattr(self._local, "conn", None)
            if conn is None:
                conn = self._local.conn = http.client.HTTPConnection(self.host, self.port, timeout=60)
            try:
                conn.request(method, url, body=body if method in ("PUT", "POST") else None, headers=signed)
                reply = conn.getresponse()
                data = reply.read()
                break
            except (http.client.HTTPException, OSError):
                conn.close()
                self._local.conn = None
                if attempt:
                    raise
        if reply.status >= 400:
            raise S3Error(reply.status, data)
        return reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), data

    def presigned(self, method, bucket, key, seconds=3600):
        """A URL that any plain HTTP client may use."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{self.key_id}/{scope}", "X-Amz-Date": stamp,
                 "X-Amz-Expires": str(seconds), "X-Amz-SignedHeaders": "host"}
        qs = "&".join(f"{k}={urllib.parse.quote(v, safe='-_.~')}" for k, v in sorted(query.items()))
        path = f"/{bucket}/{quote_key(key)}"
        canonical = "\n".join([method, path, qs, f"host:{self.host}:{self.port}\n", "host", "UNSIGNED-PAYLOAD"])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = hmac.new(self._signing_key(stamp[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
        return f"http://{self.host}:{self.port}{path}?{qs}&X-Amz-Signature={signature}"

    def create_bucket(self, bucket):
        self.request("PUT", bucket)

    def put(self, bucket, key, body=b"", **meta):
        """PUT with user metadata: mode=..., uid=..., mtime=... and headers by their full name with '_' for '-'."""
        headers = {}
        for name, value in meta.items():
            name = name.replace("_", "-")
            plain = name in ("content-type", "cache-control", "content-encoding")
            headers[name if plain else "x-amz-meta-" + name] = value
        return self.request("PUT", bucket, key, headers=headers, body=body)[1].get("etag", "").strip('"')

    def get(self, bucket, key, byte_range=None):
        return self.request("GET", bucket, key, headers={"range": byte_range} if byte_range else None)[2]

    def head(self, bucket, key):
        return self.request("HEAD", bucket, key)[1]

    def delete(self, bucket, key):
        self.request("DELETE", bucket, key)

    def list_page(self, bucket, **query):
        query["list-type"] = 2
        body = self.request("GET", bucket, query={k.replace("_", "-"): v for k, v in query.items()})[2].decode()
        return re.findall(r"<Key>(.*?)</Key>", body, re.S), body

    def list_uploads(self, bucket):
        """Keys of multipart uploads that are neither completed nor aborted."""
        body = self.request("GET", bucket, query={"uploads": ""})[2].decode()
        return re.findall(r"<Upload>.*?<Key>(.*?)</Key>", body, re.S)
