"""A mail server on loopback that keeps what it takes."""

import email
import email.policy
import socketserver
import threading
from email.message import EmailMessage


class Mailbox:
    """answers: what it says to a word of the protocol instead of taking it, e.g. {"RCPT": "550 no such person"}."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.answers: dict[str, str] = {}
        mailbox = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 mailbox")
                while line := self.rfile.readline().decode().strip():
                    word = line.split()[0].upper()
                    if word in mailbox.answers:
                        self.say(mailbox.answers[word])
                    elif word == "DATA":
                        self.say("354 go on")
                        mailbox.take(self.rfile)
                        self.say("250 taken")
                    else:
                        self.say("221 bye" if word == "QUIT" else "250 yes")
                    if word == "QUIT":
                        return

            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"smtp://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, lines) -> None:
        raw = b""
        while (line := lines.readline()) not in (b".\r\n", b""):
            raw += line
        self.got.append(email.message_from_bytes(raw, policy=email.policy.default))

    @property
    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.got]

    def text(self, number: int = -1) -> str:
        return self.got[number].get_content()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
