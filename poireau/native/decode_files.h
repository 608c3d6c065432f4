#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// What decoders read from: files that others may write to, cut or remove meanwhile. So nothing is mapped.
namespace poireau::native {

class File {
 public:
  virtual ~File() = default;
  /// How much was read: less at the end, or if no more can be.
  virtual size_t read(uint64_t at, void* into, size_t size) = 0;
  [[nodiscard]] virtual uint64_t size() = 0;
};

class Directory {
 public:
  virtual ~Directory() = default;
  /// Of all that is in it; none if it can't be read.
  virtual const std::vector<std::string>& names() = 0;
  /// nullptr: it is not there, not a file, or not to be read.
  virtual std::unique_ptr<File> open(const std::string& name) = 0;
};

[[nodiscard]] std::unique_ptr<Directory> directory_at(std::string path);

}  // namespace poireau::native
