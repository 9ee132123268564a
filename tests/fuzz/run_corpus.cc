// Runs a fuzz target without libFuzzer, so that any compiler's tests have it: the files of the
// given directories as they are, and changed at random.
//   RANGECACHE_SEED=1 RANGECACHE_STEPS=2000 url_fuzz tests/fuzz/corpus/url
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/input.h"

namespace {

constexpr const char* kFailedInput = "failed-input";
constexpr std::size_t kMaxSize = 64 * 1024;

std::string input;     ///< that is running
std::string replayed;  ///< how to run it again

void on_death(int signal) {
  [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, replayed.data(), replayed.size());
  const int fd = ::open(kFailedInput, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  n = ::write(fd, input.data(), input.size());
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(const std::string& how) {
  replayed = how + "; the input is in ./" + kFailedInput + "\n";
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

unsigned long setting(const char* name, unsigned long otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoul(text, nullptr, 10) : otherwise;
}

std::vector<std::filesystem::path> files_in(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i]))
      if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// One to eight small changes; some take a piece of `other`.
std::string mutated(std::string text, const std::string& other, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  for (std::size_t changes = 1 + below(8); changes > 0; --changes) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t length = 1 + below(8);
    switch (random() % 6) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
        break;
      case 1:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, text, below(text.size() + 1), length);
        break;
      case 4:
        text.insert(at, other, below(other.size() + 1), 8 * length);
        break;
      case 5:
        text.resize(at);
        text += other.substr(below(other.size() + 1));
        break;
    }
  }
  text.resize(std::min(text.size(), kMaxSize));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_death);
  std::vector<std::string> corpus{""};
  for (const auto& path : files_in(argc, argv)) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    input = corpus.back();
    run(path.string());
  }
  if (corpus.size() < 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY...: no inputs there\n", argv[0]);
    return 2;
  }
  const unsigned long seed = setting("RANGECACHE_SEED", 1),
                      steps = setting("RANGECACHE_STEPS", 2000);
  std::mt19937 random(static_cast<std::uint32_t>(seed));
  const auto any = [&]() -> const std::string& { return corpus[random() % corpus.size()]; };
  for (unsigned long step = 0; step < steps; ++step) {
    const std::string& first = any();
    input = mutated(first, any(), random);
    run("RANGECACHE_SEED=" + std::to_string(seed) + ", step " + std::to_string(step));
  }
  std::printf("%zu inputs and %lu mutations\n", corpus.size() - 1, steps);
  return 0;
}
