"""Keys of the machine's or the container's role: a metadata service on the loopback, a mount in the background."""
import http.server
import json
import os
import threading
import time

import pytest
from lib.fixtures import LONG
from lib.s3server import KEY_ID, SECRET, free_port, wait_for
from test_bad_input import Try, check_refused

ROLE_PATH = "/latest/meta-data/iam/security-credentials/"


class Metadata:
    """What EC2 and ECS answer; `seen` are the requests in order."""

    def __init__(self, seconds=3600):
        self.seen, self.secret, self.token = [], SECRET, None
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self):
                service.seen.append("PUT " + self.path)
                self.answer(200, b"session-token")

            def do_GET(self):
                service.seen.append("GET " + self.path)
                expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
                keys = {"AccessKeyId": KEY_ID, "SecretAccessKey": service.secret, "Expiration": expiry}
                if self.path == ROLE_PATH:
                    return self.answer(200, b"my-role")
                if service.token is not None and self.headers.get("Authorization") != service.token:
                    return self.answer(401, b"")
                if self.path in (ROLE_PATH + "my-role", "/container/keys"):
                    return self.answer(200, json.dumps(keys).encode())
                return self.answer(404, b"")

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def metadata(monkeypatch):
    m = Metadata()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", m.url)
    yield m
    m.close()


@pytest.fixture
def attempt(server, bucket, work):
    bucket.place("f", b"by role")
    t = Try(server, bucket, work)
    t.options["passwd_file"] = None
    yield t
    t.clean_up()


def check_reads(t):
    r = t.run()
    assert r.returncode == 0 and r.stderr == "", r.stderr
    with open(os.path.join(t.mnt, "f"), "rb") as f:
        assert f.read() == b"by role"


def test_instance_role_in_the_background(attempt, metadata):
    attempt.options["iam_role"] = True
    check_reads(attempt)
    assert metadata.seen == ["PUT /latest/api/token", "GET " + ROLE_PATH, "GET " + ROLE_PATH + "my-role"]


def test_named_role_of_an_old_service(attempt, metadata):
    attempt.options.update(iam_role="my-role", imdsv1only=True)
    check_reads(attempt)
    assert metadata.seen == ["GET " + ROLE_PATH + "my-role"]


def test_container_role_with_a_token(attempt, metadata, work, monkeypatch):
    path = os.path.join(work, "token")
    with open(path, "w") as f:
        f.write("who-I-am\n")
    metadata.token = "who-I-am"
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata.url + "/container/keys")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)
    attempt.options["ecs"] = True
    check_reads(attempt)
    assert metadata.seen == ["GET /container/keys"]


def test_no_metadata_service(attempt, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    attempt.options["iam_role"] = "auto"
    check_refused(attempt, "credentials from http://127.0.0.1", "iam_role is for EC2 instances")


def test_role_that_does_not_exist(attempt, metadata):
    attempt.options["iam_role"] = "other"
    check_refused(attempt, "other: HTTP 404", "iam_role")


def test_role_keys_that_the_server_does_not_take(attempt, metadata):
    metadata.secret = "wrong"
    attempt.options["iam_role"] = True
    check_refused(attempt, "secret access key")


def test_ecs_outside_of_a_container(attempt):
    attempt.options["ecs"] = True
    check_refused(attempt, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")


@pytest.mark.skipif(not LONG, reason="keys are renewed after half a minute at the earliest")
@pytest.mark.deadline(90)
def test_keys_are_renewed_in_the_background(attempt, monkeypatch):
    m = Metadata(seconds=60)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", m.url)
    attempt.options.update(iam_role="my-role", imdsv1only=True)
    try:
        check_reads(attempt)
        assert len(m.seen) == 1
        wait_for(lambda: len(m.seen) > 1, 75, "a renewal", 0.5)
    finally:
        m.close()
