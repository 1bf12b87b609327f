"""An S3 server over HTTP on this machine (moto's), which can be told to fail as a busy store does."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, nullcontext

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "survey"

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class FlakyS3:
    """
    Moto's application, of whose answers a share goes wrong, in turn: refused, done but answered with an error, cut
    off in the middle, slow. Requests of Google's and Azure's clients are answered like those of Amazon's, where they
    differ by a header alone.
    """

    FAULTS = ("refused", "done, but an error", "cut off", "slow")

    def __init__(self):
        self.share = 0.0
        self.broken = ""  # end of the path of an object at which the server always fails
        self.denied = ""  # part of the path of objects that it gives to nobody
        self.elsewhere = ""  # URL to which it sends clients
        self.n_requests: Counter[str] = Counter()
        self.n_faults: Counter[str] = Counter()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._random = random.Random(1)
        self._lock = threading.Lock()
        self._put = threading.Lock()  # moto looks whether an object is there and writes it in two steps

    def restart(self):
        """Begin the series of faults anew, so that no test depends on those before it."""
        self._random = random.Random(1)
        self.n_faults.clear()

    def __call__(self, environ, start_response):
        with self._lock:
            self.n_requests[environ["REQUEST_METHOD"]] += 1
            fault = None
            if self._random.random() < self.share:
                fault = self.FAULTS[self.n_faults.total() % len(self.FAULTS)]
                self.n_faults[fault] += 1
        _as_amazon(environ)
        if self.broken and environ["PATH_INFO"].endswith(self.broken):
            return _error(start_response, "500 Internal Server Error")
        if self.denied and self.denied in environ["PATH_INFO"]:
            return _error(start_response, "403 Forbidden")
        if fault == "refused":
            return _error(start_response)
        if fault == "denied":  # by name only
            return _error(start_response, "403 Forbidden")
        if fault == "moved":  # by name only
            return _error(start_response, "301 Moved Permanently")
        if fault == "elsewhere":  # by name only
            start_response("307 Temporary Redirect", [("Content-Length", "0"), ("Location", self.elsewhere)])
            return [b""]
        if fault == "slow":
            time.sleep(0.3)
        if fault == "done, but an error":
            with self._put:
                list(self._app(environ, lambda *_args: None))
            return _error(start_response)
        with self._put if environ["REQUEST_METHOD"] == "PUT" else nullcontext():
            body = self._app(environ, start_response)
        if fault == "cut off":
            return [b"".join(body)[:-1]]  # fewer bytes than the header promised
        return body


def _as_amazon(environ):
    """Sign a request, which moto does not check, and bring its condition to Amazon's form."""
    if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):
        scope = f"{ENVIRONMENT['AWS_ACCESS_KEY_ID']}/20260101/us-east-1/s3/aws4_request"
        environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
        environ["HTTP_IF_NONE_MATCH"] = "*"


def _error(start_response, status="503 Slow Down"):
    start_response(status, [("Content-Length", "0")])
    return [b""]


class _Quiet(WSGIRequestHandler):
    def log(self, *_args):
        pass


@contextmanager
def serve():
    """The application and the URL at which it answers; it has one empty bucket."""
    app = FlakyS3()
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    import boto3

    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="nobody",
                          aws_secret_access_key="nothing")  # fmt: skip
    with closing(client):  # else its socket is found open later, in another test
        client.create_bucket(Bucket=BUCKET)
    try:
        yield app, url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
