"""An HTTP function that tells how it was started, so that a test can see that an image means what it says."""

import http.server
import json
import os
import pwd
import ssl


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(
            {
                "path": self.path,
                "directory": os.getcwd(),
                "user": pwd.getpwuid(os.getuid()).pw_name,
                "greeting": os.environ.get("GREETING"),
                "in_the_lower_layer": os.path.exists("/srv/app/removed.txt"),
                "kept": os.path.exists("/srv/app/kept.txt"),
                "openssl": ssl.OPENSSL_VERSION.split()[0],
            }
        )

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer({"path": self.path, "you_sent": body.decode()})

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print("request", format % args, flush=True)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
