// What is lost, and what is not, when a program ends: each word of lose, ring, hide, fork, once FILE, overflow, exit N
// and abort does one thing; without any, nothing is lost.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

struct Node {
  Node* next;
  char data[100];
};

static std::map<int, std::string> table;         // its destructor frees
static auto* registry = new std::vector<Node*>;  // nobody frees
struct Forgets {
  Node* held = new Node;
  ~Forgets() { held = nullptr; }
} forgets;
static thread_local Node* of_thread;
static uintptr_t hidden;

[[gnu::noinline]] static void lose(int count) {
  for (int i = 0; i < count; ++i) {
    Node* volatile node = static_cast<Node*>(malloc(sizeof(Node)));
    node->next = nullptr;
  }
}

[[gnu::noinline]] static void lose_ring() {
  Node* volatile one = new Node, * volatile other = new Node;
  one->next = other;
  other->next = one;
}

[[gnu::noinline]] static void hide() { hidden = ~reinterpret_cast<uintptr_t>(malloc(500)); }

/// Overwrites what calls before have left on the stack.
[[gnu::noinline]] static void forget() {
  volatile char room[1 << 16];
  memset(const_cast<char*>(room), 0, sizeof room);
}

static void wait_for_ever() {
  of_thread = new Node;
  Node* volatile own = new Node;
  for (;;) pause();
  of_thread = own;
}

int main(int count, char** words) {
  for (int i = 0; i < 100; ++i) table[i] = std::string(50, 'x');
  for (int i = 0; i < 100; ++i) registry->push_back(new Node);
  static std::vector<Node*> local{new Node};
  std::thread(wait_for_ever).detach();
  std::string wanted;
  for (int i = 1; i < count; ++i) {
    wanted = words[i];
    if (wanted == "lose") lose(10), forget();
    if (wanted == "ring") lose_ring(), forget();
    if (wanted == "hide") {
      hide(), forget();
      atexit([] { free(reinterpret_cast<void*>(~hidden)); });
    }
    if (wanted == "fork" && fork() == 0) {
      lose(10), forget();
      exit(0);
    }
    if (wanted == "once" && access(words[i + 1], F_OK) != 0) {
      fclose(fopen(words[i + 1], "w"));
      lose(10), forget();
    }
    if (wanted == "overflow") {
      char* volatile text = static_cast<char*>(malloc(10));
      text[10] = 'x';
      free(text);
    }
    if (wanted == "exit") exit(atoi(words[i + 1]));
    if (wanted == "abort") abort();
  }
  return 0;
}
