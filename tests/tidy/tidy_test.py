#!/usr/bin/env python3
"""The house rules that a machine can check, over every source file of the tree.

Each rule is a function (path, lines) -> list of (line number, what is wrong); a line number of 0
stands for the whole file. To see the findings alone: python3 tests/tidy/tidy_test.py --list
"""

import pathlib
import re
import sys
import unittest

from one_definition import defined_twice

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED_FOLDERS = {".git", ".venv", "build", "__pycache__", "generated"}
CODE_SUFFIXES = {".cc", ".h", ".cu", ".cuh", ".py", ".sh", ".proto", ".cmake"}
TEXT_SUFFIXES = CODE_SUFFIXES | {".md", ".json", ".yaml", ".yml", ".txt"}
CPP_SUFFIXES = {".cc", ".h", ".cu", ".cuh"}

MAX_LINES = 450
MAX_COLUMNS = 100

# Lower folders never include upper ones. tests/ and tools/ may include all of them.
CHAIN = ["kernels", "engine", "scheduler", "server"]

# The rooms of a folder by floor, the lowest first. A room includes those on floors below its own,
# so rooms of one floor do not know each other. "" is the folder itself.
FLOORS = {
    "engine": [
        ("base",),
        ("", "json"),
        ("checkpoint",),
        ("memory", "parallel"),
        ("step",),
        ("model",),
    ],
    "server": [
        ("text", "observe", "net"),
        ("reply", "security"),
        ("config", "grammar"),
        ("ranks",),
        ("generation", "http"),
        ("grpc", "openai"),
        ("anthropic", "responses"),
        ("gateway",),
        ("programs",),
    ],
}
FLOOR_OF_ROOM = {folder: {room: floor for floor, rooms in enumerate(floors) for room in rooms}
                 for folder, floors in FLOORS.items()}

# What the folders above may know of the engine: the scheduler the step it describes and what that
# is made of, the server also the engine as a whole and the files of a model's folder.
SEES_OF_ENGINE = {
    "scheduler": ("engine/step.h", "engine/sampling_params.h", "engine/base/"),
    "server": ("engine/step.h", "engine/sampling_params.h", "engine/base/", "engine/engine.h",
               "engine/attention_config.h", "engine/checkpoint/", "engine/json/", "engine/parallel/"),
}

# Library headers (by prefix) that a folder must not include.
ONLY_SERVER = ["spdlog/", "fmt/", "google/protobuf", "grpc", "prometheus/", "absl/flags", "boost/",
               "proto/tidal", "tidal/v1/"]
FORBIDDEN_HEADERS = {
    "kernels": ONLY_SERVER + ["absl/", "nlohmann/"],
    "engine": ONLY_SERVER,
    "scheduler": ONLY_SERVER + ["nlohmann/"],
    "server": [],
}

# Where a library asks for an exception of ours.
MAY_THROW = [pathlib.Path("server/grammar/xgrammar_border.cc")]

# Spelled in two parts, so that this file passes its own check.
BANNED_WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
MACHINE_PATHS = ["/wo" + "rk/", "/ho" + "me/", "/ro" + "ot/", "/op" + "t/"]

STRING = re.compile(r'"(\\.|[^"\\])*"')
INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^">]+)[">]')


def folder_of(path):
    return path.parts[0] if len(path.parts) > 1 else ""


def includes(lines):
    for number, line in enumerate(lines, 1):
        if match := INCLUDE.match(line):
            yield number, match.group(1)


def include_direction(path, lines):
    folder = folder_of(path)
    if folder not in CHAIN or path.suffix not in CPP_SUFFIXES:
        return []
    found = []
    for number, header in includes(lines):
        other = header.split("/")[0]
        if other in CHAIN and CHAIN.index(other) > CHAIN.index(folder):
            found.append((number, f"{folder}/ includes {header}, which lies above it"))
        if other in ("tests", "tools"):
            found.append((number, f"{folder}/ includes {header}"))
        if other == "engine" and not header.startswith(SEES_OF_ENGINE.get(folder, "engine/")):
            found.append((number, f"{folder}/ includes {header}, which is not for it to see"))
        if folder == "scheduler" and other == "kernels":
            found.append((number, f"scheduler/ includes {header}; policy needs no kernels"))
    return found


def room_of(path):
    """The folder and the room there that a file or header is in; the room is "" outside of one."""
    parts = pathlib.PurePosixPath(path).parts
    return parts[0], parts[1] if len(parts) > 2 else ""


