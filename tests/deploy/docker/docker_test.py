"""The container's recipe, as far as it can be checked without a container engine.

    docker_test.py BUILD    folder of the build whose programs the image gets

deploy/docker/prove_in_chroot.sh runs all of it.
"""

import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOCKER = ROOT / "deploy/docker"
BUILD = None


def instructions():
    """Name and text of each instruction of the Dockerfile, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


class DockerfileTest(unittest.TestCase):
    def test_stages_exist(self):
        stages = {"scratch", "debian:12-slim"}
        for name, text in instructions():
            if name == "FROM":
                base, _, stage = re.fullmatch(r"(\S+)( AS (\S+))?", text).groups()
                for variant in ("cpu", "cuda"):
                    self.assertIn(base.replace("${VARIANT}", variant), stages)
                stages.add(stage)
            elif match := re.match(r"--from=(\S+)", text):
                self.assertIn(match[1], stages)

    def test_what_is_copied_exists_and_is_not_ignored(self):
        kept = [line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
                if line.startswith("!")]
        for path in kept:
            self.assertTrue((ROOT / path).exists(), path)
        for name, text in instructions():
            if name == "COPY" and not text.startswith("--from"):
                source = text.split()[0]
                self.assertTrue((ROOT / source).exists(), source)
                self.assertTrue(source == "." or any(
                    fnmatch.fnmatch(source, path + "*") for path in kept), source)

    def test_scripts_that_run_take_their_options(self):
        runs = " ".join(text for name, text in instructions() if name == "RUN")
        for script in re.findall(r"(?:deploy|tools)/[\w/]+\.sh", runs):
            self.assertTrue(os.access(ROOT / script, os.X_OK), script)
        texts = "".join(path.read_text() for path in DOCKER.glob("*_stage.sh"))
        for option in re.findall(r"--\w+=", runs):
            self.assertIn(option, texts)

    def test_it_ends_without_root(self):
        users = [text for name, text in instructions() if name == "USER"]
        self.assertEqual(["65532:65532"], users)

    def test_packages_are_pinned(self):
        for line in (DOCKER / "cuda_packages.txt").read_text().splitlines():
            self.assertRegex(line, r"^#|^[\w-]+==[\d.]+$")

    def test_scripts_have_no_findings(self):
        if not shutil.which("shellcheck"):
            self.skipTest("shellcheck is not installed")
        result = subprocess.run(["shellcheck", *DOCKER.glob("*.sh")], capture_output=True,
                                text=True)
        self.assertEqual("", result.stdout)


class ImageTest(unittest.TestCase):
    def test_the_image_of_this_build_runs(self):
        if BUILD is None:
            self.skipTest("no build is given")
        with tempfile.TemporaryDirectory() as folder:
            installed, image = pathlib.Path(folder, "installed"), pathlib.Path(folder, "image")
            run("cmake", "--install", BUILD, "--prefix", installed, "--component", "programs",
                "--strip")
            run(DOCKER / "runtime_stage.sh", f"--install_dir={installed}", f"--root={image}",
                *cuda_of(installed))
            self.assertEqual({"tidal-gateway", "tidal-server"},
                             set(os.listdir(image / "tidalserve/bin")))
            self.assertTrue((image / "usr/share/doc/tidalserve/tidalserve.spdx.json").is_file())
            if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
                self.skipTest("only root may mount and chroot")
            print(run(DOCKER / "run_image.sh", image), end="")


def cuda_of(installed):
    """The option for programs that load CUDA."""
    text = run("ldd", installed / "bin/tidal-server")
    library = re.search(r"libcublasLt\S* => (\S+)/lib\w*/", text)
    return [f"--cuda_dir={library[1]}"] if library else []


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    if len(sys.argv) == 2:
        BUILD = pathlib.Path(sys.argv.pop())
    unittest.main()
