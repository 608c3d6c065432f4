// Keeps and drops memory in a few functions, each known by its line. Takes steps by lines of standard input.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace store {
// Nobody frees these at the end.
auto& blocks = *new std::vector<char*>;
auto& texts = *new std::map<int, std::string>;
[[gnu::noinline]] void keep(size_t size) { blocks.push_back(static_cast<char*>(malloc(size))); }
[[gnu::noinline]] void remember(int number) { texts[number] = std::string(1000, 'x'); }
}  // namespace store

[[gnu::noinline]] void churn(size_t size) {
  volatile char* block = new char[size];
  block[0] = 1;
  delete[] block;
}

int main() {
  char step[16];
  for (int number = 0; fgets(step, sizeof step, stdin) != nullptr; ++number) {
    for (int i = 0; i < 1000; ++i) {
      if (strcmp(step, "keep\n") == 0) store::keep(9000);
      if (strcmp(step, "remember\n") == 0) store::remember(number * 1000 + i);
      if (strcmp(step, "churn\n") == 0) churn(20000);
    }
    puts("done");
    fflush(stdout);
  }
}
