// throws COUNT: throws that often through ten frames with something to clean up in each.
#include <cstdlib>
#include <string>

[[gnu::noinline]] static int descend(int depth, int value) {
  const std::string local(static_cast<size_t>(depth + value % 3), 'x');
  if (depth == 0) throw value;
  const int got = descend(depth - 1, value);
  return got + static_cast<int>(local.size());
}

int main(int, char** argument) {
  int sum = 0;
  for (int i = std::atoi(argument[1]); i > 0; --i) try {
      sum += descend(10, i);
    } catch (int value) {
      sum -= value;
    }
  return sum > 0;
}
