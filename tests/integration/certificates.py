"""Certificates for a test, made by the openssl program (Debian package openssl)."""

import os
import pathlib
import subprocess


class Authority:
    """Signs certificates; its own is `ca`."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.ca = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.ca,
                 "-days", "2", "-subj", f"/CN={name}")

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1"):
        """The paths of a new certificate and its key."""
        folder = self.folder / name
        folder.mkdir()
        request, extensions = folder / "request.pem", folder / "extensions"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:false\n")
        _openssl("req", *_NEW_KEY, "-keyout", folder / "key.pem", "-out", request,
                 "-subj", f"/CN={name}")
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key,
                 "-CAcreateserial", "-days", "2", "-extfile", extensions,
                 "-out", folder / "cert.pem")
        return folder / "cert.pem", folder / "key.pem"


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class SwingingFolder:
    """Files as Kubernetes mounts a secret: all of them change in one step."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir()
        self._version = 0

    def put(self, **files):
        """Each keyword is a name, "_" for ".", and its value the text or the path of one."""
        self._version += 1
        folder = self.path / f"..{self._version}"
        folder.mkdir()
        for keyword, content in files.items():
            if isinstance(content, pathlib.Path):
                content = content.read_text()
            (folder / keyword.replace("_", ".")).write_text(content)
            link = self.path / keyword.replace("_", ".")
            if not link.is_symlink():
                link.symlink_to(f"..data/{link.name}")
        (self.path / "..new").symlink_to(folder.name)
        os.replace(self.path / "..new", self.path / "..data")
