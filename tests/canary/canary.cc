// Does what a sanitizer must notice: if it exits in peace, the sanitizer does not work.
//   canary heap | overflow | race
#include <climits>
#include <string_view>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
  const std::string_view sin = argc > 1 ? argv[1] : "";
  volatile int value = 0;
  if (sin == "heap") {
    const std::vector<int> numbers(4);
    const volatile int* end = numbers.data() + 4;
    value = *end;
  } else if (sin == "overflow") {
    value = INT_MAX;
    value = value + argc;
  } else if (sin == "race") {
    const auto count = [&value] {
      for (int i = 0; i < 100'000; ++i) value = value / 2 + i;
    };
    std::thread other(count);
    count();
    other.join();
  }
  return value * 0;
}
