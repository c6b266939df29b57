"""The checks of the sources find what they are for: each gets a small tree with one planted fault."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run(tool, files):
    """(exit status, output) of a check on a tree of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, TOOLS / tool, folder], capture_output=True, text=True)
        return done.returncode, done.stdout


class Arrows(unittest.TestCase):
    def check(self, file, include, ok):
        status, output = run("check-arrows", {file: f"#include {include}\n"})
        self.assertEqual(status, 0 if ok else 1, output)
        if not ok:
            self.assertIn(f"{file}:1: ", output)

    def test_an_include_along_the_arrows_passes(self):
        self.check("mlxcpp/lm/step.h", '"mlxcpp/base/error.h"', True)
        self.check("mlxcpp/lm/step.cpp", '"mlxcpp/nn/rope.h"', True)
        self.check("apps/main.cpp", '"mlxcpp/lm/factory.h"', True)
        self.check("mlxcpp/ops/linear.h", '"mlx/array.h"', True)

    def test_an_include_against_an_arrow_fails(self):
        self.check("mlxcpp/base/error.h", '"mlxcpp/io/file.h"', False)
        self.check("mlxcpp/io/file.cpp", '"mlxcpp/ops/mx.h"', False)
        self.check("mlxcpp/nn/rope.cpp", '"mlxcpp/lm/step.h"', False)
        self.check("mlxcpp/nn/rope.cpp", '"mlxcpp/text/tokenizer.h"', False)
        self.check("mlxcpp/lm/step.cpp", '"apps/options.h"', False)

    def test_sister_rooms_do_not_see_each_other(self):
        self.check("mlxcpp/vlm/model.h", '"mlxcpp/audio/dsp.h"', False)
        self.check("mlxcpp/ops/linear.cpp", '"mlxcpp/io/file.h"', False)

    def test_private_headers_stay_in_their_room(self):
        self.check("mlxcpp/io/file.cpp", '"mlxcpp/io/detail/map.h"', True)
        self.check("mlxcpp/text/vocab.cpp", '"mlxcpp/io/detail/map.h"', False)

    def test_libraries_stay_in_their_rooms(self):
        self.check("mlxcpp/text/vocab.cpp", "<mlx/array.h>", False)
        self.check("mlxcpp/nn/rope.cpp", "<nlohmann/json.hpp>", False)
        self.check("mlxcpp/io/json.h", "<nlohmann/json.hpp>", False)
        self.check("mlxcpp/lm/step.h", "<mlx/mlx.h>", False)
        self.check("mlxcpp/base/error.h", "<fmt/format.h>", False)
        self.check("mlxcpp/lm/step.cpp", '"mlxcpp_bridge/src/lib.rs.h"', False)
        self.check("mlxcpp/text/vocab.cpp", '"mlxcpp_bridge/src/lib.rs.h"', True)

    def test_an_unknown_room_fails(self):
        status, output = run("check-arrows", {"mlxcpp/misc/x.h": ""})
        self.assertEqual(status, 1, output)


class Style(unittest.TestCase):
    def check(self, file, text, ok):
        status, output = run("check-style", {file: text})
        self.assertEqual(status, 0 if ok else 1, output)

    def test_files_above_their_ceiling_fail(self):
        self.check("mlxcpp/lm/step.h", "\n" * 250, True)
        self.check("mlxcpp/lm/step.h", "\n" * 251, False)
        self.check("mlxcpp/lm/models/llama.cpp", "\n" * 201, False)
        self.check("mlxcpp/lm/step.cpp", "\n" * 501, False)

    def test_paths_of_a_machine_fail(self):
        self.check("tools/x", "cat /" + "home/anna/x\n", False)
        self.check("docs/x.md", "in `/" + "root/x`\n", False)
        self.check("tools/x", "cat /home/me/x /usr/bin/env ~/x $HOME/work/x\n", True)

    def test_white_space_at_the_end_fails(self):
        self.check("cmake/x.cmake", "set(a b) \n", False)


class Docs(unittest.TestCase):
    SOURCE = "int main() {\n  int a = 1;\n  return a;\n}\n"

    def check(self, document, ok):
        status, output = run("check-docs", {"docs/a.md": document, "examples/a.cpp": self.SOURCE})
        self.assertEqual(status, 0 if ok else 1, output)

    def test_code_that_stands_in_its_file_passes(self):
        self.check(f"<!-- code: examples/a.cpp -->\n```cpp\n{self.SOURCE}```\n", True)
        self.check("<!-- code: examples/a.cpp -->\n\n```cpp\nint a = 1;\nreturn a;\n```\n", True)

    def test_code_that_differs_fails(self):
        self.check("<!-- code: examples/a.cpp -->\n```cpp\nint a = 2;\n```\n", False)
        self.check("<!-- code: examples/b.cpp -->\n```cpp\nint a = 1;\n```\n", False)

    def test_code_without_a_file_fails(self):
        self.check("text\n```cpp\nint a = 1;\n```\n", False)


class NamedTests(unittest.TestCase):
    FILES = {"tests/lm/x_test.cpp": 'TEST_F(Suite,\n       works) {}\nTEST(Suite, fails) { row("odd"); }\n'}

    def check(self, document, ok):
        status, output = run("check-docs", {"docs/a.md": document, **self.FILES})
        self.assertEqual(status, 0 if ok else 1, output)

    def test_tests_that_are_there_pass(self):
        self.check("<!-- tests -->\n| `Suite.works` | `Suite.fails/odd`, `Suite.fails` |\n", True)

    def test_a_test_that_is_not_there_fails(self):
        self.check("<!-- tests -->\n`Suite.worked`\n", False)
        self.check("<!-- tests -->\n`Suite.works`, `Other.works`\n", False)
        self.check("<!-- tests -->\n`Suite.fails/even`\n", False)

    def test_names_above_the_mark_are_other_things(self):
        self.check("`config.json`\n<!-- tests -->\n", True)
        self.check("`config.json`\n", True)


if __name__ == "__main__":
    unittest.main()
