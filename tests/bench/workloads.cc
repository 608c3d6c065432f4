// workloads NAME [SCALE]: a program that allocates as others do that allocators are measured by, and computes on what
// it allocates. Prints a sum that depends on the work, not on addresses or on who was faster. SCALE multiplies the
// work. workloads hold COUNT SIZE|mixed: holds so many live blocks for a moment.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace {

double scale = 1;
long scaled(long number) { return std::max(1L, std::lround(static_cast<double>(number) * scale)); }

struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t x = state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
  }
  uint64_t below(uint64_t limit) { return next() % limit; }
  /// From `least` on, each power of two as likely as the next.
  size_t size(size_t least, unsigned powers) { return (least << below(powers)) + below(least); }
};

template <typename Type>
Type* get(size_t bytes) {
  return static_cast<Type*>(malloc(bytes));
}

// --- cfrac: numbers of a few words, each result a new one ---

struct Number {
  uint32_t uses, length;
  uint32_t words[];
};
Number* new_number(uint32_t length) {
  auto* const number = get<Number>(sizeof(Number) + length * sizeof(uint32_t));
  number->uses = 1, number->length = length;
  return number;
}
void drop(Number* number) {
  if (--number->uses == 0) free(number);
}
Number* plus(const Number* a, const Number* b) {
  if (a->length < b->length) std::swap(a, b);
  Number* const sum = new_number(a->length + 1);
  uint64_t carry = 0;
  for (uint32_t i = 0; i < a->length; ++i) {
    carry += uint64_t{a->words[i]} + (i < b->length ? b->words[i] : 0);
    sum->words[i] = static_cast<uint32_t>(carry), carry >>= 32;
  }
  sum->words[a->length] = static_cast<uint32_t>(carry);
  while (sum->length > 1 && sum->words[sum->length - 1] == 0) --sum->length;
  return sum;
}
Number* times(const Number* a, uint32_t factor) {
  Number* const product = new_number(a->length + 1);
  uint64_t carry = 0;
  for (uint32_t i = 0; i < a->length; ++i) {
    carry += uint64_t{a->words[i]} * factor;
    product->words[i] = static_cast<uint32_t>(carry), carry >>= 32;
  }
  product->words[a->length] = static_cast<uint32_t>(carry);
  while (product->length > 1 && product->words[product->length - 1] == 0) --product->length;
  return product;
}
uint32_t rest(const Number* a, uint32_t divisor) {
  uint64_t rest = 0;
  for (uint32_t i = a->length; i-- > 0;) rest = (rest << 32 | a->words[i]) % divisor;
  return static_cast<uint32_t>(rest);
}
Number* divided(const Number* a, uint32_t divisor) {
  Number* const quotient = new_number(a->length);
  uint64_t rest = 0;
  for (uint32_t i = a->length; i-- > 0;) {
    rest = rest << 32 | a->words[i];
    quotient->words[i] = static_cast<uint32_t>(rest / divisor), rest %= divisor;
  }
  while (quotient->length > 1 && quotient->words[quotient->length - 1] == 0) --quotient->length;
  return quotient;
}

/// Convergents of a continued fraction, and which small primes divide them.
uint64_t cfrac() {
  static constexpr uint32_t kPrimes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53};
  Random random{1};
  uint64_t sum = 0;
  for (long turn = 0; turn < scaled(12'000); ++turn) {
    Number *before = new_number(1), *now = new_number(1);
    before->words[0] = 1, now->words[0] = 3;
    for (int step = 0; step < 60; ++step) {
      Number* const product = times(now, static_cast<uint32_t>(random.below(1 << 16)) + 1);
      Number* const next = plus(product, before);
      drop(product), drop(before);
      before = now, now = next;
      Number* left = now;
      ++left->uses;
      for (const uint32_t prime : kPrimes)
        while (rest(left, prime) == 0 && left->length > 1) {
          Number* const smaller = divided(left, prime);
          drop(left);
          left = smaller, sum += prime;
        }
      sum += left->words[0];
      drop(left);
    }
    drop(before), drop(now);
  }
  return sum;
}

// --- espresso: covers of a Boolean function, arrays of cubes that are merged and dropped ---