def room_direction(path, lines):
    folder, room = room_of(path)
    if folder not in FLOORS or path.suffix not in CPP_SUFFIXES:
        return []
    floors = FLOOR_OF_ROOM[folder]
    if room not in floors:
        return [(0, f"a file of {folder}/ is in one of its rooms in FLOORS")]
    found = []
    for number, header in includes(lines):
        other_folder, other = room_of(header)
        if other_folder == folder and other != room and floors.get(other, -1) >= floors[room]:
            found.append((number, f"{folder}/{room} includes {header}, which is not below it"))
    return found


def forbidden_headers(path, lines):
    folder = folder_of(path)
    found = []
    for number, header in includes(lines):
        for prefix in FORBIDDEN_HEADERS.get(folder, []):
            if header.startswith(prefix):
                found.append((number, f"{folder}/ must not include {header}"))
        if folder == "engine" and path.suffix == ".h" and header == "nlohmann/json.hpp":
            found.append((number, "JSON stays in .cc files of engine/"))
        if path.suffix in (".cu", ".cuh") and header.startswith(("absl/", "spdlog/", "nlohmann/")):
            found.append((number, f"a device file includes {header}"))
    return found


def file_length(path, lines):
    if path.suffix in CODE_SUFFIXES and len(lines) > MAX_LINES:
        return [(0, f"{len(lines)} lines; at most {MAX_LINES}: one concept a file")]
    return []


def line_form(path, lines):
    if path.suffix not in CODE_SUFFIXES and path.name != "CMakeLists.txt":
        return []
    found = []
    for number, line in enumerate(lines, 1):
        # Tables of test cases keep a case's text in one piece.
        text = STRING.sub('""', line) if folder_of(path) == "tests" else line
        if len(text) > MAX_COLUMNS:
            found.append((number, f"{len(line)} columns; at most {MAX_COLUMNS}"))
        if line != line.rstrip():
            found.append((number, "space at the end of the line"))
        if "\t" in line:
            found.append((number, "a tab"))
    return found


def prose_lines(lines):
    """The lines of a Markdown text that can be broken, with their numbers: not the rows of tables,
    nor code, be it between fences or indented by four spaces behind an empty line."""
    in_fence = in_indented = False
    before = ""
    for number, line in enumerate(lines, 1):
        indented = line.startswith("    ") and (in_indented or not before.strip())
        in_indented, before = indented or in_indented and not line.strip(), line
        if line.lstrip().startswith("```"):
            in_fence = not in_fence
        elif not in_fence and not indented and not line.startswith("|"):
            yield number, line


def prose_form(path, lines):
    if path.suffix != ".md" or folder_of(path) not in ("", "docs"):
        return []
    # A line of one word behind its list mark, as of a long link, is as short as it gets.
    one_word = re.compile(r"\s*([-*]|\d+\.)?\s*\S+$")
    return [(number, f"{len(line)} columns; at most {MAX_COLUMNS}")
            for number, line in prose_lines(lines)
            if len(line) > MAX_COLUMNS and not one_word.match(line)]


def include_guard(path, lines):
    if path.suffix not in (".h", ".cuh"):
        return []
    guard = "TIDAL_" + re.sub(r"[^A-Za-z0-9]", "_", str(path)).upper() + "_"
    code = [line for line in lines if line.strip() and not line.startswith("//")]
    if code[:2] == [f"#ifndef {guard}", f"#define {guard}"] and code[-1].startswith("#endif"):
        return []
    return [(0, f"the include guard must be {guard}, before any code")]


def banned_words(path, lines):
    if path.suffix not in TEXT_SUFFIXES:
        return []
    words = re.compile(r"\b(" + "|".join(BANNED_WORDS) + r")\b")
    return [(number, f"unfinished: {match.group(1)}")
            for number, line in enumerate(lines, 1) if (match := words.search(line))]


def machine_paths(path, lines):
    if path.suffix not in TEXT_SUFFIXES and path.name != "CMakeLists.txt":
        return []
    paths = re.compile(r"(?<![\w.}])(" + "|".join(MACHINE_PATHS) + r")\w")
    return [(number, f"a path of one machine: {match.group(1)}")
            for number, line in enumerate(lines, 1) if (match := paths.search(line))]


def without_comments_and_strings(line):
    return STRING.sub('""', line).split("//")[0]


def cpp_form(path, lines):
    if path.suffix not in CPP_SUFFIXES:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        code = without_comments_and_strings(line)
        if re.search(r"\bthrow\b", code) and folder_of(path) != "tests" and path not in MAY_THROW:
            found.append((number, "errors are absl::Status, not exceptions"))
        if path.suffix in (".h", ".cuh") and re.search(r"\busing namespace\b", code):
            found.append((number, "using namespace in a header"))
    return found


RULES = [include_direction, room_direction, forbidden_headers, file_length, line_form,
         prose_form, include_guard, banned_words, machine_paths, cpp_form]


