"""TLS to a real server: refused with one line while nobody vouches for its certificate, fine once somebody does."""
import os
import subprocess

import pytest
from lib.s3server import Bucket, S3Server
from test_bad_input import Try, check_refused
from test_s3_client import run_live


def make_certificate(folder, names):
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=s3cache-test",
                    "-addext", f"subjectAltName={names}", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def tls_server(session_dir, guardian):
    """Its certificate is self-signed and for localhost only, not for 127.0.0.1."""
    folder = os.path.join(session_dir, "tls")
    os.makedirs(folder)
    s = S3Server(base=folder, tls=make_certificate(folder, "DNS:localhost"))
    guardian.watch_pid(s.process.pid)
    yield s
    s.close()


@pytest.fixture
def tls_bucket(tls_server, request):
    name = f"tls-{os.getpid()}-{abs(hash(request.node.name)) % 10**8}"
    os.mkdir(os.path.join(tls_server.root, name))
    b = Bucket(tls_server, name)
    b.place("f", b"over TLS")
    yield b
    b.remove()


@pytest.fixture
def attempt(tls_server, tls_bucket, work):
    t = Try(tls_server, tls_bucket, work)
    yield t
    t.clean_up()


def by_address(server):
    return server.url.replace("localhost", "127.0.0.1")


def read(m):
    with open(m.join("f"), "rb") as f:
        return f.read()


def test_unknown_certificate_is_refused(attempt):
    check_refused(attempt, "TLS to https://localhost", "certificate", "CURL_CA_BUNDLE", "no_check_certificate")


def test_ca_bundle_of_the_environment(tls_server, tls_bucket, mount):
    m = mount(tls_bucket, env={"CURL_CA_BUNDLE": tls_server.tls[0]})
    assert read(m) == b"over TLS"


def test_no_check_certificate(tls_server, tls_bucket, mount):
    m = mount(tls_bucket, url=by_address(tls_server), no_check_certificate=True)
    assert read(m) == b"over TLS"


def test_certificate_for_another_name(tls_server, tls_bucket, mount, attempt, monkeypatch):
    monkeypatch.setenv("CURL_CA_BUNDLE", tls_server.tls[0])
    attempt.options["url"] = by_address(tls_server)
    check_refused(attempt, "TLS to https://127.0.0.1", "ssl_verify_hostname=0")
    m = mount(tls_bucket, url=by_address(tls_server), ssl_verify_hostname=0)
    assert read(m) == b"over TLS"


def test_ca_bundle_that_is_not_there(attempt, monkeypatch):
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nonexistent/bundle.pem")
    check_refused(attempt, "TLS", "/nonexistent/bundle.pem", "CURL_CA_BUNDLE")


def test_http_url_to_a_tls_server(attempt, tls_server):
    attempt.options["url"] = tls_server.url.replace("https", "http")
    check_refused(attempt, "localhost", "https://")


@pytest.mark.deadline(300)
def test_writing_verbs_over_tls(tls_server, tls_bucket):
    run = run_live(tls_server, tls_bucket, "[live_write]", S3_CA_BUNDLE=tls_server.tls[0])
    assert run.returncode == 0, run.stdout[-6000:]
