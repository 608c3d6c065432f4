#include "poireau/native/decode_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace poireau::native {
namespace {

class OnDisk : public File {
 public:
  explicit OnDisk(int file) : file_(file) {}
  ~OnDisk() override { close(file_); }
  OnDisk(const OnDisk&) = delete;
  OnDisk& operator=(const OnDisk&) = delete;

  size_t read(uint64_t at, void* into, size_t size) override {
    size_t done = 0;
    while (done < size) {
      const ssize_t got = pread(file_, static_cast<char*>(into) + done, size - done, static_cast<off_t>(at + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }
  uint64_t size() override {
    struct stat info;
    return fstat(file_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  }

 private:
  const int file_;
};

class DirectoryOnDisk : public Directory {
 public:
  explicit DirectoryOnDisk(std::string path) : path_(std::move(path)) {}

  // They are asked for again and again.
  const std::vector<std::string>& names() override {
    constexpr time_t kSurely = 2;  // seconds: two changes may have the same time
    struct stat info {};
    const bool known = stat(path_.c_str(), &info) == 0 && info.st_mtime == changed_;
    if (known) return names_;
    names_.clear();
    changed_ = info.st_mtime < time(nullptr) - kSurely ? info.st_mtime : 0;
    DIR* const opened = opendir(path_.c_str());
    if (opened == nullptr) return names_;
    while (const dirent* const entry = readdir(opened)) names_.emplace_back(entry->d_name);
    closedir(opened);
    return names_;
  }
  std::unique_ptr<File> open(const std::string& name) override {
    const std::string path = path_ + "/" + name;
    struct stat info;
    if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return nullptr;  // to open others may do something
    const int file = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return file < 0 ? nullptr : std::make_unique<OnDisk>(file);
  }

 private:
  const std::string path_;
  std::vector<std::string> names_;
  time_t changed_ = 0;
};

}  // namespace

std::unique_ptr<Directory> directory_at(std::string path) { return std::make_unique<DirectoryOnDisk>(std::move(path)); }

}  // namespace poireau::native
