"""The examples and the installed library: what README promises to whoever links it."""

import os
import shutil
import subprocess

from support import CACHECTL, MIB, IntegrationTest, main, write_random

BUILD = os.environ["BUILD_DIR"]
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ExamplesTest(IntegrationTest):
    def setUp(self):
        super().setUp()
        write_random(os.path.join(self.root, "file.bin"), 3 * MIB)
        with open(os.path.join(self.root, "file.bin"), "rb") as file:
            self.content = file.read()
        self.server = self.nginx()
        self.mount = self.daemon(self.server.url).start()
        self.url = self.server.url + "file.bin"
        self.environment = {**os.environ, "RANGECACHE_SOCKET": self.mount.socket,
                            "PATH": os.path.dirname(CACHECTL) + ":" + os.environ["PATH"]}

    def run_program(self, *command, check=True):
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=60)
        if check:
            self.assertEqual(0, done.returncode, done.stderr.decode())
        return done

    def assert_reads_ranges(self, program):
        got = self.run_program(program, self.url, "1000000", "5000").stdout
        self.assertEqual(self.content[1000000:1005000], got)
        end = self.run_program(program, self.url, str(3 * MIB - 10), "5000").stdout
        self.assertEqual(self.content[-10:], end, "fewer bytes at the end of the file")
        missing = self.run_program(program, self.server.url + "none", "0", "1", check=False)
        self.assertEqual(1, missing.returncode)
        self.assertIn(b"none", missing.stderr)


class Examples(ExamplesTest):
    def test_the_cpp_program_reads_ranges(self):
        self.assert_reads_ranges(os.path.join(BUILD, "examples", "read_range_cpp"))

    def test_the_c_program_reads_ranges(self):
        self.assert_reads_ranges(os.path.join(BUILD, "examples", "read_range_c"))

    def test_a_thousand_reads_at_once(self):
        output = self.run_program(os.path.join(BUILD, "examples", "async_reads"), self.url, "1000")
        size = len(self.content)
        total = sum(min(4096, size - size // 1000 * i) for i in range(1000))
        self.assertEqual(f"1000 reads, {total} bytes, 0 failed\n", output.stdout.decode())

    def test_the_cachectl_session(self):
        output = self.run_program(os.path.join(SOURCE, "examples", "cachectl.sh"), self.url)
        text = output.stdout.decode()
        self.assertIn("evicted 64.0 KiB in 1 chunks of 1 objects", text)
        self.assertIn(self.url, text)

    def test_the_config_file_is_accepted(self):
        config = os.path.join(SOURCE, "examples", "rangecached.toml")
        other = self.daemon(self.server.url, config=config)
        other.start()
        self.assertEqual(192 * MIB, other.metric("rangecache_memory_limit_bytes"))


class InstalledLibrary(ExamplesTest):
    def test_find_package_and_pkg_config_build_the_examples(self):
        prefix = self.make_directory("prefix")
        self.run_program("cmake", "--install", BUILD, "--component", "dev", "--prefix", prefix)

        build = self.make_directory("build")
        self.run_program("cmake", "-S", os.path.join(SOURCE, "examples"), "-B", build,
                         f"-DCMAKE_PREFIX_PATH={prefix}")
        self.run_program("cmake", "--build", build)
        self.assert_reads_ranges(os.path.join(build, "read_range_cpp"))

        if not shutil.which("pkg-config"):
            self.skipTest("pkg-config is not installed")
        package = next(os.path.join(path, "pkgconfig") for path, names, _ in os.walk(prefix)
                       if "pkgconfig" in names)
        self.environment["PKG_CONFIG_PATH"] = package
        flags = self.run_program("pkg-config", "--cflags", "--libs", "rangecache").stdout
        program = os.path.join(build, "by_pkg_config")
        self.run_program("cc", "-std=c99", "-Wall", "-Werror",
                         os.path.join(SOURCE, "examples", "read_range.c"), "-o", program,
                         *flags.decode().split())
        self.environment["LD_LIBRARY_PATH"] = os.path.dirname(package)
        self.assert_reads_ranges(program)


if __name__ == "__main__":
    main()
