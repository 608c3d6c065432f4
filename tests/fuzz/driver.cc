// driver SECONDS SEED [FILE...]: feeds LLVMFuzzerTestOneInput mutations of the harness's seeds and of the files,
// where there is no libFuzzer. The same seed tries the same inputs. Whoever fails aborts, after showing its input.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" {
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
/// The harness's own seeds, nullptr at the end. Weak: a harness need not have any.
[[gnu::weak]] extern const char* const poireau_fuzz_seeds[];
/// There under a sanitizer, which ends the process without a signal.
[[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());
}

namespace {

constexpr size_t kMostSize = 4096;
std::string input;
unsigned long long tried = 0;

void show_input() {
  std::fprintf(stderr, "input %llu: \"", tried);
  for (const char c : input) std::fprintf(stderr, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
  std::fprintf(stderr, "\"\n");
}

void on_signal(int number) {
  std::signal(number, SIG_DFL);
  show_input();
  std::raise(number);
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void mutate(std::string& text, const std::vector<std::string>& corpus) {
    const size_t at = below(text.size() + 1), length = below(std::min<size_t>(text.size() - at, 32) + 1);
    switch (below(8)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, text.substr(below(text.size() + 1), 1 + below(64)));
        break;
      case 2:
        text.insert(at, 1, static_cast<char>(random_()));
        break;
      case 3:
        text.insert(at, kTokens[below(kTokens.size())]);
        break;
      case 4:
        text.resize(at);
        break;
      case 5:
        text.insert(at, 1 + below(1500), static_cast<char>(' ' + below(95)));
        break;
      case 6: {
        const std::string& other = corpus[below(corpus.size())];
        text.replace(at, length, other.substr(below(other.size() + 1), below(128)));
        break;
      }
      default:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
    }
    if (text.size() > kMostSize) text.resize(kMostSize);
  }

 private:
  static constexpr std::array<const char*, 16> kTokens = {
      "=", "\"", "'", "\\", "[", "]", ",", "\n", "#", "0x", "_", "/", "18446744073709551615", "-1", "KiB", "*"};
  std::mt19937_64 random_;
};

std::vector<std::string> seeds(int argc, char** argv) {
  std::vector<std::string> result{""};
  if (poireau_fuzz_seeds != nullptr)
    for (size_t i = 0; poireau_fuzz_seeds[i] != nullptr; ++i) result.emplace_back(poireau_fuzz_seeds[i]);
  for (int i = 3; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    result.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: driver SECONDS SEED [FILE...]\n");
    return 2;
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::strtod(argv[1], nullptr));
  const uint64_t seed = std::strtoull(argv[2], nullptr, 0);
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) std::signal(number, on_signal);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(show_input);

  Mutator mutator(seed);
  const std::vector<std::string> corpus = seeds(argc, argv);
  do {
    // The corpus itself first, then mutations of it.
    input = tried < corpus.size() ? corpus[tried] : corpus[mutator.below(corpus.size())];
    if (tried >= corpus.size())
      for (size_t steps = 1 + mutator.below(12); steps > 0; --steps) mutator.mutate(input, corpus);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    ++tried;
  } while (tried < corpus.size() || std::chrono::steady_clock::now() < end);
  std::printf("%llu inputs, 0 failures\n", tried);
  return 0;
}