using Cube = uint64_t*;
Cube copy_of(const uint64_t* from, size_t words) {
  return static_cast<Cube>(memcpy(get<uint64_t>(words * 8), from, words * 8));
}
bool covers(const uint64_t* a, const uint64_t* b, size_t words) {
  for (size_t i = 0; i < words; ++i)
    if ((b[i] & ~a[i]) != 0) return false;
  return true;
}
uint64_t espresso() {
  Random random{2};
  uint64_t sum = 0;
  for (long turn = 0; turn < scaled(2'000); ++turn) {
    const size_t words = 2 + random.below(12);
    std::vector<Cube> cover;
    for (int i = 0; i < 200; ++i) {
      uint64_t bits[16];
      for (size_t w = 0; w < words; ++w) bits[w] = random.next() | random.next() | random.next();
      cover.push_back(copy_of(bits, words));
    }
    for (int pass = 0; pass < 4; ++pass) {
      std::vector<Cube> next;
      for (size_t i = 0; i < cover.size(); ++i) {
        Cube merged = copy_of(cover[i], words);
        for (size_t j = 0; j < 16; ++j) {
          const uint64_t* const other = cover[(i * 7 + j * 13) % cover.size()];
          Cube both = copy_of(merged, words);
          uint64_t gained = 0;
          for (size_t w = 0; w < words; ++w) {
            both[w] |= other[w] & (other[w] << 1);
            gained += static_cast<uint64_t>(__builtin_popcountll(both[w] ^ merged[w]));
          }
          if (gained > words * 2) std::swap(both, merged);
          free(both);
        }
        bool covered = false;
        for (size_t j = 0; j < next.size() && !covered; j += 3) covered = covers(next[j], merged, words);
        if (covered)
          free(merged);
        else
          next.push_back(merged);
      }
      for (Cube cube : cover) sum += cube[0], free(cube);
      cover = std::move(next);
      if (cover.empty()) break;
    }
    for (Cube cube : cover) sum += cube[0], free(cube);
  }
  return sum;
}

// --- barnes: bodies that attract each other, in a tree made anew each step ---

struct Cell {
  double at[3], mass;
  std::array<Cell*, 8> parts;
  uint32_t body;  // of a leaf, plus one
};
struct Bodies {
  std::vector<std::array<double, 3>> at, speed;
};
Cell* new_cell() { return static_cast<Cell*>(calloc(1, sizeof(Cell))); }
void insert(Cell* cell, const Bodies& all, uint32_t body, std::array<double, 3> middle, double half, int depth) {
  for (int axis = 0; axis < 3; ++axis)
    cell->at[axis] = (cell->at[axis] * cell->mass + all.at[body][axis]) / (cell->mass + 1);
  const bool was_leaf = cell->body != 0, was_empty = cell->mass == 0;
  cell->mass += 1;
  if (was_empty || depth > 20) {
    cell->body = body + 1;
    return;
  }
  const uint32_t moved = was_leaf ? cell->body - 1 : body;
  cell->body = 0;
  for (const uint32_t each : {moved, body}) {
    int part = 0;
    std::array<double, 3> center = middle;
    for (int axis = 0; axis < 3; ++axis) {
      const bool above = all.at[each][axis] > middle[axis];
      part |= above << axis;
      center[axis] += above ? half / 2 : -half / 2;
    }
    if (cell->parts[part] == nullptr) cell->parts[part] = new_cell();
    insert(cell->parts[part], all, each, center, half / 2, depth + 1);
    if (moved == body) break;
  }
}
void attract(const Cell* cell, const std::array<double, 3>& at, double half, std::array<double, 3>& force) {
  double away[3], square = 0.01;
  for (int axis = 0; axis < 3; ++axis) away[axis] = cell->at[axis] - at[axis], square += away[axis] * away[axis];
  if (cell->body != 0 || half * half < square * 0.4) {
    const double pull = cell->mass / (square * std::sqrt(square));
    for (int axis = 0; axis < 3; ++axis) force[axis] += away[axis] * pull;
    return;
  }
  for (const Cell* part : cell->parts)
    if (part != nullptr) attract(part, at, half / 2, force);
}
void drop(Cell* cell) {
  for (Cell* part : cell->parts)
    if (part != nullptr) drop(part);
  free(cell);
}
uint64_t barnes() {
  Random random{3};
  Bodies all;
  for (int i = 0; i < 16'000; ++i) {
    all.at.push_back({});
    all.speed.push_back({});
    for (double& each : all.at.back()) each = static_cast<double>(random.below(2000)) / 1000 - 1;
  }
  for (long step = 0; step < scaled(20); ++step) {
    Cell* const root = new_cell();
    for (uint32_t body = 0; body < all.at.size(); ++body) insert(root, all, body, {}, 4, 0);
    for (size_t body = 0; body < all.at.size(); ++body) {
      std::array<double, 3> force{};
      attract(root, all.at[body], 4, force);
      for (int axis = 0; axis < 3; ++axis) all.speed[body][axis] += force[axis] * 1e-7;
    }
    for (size_t body = 0; body < all.at.size(); ++body)
      for (int axis = 0; axis < 3; ++axis) all.at[body][axis] += all.speed[body][axis];
    drop(root);
  }
  double sum = 0;
  for (const auto& at : all.at) sum += at[0] + at[1] + at[2];
  return static_cast<uint64_t>(std::llround(sum * 1000));
}

// --- two threads ---

constexpr int kThreads = 2;
/// The sum of what body(thread) returns.
template <typename Body>
uint64_t on_threads(Body body) {
  std::array<uint64_t, kThreads> sums{};
  std::vector<std::thread> threads;
  for (int n = 0; n < kThreads; ++n) threads.emplace_back([&, n] { sums[n] = body(n); });
  for (std::thread& thread : threads) thread.join();
  return sums[0] + sums[1];
}

/// larson: a server's threads replace blocks at random, and leave all to the next thread when they end.
uint64_t larson() {
  return on_threads([](int n) {
    std::vector<char*> blocks(5000);
    Random random{static_cast<uint64_t>(n) + 4};
    for (char*& block : blocks) block = get<char>(8 + random.below(992));
    uint64_t sum = 0;
    for (long round = 0; round < scaled(60); ++round)
      std::thread([&] {
        for (int i = 0; i < 50'000; ++i) {
          char*& block = blocks[random.below(blocks.size())];
          free(block);
          const size_t size = 8 + random.below(992);
          block = get<char>(size);
          block[0] = static_cast<char>(i), block[size - 1] = 1;
          sum += size;
        }
      }).join();
    for (char* block : blocks) free(block);
    return sum;
  });
}

/// xmalloc: one thread allocates, the other frees.
uint64_t xmalloc() {
  constexpr size_t kBatch = 256;
  struct Batch {
    std::array<uint64_t*, kBatch> blocks;
  };
  std::mutex lock;
  std::condition_variable changed;
  std::vector<Batch*> queue;
  bool ended = false;
  const long batches = scaled(25'000);
  return on_threads([&](int n) {
    uint64_t sum = 0;
    Random random{5};
    if (n == 0) {
      for (long i = 0; i < batches; ++i) {
        auto* const batch = new Batch;
        for (uint64_t*& block : batch->blocks) {
          block = get<uint64_t>(16 + random.below(17) * 8);
          block[0] = i, block[1] = random.state;
        }
        std::unique_lock held(lock);
        changed.wait(held, [&] { return queue.size() < 64; });
        queue.push_back(batch);
        changed.notify_one();
      }
      const std::lock_guard held(lock);
      ended = true;
      changed.notify_one();
      return sum;
    }
    for (;;) {
      std::unique_lock held(lock);
      changed.wait(held, [&] { return !queue.empty() || ended; });
      if (queue.empty()) return sum;
      Batch* const batch = queue.back();
      queue.pop_back();
      changed.notify_one();
      held.unlock();
      for (uint64_t* block : batch->blocks) sum += block[0] ^ block[1], free(block);
      delete batch;
    }
  });
}

/// cache-scratch: each thread writes many times to a small block of its own.
uint64_t cache_scratch() {
  return on_threads([](int) {
    uint64_t sum = 0;
    for (long i = 0; i < scaled(300'000); ++i) {
      auto* const block = get<volatile uint8_t>(8);
      for (int byte = 0; byte < 8; ++byte) block[byte] = static_cast<uint8_t>(i);
      for (int times = 0; times < 200; ++times)
        for (int byte = 0; byte < 8; ++byte) block[byte] = static_cast<uint8_t>(block[byte] + 1);
      sum += block[0];
      free(const_cast<uint8_t*>(block));
    }
    return sum;
  });
}

/// rptest: sizes from 16 bytes to 8 KiB, and a third of the blocks is freed by the other thread.
uint64_t rptest() {
  std::array<std::mutex, kThreads> locks;
  std::array<std::vector<uint64_t*>, kThreads> given;
  const uint64_t sum = on_threads([&](int n) {
    Random random{static_cast<uint64_t>(n) + 6};
    std::vector<uint64_t*> blocks(4000);
    uint64_t sum = 0;
    const auto end = [&sum](uint64_t* block) {
      if (block != nullptr) sum += block[0];
      free(block);
    };
    for (long i = 0; i < scaled(1'200'000); ++i) {
      uint64_t*& block = blocks[random.below(blocks.size())];
      if (block != nullptr && random.below(3) == 0) {
        const std::lock_guard held(locks[1 - n]);
        given[1 - n].push_back(block);
      } else {
        end(block);
      }
      const size_t size = random.size(16, 9);
      block = get<uint64_t>(size);
      for (size_t word = 0; word < size / 8; word += 8) block[word] = i + word;
      if (i % 512 == 0) {
        std::vector<uint64_t*> mine;
        {
          const std::lock_guard held(locks[n]);
          mine.swap(given[n]);
        }
        for (uint64_t* each : mine) end(each);
      }
    }
    for (uint64_t* block : blocks) end(block);
    return sum;
  });
  uint64_t left = 0;
  for (auto& blocks : given)
    for (uint64_t* block : blocks) left += block[0], free(block);
  return sum + left;
}

/// mstress: arrays of arrays, kept for a while, and exchanged with the other thread through a common table.
uint64_t mstress() {
  static std::array<std::atomic<uint64_t*>, 1000> table;
  const auto make = [](Random& random) {
    const size_t words = random.below(100) == 0 ? 1000 : 2 + random.below(60);
    auto* const block = get<uint64_t>(words * 8);
    block[0] = words;
    for (size_t i = 1; i < words; ++i) block[i] = i ^ words;
    return block;
  };
  const auto end = [](uint64_t* block) {
    if (block == nullptr) return;
    for (size_t i = 1; i < block[0]; ++i)
      if (block[i] != (i ^ block[0])) abort();
    free(block);
  };
  const uint64_t sum = on_threads([&](int n) {
    Random random{static_cast<uint64_t>(n) + 7};
    std::vector<uint64_t*> kept;
    for (long i = 0; i < scaled(700'000); ++i) {
      uint64_t* block = make(random);
      if (random.below(10) < 3) block = table[random.below(table.size())].exchange(block);
      if (random.below(100) < 60 && kept.size() < 100'000)
        kept.push_back(block);
      else
        end(block);
      if (random.below(100) < 49 && !kept.empty()) {
        std::swap(kept[random.below(kept.size())], kept.back());
        end(kept.back());
        kept.pop_back();
      }
    }
    for (uint64_t* block : kept) end(block);
    return random.state;
  });
  for (auto& block : table) end(block.exchange(nullptr));
  return sum;
}

// --- one thread again ---

/// sh6bench: batches of each size, freed in the order they came, the reverse, or each other one first.
uint64_t sh6bench() {
  uint64_t sum = 0;
  std::vector<char*> blocks;
  for (long turn = 0; turn < scaled(300); ++turn) {
    for (size_t size = 8; size < 1000; size += size / 3 + 5)
      for (int i = 0; i < 4000; ++i) {
        blocks.push_back(get<char>(size));
        blocks.back()[0] = blocks.back()[size - 1] = static_cast<char>(i);
      }
    const size_t count = blocks.size();
    for (size_t i = 0; i < count; ++i) {
      const size_t at = turn % 3 == 0 ? i : turn % 3 == 1 ? count - 1 - i : (i * 2) % count + (i * 2 >= count);
      sum += static_cast<uint64_t>(blocks[at][0]);
      free(blocks[at]);
    }
    blocks.clear();
  }
  return sum;
}

/// alloc-test: many live blocks of random sizes, replaced at random, written to.
uint64_t alloc_test() {
  Random random{8};
  std::vector<uint64_t*> blocks(1 << 16);
  uint64_t sum = 0;
  for (long i = 0; i < scaled(4'000'000); ++i) {
    uint64_t*& block = blocks[random.below(blocks.size())];
    if (block != nullptr) sum += block[0];
    free(block);
    const size_t size = 16 + random.below(size_t{16} << random.below(6));
    block = get<uint64_t>(size);
    for (size_t word = 0; word < size / 8; ++word) block[word] = i;
  }
  for (uint64_t* block : blocks) {
    if (block != nullptr) sum += block[0];
    free(block);
  }
  return sum;
}

/// redis: strings, hashes and lists of a server; each command comes as text and is parsed.
uint64_t redis() {
  Random random{9};
  std::unordered_map<std::string, std::string> strings;
  struct Node {
    Node* next;
    char text[];
  };
  std::unordered_map<std::string, Node*> lists;
  uint64_t sum = 0;
  for (long i = 0; i < scaled(700'000); ++i) {
    const std::string key = "user:profile:key:" + std::to_string(random.below(100'000));
    const std::string command = "*3 " + key + " " + std::string(random.below(200), 'v') + std::to_string(i);
    std::vector<std::string> words;
    for (size_t at = 0; at < command.size();) {
      const size_t end = std::min(command.find(' ', at), command.size());
      words.push_back(command.substr(at, end - at));
      at = end + 1;
    }
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        strings[words[1]] = words[2];
        break;
      case 3:
        sum += strings.erase(words[1]);
        break;
      case 4: {
        Node*& head = lists[words[1].substr(0, 19)];
        auto* const node = static_cast<Node*>(malloc(sizeof(Node) + words[2].size() + 1));
        node->next = head;
        memcpy(node->text, words[2].c_str(), words[2].size() + 1);
        head = node;
        break;
      }
      case 5: {
        Node*& head = lists[words[1].substr(0, 19)];
        if (Node* const first = head; first != nullptr) {
          head = first->next;
          sum += static_cast<uint64_t>(first->text[0]);
          free(first);
        }
        break;
      }
      default:
        if (const auto found = strings.find(words[1]); found != strings.end()) sum += found->second.size();
    }
  }
  for (auto& [key, head] : lists)
    while (head != nullptr) free(std::exchange(head, head->next));
  return sum + strings.size();
}

/// json: text into a tree of maps, lists and strings, which is changed and written out again.
struct Value;
using List = std::vector<std::unique_ptr<Value>>;
using Table = std::map<std::string, std::unique_ptr<Value>>;
struct Value {
  std::variant<double, std::string, List, Table> of;
};
std::unique_ptr<Value> tree(Random& random, int depth) {
  auto value = std::make_unique<Value>();
  const uint64_t kind = depth == 0 ? random.below(2) : 2 + random.below(2);
  if (kind == 0) value->of = static_cast<double>(random.below(1000));
  if (kind == 1) value->of = std::string(random.below(40), 'x') + std::to_string(random.below(1000));
  if (kind == 2)
    for (auto& list = value->of.emplace<List>(); list.size() < 6;) list.push_back(tree(random, depth - 1));
  if (kind == 3)
    for (auto& table = value->of.emplace<Table>(); table.size() < 6;)
      table["member " + std::to_string(table.size() * 7)] = tree(random, depth - 1);
  return value;
}
void write(const Value& value, std::string& out) {
  if (const auto* number = std::get_if<double>(&value.of)) out += std::to_string(*number);
  if (const auto* text = std::get_if<std::string>(&value.of)) out += '"' + *text + '"';
  if (const auto* list = std::get_if<List>(&value.of)) {
    out += '[';
    for (const auto& each : *list) write(*each, out), out += ',';
    out += ']';
  }
  if (const auto* table = std::get_if<Table>(&value.of)) {
    out += '{';
    for (const auto& [key, each] : *table) out += key + ":", write(*each, out), out += ',';
    out += '}';
  }
}
uint64_t json() {
  Random random{10};
  uint64_t sum = 0;
  for (long turn = 0; turn < scaled(60); ++turn) {
    const auto root = tree(random, 5);
    std::string out;
    write(*root, out);
    std::vector<std::string> words;
    for (size_t at = 0; at < out.size();) {
      const size_t end = std::min(out.find(',', at), out.size());
      words.push_back(out.substr(at, end - at));
      at = end + 1;
    }
    std::sort(words.begin(), words.end());
    sum += out.size() + words.size() + words[words.size() / 2].size();
  }
  return sum;
}

void hold(long count, size_t size) {
  Random random{11};
  for (long i = 0; i < count; ++i) {
    const size_t bytes = size != 0 ? size : 16 + random.below(size_t{16} << random.below(7));
    auto* const block = get<char>(bytes);
    for (size_t at = 0; at < bytes; at += 16) block[at] = 1;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

const struct Workload {
  const char* name;
  uint64_t (*run)();
} kWorkloads[] = {
    {"cfrac", cfrac},       {"espresso", espresso},
    {"barnes", barnes},     {"alloc-test", alloc_test},
    {"sh6bench", sh6bench}, {"redis-like", redis},
    {"json", json},         {"larson", larson},
    {"xmalloc", xmalloc},   {"cache-scratch", cache_scratch},
    {"rptest", rptest},     {"mstress", mstress},
};

}  // namespace

int main(int count, char** argument) {
  if (count > 3) {
    hold(atol(argument[2]), strtoul(argument[3], nullptr, 10));
    return 0;
  }
  if (count > 2) scale = atof(argument[2]);
  for (const Workload& workload : kWorkloads)
    if (count > 1 && strcmp(argument[1], workload.name) == 0) {
      printf("%llu\n", static_cast<unsigned long long>(workload.run()));
      return 0;
    }
  for (const Workload& workload : kWorkloads) puts(workload.name);
  return count > 1 ? 2 : 0;
}
