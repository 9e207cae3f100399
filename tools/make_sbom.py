#!/usr/bin/env python3
"""Lists what an installed folder contains and is built from, as SPDX 2.3 in JSON.

    tools/make_sbom.py --install_dir=DIR --build_dir=BUILD --output=FILE

Programs and shared libraries are files with their checksums. A library belongs to the Debian
package that has the same file; code from headers and static libraries to the packages of the
headers that the compiler read. Licences are those that the packages' copyright files declare for
the upstream's own code. Needs Debian's dpkg-query, and BUILD made by Ninja.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LICENCE = "Apache-2.0"  # ours
DOCUMENTATION = pathlib.Path("/usr/share/doc")
# The folders whose objects become programs.
COMPILED = ("kernels/", "engine/", "scheduler/", "server/", "proto/", "tools/bench/")
OUR_LIBRARIES = "libtidal_"

# Source packages of the compiler, the C library and the kernel's headers: every program has them.
TOOLCHAIN = re.compile(r"(gcc|clang|llvm-toolchain)-[\d.]+|glibc|linux")

# What Debian calls licences in the first paragraph ("Files: *") of copyright files.
SPDX_NAMES = {
    "Apache-2.0": "Apache-2.0", "BSD-2-Clause": "BSD-2-Clause", "BSD-3-Clause": "BSD-3-Clause",
    "BSD-3-clause": "BSD-3-Clause", "BSD-3-Clause~Google": "BSD-3-Clause",
    "BSD-3-google": "BSD-3-Clause", "BSL-1.0": "BSL-1.0", "Expat": "MIT", "MIT": "MIT",
    "Expat with embedded exception": "MIT WITH fmt-exception", "X11": "MIT", "Zlib": "Zlib",
    "BSD-3-clause-Cambridge with BINARY LIBRARY-LIKE PACKAGES exception":
        "BSD-3-Clause WITH PCRE2-exception",
}
# Source packages whose copyright files a machine cannot read.
LICENCES = {
    "c-ares": "MIT", "glibc": "LGPL-2.1-or-later", "onednn": "Apache-2.0",
}
NVIDIA = "https://docs.nvidia.com"
GCC_RUNTIME = "GPL-3.0-or-later WITH GCC-exception-3.1"


def fail(message):
    sys.exit(f"make_sbom: {message}")


def run(*command):
    """Standard output; dpkg-query ends with 1 where it knows only some of the names."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True).stdout


def digest(path, algorithm):
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


def spdx_id(kind, name):
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")


def owners(patterns):
    """{path: package} of the files that match one of dpkg-query's patterns."""
    found = {}
    for line in run("dpkg-query", "--search", *patterns).splitlines() if patterns else []:
        packages, _, path = line.partition(": ")
        if not packages.startswith("diversion by"):
            found[path] = packages.split(", ")[0]
    return found


def library_packages(libraries):
    """{library: package}, by name and content: several packages may have files of one name."""
    by_name = {library.name: library for library in libraries}
    found = {}
    for path, package in owners(["*.so*"]).items():  # many patterns take dpkg-query very long
        library = by_name.get(os.path.basename(path))
        if library is not None and os.path.isfile(path) and \
                library.read_bytes() == pathlib.Path(path).read_bytes():
            found[library] = package
    if missing := set(libraries) - set(found):
        fail(f"no package has {', '.join(sorted(map(str, missing)))}")
    return found


def headers_of(ninja_deps):
    """The absolute paths that Ninja's list of dependencies has for objects of programs."""
    headers, ours = set(), False
    for line in ninja_deps.splitlines():
        if line.startswith("    "):
            if ours and line.strip().startswith("/"):
                headers.add(os.path.normpath(line.strip()))
        else:
            ours = line.startswith(COMPILED)
    return headers


def of_others(headers, *folders):
    """Without those in these folders of ours, but for what others wrote there."""
    ours = tuple(f"{folder}/" for folder in folders)
    return {header for header in headers
            if not header.startswith(ours) or "/third_party/" in header}


def version_in(header, names):
    """1.2.3 of a header that defines its parts as macros."""
    text = pathlib.Path(header).read_text()
    return ".".join(re.search(rf"^\s*#define {name}\s+(\d+)", text, re.MULTILINE)[1]
                    for name in names)


