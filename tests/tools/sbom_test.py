"""What an installation contains is what its SBOM says, by SPDX's own validator.

    sbom_test.py BUILD
"""

import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from spdx_tools.spdx.model import ChecksumAlgorithm, RelationshipType, SpdxNoAssertion
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = None

spec = importlib.util.spec_from_file_location("make_sbom", ROOT / "tools/make_sbom.py")
make_sbom = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_sbom)


class InstalledTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = pathlib.Path(cls.temporary.name)
        subprocess.run(["cmake", "--install", BUILD, "--prefix", cls.folder, "--component",
                        "programs"], check=True, capture_output=True)
        cls.path = cls.folder / "share/doc/tidalserve/tidalserve.spdx.json"
        cls.document = parse_file(str(cls.path))

    def related(self, kind):
        """{subject: objects} of one kind of relationship."""
        found = {}
        for relationship in self.document.relationships:
            if relationship.relationship_type == kind:
                found.setdefault(relationship.spdx_element_id, set()).add(
                    relationship.related_spdx_element_id)
        return found

    def test_it_is_valid(self):
        messages = validate_full_spdx_document(self.document)
        self.assertEqual([], [message.validation_message for message in messages])

    def test_every_installed_file_is_listed(self):
        installed = {"./" + str(path.relative_to(self.folder)): path
                     for name in ("bin", "lib") for path in (self.folder / name).iterdir()
                     if not path.is_symlink()}
        listed = {file.name: file for file in self.document.files}
        self.assertEqual(installed.keys(), listed.keys())
        self.assertIn("./bin/tidal-server", listed)
        for name, file in listed.items():
            sums = {checksum.algorithm: checksum.value for checksum in file.checksums}
            data = installed[name].read_bytes()
            expected = {ChecksumAlgorithm.SHA1: hashlib.sha1(data).hexdigest(),
                        ChecksumAlgorithm.SHA256: hashlib.sha256(data).hexdigest()}
            self.assertEqual(expected, sums, name)

    def test_every_library_but_ours_is_of_a_package(self):
        origins = self.related(RelationshipType.EXPANDED_FROM_ARCHIVE)
        packages = {package.spdx_id for package in self.document.packages}
        libraries = {file.spdx_id for file in self.document.files
                     if file.name.startswith("./lib/")
                     and not file.name.startswith("./lib/libtidal_")}
        self.assertGreater(len(libraries), 10)
        self.assertEqual(libraries, set(origins))
        for library, of in origins.items():
            self.assertEqual(1, len(of & packages), library)

    def test_every_package_has_version_and_licence(self):
        for package in self.document.packages:
            self.assertNotIsInstance(package.license_declared, (SpdxNoAssertion, type(None)),
                                     package.name)
            self.assertRegex(package.version, r"^\d", package.name)

    def test_linked_libraries_and_compiled_headers_are_there(self):
        names = {package.spdx_id: package.name for package in self.document.packages}
        (main,) = self.related(RelationshipType.DESCRIBES)["SPDXRef-DOCUMENT"]
        self.assertEqual("tidalserve", names[main])
        linked = {names[of] for of in self.related(RelationshipType.DYNAMIC_LINK)[main]}
        compiled = {names[of] for of in self.related(RelationshipType.STATIC_LINK)[main]}
        self.assertLessEqual({"libc6", "libssl3", "libstdc++6"}, linked)
        self.assertLessEqual({"nlohmann-json3-dev", "xgrammar"}, compiled)
        self.assertTrue(any(name.startswith("libboost") for name in compiled), compiled)
        # Of the tests alone.
        self.assertFalse([name for name in compiled | linked if "gtest" in name])

    def test_equal_installations_have_equal_documents(self):
        again = self.folder / "again.json"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        documents = []
        for path in (self.path, again):
            subprocess.run([ROOT / "tools/make_sbom.py", f"--install_dir={self.folder}",
                            f"--build_dir={BUILD}", f"--output={path}"], check=True,
                           env=environment)
            documents.append(path.read_text())
        self.assertEqual(*documents)
        self.assertIn('"2023-11-14T22:13:20Z"', documents[0])


class PartsTest(unittest.TestCase):
    def test_headers_are_those_of_programs(self):
        deps = ("server/CMakeFiles/a.dir/a.cc.o: #deps 2, deps mtime 1 (VALID)\n"
                "    ../../server/a.h\n    /usr/include/x/../b.h\n\n"
                "tests/server/CMakeFiles/t.dir/t.cc.o: #deps 1, deps mtime 1 (VALID)\n"
                "    /usr/include/gtest/gtest.h\n")
        self.assertEqual({"/usr/include/b.h"}, make_sbom.headers_of(deps))

    def test_our_own_headers_are_of_nobody_else(self):
        ours = {"/source/kernels/cuda/a.h", "/build/generated/a.pb.h"}
        others = {"/source/build/third_party/cudnn_frontend/include/a.h", "/usr/include/b.h"}
        self.assertEqual(others, make_sbom.of_others(ours | others, "/source", "/build"))

    def test_versions_of_nvidias_components(self):
        with tempfile.TemporaryDirectory() as folder:
            cuda = pathlib.Path(folder, "cuda/include")
            frontend = pathlib.Path(folder, "cudnn_frontend/include")
            for path, text in ((cuda / "cuda_runtime_api.h", "#define CUDART_VERSION  13000\n"),
                               (cuda / "cudnn_version.h", "#define CUDNN_MAJOR 9\n"
                                "#define CUDNN_MINOR 19\n#define CUDNN_PATCHLEVEL 0\n"),
                               (frontend / "cudnn_frontend_version.h",
                                "#define CUDNN_FRONTEND_MAJOR_VERSION 1\n"
                                "#define CUDNN_FRONTEND_MINOR_VERSION 16\n"
                                "#define CUDNN_FRONTEND_PATCH_VERSION 0\n")):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            headers = {str(path) for path in pathlib.Path(folder).rglob("*.h")}
            components, rest = make_sbom.cuda_components({*headers, "/usr/include/b.h"})
        self.assertEqual({"cuda-toolkit": "13.0", "cudnn": "9.19.0", "cudnn-frontend": "1.16.0"},
                         components)
        self.assertEqual({"/usr/include/b.h"}, rest)

    def test_a_library_of_no_package_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            library = pathlib.Path(folder, "libssl.so.3")
            library.write_text("not Debian's")
            with self.assertRaisesRegex(SystemExit, "no package has .*libssl.so.3"):
                make_sbom.library_packages([library])

    def test_a_licence_that_is_not_known_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(make_sbom, "DOCUMENTATION", pathlib.Path(folder)):
            copyright_file = pathlib.Path(folder, "libx/copyright")
            copyright_file.parent.mkdir()
            copyright_file.write_text("Files: *\nCopyright: A\nLicense: Expat\n")
            self.assertEqual("MIT", make_sbom.declared_licence("libx", "x"))
            copyright_file.write_text("Files: *\nCopyright: A\nLicense: Unheard-of\n")
            with self.assertRaisesRegex(SystemExit, "libx: its copyright file has Unheard-of"):
                make_sbom.declared_licence("libx", "x")


if __name__ == "__main__":
    BUILD = sys.argv.pop()
    unittest.main()
