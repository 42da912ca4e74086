"""Wire: a loopback proxy that counts the bytes that came from the server, headers included.

(The access log says 0 for streamed bodies, toxiproxy counts a connection only when it closes, and the loopback counters see
everybody else on the machine.) Two threads a connection; about 0.5 GB/s.
"""
import socket
import threading


class Wire:
    def __init__(self, upstream_port):
        self.upstream_port = upstream_port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.counters = []
        self.sockets = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def received(self):
        return sum(c[0] for c in self.counters)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream_port))
            except OSError:
                client.close()
                continue
            self.connections += 1
            counter = [0]
            self.counters.append(counter)
            self.sockets += [client, server]
            for source, sink, count in ((client, server, None), (server, client, counter)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink, count), daemon=True).start()

    @staticmethod
    def _pump(source, sink, counter):
        buffer = bytearray(1 << 18)
        view = memoryview(buffer)
        try:
            while n := source.recv_into(buffer):
                if counter is not None:
                    counter[0] += n
                sink.sendall(view[:n])
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for s in self.sockets:
            s.close()