def cuda_components(headers):
    """What NVIDIA's headers among those read belong to; the headers that are left."""
    components, rest = {}, set()
    for header in sorted(headers):
        name = os.path.basename(header)
        if "/cudnn_frontend" in header:
            components.setdefault("cudnn-frontend", None)
            if name == "cudnn_frontend_version.h":
                components["cudnn-frontend"] = version_in(
                    header, [f"CUDNN_FRONTEND_{part}_VERSION" for part in
                             ("MAJOR", "MINOR", "PATCH")])
        elif name.startswith("cudnn"):
            components.setdefault("cudnn", None)
            if name in ("cudnn_version.h", "cudnn_version_v9.h"):
                components["cudnn"] = version_in(
                    header, ["CUDNN_MAJOR", "CUDNN_MINOR", "CUDNN_PATCHLEVEL"])
        elif re.search(r"/(cuda|cu\d+)([-/.]|$)", header):
            components.setdefault("cuda-toolkit", None)
            if name == "cuda_runtime_api.h":
                number = int(version_in(header, ["CUDART_VERSION"]))
                components["cuda-toolkit"] = f"{number // 1000}.{number % 1000 // 10}"
        else:
            rest.add(header)
    return components, rest


def xgrammar_version(ninja_deps, build_dir):
    """Of the library whose sources were compiled along; None where they were not."""
    match = re.search(r"^\s+(\S*/third_party/xgrammar)/include/", ninja_deps, re.MULTILINE)
    if match is None:
        return None
    return (build_dir / match[1] / "version.txt").read_text().strip()  # absolute or relative


def declared_licence(package, source):
    """Of the upstream's own code, as Debian's copyright file declares it."""
    if source.startswith("gcc-"):
        return GCC_RUNTIME
    if source in LICENCES:
        return LICENCES[source]
    try:
        text = (DOCUMENTATION / package / "copyright").read_text()
    except OSError as error:
        fail(f"{package}: {error}")
    match = re.search(r"^Files:\s*\*\s.*?^License:\s*(.*?)\s*$", text, re.MULTILINE | re.DOTALL)
    if match is None or match[1] not in SPDX_NAMES:
        fail(f"{package}: its copyright file has {match[1] if match else 'no Files: *'}; add "
             f"{source} to LICENCES or that name to SPDX_NAMES")
    return SPDX_NAMES[match[1]]


def debian_packages(names):
    """{name: (version, architecture, source, homepage)}; a name may have :ARCHITECTURE."""
    fields = "${binary:Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t${Homepage}\\n"
    lines = run("dpkg-query", "--show", f"--showformat={fields}", *names).splitlines()
    found = {}
    for line in lines:
        name, *rest = line.split("\t")
        found[name.partition(":")[0]] = rest
    return found


class Document:
    def __init__(self, name, version):
        self.packages, self.files, self.relationships, self.licences = [], [], [], []
        self._name, self._version = name, version

    def relate(self, subject, kind, other):
        self.relationships.append({"spdxElementId": subject, "relationshipType": kind,
                                   "relatedSpdxElement": other})

    def add_package(self, name, version, licence, **more):
        package = {"SPDXID": spdx_id("Package", name), "name": name, "versionInfo": version,
                   "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                   "licenseConcluded": "NOASSERTION", "licenseDeclared": licence,
                   "copyrightText": "NOASSERTION", **more}
        self.packages.append(package)
        return package["SPDXID"]

    def add_file(self, path, folder):
        name = "./" + str(path.relative_to(folder))
        self.files.append({"SPDXID": spdx_id("File", name), "fileName": name,
                           "checksums": [{"algorithm": algorithm.upper(),
                                          "checksumValue": digest(path, algorithm)}
                                         for algorithm in ("sha1", "sha256")],
                           "licenseConcluded": "NOASSERTION",
                           "licenseInfoInFiles": ["NOASSERTION"], "copyrightText": "NOASSERTION"})
        return self.files[-1]["SPDXID"]

    def verification_code(self):
        """SPDX's: the SHA-1 of the sorted SHA-1s of all files."""
        digests = sorted(file["checksums"][0]["checksumValue"] for file in self.files)
        return hashlib.sha1("".join(digests).encode()).hexdigest()

    def to_json(self):
        content = {"packages": self.packages, "files": self.files,
                   "relationships": self.relationships,
                   "hasExtractedLicensingInfos": self.licences}
        # Equal contents have equal names, as the SPDX document's name space must be unique.
        code = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
        seconds = int(os.environ.get("SOURCE_DATE_EPOCH", datetime.datetime.now().timestamp()))
        created = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
        name = f"{self._name}-{self._version}"
        return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
                "name": name, "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{code}",
                "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                                 "creators": ["Tool: tidalserve-make_sbom"]}, **content}