def source_files():
    """Paths of all checked files, relative to the root."""
    stack, files = [ROOT], []
    while stack:
        for entry in sorted(stack.pop().iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                if entry.name not in SKIPPED_FOLDERS:
                    stack.append(entry)
            elif entry.suffix in TEXT_SUFFIXES or entry.name == "CMakeLists.txt":
                files.append(entry.relative_to(ROOT))
    return sorted(files)


def is_data(path):
    """Files of a model, reference outputs and fuzz inputs are data, not text of ours."""
    in_model = path.parts[0] == "models" and path.parts[1] != "train" and path.suffix == ".json"
    return in_model or path.parts[:2] == ("tests", "golden") and path.suffix == ".json" \
        or path.parts[:3] == ("tests", "fuzz", "corpus")


def read_lines(path):
    return (ROOT / path).read_text(encoding="utf-8").split("\n")[:-1]


def findings():
    found = []
    for path in source_files():
        if is_data(path):
            continue
        lines = read_lines(path)
        for rule in RULES:
            found += [f"{path}:{number}: {what}" for number, what in rule(path, lines)]
    return found + files_not_built() + names_defined_twice()


def files_not_built():
    """Sources that no CMakeLists.txt names: dead code, or a test that never runs."""
    lists = "\n".join("\n".join(read_lines(path)) for path in source_files()
                      if path.name == "CMakeLists.txt")
    named = set(re.findall(r"[\w./-]+\.(?:cc|cu)\b", lists))
    names = {name.rsplit("/", 1)[-1] for name in named}
    # A loop over topics: foreach(topic a b ...) with ${topic}_test.cc inside.
    for topics in re.findall(r"foreach\(topic ([^)]*)\)", lists):
        names |= {f"{topic}_test.cc" for topic in topics.split()}
    return [f"{path}:0: no CMakeLists.txt builds it" for path in source_files()
            if path.suffix in (".cc", ".cu") and path.name not in names]


def names_defined_twice():
    files = [(path, read_lines(path)) for path in source_files() if path.suffix in CPP_SUFFIXES]
    return [f"{path}:{number}: {what}" for path, number, what in defined_twice(files)]


class TidyTest(unittest.TestCase):
    def test_the_tree_follows_the_rules(self):
        self.assertEqual([], findings())


class RulesTest(unittest.TestCase):
    """Each rule finds what it is for, and nothing in a line that is right."""

    def check(self, rule, path, lines, expected):
        self.assertEqual(expected, len(rule(pathlib.Path(path), lines)))

    def test_include_direction(self):
        up, down = ['#include "server/flags.h"'], ['#include "kernels/types.h"']
        self.check(include_direction, "engine/a.cc", up, 1)
        self.check(include_direction, "engine/a.cc", down, 0)
        self.check(include_direction, "tests/engine/a_test.cc", up, 0)
        self.check(include_direction, "scheduler/a.cc", ['#include "engine/engine.h"'], 1)
        self.check(include_direction, "scheduler/a.cc", ['#include "engine/base/ids.h"'], 0)
        self.check(include_direction, "server/a.cc", ['#include "engine/engine.h"'], 0)
        self.check(include_direction, "server/a.cc", ['#include "engine/model/weights.h"'], 1)

    def test_room_direction(self):
        logging, gateway = ['#include "server/observe/logging.h"'], ['#include "server/gateway/a.h"']
        self.check(room_direction, "server/http/a.cc", logging, 0)
        self.check(room_direction, "server/http/a.cc", gateway, 1)
        self.check(room_direction, "server/http/a.h", ['#include "server/generation/a.h"'], 1)
        self.check(room_direction, "server/gateway/a.cc", gateway, 0)
        self.check(room_direction, "server/text/jinja/a.cc", ['#include "server/text/a.h"'], 0)
        self.check(room_direction, "server/text/jinja/a.cc", logging, 1)
        self.check(room_direction, "server/a.cc", [], 1)
        self.check(room_direction, "server/attic/a.cc", [], 1)
        self.check(room_direction, "tests/server/http/a_test.cc", gateway, 0)
        self.check(room_direction, "server/net/a.cc", ['#include "engine/base/check.h"'], 0)
        step, model = ['#include "engine/step.h"'], ['#include "engine/model/a.h"']
        self.check(room_direction, "engine/step/a.cc", step, 0)
        self.check(room_direction, "engine/step/a.cc", model, 1)
        self.check(room_direction, "engine/engine.h", step, 0)
        self.check(room_direction, "engine/engine.h", model, 1)
        self.check(room_direction, "engine/base/a.h", step, 1)
        self.check(room_direction, "engine/attic/a.cc", [], 1)

    def test_forbidden_headers(self):
        json, absl = ["#include <nlohmann/json.hpp>"], ['#include "absl/status/status.h"']
        self.check(forbidden_headers, "engine/a.cc", json, 0)
        self.check(forbidden_headers, "engine/a.h", json, 1)
        self.check(forbidden_headers, "scheduler/a.cc", json, 1)
        self.check(forbidden_headers, "kernels/cpu/a.cc", absl, 1)
        self.check(forbidden_headers, "engine/a.cc", absl, 0)
        self.check(forbidden_headers, "server/a.cc", json + absl, 0)

    def test_file_length(self):
        self.check(file_length, "engine/a.cc", [""] * MAX_LINES, 0)
        self.check(file_length, "engine/a.cc", [""] * (MAX_LINES + 1), 1)

    def test_line_form(self):
        self.check(line_form, "a.py", ["x" * MAX_COLUMNS], 0)
        self.check(line_form, "a.py", ["x" * (MAX_COLUMNS + 1)], 1)
        self.check(line_form, "a.py", ["x ", "\tx"], 2)
        literal = ['f("' + "x" * MAX_COLUMNS + '")']
        self.check(line_form, "tests/a_test.cc", literal, 0)
        self.check(line_form, "engine/a.cc", literal, 1)

    def test_prose_form(self):
        long = "word " * MAX_COLUMNS
        self.check(prose_form, "docs/a.md", [long, "- " + long, "# A", long], 3)
        self.check(prose_form, "README.md", [long], 1)
        self.check(prose_form, "models/a.md", [long], 0)
        self.check(prose_form, "docs/a.md", ["| " + long, "- " + "x" * MAX_COLUMNS], 0)
        self.check(prose_form, "docs/a.md", ["```sh", long, "```", long], 1)
        self.check(prose_form, "docs/a.md", ["a:", "", "    " + long, "", "    " + long], 0)
        self.check(prose_form, "docs/a.md", ["- a", "    " + long], 1)

    def test_include_guard(self):
        good = ["// About.", "#ifndef TIDAL_A_B_H_", "#define TIDAL_A_B_H_", "",
                "#endif  // TIDAL_A_B_H_"]
        self.check(include_guard, "a/b.h", good, 0)
        self.check(include_guard, "a/c.h", good, 1)
        self.check(include_guard, "a/b.h", ["#pragma once"], 1)

    def test_words_and_paths(self):
        self.check(banned_words, "a.cc", ["// " + BANNED_WORDS[0] + ": later"], 1)
        self.check(banned_words, "a.cc", ["// uses the method of " + BANNED_WORDS[2] + "L"], 0)
        self.check(machine_paths, "a.md", ["see " + MACHINE_PATHS[1] + "me/x"], 1)
        self.check(machine_paths, "a.md", ["see docs" + MACHINE_PATHS[0] + "x"], 0)

    def test_cpp_form(self):
        self.check(cpp_form, "engine/a.cc", ["  throw 1;", "  // libraries throw", '"throw"'], 1)
        self.check(cpp_form, "engine/a.h", ["using namespace std;"], 1)

    def test_names_defined_twice(self):
        def twice(*files):
            found = defined_twice([(pathlib.Path(path), ["namespace tidal {", *lines, "}"])
                                   for path, lines in files])
            return [what.split(" is ")[0] for _, _, what in found]

        one = ["// class A {};", "class A final : public B<int> {", " public:", "  int F() {}", "};"]
        self.assertEqual(["tidal::A"], twice(("a/a.h", one), ("b/a.h", ["struct A", "{};"])))
        self.assertEqual(["tidal::A"], twice(("a/a.h", one), ("b/a.cc", ["enum class A : int {}"])))
        self.assertEqual([], twice(("a/a.h", one), ("a/a.h", one)))
        self.assertEqual([], twice(("a/a.h", one), ("b/a.h", ["class A;", "void F(struct A a);"])))
        for space in ("", "x"):
            inside = [f"namespace {space} {{", *one, "}"]
            self.assertEqual([], twice(("a/a.h", one), ("b/a.cc", inside)))
        nested = ["struct B {", "  struct A {};", "  void F() { if (true) {} }", "};"]
        self.assertEqual([], twice(("a/a.h", one), ("b/b.h", nested)))
        function = ["inline int F(int a, X b = X(1, 2)) {", "  return a;", "}"]
        self.assertEqual(["tidal::F(int, X)"],
                         twice(("a/a.h", function), ("b/a.h", ["int F(int, X) { return 2; }"])))
        self.assertEqual([], twice(("a/a.h", function), ("b/a.h", ["int F(float a) { return 2; }"])))


if __name__ == "__main__":
    if "--list" in sys.argv:
        print("\n".join(findings()))
    else:
        unittest.main()
