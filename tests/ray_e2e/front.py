"""A front before a dashboard, as a company has one: TLS, and who asks must say who it is."""

import socket
import ssl
import threading

class Front:
    """Passes each request on, and keeps what its head says."""

    def __init__(self, certificate, key, port):
        self.behind = port
        # The answer to everything, in place of the dashboard's.
        self.refuses = False
        self.heads = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "https://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.spawn(self.accept)

    def spawn(self, work, *words):
        threading.Thread(target=work, args=words, daemon=True).start()

    def accept(self):
        while True:
            try:
                self.spawn(self.serve, self.listener.accept()[0])
            except OSError:
                return

    def serve(self, plain):
        try:
            with self.context.wrap_socket(plain, server_side=True) as client:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = client.recv(65536)
                    if not more:
                        return
                    head += more
                head, body = head.split(b"\r\n\r\n", 1)
                first, *lines = head.decode("latin-1").split("\r\n")
                fields = [tuple(line.split(": ", 1)) for line in lines]
                self.heads.append((first.split()[1], fields))
                if self.refuses:
                    client.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
                    return
                is_one = not any(name.lower() == "upgrade" for name, _ in fields)
                if is_one:
                    # One request of a connection is all that is looked at.
                    lines = [line for line in lines if not line.lower().startswith("connection:")]
                    lines.append("Connection: close")
                with socket.create_connection(("127.0.0.1", self.behind)) as server:
                    server.sendall("\r\n".join([first, *lines]).encode("latin-1") + b"\r\n\r\n" + body)
                    self.spawn(self.pour, client, server)
                    if is_one:
                        # Ray's answer does not always say so.
                        status, answer = server.recv(65536).split(b"\r\n", 1)
                        client.sendall(status + b"\r\nConnection: close\r\n" + answer)
                    self.pour(server, client)
        except (OSError, ValueError):
            # Of a client that does not like the certificate, too, and of a dashboard that is gone.
            pass

    @staticmethod
    def pour(source, target):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    return
                target.sendall(data)
        except OSError:
            pass

    def asked(self):
        """Of each request since the last call: the path, the header's fields, and as they came."""
        found, self.heads = self.heads, []
        return [
            (path, {name.lower(): value for name, value in fields}, fields) for path, fields in found
        ]

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