def add_debian_package(document, name, fields):
    version, architecture, source, homepage = fields
    locator = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}"
    return document.add_package(
        name, version, declared_licence(name, source),
        licenseComments=f"Of the upstream's code; {DOCUMENTATION}/{name}/copyright has all.",
        sourceInfo=f"built from Debian's source package {source}",
        **({"homepage": homepage} if homepage else {}),
        externalRefs=[{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                       "referenceLocator": locator}])


def add_cuda(document, main, components):
    """The frontend's headers are in the programs; libraries are the machine's or the image's."""
    for name, version in components.items():
        is_frontend = name == "cudnn-frontend"
        package = document.add_package(name, version or "NOASSERTION",
                                       "MIT" if is_frontend else "LicenseRef-NVIDIA",
                                       supplier="Organization: NVIDIA")
        document.relate(main, "STATIC_LINK" if is_frontend else "DYNAMIC_LINK", package)
    if components.keys() - {"cudnn-frontend"}:
        document.licences.append({
            "licenseId": "LicenseRef-NVIDIA", "name": "NVIDIA's licences of CUDA and cuDNN",
            "extractedText": f"{NVIDIA}/cuda/eula and "
                             f"{NVIDIA}/deeplearning/cudnn/latest/reference/eula.html"})


def project_version():
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"project\(tidalserve VERSION ([\d.]+)", text)[1]


def make_document(install_dir, build_dir, ninja_deps):
    version = project_version()
    document = Document("tidalserve", version)
    programs = sorted((install_dir / "bin").iterdir())
    libraries = sorted(path for path in (install_dir / "lib").iterdir() if not path.is_symlink())
    files = {path: document.add_file(path, install_dir) for path in programs + libraries}
    main = document.add_package(
        "tidalserve", version, LICENCE, filesAnalyzed=True, primaryPackagePurpose="APPLICATION",
        packageVerificationCode={"packageVerificationCodeValue": document.verification_code()},
        licenseInfoFromFiles=["NOASSERTION"])
    document.relate("SPDXRef-DOCUMENT", "DESCRIBES", main)
    for path in files:
        document.relate(main, "CONTAINS", files[path])
    if (install_dir / "models/tidal-nano").is_dir():
        model = document.add_package("tidal-nano", version, LICENCE, comment="A language model, "
                                     "in models/tidal-nano; its README.md names what it learned.")
        document.relate(main, "CONTAINS", model)

    library_owner = library_packages([library for library in libraries
                                      if not library.name.startswith(OUR_LIBRARIES)])
    components, headers = cuda_components(of_others(headers_of(ninja_deps), ROOT, build_dir))
    headers = {header for header in headers if "/third_party/xgrammar/" not in header}
    header_owner = owners(sorted(headers))
    if strangers := headers - header_owner.keys():
        fail(f"no package has {min(strangers)}")
    shipped = {package.partition(":")[0] for package in library_owner.values()}
    packages = debian_packages(sorted({*library_owner.values(), *header_owner.values(), "libc6"}))
    ids = {}
    for name in sorted(shipped):
        ids[name] = add_debian_package(document, name, packages[name])
        document.relate(main, "DYNAMIC_LINK", ids[name])
    for library, package in library_owner.items():
        document.relate(files[library], "EXPANDED_FROM_ARCHIVE", ids[package.partition(":")[0]])
    # The library of a package whose headers were read: it is listed already.
    sources = {packages[name][2] for name in shipped}
    for name in sorted({owner.partition(":")[0] for owner in header_owner.values()}):
        if packages[name][2] not in sources and not TOOLCHAIN.fullmatch(packages[name][2]):
            document.relate(main, "STATIC_LINK", add_debian_package(document, name, packages[name]))
    # The machine's or the image's own.
    document.relate(main, "DYNAMIC_LINK", add_debian_package(document, "libc6", packages["libc6"]))
    add_cuda(document, main, components)
    if (xgrammar := xgrammar_version(ninja_deps, build_dir)) is not None:
        document.relate(main, "STATIC_LINK", document.add_package(
            "xgrammar", xgrammar, "Apache-2.0", supplier="Organization: MLC AI"))
    return document.to_json()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for option in ("--install_dir", "--build_dir", "--output"):
        parser.add_argument(option, type=pathlib.Path, required=True)
    options = parser.parse_args()
    ninja_deps = run("ninja", "-C", options.build_dir, "-t", "deps")
    if not headers_of(ninja_deps):
        fail(f"{options.build_dir} has no objects that Ninja built")
    document = make_document(options.install_dir.resolve(), options.build_dir.resolve(), ninja_deps)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
