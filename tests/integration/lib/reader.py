"""Reader: a child process with one handle on a file, opened by read, mmap or O_DIRECT.

A child, because a mapping whose page cannot be read is a SIGBUS. read() answers the whole content, or the error as a
string ('errno 116', 'signal 7').
"""
import os
import struct
import subprocess
import sys

KINDS = ("read", "mmap", "direct")


def read_direct(fd):
    """Through an aligned buffer, as O_DIRECT wants it."""
    import mmap
    out, offset = b"", 0
    with mmap.mmap(-1, 1 << 20) as buffer:
        while n := os.preadv(fd, [buffer], offset):
            out += buffer[:n]
            offset += n
    return out


def child(kind, path):
    import mmap

    def send(tag, body=b""):
        sys.stdout.buffer.write(tag + struct.pack(">Q", len(body)) + body)
        sys.stdout.buffer.flush()
    try:
        fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if kind == "direct" else 0))
        view = mmap.mmap(fd, 0, prot=mmap.PROT_READ) if kind == "mmap" else None
    except OSError as e:
        send(b"E", str(e.errno).encode())
        return
    send(b"O")
    while sys.stdin.buffer.read(1):
        try:
            if kind == "mmap":
                body = view[:]
            elif kind == "direct":
                body = read_direct(fd)
            else:
                body, offset = b"", 0
                while chunk := os.pread(fd, 1 << 20, offset):
                    body += chunk
                    offset += len(chunk)
            send(b"B", body)
        except OSError as e:
            send(b"E", str(e.errno).encode())


class Reader:
    def __init__(self, kind, path):
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), kind, path],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        tag, body = self._answer()
        self.error = f"errno {body.decode()}" if tag == b"E" else None
        if self.error:
            self.close()

    def _answer(self):
        head = self.process.stdout.read(9)
        if len(head) < 9:
            return b"S", str(-self.process.wait()).encode()
        return head[:1], self.process.stdout.read(struct.unpack(">Q", head[1:])[0])

    def read(self):
        self.process.stdin.write(b".")
        self.process.stdin.flush()
        tag, body = self._answer()
        if tag == b"B":
            return body
        return ("errno " if tag == b"E" else "signal ") + body.decode()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2])
